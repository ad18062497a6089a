"""hw2 problem 2, item 2.5 of cv22: the final training, its learning curve and its accuracy on the public test images.

Reported: 82.72 %, ResNet-50 from ImageNet weights, 40 epochs, with 2.3's combined set and 2.4's cleaning (4000 dropped). The accuracy on
all validation images chooses the epoch that is kept; that without those which the cleaning's score drops, the report's way, is given
besides (see p2_suspects.py). Loss and validation are of all 1000 outputs, as in the author's code. `--model best`, from ImageNet weights,
and `--model scratch`, from random ones, are ours (hw2/p2_ours.py). Writes results/cv22-2.5.{json,png}, or results/hw2-p2-<model>.{json,png}
and, beside its checkpoints, p2.pth in half precision, the file that p2_inference.py uses.

    python hw2/p2_final.py --model report --weights none
    python hw2/p2_final.py --model scratch
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import cli


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--model", choices=("report", "best", "scratch"), default="report")
    cli.add_training_arguments(parser)
    cli.add_workers(parser)
    cli.add_common_arguments(parser)
    args = parser.parse_args(argv)
    if args.model == "scratch" and args.weights not in (None, "none"):
        parser.error(f"--weights {args.weights}: --model scratch starts from random weights; leave it out")
    return args


if __name__ == "__main__":
    ARGS = parse_args()  # before torch is imported: --help and a wrong argument answer at once

from common import figures, items, metrics, results, setup, training
from common.data import Labelled, Splits
from hw2 import p2_models, p2_ours, p2_suspects, p2_tables, p2_training
from hw2.p2_data import combined, load_public_test
from hw2.p2_recipes import CHAINS, COMBINED_SET, FINAL, Recipe

DROPPED = 4000


def train_report(splits: Splits, weights: str, recipe: Recipe, runtime: setup.Runtime, changed: dict) -> tuple[training.Run, dict, dict]:
    """cv22's final training on the cleaned and combined set; `changed` is what the user changed in the recipe.

    Returns the run, what a result says of the steps before, and the kept network's accuracy on the validation images that cleaning leaves.
    """
    scores, scorer = p2_suspects.score(splits, runtime)
    cleaned = p2_suspects.without(splits, p2_suspects.lowest(scores, p2_suspects.share(DROPPED, len(scores))))
    splits = combined(replace(splits, train=cleaned.train))
    setup.log(f"final training, {len(cleaned.train)} images and some again: {len(splits.train)}")
    settings = p2_training.run_settings(recipe, weights, splits, runtime)
    run = training.Run(training.run_folder(runtime, "cv22-final", splits.name, changed), recipe, settings, runtime)
    p2_training.fit(run, splits, weights)

    steps = {f"dropped of {p2_suspects.ALL}": DROPPED, "combined set": COMBINED_SET, **p2_models.outputs(recipe.network)}
    steps |= {"validation images left, the report's way": len(cleaned.validation), **p2_suspects.about(scorer)}
    validated = {}
    if len(cleaned.validation):
        kept, _ = p2_models.load_trained(run.folder / "best.pth", runtime, "train again")
        right = p2_tables.right(kept, cleaned.validation, runtime)
        validated["validation accuracy, the report's way"] = right.count("1") / len(right)
    return run, steps, validated


def test_accuracy(path: Path, test: Labelled, runtime: setup.Runtime, **changed) -> float:
    """A checkpoint's accuracy on the test images, by its settings, some of them `changed`."""
    model, state = p2_models.load_trained(path, runtime, "train again")
    logits = p2_models.logits(model, test.images, state["settings"] | changed, runtime)
    return metrics.accuracy(logits.max(1).indices, test.target)


def main(args: argparse.Namespace) -> dict:
    """Train, test on the public images and write the item; returns the result."""
    chain = CHAINS.get(args.model)
    item = items.get(f"hw2-p2 {chain.name}" if chain else "cv22 2.5")
    runtime, changed = setup.start(args), training.overrides(args)
    test, validated = load_public_test(args.data), {}
    full, quick = (chain.last, chain.quick) if chain else (FINAL, p2_tables.QUICK)
    recipe = replace(full, **(quick if args.quick else {}) | changed)
    if runtime.device.type == "cpu" and not recipe.cpu_bf16:
        runtime = replace(runtime, bf16=False)
    weights = p2_tables.starting_weights(args.weights, recipe, args.quick)
    if chain:
        run, steps = p2_ours.train(chain, p2_ours.load_splits(runtime), recipe, weights, runtime, changed)
        full = p2_ours.for_soft_labels(full)
    else:
        run, steps, validated = train_report(p2_tables.load_splits(runtime), weights, recipe, runtime, changed)

    run.settings |= steps | {"public_test": len(test), "digest of public_test": test.digest()}
    content = results.write_run(run, full)
    half = results.save_half(run.folder, "p2.pth", run.kept)
    tested = {
        "accuracy on public_test": test_accuracy(run.folder / "best.pth", test, runtime, views=1),
        f"of p2.pth (half precision, mean over {recipe.views} views)": test_accuracy(half, test, runtime),
    }
    kept = {f"{split} accuracy": run.kept[f"{split}_accuracy"] for split in p2_tables.ACCURACIES}
    return results.write_result(
        runtime,
        item.name,
        item.title,
        figures={"": figures.learning_curves({"": run.history}, ("loss", "accuracy"), item.title)},
        reported=item.reported,
        reproduced=tested | kept | validated,
        claims=[],
        **results.run_fields(content),
    )


if __name__ == "__main__":
    cli.run(main, ARGS)
