"""hw2 problem 2, item 2.3 of cv22: what each augmentation does to ResNet-50's accuracy after four epochs of batch 256.

Reported training / validation accuracy, from ImageNet weights: none 0.81 / 0.687, RandomAffine 0.7275 / 0.707, RandomPerspective 0.7792 /
0.7061, RandomAdjustSharpness 0.8129 / 0.703, RandomCrop 0.6943 / 0.643, ColorJitter 0.8073 / 0.7009, the combined set 0.6814 / 0.7247. Ours
is the mean over three seeds, each with its own split; a row that has not learnt in its four epochs says so. Loss and accuracies are of all
1000 outputs, as in the author's code. Writes results/cv22-2.3.{json,png}; --resume skips trainings that have ended.

    python hw2/p2_augmentation.py --weights none
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
    cli.add_seeds(parser)
    cli.add_training_arguments(parser)
    cli.add_workers(parser)
    cli.add_common_arguments(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    ARGS = parse_args()  # before torch is imported: --help and a wrong argument answer at once

from common import items, results, setup, training
from common.results import beats
from hw2 import p2_tables
from hw2.p2_data import combined
from hw2.p2_recipes import AUGMENTATIONS, COMBINED_SET, TABLE

ITEM = items.get("cv22 2.3")
RAISING = ("RandomAffine", "RandomPerspective", "RandomAdjustSharpness", "ColorJitter")  # validation accuracy, alone, by the report's table


def claims(rows: dict[str, dict]) -> list[dict]:
    """What the report says of its table, measured here; a row wins if its lead is larger than the spread over the seeds."""
    plain = rows["none"]
    lead = {name: row["validation"] - plain["validation"] for name, row in rows.items() if name != "none"}
    gap = {name: row["train"] - row["validation"] for name, row in rows.items()}
    several = "validation sd" in plain
    least = min(gap, key=gap.get) == "combined" if several else None
    most = max(lead, key=lead.get) == "combined" and beats(rows["combined"], plain) if several else None
    return [
        ITEM.claim("combined_raises", beats(rows["combined"], plain), **lead),
        ITEM.claim("combined_over_fits_least", least, **gap),
        ITEM.claim("combined_raises_most", most, **lead),
        *(ITEM.claim(f"{name}_raises", beats(rows[name], plain), by=lead[name]) for name in RAISING),
        ITEM.claim("RandomCrop_lowers", beats(plain, rows["RandomCrop"]), by=-lead["RandomCrop"]),
    ]


def main(args: argparse.Namespace) -> dict:
    """Train every row for every seed and write the table; returns the result."""
    runtime, changed, seeds = setup.start(args), training.overrides(args), training.seeds(args)
    recipe = replace(TABLE, **(p2_tables.QUICK if args.quick else {}) | changed)
    weights = p2_tables.starting_weights(args.weights, recipe, args.quick)
    repetitions = [replace(runtime, seed=seed) for seed in seeds]
    splits = [p2_tables.load_splits(once) for once in repetitions]
    histories = {name: [] for name in AUGMENTATIONS}
    for name, augment in AUGMENTATIONS.items():
        row = replace(recipe, augment=augment)
        for once, plain in zip(repetitions, splits, strict=True):
            images = combined(plain) if name == "combined" else plain
            histories[name].append(p2_tables.train_row(f"augmentation {name}", row, weights, images, once, changed))
    rows = {name: p2_tables.table_row(found) for name, found in histories.items()}
    fields = p2_tables.table_fields(recipe, weights, splits[0].describe(), histories, seeds, runtime)
    fields["settings"] |= {"transforms": {name: repr(augment) for name, augment in AUGMENTATIONS.items()}, "combined set": COMBINED_SET}
    title = f"{recipe.network} after {recipe.epochs} epochs, by augmentation"
    return results.write_result(
        runtime,
        ITEM.name,
        ITEM.title,
        figures={"": p2_tables.draw(rows, ITEM.reported, title)},
        reported=ITEM.reported,
        reproduced=rows,
        claims=claims(rows),
        **fields,
    )


if __name__ == "__main__":
    cli.run(main, ARGS)
