"""hw1 problem 1, items 1.2, 1.3 and 1.4 of f22a, f22b and f23: train a report's model A or B, or one of ours: best
(EfficientNet-Lite2 from ImageNet weights) and scratch (a small residual net from random ones).

Reported top-1 accuracy on val_50: f22a A 0.5544, B 0.8976; f22b A 0.6416, B 0.9052; f23 A 0.6460, B 0.8628 (each B from ImageNet weights;
from random ones f22b's learns nothing with SGD: accuracy 0.02 after 20 epochs at lr 0.01, after six at the report's 0.1).
Writes OUT/checkpoints/<report>-<model>/ (the figures' epochs, best.pth, last.pth) and results/<report>-1.2.json and 1.3 (A) or 1.4 (B).

    python hw1/p1_train.py --report f22a --model A
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import cli
from hw1 import arguments


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--report", choices=("f22a", "f22b", "f23"))
    parser.add_argument("--model", choices=("A", "B", "best", "scratch"), required=True)
    parser.add_argument("--image-size", type=cli.positive_int, help="input pixels, for smaller machines")
    cli.add_training_arguments(parser)
    cli.add_workers(parser)
    cli.add_common_arguments(parser)
    args = parser.parse_args(argv)
    arguments.check_report(parser, args)
    return args


if __name__ == "__main__":
    ARGS = parse_args()  # before torch is imported: --help and a wrong argument answer at once

from dataclasses import replace

from common import classification, setup, training
from common.data import preload
from hw1 import p1_items, p1_models, p1_recipes


def main(args: argparse.Namespace) -> dict:
    """Train one model and write its items; returns what run.json holds: the history, the kept epoch's numbers, settings, origin."""
    changes = training.overrides(args)
    recipe = p1_recipes.recipe(args.report, args.model, args.quick, changes)
    runtime = setup.start(args)
    if runtime.device.type == "cpu" and not recipe.cpu_bf16:
        runtime = replace(runtime, bf16=False)

    splits = p1_recipes.load_splits(args.data, args.report, args.model, args.quick)
    weights = training.starting_weights(args.weights, recipe, args.quick)
    settings = training.run_settings(recipe, weights, splits.describe(), runtime)
    pipeline = classification.validation_pipeline(settings)
    train_images = preload(splits.train, recipe.train_pipeline(0), runtime)
    validation_images = preload(splits.validation, pipeline, runtime)

    model = runtime.place(p1_models.build(recipe.network, weights))
    optimiser = training.make_optimiser(model, recipe)
    average = classification.moving_average(model, optimiser, recipe.average)
    parallel, evaluated = setup.parallel(model, runtime), average.module if average else model

    run = training.Run(p1_recipes.run_folder(runtime, args.report, args.model, splits.name, changes), recipe, settings, runtime)
    for epoch in run.epochs(model, optimiser, average):
        trained = classification.train_epoch(parallel, optimiser, train_images, recipe, runtime, epoch.index)
        found = classification.evaluate(evaluated, validation_images, pipeline, recipe.validation_batch, runtime)
        epoch.record(**trained, **found)

    if args.report is None:
        return p1_items.write_ours(run, args.model, splits.validation)
    return p1_items.write_report(run, args.report, args.model, changes)


if __name__ == "__main__":
    cli.run(main, ARGS)
