"""hw1 problem 2, the graders' interface: for each `*.jpg` of a folder a mask of the image's size, as RGB PNG in the classes' colours.

Uses hw1/checkpoints/p2.pth of this repository, which `p2_seg_train.py` trained on the real p2_data: no training is needed.
Images keep their scale; those over 1,024 px are cut into overlapping windows of 512, so that memory stays
bounded. An unreadable image is named on stderr, all others are still written, and the exit code is 1.

    bash hw1/p2_inference.sh IN_DIR OUT_DIR [--names 2022|2023] [--tta] [--weights FILE]
"""

import argparse
import itertools
import os
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import cli

WEIGHTS = Path(__file__).resolve().parent / "checkpoints" / "p2.pth"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = cli.grading_parser(__doc__, "a checkpoint of p2_seg_train.py (default: hw1/checkpoints/p2.pth)", WEIGHTS)
    parser.add_argument("in_dir", type=Path, metavar="IN_DIR")
    parser.add_argument("out_dir", type=Path, metavar="OUT_DIR")
    parser.add_argument("--names", choices=("2022", "2023"), default="2022", help="xxxx_sat.jpg -> xxxx_sat.png, or xxxx_mask.png")
    parser.add_argument(
        "--tta", action="store_true", help="mean over the eight flips and quarter turns of each image: eight times the time"
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    ARGS = parse_args()  # before torch is imported: --help and a wrong argument answer at once

import torch
from torch import Tensor, nn
from torchvision.io import encode_png
from tqdm import tqdm

from common import grading, setup
from common.cli import UsageError
from common.data import LARGE_PIXELS, pixel_count, read_image
from common.files import atomic_write, image_files, signed_png
from hw1 import p2_models
from hw1.p2_classes import coloured
from hw1.p2_data import SIZE, shrink_image

BATCH = 8
AHEAD = 64_000_000  # pixels that may wait decoded, beside the one picture that is worked on
LARGE, MARGIN = 1024, 64  # pixels: the longest side that goes through in one piece; what a window's border does not decide


# ---- one image ----


def windows(length: int) -> list[tuple[int, int, int, int]]:
    """Cut a side into windows of 512: for each its start and end, and which part of them, start and end, it decides."""
    if length <= LARGE:
        return [(0, length, 0, length)]
    step = SIZE - 2 * MARGIN
    starts = [*range(0, length - SIZE, step), length - SIZE]
    borders = [0, *((a + SIZE + b) // 2 for a, b in itertools.pairwise(starts)), length]
    return [(start, start + SIZE, *inner) for start, inner in zip(starts, itertools.pairwise(borders), strict=True)]


def working_size(side: int, scale: float) -> int:
    """The pixels at which the network sees a side: its scale, in multiples of 32, at least 64."""
    return max(64, round(side * scale / 32) * 32)


@setup.evaluation()
def predict(model: nn.Module, images: Tensor, scale: float, runtime: setup.Runtime, tta: bool) -> Tensor:
    """Labels, uint8 (N, H, W), of decoded images of one size, uint8 (N, 3, H, W)."""
    size = tuple(images.shape[2:])
    small = torch.stack([shrink_image(image, tuple(working_size(side, scale) for side in size)) for image in images])
    logits = p2_models.logits_at(model, small.to(runtime.device), size, tta)
    return logits.max(1).indices.to(torch.uint8).cpu()


def label_image(image: Tensor, model: nn.Module, scale: float, runtime: setup.Runtime, tta: bool) -> Tensor:
    """Labels, uint8 (H, W), of one decoded image of any size, window by window."""
    height, width = image.shape[1:]
    labels = torch.empty(height, width, dtype=torch.uint8)
    for top, bottom, upper, lower in windows(height):
        for left, right, west, east in windows(width):
            window = predict(model, image[None, :, top:bottom, left:right], scale, runtime, tta)[0]
            labels[upper:lower, west:east] = window[upper - top : lower - top, west - left : east - left]
    return labels


# ---- a folder: decode, predict and write at the same time ----


def output_path(image: Path, out_dir: Path, names: str) -> Path:
    """Where a mask goes: `0013_sat.jpg` gives `0013_sat.png` in 2022's names, `0013_mask.png` in 2023's."""
    return out_dir / (f"{image.stem}.png" if names == "2022" else f"{image.stem.removesuffix('_sat')}_mask.png")


def plan(in_dir: Path, out_dir: Path, names: str) -> dict[Path, Path]:
    """The mask's path for each image. Raises UsageError if there are no images, or a mask would take the place of what we did not write."""
    grading.check_folders_differ(in_dir, out_dir)
    files, taken = {}, {}
    for path in image_files(in_dir, (".jpg", ".jpeg")):
        mask = files[path] = output_path(path, out_dir, names)
        if (first := taken.setdefault(mask.name, path)) != path:
            raise UsageError(f"{in_dir}: {first.name} and {path.name} would both become {mask.name}; rename one")
    grading.check_own_pictures(out_dir, list(files.values()))
    return files


def decode(path: Path) -> Tensor | str:
    """The image, or what is wrong with it."""
    try:
        return read_image(path)
    except ValueError as error:
        return f"{path} is {error}"


def decoded(pool: ThreadPoolExecutor, files: list[Path], ahead: int) -> Iterator[tuple[Path, Tensor | str]]:
    """Each file with what `decode` gives, in order, at most `ahead` of them and AHEAD pixels decoded before they are asked for."""
    waiting: list[tuple[Path, Future, int]] = []
    for path in files:
        pixels = pixel_count(path)
        while waiting and (len(waiting) > ahead or sum(count for _, _, count in waiting) + pixels > AHEAD):
            first, image, _ = waiting.pop(0)
            yield first, image.result()
        waiting.append((path, pool.submit(decode, path), pixels))
    while waiting:
        first, image, _ = waiting.pop(0)
        yield first, image.result()


def batches_of_one_size(images: Iterator[tuple[Path, Tensor]]) -> Iterator[tuple[list[Path], list[Tensor]]]:
    """Neighbours of one size together, at most BATCH of them; a large image alone."""
    for shape, run in itertools.groupby(images, key=lambda pair: tuple(pair[1].shape[1:])):
        while part := list(itertools.islice(run, BATCH if max(shape) <= LARGE // 2 else 1)):
            yield [path for path, _ in part], [image for _, image in part]


def write_mask(path: Path, labels: Tensor) -> None:
    """The PNG, whole or not at all."""
    with atomic_write(path) as temporary:
        temporary.write_bytes(signed_png(encode_png(coloured(labels), compression_level=1).numpy().tobytes()))


def segment(files: dict[Path, Path], model: nn.Module, scale: float, runtime: setup.Runtime, tta: bool) -> list[str]:
    """Write a mask for each image, a few of them in memory at a time; returns what was wrong with those that could not be read."""
    problems, writing = [], []
    bar = tqdm(total=len(files), desc="segmenting", disable=None, leave=False)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        readable = good(decoded(pool, list(files), 2 * BATCH), problems)
        for paths, images in batches_of_one_size(readable):
            labels = (
                predict(model, torch.stack(images), scale, runtime, tta)
                if max(images[0].shape) <= LARGE
                else [label_image(images[0], model, scale, runtime, tta)]
            )
            for done in writing:
                done.result()
            writing = [pool.submit(write_mask, files[path], label) for path, label in zip(paths, labels, strict=True)]
            if images[0][0].numel() > LARGE_PIXELS:  # the next one is not decoded beside this one's mask
                writing.pop().result()
            del images, labels
            bar.update(len(paths))
        for done in writing:
            done.result()
    bar.close()
    return problems


def good(images: Iterator[tuple[Path, Tensor | str]], problems: list[str]) -> Iterator[tuple[Path, Tensor]]:
    """The images that could be read; what is wrong with the others is added to `problems`."""
    for path, image in images:
        if isinstance(image, str):
            problems.append(image)
        else:
            yield path, image


def main(args: argparse.Namespace) -> dict:
    """Write the masks; returns {"masks": their paths, "problems"}. Raises Incomplete if an image cannot be read."""
    runtime, files = setup.start(args), plan(args.in_dir, args.out_dir, args.names)
    model, state = p2_models.load_trained(args.weights, runtime, "give a checkpoint of p2_seg_train.py with --weights")
    setup.writable_folder(args.out_dir)
    problems = segment(files, model, state["settings"]["image_size"] / SIZE, runtime, args.tta)
    for problem in problems:
        print(problem, file=sys.stderr)
    if problems:
        raise cli.Incomplete(f"{len(problems)} of {len(files)} images could not be read; the other masks are in {args.out_dir}")
    return {"masks": list(files.values()), "problems": problems}


if __name__ == "__main__":
    cli.run(main, ARGS)
