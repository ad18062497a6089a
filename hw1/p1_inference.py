"""hw1 problem 1, the graders' interface: classify a folder of images of any name, size and kind (png, jpg) into a csv `filename,label`.

Uses hw1/checkpoints/p1.pth of this repository, which `p1_train.py --model best` trained on the real p1_data: no training is needed. An
unreadable image is named on stderr, all others are still written, and the exit code is 1.

    bash hw1/p1_inference.sh IN_DIR OUT_CSV
    python hw1/p1_inference.py data/hw1_data/p1_data/val_50 /tmp/val.csv --answers data/hw1_data/p1_data/val_gt.csv
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import cli

WEIGHTS = Path(__file__).resolve().parent / "checkpoints" / "p1.pth"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = cli.grading_parser(__doc__, "a checkpoint of p1_train.py (default: hw1/checkpoints/p1.pth)", WEIGHTS)
    parser.add_argument("in_dir", type=Path)
    parser.add_argument("out_csv", type=Path)
    parser.add_argument("--answers", type=Path, help="a csv `filename,label` to grade the labels with")
    return parser.parse_args(argv)


if __name__ == "__main__":
    ARGS = parse_args()  # before torch is imported: --help and a wrong argument answer at once

from common import classification, grading, setup
from common.data import CIFAR_SIZE
from hw1 import p1_models
from hw1.p1_data import read_answers


def main(args: argparse.Namespace) -> dict:
    """Write the csv; returns {"labels", "problems", "accuracy" if --answers are given}. Raises Incomplete if an image cannot be read."""
    grading.check_own_csv(args.out_csv, args.answers)
    runtime = setup.start(args)
    answers = read_answers(args.answers) if args.answers else {}
    model, state = p1_models.load_trained(args.weights, runtime, "give a checkpoint of p1_train.py with --weights")
    logits = classification.make_predictor(model, state["settings"], runtime)
    labels, problems = grading.write_labels(args.in_dir, args.out_csv, logits, CIFAR_SIZE)
    found = {"labels": labels, "problems": problems}
    if answers:
        found["accuracy"] = sum(answers.get(name) == label for name, label in labels.items()) / len(answers)
        missing = len(answers.keys() - labels.keys())
        print(f"accuracy {found['accuracy']:.4f} on {len(answers)} images" + f", {missing} of them without a label" * (missing > 0))
    grading.raise_if_unread(labels, problems, args.out_csv)
    return found


if __name__ == "__main__":
    cli.run(main, ARGS)
