"""hw3 problem 1, item 1.1 of f21: fine-tune ViT-B/16 at 384 px on 37 breeds of pets, in two phases.

Reported: 94.4 % validation accuracy, from `B_16_imagenet1k` of pytorch_pretrained_vit. For machines without a GPU: `--arch deit_tiny`, a
fifteenth of its size at 224 px, about an hour on two cores, and `--arch tiny`, from random weights at 96 px, some minutes. Writes
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
    cli.add_training_arguments(parser)
    cli.add_workers(parser)
    cli.add_common_arguments(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    ARGS = parse_args()  # before torch is imported: --help and a wrong argument answer at once

from common import classification, results, runs, setup, training
from common.data import Splits
from hw3 import p1_models, p1_recipes
from hw3.p1_data import load_pets, validation_pipeline
from hw3.p1_recipes import Recipe

COURSE_PICTURES = 3680  # for training


def train_phase(
    number: int, recipe: Recipe, weights: str, origin: str, splits: Splits, runtime: setup.Runtime, args: argparse.Namespace
) -> tuple[list[dict], Path, dict]:
    """One phase, from `weights`, themselves from `origin`: its history, its folder and its settings."""
    setup.log(f"phase {number}: {recipe.optimiser}, lr {recipe.lr}, {recipe.epochs} epochs")
    folder = setup.writable_folder(p1_recipes.run_folder(args, splits.name) / f"phase-{number}")
    started = origin if number == 1 else f"phase 1, from {origin}"
    setup.seed_everything(args.seed, number)
    model = p1_models.build(recipe.network, recipe.image_size, weights)
    recipe = replace(recipe, normalise=model.normalise)
    settings = recipe.settings() | {"weights": started, "seed": args.seed, "data": splits.describe(), "precision": runtime.precision()}
    pipeline = validation_pipeline(recipe.image_size, recipe.normalise)
    return classification.train(model, recipe, splits, pipeline, folder, settings, runtime, args), folder, settings


def all_deviations(recipes: tuple[Recipe, Recipe], weights: str, pictures: int) -> list[str]:
    """In words, what both phases and their data are otherwise than for the course's."""
    first, second = training.deviations(p1_recipes.FIRST, recipes[0], weights), training.deviations(p1_recipes.SECOND, recipes[1], "")
    number = [f"{pictures} training pictures, not {COURSE_PICTURES}"] * (pictures != COURSE_PICTURES)
    return first + [f"phase 2: {words}" for words in second if words not in first] + number


@setup.on_rank_zero
def write(args: argparse.Namespace, runtime: setup.Runtime, recipes: tuple, weights: str, trained: list) -> dict:
    """The item, from both phases."""
    histories, settings = [history for history, _, _ in trained], trained[1][2] | {"weights": weights}
    whole = histories[0] + [epoch | {"epoch": epoch["epoch"] + len(histories[0])} for epoch in histories[1]]
    run = runs.finish(args, runtime, p1_recipes.SECOND, recipes[1], trained[1][1], {"history": histories[1], "settings": settings})
    deviations = all_deviations(recipes, weights, settings["data"]["train"])
    runs.save_half(trained[1][1], "p1.pth", run["kept"], deviations=deviations)
    kept = [training.kept_epoch(history, recipe.keep)["validation_accuracy"] for history, recipe in zip(histories, recipes, strict=True)]
    return results.write_result(
        args,
        runtime,
        "f21 1.1",
        f"accuracy on 37 breeds, {recipes[0].network}",
        figures={"": runs.curves({"": whole}, ("loss", "accuracy"), f"{recipes[0].network}, two phases")},
        reported={"accuracy": 0.944},
        reproduced={"accuracy": kept[1], "after phase 1": kept[0], "chance": 1 / 37},
        claims=[],
        **runs.own_fields(run)
        | {
            "deviations": deviations,
            **runs.origin(whole),
            "settings": {"phase 1": trained[0][2], "phase 2": settings},
        },
    )


def main(args: argparse.Namespace) -> dict:
    """Train both phases and write the item; returns the result."""
    runtime = setup.start(args)
    recipes = p1_recipes.phases(args)
    weights = training.starting_weights(args, recipes[0])
    splits = load_pets(args.data, recipes[0].squares())
    if args.quick:
        splits = splits.first_per_class(*p1_recipes.QUICK_IMAGES)
    first = train_phase(1, recipes[0], weights, weights, splits, runtime, args)
    second = train_phase(2, recipes[1], str(first[1] / "best.pth"), weights, splits, runtime, args)
    return write(args, runtime, recipes, weights, [first, second])


if __name__ == "__main__":
    cli.run(main, ARGS)
