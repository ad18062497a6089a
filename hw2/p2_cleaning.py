"""hw2 problem 2, item 2.4 of cv22: drop the images that a network is least sure of, then train ResNet-50 for four epochs.

Reported training / validation accuracy, from ImageNet weights: nothing dropped 0.7179 / 0.7013, 1000 0.7342 / 0.7186, 2000 0.7328 / 0.7262,
4000 0.7486 / 0.7337. The score is the largest probability that a ResNet-50 gives the image after six epochs from random weights. Ours is
the mean over three seeds, each with its own split and score; a row that has not learnt in its four epochs says so.

The N lowest of all 23,000 are dropped, as in the code of the report's author, but after the split; see p2_suspects.py. `validation` is of
all validation images, for every row the same. "validation, the report's way" is of fewer, those that are not dropped: the report's numbers
are of such. Easier images alone raise it: what the training does for it is seen beside what row none's networks reach on the same images.

Where the dirty images are known (synthetic data), precision and recall of what is dropped are given. Writes
results/cv22-2.4{,-suspicious}.png and results/cv22-2.4.json; --resume skips trainings that have ended.

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

from common import figures, items, results, setup, training
from common.data import Labelled
from common.results import beats
from hw2 import p2_suspects, p2_tables
from hw2.p2_data import CLASSES, known_dirty
from hw2.p2_recipes import TABLE
from hw2.p2_suspects import WAY
from hw2.p2_tables import RIGHT

ITEM = items.get("cv22 2.4")
DROPPED = {"none": 0, "drop 1000": 1000, "drop 2000": 2000, "drop 4000": 4000}
SHOWN = 40
PLAIN, LEFT = "row none on the same images", "validation images left"  # what a row says beside WAY


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
    best, raised = max(values, key=values.get), beats(rows["drop 4000"], rows["none"])
    way = {name: row.get(WAY, row["validation"]) for name, row in rows.items()}
    plain = {f"none, on the images of {name}": row[PLAIN] for name, row in rows.items() if PLAIN in row}
    first = max(way, key=way.get)
    cleaned = {"validation": way[first], "validation sd": rows[first].get(f"{WAY} sd")} if first != "none" else rows["none"]
    won = beats(cleaned, rows["none"]) if "validation sd" in rows["none"] else None
    return [
        ITEM.claim("raises", beats(rows[best], rows["none"]), best=best),
        ITEM.claim("drop_4000_most", raised and best == "drop 4000", **values),
        ITEM.claim("raises_the_reports_way", won, best=first, **way, **plain),
    ]


def detection(names: list[list[str]], dropped: list[Tensor], dirty: set[str]) -> dict[str, float]:
    """Precision and recall of what a row drops in each seed, their means, where the dirty images are known; else {}."""
    if not dirty or not dropped[0].any():
        return {}
    pairs = [p2_suspects.precision_recall(*once, dirty) for once in zip(names, dropped, strict=True)]
    return dict(zip(("precision", "recall"), map(statistics.fmean, zip(*pairs, strict=True)), strict=True))


def reports_way(histories: list[list[dict]], plain: list[list[dict]], dropped: list[Tensor]) -> dict[str, float]:
    """A row's validation accuracy without what is `dropped` in each seed, and that of row none's networks, `plain`, on the same images.

    Means over the seeds; {} for a row that drops nothing.
    """
    if not dropped[0].any():
        return {}
    found = {WAY: [], PLAIN: [], LEFT: []}
    for own, none, gone in zip(histories, plain, dropped, strict=True):
        kept = (~gone[-len(own[-1][RIGHT]) :]).nonzero()[:, 0].tolist()
        for name, history in ((WAY, own), (PLAIN, none)):
            found[name].append(sum(history[-1][RIGHT][i] == "1" for i in kept) / max(1, len(kept)))
        found[LEFT].append(len(kept))
    spread = {f"{WAY} sd": statistics.stdev(found[WAY])} if len(dropped) > 1 else {}
    return {name: statistics.fmean(values) for name, values in found.items()} | spread


def main(args: argparse.Namespace) -> dict:
    """Score, drop and train for every seed, and write the table; returns the result."""
    runtime, changed, seeds = setup.start(args), training.overrides(args), training.seeds(args)
    recipe = replace(TABLE, **(p2_tables.QUICK if args.quick else {}) | changed)
    weights = p2_tables.starting_weights(args.weights, recipe, args.quick)
    repetitions = [replace(runtime, seed=seed) for seed in seeds]
    splits = [p2_tables.load_splits(once) for once in repetitions]
    histories, dropped = {name: [] for name in DROPPED}, {name: [] for name in DROPPED}
    scores, scorers = [], []
    for once, whole in zip(repetitions, splits, strict=True):
        found, scorer = p2_suspects.score(whole, once)
        scores.append(found)
        scorers.append(scorer)
        for name, count in DROPPED.items():
            gone = p2_suspects.lowest(found, p2_suspects.share(count, len(found)))
            cleaned = replace(whole, train=p2_suspects.without(whole, gone).train)
            histories[name].append(p2_tables.train_row(f"cleaning {name}", recipe, weights, cleaned, once, changed))
            dropped[name].append(gone)
    names, dirty = [whole.train.names + whole.validation.names for whole in splits], known_dirty(args.data)
    rows = {
        name: p2_tables.table_row(found) | reports_way(found, histories["none"], dropped[name]) | detection(names, dropped[name], dirty)
        for name, found in histories.items()
    }
    fields = p2_tables.table_fields(recipe, weights, splits[0].describe(), histories, seeds, runtime)
    fields["settings"] |= p2_suspects.about(*scorers)
    title = f"{recipe.network} after {recipe.epochs} epochs, by the images dropped"
    return results.write_result(
        runtime,
        ITEM.name,
        ITEM.title,
        figures={
            "": p2_tables.draw(rows, ITEM.reported, title, WAY),
            "-suspicious": draw_suspicious(splits[0].train, scores[0][: len(splits[0].train)]),
        },
        reported=ITEM.reported,
        reproduced=rows,
        claims=claims(rows),
        **fields,
    )


if __name__ == "__main__":
    cli.run(main, ARGS)
