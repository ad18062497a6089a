"""hw2 problem 2, item 2.5 of cv22: the final training, its learning curve and its accuracy on the public test images.

Reported: 82.72 %, ResNet-50 from ImageNet weights, 40 epochs, with 2.3's combined set and 2.4's cleaning (4000 dropped). The accuracy on
all validation images chooses the epoch that is kept; that without those which the cleaning's score drops, the report's way, is given
besides (see p2_suspects.py). Loss and validation are of all 1000 outputs, as in the author's code. `--model best` is ours, from random
weights (hw2/p2_ours.py). Writes results/cv22-2.5.{json,png}, or results/hw2-p2-best.{json,png} and, beside its checkpoints, p2.pth in half
precision, the file that p2_inference.py uses.

    python hw2/p2_final.py --model report --weights none
    python hw2/p2_final.py --model best
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import checkpoints, cli, results, training


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--model", choices=("report", "best"), default="report")
    cli.add_training_arguments(parser)
    cli.add_workers(parser)
    cli.add_common_arguments(parser)
    args = parser.parse_args(argv)
    if args.model == "best" and args.weights not in (None, "none"):
        parser.error(f"--weights {args.weights}: --model best starts from random weights; leave it out")
    return args


if __name__ == "__main__":
    ARGS = parse_args()  # before torch is imported: --help and a wrong argument answer at once

from common import classification, metrics, setup
from common.data import Labelled, Splits
from hw2 import p2_models, p2_ours, p2_suspects, p2_tables
from hw2.p2_data import COURSE_SHARE, NORMALISED, combined, load_public_test
from hw2.p2_recipes import COMBINED_SET, FINAL, OURS

REPORTED = {"accuracy on public_test": 0.8272}
DROPPED = 4000


def train_report(
    splits: Splits, weights: str, recipe, runtime: setup.Runtime, args: argparse.Namespace
) -> tuple[list[dict], Path, dict, Labelled]:
    """cv22's final training on the cleaned and combined set.

    Returns its history and folder, what a result says of the steps before, and the validation images that the cleaning's score leaves.
    """
    scores, scorer = p2_suspects.score(splits, runtime, args)
    cleaned = p2_suspects.without(splits, p2_suspects.lowest(scores, p2_suspects.share(DROPPED, len(scores))))
    splits = combined(replace(splits, train=cleaned.train))
    setup.log(f"final training, {len(cleaned.train)} images and some again: {len(splits.train)}")
    folder = setup.writable_folder(training.run_folder(args, "cv22-final", splits.name))
    setup.seed_everything(args.seed)
    model = p2_models.build(recipe.network, weights)
    settings = p2_tables.run_settings(recipe, weights, splits, runtime, args)
    history = classification.train(model, recipe, splits, NORMALISED, folder, settings, runtime, args)
    steps = {f"dropped of {p2_suspects.ALL}": DROPPED, "combined set": COMBINED_SET, **p2_models.outputs(recipe.network)}
    steps["validation images left, the report's way"] = len(cleaned.validation)
    return history, folder, steps | p2_suspects.about(scorer), cleaned.validation


def on_cleaned_validation(folder: Path, cleaned: Labelled, runtime: setup.Runtime) -> dict[str, float]:
    """The accuracy of best.pth on the validation images that cleaning leaves, of all outputs as in training; {} if it leaves none."""
    if not len(cleaned):
        return {}
    model, _ = p2_models.load_trained(folder / "best.pth", runtime, "train again")
    right = p2_tables.right(model, cleaned, runtime)
    return {"validation accuracy, the report's way": right.count("1") / len(right)}


def test_accuracy(path: Path, test: Labelled, runtime: setup.Runtime, views: int) -> float:
    """A checkpoint's accuracy on the test images, by one view of each or the mean of ten."""
    model, _ = p2_models.load_trained(path, runtime, "train again")
    return metrics.accuracy(p2_models.logits(model, test.images, runtime, views).max(1).indices, test.target)


@setup.on_rank_zero
def finish(args, runtime: setup.Runtime, full, used, history: list[dict], folder: Path, steps: dict, test: Labelled) -> dict:
    """Write run.json and p2.pth; returns the former's content. `steps` is what came before the last training."""
    settings = checkpoints.load_checkpoint(folder / "best.pth", "train again")["settings"] | steps
    settings |= {"public_test": len(test), "digest of public_test": test.digest()}
    run = results.write_run(args, runtime, full, used, folder, {"history": history, "settings": settings})
    results.save_half(folder, "p2.pth", run["kept"])
    return run


def on_public_test(folder: Path, test: Labelled, runtime: setup.Runtime) -> dict[str, float]:
    """The accuracy of best.pth and of p2.pth."""
    return {
        "accuracy on public_test": test_accuracy(folder / "best.pth", test, runtime, views=1),
        "of p2.pth (half precision, mean over ten views)": test_accuracy(folder / "p2.pth", test, runtime, views=10),
    }


@setup.on_rank_zero
def write(args: argparse.Namespace, runtime: setup.Runtime, run: dict, tested: dict[str, float], validated: dict[str, float]) -> dict:
    """The item; `tested` is what `on_public_test` gave, `validated` what `on_cleaned_validation` did."""
    ours = args.model == "best"
    kept = {f"{split} accuracy": run["kept"][f"{split}_accuracy"] for split in p2_tables.ACCURACIES}
    title = "our own training from random weights, with cleaning and unlabelled images" if ours else "final training"
    return results.write_result(
        args,
        runtime,
        "hw2-p2 best" if ours else "cv22 2.5",
        title,
        figures={"": results.curves({"": run["history"]}, ("loss", "accuracy"), title)},
        reported={"accuracy on public_test": "from ImageNet weights: 0.8272"} if ours else REPORTED,
        reproduced=tested | kept | validated,
        claims=[],
        **results.run_fields(run),
    )


def main(args: argparse.Namespace) -> dict:
    """Train, test on the public images and write the item; returns the result."""
    runtime = setup.start(args)
    full = OURS if args.model == "best" else FINAL
    quick = p2_ours.QUICK if args.model == "best" else p2_tables.QUICK
    recipe = replace(full, **(quick if args.quick else {}) | training.changes(args))
    weights = "none" if args.model == "best" else p2_tables.starting_weights(args, recipe)
    share = p2_ours.TRAIN_SHARE if args.model == "best" else COURSE_SHARE
    splits, test = p2_tables.load_splits(args, share), load_public_test(args.data)
    if args.model == "best":
        (history, folder, steps), validated = p2_ours.train(splits, recipe, runtime, args), {}
    else:
        history, folder, steps, cleaned = train_report(splits, weights, recipe, runtime, args)
        validated = on_cleaned_validation(folder, cleaned, runtime)
    run = finish(args, runtime, full, recipe, history, folder, steps, test)
    return write(args, runtime, run, on_public_test(folder, test, runtime), validated)


if __name__ == "__main__":
    cli.run(main, ARGS)
