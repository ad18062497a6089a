"""hw3 problem 1, the graders' interface: classify a folder of images of any name, size and kind (png, jpg) into a csv `filename,label`.

Uses hw3/checkpoints/p1.pth, without it what p1_train.py left in results/, or --weights. An unreadable image is named on stderr, all others
are still written, and the exit code is 1.

    bash hw3/p1_inference.sh IN_DIR OUT_CSV [--weights p1.pth]
"""

import argparse
import sys
from functools import partial
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import cli


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = cli.grading_parser(__doc__, "a p1.pth of p1_train.py (default: hw3/checkpoints/p1.pth, or the one in results/)")
    parser.add_argument("in_dir", type=Path)
    parser.add_argument("out_csv", type=Path)
    return parser.parse_args(argv)


if __name__ == "__main__":
    ARGS = parse_args()  # before torch is imported: --help and a wrong argument answer at once

import torch
from torch import Tensor
from torchvision.models.vision_transformer import VisionTransformer

from common import checkpoints, grading, setup
from common.augment import NORMALISE
from hw3 import p1_models

WEIGHTS = (Path(__file__).resolve().parent / "checkpoints/p1.pth", *(f"hw3-p1-{arch}/phase-2/p1.pth" for arch in p1_models.ARCHES))
REMEDY = "give a p1.pth of p1_train.py with --weights"


@setup.evaluation()
def predict(model: VisionTransformer, images: Tensor, batch_size: int, runtime: setup.Runtime) -> Tensor:
    """Logits (N, classes) of images (N, 3, S, S) of 0 to 255."""
    return torch.cat([model(NORMALISE[model.normalise](part.to(runtime.device), torch.empty(0, 0))) for part in images.split(batch_size)])


def main(args: argparse.Namespace) -> dict[str, int]:
    """Write the csv; returns the labels by name. Raises Incomplete if an image cannot be read."""
    runtime = setup.start(args)
    model, state = p1_models.load_trained(args.weights or checkpoints.first_existing(*WEIGHTS), runtime, REMEDY)
    logits = partial(predict, model, batch_size=state["settings"]["validation_batch"], runtime=runtime)
    labels, problems = grading.write_labels(args.in_dir, args.out_csv, logits, model.image_size)
    grading.raise_if_unread(labels, problems, args.out_csv)
    return labels


if __name__ == "__main__":
    cli.run(main, ARGS)
