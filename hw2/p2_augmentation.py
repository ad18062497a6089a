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

from common import cli, training


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

from common import results, setup
from common.results import beats
from hw2 import p2_tables
from hw2.p2_data import combined
from hw2.p2_recipes import AUGMENTATIONS, COMBINED_SET, TABLE

REPORTED = {
    "none": {"train": 0.81, "validation": 0.687},
    "RandomAffine": {"train": 0.7275, "validation": 0.707},
    "RandomPerspective": {"train": 0.7792, "validation": 0.7061},
    "RandomAdjustSharpness": {"train": 0.8129, "validation": 0.703},
    "RandomCrop": {"train": 0.6943, "validation": 0.643},
    "ColorJitter": {"train": 0.8073, "validation": 0.7009},
    "combined": {"train": 0.6814, "validation": 0.7247},
}


def histories(name: str, recipe, weights: str, seeds: list, runtime: setup.Runtime) -> list[list[dict]]:
    """One row's trainings, one for each of `seeds`, as `p2_tables.each_seed` gives them."""
    found = []
    for once, splits in seeds:
        splits = combined(splits) if name == "combined" else splits
        row = replace(recipe, augment=AUGMENTATIONS[name])
        found.append(p2_tables.train_row("augmentation", name, row, weights, splits, runtime, once))
    return found


def claims(rows: dict[str, dict]) -> list[dict]:
    """What the report says of its table, measured here; a row wins if its lead is larger than the spread over the seeds."""
    plain = rows["none"]
    lead = {name: row["validation"] - plain["validation"] for name, row in rows.items() if name != "none"}
    words = "the combined set raises validation accuracy, by more than the spread over the seeds"
    gap = {name: row["train"] - row["validation"] for name, row in rows.items()}
    several = "validation sd" in plain
    least = min(gap, key=gap.get) == "combined" if several else None
    most = max(lead, key=lead.get) == "combined" and beats(rows["combined"], plain) if several else None
    return [
        {"claim": words, "holds": beats(rows["combined"], plain), **lead},
        {"claim": "the combined set over-fits least: training less validation accuracy", "holds": least, **gap},
        {"claim": "the combined set raises validation accuracy most", "holds": most, **lead},
        *(
            {"claim": f"{name} raises validation accuracy", "holds": beats(rows[name], plain), "by": lead[name]}
            for name in lead
            if REPORTED[name]["validation"] > REPORTED["none"]["validation"] and name != "combined"
        ),
        {"claim": "RandomCrop(25) lowers validation accuracy", "holds": beats(plain, rows["RandomCrop"]), "by": -lead["RandomCrop"]},
    ]


@setup.on_rank_zero
def write(args: argparse.Namespace, runtime: setup.Runtime, recipe, weights: str, data: dict, runs: dict[str, list]) -> dict:
    """The item."""
    rows = {name: p2_tables.table_row(found) for name, found in results.items()}
    fields = p2_tables.own_fields(args, runtime, recipe, weights, data, runs)
    fields["settings"] |= {"transforms": {name: repr(augment) for name, augment in AUGMENTATIONS.items()}}
    fields["settings"]["combined set"] = COMBINED_SET
    return results.write_result(
        args,
        runtime,
        "cv22 2.3",
        "augmentation against accuracy",
        figures={"": p2_tables.draw(rows, REPORTED, f"{recipe.network} after {recipe.epochs} epochs, by augmentation")},
        reported=REPORTED,
        reproduced=rows,
        claims=claims(rows),
        **fields,
    )


def main(args: argparse.Namespace) -> dict:
    """Train every row for every seed and write the table; returns the result."""
    runtime = setup.start(args)
    recipe = replace(TABLE, **(p2_tables.QUICK if args.quick else {}) | training.changes(args))
    weights, seeds = p2_tables.starting_weights(args, recipe), p2_tables.each_seed(args)
    runs = {name: histories(name, recipe, weights, seeds, runtime) for name in AUGMENTATIONS}
    return write(args, runtime, recipe, weights, seeds[0][1].describe(), runs)


if __name__ == "__main__":
    cli.run(main, ARGS)
