"""Speed of our dense SIFT, images per second, against OpenCV's SIFT at the same points and bin size, in turns within one run.

OpenCV (tests/requirements.txt) computes descriptors at given keypoints; it blurs the image first and weighs each pixel, so the two agree in
what they measure and not to the digit: the median cosine between their descriptors is printed too. Without the course's data the scenes are
drawn.

    python benchmarks/sift.py [--data DIR] [--rounds 5] [--images 100] [--step 8] [--bin-size 6]
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import cv2
import torch
from torch import Tensor

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import cli, setup
from hw2.p1_data import load_scenes
from hw2.sift import dense_sift


def opencv_sift(image: Tensor, centres: Tensor, bin_size: int) -> Tensor:
    """OpenCV's descriptors (N, 128), turned upright, at the same places; its bins are 1.5 times a keypoint's size."""
    points = [cv2.KeyPoint(x, y, bin_size / 1.5, 0.0) for x, y in centres.tolist()]
    return torch.from_numpy(cv2.SIFT_create().compute((image * 255).byte().numpy(), points)[1])


def same_order(descriptors: Tensor) -> Tensor:
    """OpenCV's descriptors in the order of ours, length 1: its directions turn the other way round."""
    return torch.nn.functional.normalize(descriptors.view(-1, 16, 8)[..., [0, 7, 6, 5, 4, 3, 2, 1]].flatten(1), dim=1)


def main(args: argparse.Namespace) -> None:
    """Print the comparison."""
    setup.start(args)
    cv2.setNumThreads(torch.get_num_threads())
    images = [image for image, _ in zip(load_scenes(args.data, None)[1].images(), range(args.images), strict=False)]
    grids = [dense_sift(image, args.step, args.bin_size)[1] for image in images]
    forms = {
        "ours": lambda: [dense_sift(image, args.step, args.bin_size)[0] for image in images],
        "OpenCV": lambda: [opencv_sift(image, grid, args.bin_size) for image, grid in zip(images, grids, strict=True)],
    }
    rates: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(args.rounds):
        for name, form in forms.items():
            start = time.perf_counter()
            form()
            rates[name].append(len(images) / (time.perf_counter() - start))
    ratios = sorted(a / b for a, b in zip(rates["ours"], rates["OpenCV"], strict=True))
    ours, theirs = (torch.cat(form()) for form in forms.values())
    cosine = (ours * same_order(theirs)).sum(1)[ours.norm(dim=1) > 0].median()
    for name, found in rates.items():
        print(f"{name}: {statistics.median(found):.0f} images/s", end="; ")
    print(f"ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f} in {args.rounds} rounds of {len(images)} images)")
    print(f"{len(ours)} descriptors, median cosine {cosine:.3f}")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--data", help="folder with hw2_data/ (default: data/), or 'synthetic'")
    parser.add_argument("--rounds", type=cli.positive_int, default=5)
    parser.add_argument("--images", type=cli.positive_int, default=100)
    parser.add_argument("--step", type=cli.positive_int, default=8)
    parser.add_argument("--bin-size", type=cli.positive_int, default=6)
    parser.set_defaults(device="cpu", seed=0, quick=False)
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.run(main, parse_args())
