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
from typing import NamedTuple

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import cli, results, training
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

from common import classification, setup
from common.data import Splits
from common.files import file_digest
from hw3 import p1_models, p1_recipes
from hw3.p1_data import load_pets, validation_pipeline
from hw3.p1_recipes import Recipe

COURSE_PICTURES = 3680  # for training


def load_splits(args: argparse.Namespace, recipe: Recipe) -> Splits:
    """The pictures as a phase needs them, in the quick form the first few of each breed."""
    splits = load_pets(args.data, recipe.squares())
    return splits.first_per_class(*p1_recipes.QUICK_IMAGES) if args.quick else splits


class Phase(NamedTuple):
    """A phase that was trained."""

    recipe: Recipe
    history: list[dict]
    folder: Path
    settings: dict


def train_phase(
    number: int, recipe: Recipe, weights: str, origin: str, splits: Splits, runtime: setup.Runtime, args: argparse.Namespace
) -> Phase:
    """One phase, from `weights`, themselves from `origin`."""
    setup.log(f"phase {number}: {recipe.optimiser}, lr {recipe.lr}, {recipe.epochs} epochs")
    folder = setup.writable_folder(p1_recipes.run_folder(args, splits.name) / f"phase-{number}")
    setup.seed_everything(args.seed, number)
    model = p1_models.build(recipe.network, recipe.image_size, weights)
    recipe = replace(recipe, normalise=model.normalise)
    settings = training.run_settings(recipe, origin, splits.describe(), runtime, args)
    if number == 2:
        started = setup.from_rank_zero(lambda: file_digest(Path(weights)))
        settings |= {"weights": f"phase 1, from {settings['weights']}", "started from": started}
    pipeline = validation_pipeline(recipe.image_size, recipe.normalise)
    if recipe.linear_start and weights != "none":
        p1_models.start_head(runtime.place(model), splits.train, pipeline, runtime)
    history = classification.train(model, recipe, splits, pipeline, folder, settings, runtime, args)
    return Phase(recipe, history, folder, settings)


def all_deviations(first: dict, second: dict) -> list[str]:
    """In words, what both phases, of these settings, and their data are otherwise than for the course's."""
    words, pictures = training.deviations(p1_recipes.FIRST, first), first["data"]["train"]
    second = training.deviations(p1_recipes.SECOND, second | {"weights": "default"})  # it starts from the first
    more = [f"phase 2: {word}" for word in second if word not in words]
    return words + more + [f"{pictures} training pictures, not {COURSE_PICTURES}"] * (pictures != COURSE_PICTURES)


@setup.on_rank_zero
def write(args: argparse.Namespace, runtime: setup.Runtime, first: Phase, second: Phase) -> dict:
    """The item, from both phases."""
    settings, network = second.settings | {"weights": first.settings["weights"]}, second.recipe.network
    whole = first.history + [epoch | {"epoch": epoch["epoch"] + len(first.history)} for epoch in second.history]
    run = results.write_run(
        args, runtime, p1_recipes.SECOND, second.recipe, second.folder, {"history": second.history, "settings": settings}
    )
    deviations = all_deviations(first.settings, second.settings)
    results.save_half(second.folder, "p1.pth", run["kept"], deviations=deviations)
    kept = [training.kept_epoch(phase.history, phase.recipe.keep)["validation_accuracy"] for phase in (first, second)]
    return results.write_result(
        args,
        runtime,
        "f21 1.1" + "-uncropped" * args.no_crop,
        f"accuracy on 37 breeds, {network}" + ", without random crops" * args.no_crop,
        figures={"": results.curves({"": whole}, ("loss", "accuracy"), f"{network}, two phases")},
        reported={"accuracy": 0.944},
        reproduced={"accuracy": kept[1], "after phase 1": kept[0], "chance": 1 / 37},
        claims=[],
        **results.run_fields(run)
        | {
            "deviations": deviations,
            **results.origin(whole),
            "settings": {"phase 1": first.settings | results.precision(first.history), "phase 2": run["settings"]},
        },
    )


def main(args: argparse.Namespace) -> dict:
    """Train both phases and write the item; returns the result."""
    runtime = setup.start(args)
    recipes = p1_recipes.phases(args)
    weights = training.starting_weights(args, recipes[0])
    splits = load_splits(args, recipes[0])
    first = train_phase(1, recipes[0], weights, weights, splits, runtime, args)
    if recipes[1].squares() != recipes[0].squares():
        splits = load_splits(args, recipes[1])
    second = train_phase(2, recipes[1], str(first.folder / "best.pth"), weights, splits, runtime, args)
    return write(args, runtime, first, second)


if __name__ == "__main__":
    cli.run(main, ARGS)
