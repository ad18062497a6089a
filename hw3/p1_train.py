"""hw3 problem 1, item 1.1 of f21: fine-tune ViT-B/16 at 384 px on 37 breeds of pets, in two phases.

Reported: 94.4 % validation accuracy, from `B_16_imagenet1k` of pytorch_pretrained_vit. For machines without a GPU: `--arch deit_tiny`, a
fifteenth of its size at 224 and 288 px, about an hour on two cores, and `--arch tiny`, from random weights at 96 px, some minutes. Writes
OUT/checkpoints/hw3-p1-<arch>/phase-{1,2}/ (best.pth, last.pth; of the second p1.pth in half precision) and results/f21-1.1.{json,png}.

    python hw3/p1_train.py --weights B_16_imagenet1k.pth
    python hw3/p1_train.py --arch deit_tiny --weights deit_tiny_patch16_224.pth
    python hw3/p1_train.py --arch tiny
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import cli
from hw3 import arguments


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--arch", choices=arguments.VIT_ARCHES, default="b16")
    parser.add_argument("--image-size", type=cli.positive_int, help="input pixels, a multiple of the patch (default: the recipe's)")
    parser.add_argument("--no-crop", action="store_true", help="pictures resized whole; writes f21-1.1-uncropped, which item 1.2 compares")
    cli.add_training_arguments(parser)
    cli.add_workers(parser)
    cli.add_common_arguments(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    ARGS = parse_args()  # before torch is imported: --help and a wrong argument answer at once

from common import classification, figures, items, results, setup, training
from common.data import preload
from common.files import file_digest
from hw3 import p1_models, p1_recipes
from hw3.p1_data import load_pets, validation_pipeline

COURSE_PICTURES = 3680  # for training


@setup.on_rank_zero
def write(first: training.Run, second: training.Run) -> dict:
    """The item, from both phases."""
    second.settings = second.settings | {"weights": first.settings["weights"]}  # the item's, which began with the first
    run, network = results.write_run(second, p1_recipes.SECOND), second.recipe.network
    item = items.get("f21 1.1" if second.recipe.crop else "f21 1.1-uncropped")
    deviations = training.deviations(p1_recipes.FIRST, first.settings)
    later = training.deviations(p1_recipes.SECOND, second.settings | {"weights": "default"})
    deviations += [f"phase 2: {words}" for words in later if words not in deviations]
    if (pictures := first.settings["data"]["train"]) != COURSE_PICTURES:
        deviations.append(f"{pictures} training pictures, not {COURSE_PICTURES}")
    results.save_half(second.folder, "p1.pth", second.kept, deviations=deviations)
    whole = first.history + [epoch | {"epoch": epoch["epoch"] + len(first.history)} for epoch in second.history]
    settings = {"phase 1": first.settings | results.precision(first.history), "phase 2": run["settings"]}
    accuracy = {"accuracy": second.kept["validation_accuracy"], "after phase 1": first.kept["validation_accuracy"]}
    return results.write_result(
        second.runtime,
        item.name,
        f"{item.title}, {network}",
        figures={"": figures.learning_curves({"": whole}, ("loss", "accuracy"), f"{network}, two phases")},
        reported=item.reported,
        reproduced=accuracy | {"chance": 1 / 37},
        claims=[],
        **results.run_fields(run) | {"deviations": deviations, **results.origin(whole), "settings": settings},
    )


def main(args: argparse.Namespace) -> dict:
    """Train both phases and write the item; returns the result."""
    runtime, changes, crop = setup.start(args), training.overrides(args), not args.no_crop
    phases = p1_recipes.phases(args.arch, args.quick, changes, crop)
    weights = training.starting_weights(args.weights, phases[0], args.quick)
    splits = load_pets(args.data, phases[0].squares())
    if args.quick:
        splits = splits.first_per_class(*p1_recipes.QUICK_IMAGES)
    train_images = preload(splits.train, phases[0].train_pipeline(0), runtime)
    folder, runs = p1_recipes.run_folder(runtime, args.arch, splits.name, changes, crop), []

    for number, recipe in enumerate(phases, 1):
        setup.log(f"phase {number}: {recipe.optimiser}, lr {recipe.lr}, {recipe.epochs} epochs")
        setup.seed_everything(args.seed, number)
        start = str(runs[0].folder / "best.pth") if runs else weights
        model = runtime.place(p1_models.build(recipe.network, recipe.image_size, start))
        recipe = replace(recipe, normalise=model.normalise)
        pipeline = validation_pipeline(recipe.image_size, recipe.normalise)
        settings = training.run_settings(recipe, weights, splits.describe(), runtime)
        if runs:
            digest = setup.on_rank_zero(file_digest)(Path(start))
            settings |= {"weights": f"phase 1, from {settings['weights']}", "started from": digest}
        run = training.Run(folder / f"phase-{number}", recipe, settings, runtime)
        if recipe.linear_start and start != "none":
            p1_models.linear_probe(model, splits.train, pipeline, runtime)
        optimiser = training.make_optimiser(model, recipe)
        average = classification.moving_average(model, optimiser, recipe.average)
        network, parallel = average.module if average else model, setup.parallel(model, runtime)
        validation = preload(splits.validation, pipeline, runtime)
        for epoch in run.epochs(model, optimiser, average):
            numbers = classification.train_epoch(parallel, optimiser, train_images, recipe, runtime, epoch.index)
            epoch.record(**numbers, **classification.evaluate(network, validation, pipeline, recipe.validation_batch, runtime))
        runs.append(run)

    return write(*runs)


if __name__ == "__main__":
    cli.run(main, ARGS)
