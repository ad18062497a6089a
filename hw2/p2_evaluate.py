"""hw2 problem 2, the graders' interface: a checkpoint's accuracy on an annotated split, printed as `accuracy :  <fraction>`.

The images lie in the folder beside the annotations' that is named like the file: annotations/public_test_annos.json -> public_test/.

    python hw2/p2_evaluate.py --path hw2/checkpoints/p2.pth --test_anno data/hw2_data/p2_data/annotations/public_test_annos.json
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import cli

WEIGHTS = Path(__file__).resolve().parent / "checkpoints" / "p2.pth"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--path", type=Path, default=WEIGHTS, help="a checkpoint of p2_final.py (default: hw2/checkpoints/p2.pth)")
    parser.add_argument("--test_anno", "--test-anno", type=Path, required=True, help="a JSON with the lists images and categories")
    parser.add_argument("--images", type=Path, help="the images' folder, if it lies elsewhere")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.set_defaults(seed=0)
    return parser.parse_args(argv)


if __name__ == "__main__":
    ARGS = parse_args()  # before torch is imported: --help and a wrong argument answer at once

from common import metrics, setup
from common.data import load_annotations
from hw2 import p2_models


def main(args: argparse.Namespace) -> float:
    """Print the grader's line; returns the accuracy."""
    runtime = setup.start(args)
    test = load_annotations(args.test_anno, args.images)
    model, state = p2_models.load_trained(args.path, runtime, "give a checkpoint of p2_final.py with --path")
    logits = p2_models.logits(model, test.images, state["settings"], runtime)
    accuracy = metrics.accuracy(logits.max(1).indices, test.target)
    print(f"accuracy :  {accuracy}")
    return accuracy


if __name__ == "__main__":
    cli.run(main, ARGS)
