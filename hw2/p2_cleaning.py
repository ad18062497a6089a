"""hw2 problem 2, item 2.4 of cv22: drop the training images that a network is least sure of, then train ResNet-50 for four epochs.

Reported training / validation accuracy, from ImageNet weights: nothing dropped 0.7179 / 0.7013, 1000 0.7342 / 0.7186, 2000 0.7328 / 0.7262,
4000 0.7486 / 0.7337. The score is the largest probability that a ResNet-50 gives the image after six epochs from random weights. Ours is
the mean over three seeds, each with its own split and score. Where the dirty images are known (synthetic data), precision and recall of
what is dropped are given. Writes results/cv22-2.4{,-suspicious}.png and results/cv22-2.4.json; --resume skips trainings that have ended.

    python hw2/p2_cleaning.py --weights none
"""

import argparse
import statistics
import sys
from dataclasses import replace
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import cli


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(description=__doc__)
    cli.add_seeds(parser)
    cli.add_training_arguments(parser)
    cli.add_common_arguments(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    ARGS = parse_args()  # before torch is imported: --help and a wrong argument answer at once

from torch import Tensor

from common import figures, results, setup, training
from common.data import Labelled, Splits
from common.runs import beats, summary
from hw2 import p2_suspects, p2_tables
from hw2.p2_data import CLASSES, known_dirty
from hw2.p2_recipes import TABLE

REPORTED = {
    "none": {"train": 0.7179, "validation": 0.7013},
    "drop 1000": {"train": 0.7342, "validation": 0.7186},
    "drop 2000": {"train": 0.7328, "validation": 0.7262},
    "drop 4000": {"train": 0.7486, "validation": 0.7337},
}
DROPPED = {"none": 0, "drop 1000": 1000, "drop 2000": 2000, "drop 4000": 4000}
SHOWN = 40


def draw_suspicious(split: Labelled, scores: Tensor):
    """The images with the lowest scores, each with its label and score."""
    figure, grid = figures.new_figure(4, SHOWN // 4, height=5.6)
    for axes in grid.flat:
        axes.axis("off")
    for axes, i in zip(grid.flat, scores.argsort().tolist(), strict=False):
        axes.imshow(split.images[i].permute(1, 2, 0).numpy())
        axes.set_title(f"{CLASSES[split.target[i]]}\n{scores[i]:.2f}", size=8)
    figure.suptitle(f"The {SHOWN} most suspicious training images, with their label and the score")
    return figure


def claims(rows: dict[str, dict]) -> list[dict]:
    """What the report says of its table, measured here; a row wins if its lead is larger than the spread over the seeds."""
    values = {name: row["validation"] for name, row in rows.items()}
    words = "cleaning raises validation accuracy: the best row beats none by more than the spread over the seeds"
    best, raised = max(values, key=values.get), beats(rows["drop 4000"], rows["none"])
    return [
        {"claim": words, "holds": beats(rows[best], rows["none"]), "best": best},
        {"claim": "dropping 4000 raises it most", "holds": raised and best == "drop 4000", **values},
    ]


def detection(names: list[list[str]], scores: list[Tensor], dirty: set[str]) -> dict[str, dict[str, float]]:
    """By row the precision and recall of what it drops, means over the seeds, where the dirty images are known."""
    found = {}
    for row, count in DROPPED.items():
        if dirty and (dropped := p2_suspects.share(count, len(names[0]))):
            pairs = [p2_suspects.precision_recall(*once, dropped, dirty) for once in zip(names, scores, strict=True)]
            found[row] = dict(zip(("precision", "recall"), map(statistics.fmean, zip(*pairs, strict=True)), strict=True))
    return found


def train_rows(recipe, weights: str, seeds: list, runtime: setup.Runtime) -> tuple[dict[str, list], list[Tensor], float]:
    """Every row's histories; the scores of each seed's training images, and the seconds that the scoring networks took."""
    runs, found, seconds = {name: [] for name in DROPPED}, [], 0.0
    for once, splits in seeds:
        scores, spent = p2_suspects.score(splits, runtime, once)
        found, seconds = [*found, scores], seconds + spent
        for name, count in DROPPED.items():
            cleaned = p2_suspects.without(splits, scores, p2_suspects.share(count, len(splits.train)))
            runs[name].append(p2_tables.train_row("cleaning", name, recipe, weights, cleaned, runtime, once))
    return runs, found, seconds


@setup.on_rank_zero
def write(args: argparse.Namespace, runtime: setup.Runtime, recipe, weights: str, splits: Splits, runs, scores, seconds, found) -> dict:
    """The item; `splits` and `scores` are of the first seed, `seconds` what the networks that score took, `found` what `detection` gave."""
    rows = {name: summary(histories) for name, histories in runs.items()}
    fields = p2_tables.own_fields(args, runtime, recipe, weights, splits.describe(), runs)
    fields["settings"]["seconds of the networks that score, besides"] = round(seconds, 1)
    return results.write_result(
        args,
        runtime,
        "cv22 2.4",
        "data cleaning against accuracy",
        figures={
            "": p2_tables.draw(rows, REPORTED, f"{recipe.network} after {recipe.epochs} epochs, by the images dropped"),
            "-suspicious": draw_suspicious(splits.train, scores),
        },
        reported=REPORTED,
        reproduced={name: row | found.get(name, {}) for name, row in rows.items()},
        claims=claims(rows),
        **fields,
    )


def main(args: argparse.Namespace) -> dict:
    """Score, drop and train for every seed, and write the table; returns the result."""
    runtime = setup.start(args)
    recipe = replace(TABLE, **(p2_tables.QUICK if args.quick else {}) | training.changes(args))
    weights, seeds = p2_tables.starting_weights(args, recipe), p2_tables.each_seed(args)
    runs, scores, seconds = train_rows(recipe, weights, seeds, runtime)
    found = detection([splits.train.names for _, splits in seeds], scores, known_dirty(args.data))
    return write(args, runtime, recipe, weights, seeds[0][1], runs, scores[0], seconds, found)


if __name__ == "__main__":
    cli.run(main, ARGS)
