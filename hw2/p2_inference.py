"""hw2 problem 2, the graders' interface: classify a folder of images of any name (png, jpg) into a csv `filename,label`, sorted by name.

Uses hw2/checkpoints/p2.pth of this repository, which `p2_final.py --model best` trained on the real p2_data: no training is needed. An
unreadable image is named on stderr, all others are still written, and the exit code is 1.

    bash hw2/p2_inference.sh IN_DIR OUT_CSV
"""

import argparse
import sys
from functools import partial
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import cli

WEIGHTS = Path(__file__).resolve().parent / "checkpoints" / "p2.pth"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = cli.grading_parser(__doc__, "a checkpoint of p2_final.py (default: hw2/checkpoints/p2.pth)", WEIGHTS)
    parser.add_argument("in_dir", type=Path)
    parser.add_argument("out_csv", type=Path)
    return parser.parse_args(argv)


if __name__ == "__main__":
    ARGS = parse_args()  # before torch is imported: --help and a wrong argument answer at once

from common import grading, setup
from hw2 import p2_models
from hw2.p2_data import SIZE


def main(args: argparse.Namespace) -> dict[str, int]:
    """Write the csv; returns the labels by name. Raises Incomplete if an image cannot be read."""
    runtime = setup.start(args)
    model, state = p2_models.load_trained(args.weights, runtime, "give a checkpoint of p2_final.py with --weights")
    logits = partial(p2_models.logits, model, settings=state["settings"], runtime=runtime)
    labels, problems = grading.write_labels(args.in_dir, args.out_csv, logits, SIZE)
    grading.raise_if_unread(labels, problems, args.out_csv)
    return labels


if __name__ == "__main__":
    cli.run(main, ARGS)
