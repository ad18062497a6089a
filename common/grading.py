"""What graders call for classifiers: a folder of images of any name, size and kind -> a csv `filename,label`."""

import csv
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from common.augment import Resize
from common.data import by_colour, image_files, read_image
from common.setup import Incomplete, UsageError, replacing

SUFFIXES = (".png", ".jpg", ".jpeg")
BATCH = 250


def refuse_same_folder(in_dir: Path, out_dir: Path) -> None:
    """Raise UsageError if results would be written among the inputs, which may have the same names."""
    if out_dir.resolve() == in_dir.resolve():
        raise UsageError(f"OUT_DIR {out_dir} is IN_DIR, whose files would be replaced; choose another folder")


def squeezed(image: Tensor, size: int) -> Tensor:
    """Both sides resized to `size`: (3, H, W) to float (3, size, size)."""
    return by_colour(image, lambda part: Resize(size)(part[None], torch.empty(1, 0))[0].float())


def read_batch(paths: list[Path], size: int, resize: Callable) -> tuple[Tensor, list[str], list[str]]:
    """Decode and resize: images (N, 3, size, size) of 0 to 255, their names, and a message for each that cannot be read."""
    images, names, problems = [], [], []
    for path in paths:
        try:
            images.append(resize(read_image(path), size))
            names.append(path.name)
        except ValueError as error:
            problems.append(f"{path}: {error}")
    return torch.stack(images) if images else torch.empty(0, 3, size, size), names, problems


def classify(
    files: list[Path], predict: Callable[[Tensor], Tensor], size: int, resize: Callable = squeezed
) -> tuple[dict[str, int], list[str]]:
    """The label of each readable file by name, and the messages for the others.

    `predict`: images of 0 to 255 -> logits (N, classes); `resize(image, size)` gives them their size.
    """
    labels, problems = {}, []
    for start in tqdm(range(0, len(files), BATCH), "classifying", disable=None, leave=False):
        images, names, unreadable = read_batch(files[start : start + BATCH], size, resize)
        problems += unreadable
        if names:
            labels |= dict(zip(names, predict(images).max(1).indices.tolist(), strict=True))
    return labels, problems


def write_labels(in_dir: Path, out_csv: Path, predict: Callable[[Tensor], Tensor], size: int) -> tuple[dict[str, int], list[str]]:
    """Classify the images of `in_dir` and write the csv, whole or not at all; messages go to stderr. Returns what `classify` returns."""
    labels, problems = classify(image_files(in_dir, SUFFIXES), predict, size)
    with replacing(out_csv) as temporary, open(temporary, "w", newline="", errors="surrogateescape") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["filename", "label"])
        writer.writerows(labels.items())
    for problem in problems:
        print(problem, file=sys.stderr)
    return labels, problems


def refuse_unread(labels: dict[str, int], problems: list[str], out_csv: Path) -> None:
    """Raise Incomplete if some images could not be read."""
    if problems:
        count = len(problems) + len(labels)
        raise Incomplete(f"{len(problems)} of {count} images could not be read; the other labels are in {out_csv}")
