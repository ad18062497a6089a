"""What graders call for classifiers: a folder of images of any name, size and kind -> a csv `filename,label`."""

import csv
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from common.augment import Resize
from common.cli import Incomplete, UsageError, is_signed, replacing, writable_file
from common.data import by_colour, image_files, read_image

SUFFIXES = (".png", ".jpg", ".jpeg")
BATCH = 250


def refuse_same_folder(in_dir: Path, out_dir: Path) -> None:
    """Raise UsageError if results would be written among the inputs, which may have the same names."""
    if out_dir.resolve() == in_dir.resolve():
        raise UsageError(f"OUT_DIR {out_dir} is IN_DIR, whose files would be replaced; choose another folder")


def refuse_others_pictures(out_dir: Path, outputs: list[Path]) -> None:
    """Raise UsageError if a PNG to be written would replace one that no run of ours wrote, such as a true mask."""
    others = [path.name for path in outputs if path.exists() and not is_signed(path)]
    if others:
        count = f"{others[0]}" + f" and {len(others) - 1} more files" * (len(others) > 1)
        raise UsageError(f"OUT_DIR {out_dir} holds {count} that this script did not write and would replace; choose another folder")


def refuse_other_file(out_csv: Path, header: str, *inputs: Path | None) -> None:
    """Raise UsageError, before the work, if OUT_CSV cannot be written, or holds what no earlier run wrote: another header, or an input."""
    writable_file(out_csv, "OUT_CSV")
    if any(path and path.exists() and out_csv.exists() and out_csv.samefile(path) for path in inputs):
        raise UsageError(f"OUT_CSV {out_csv} is one of the inputs and would be replaced; choose another path")
    if out_csv.exists():
        with open(out_csv, "rb") as file:
            found = file.readline(200).rstrip(b"\r\n").decode(errors="replace")
        if found != header and found:
            raise UsageError(f"OUT_CSV {out_csv} is no csv with the header {header}; remove it, or choose another path")


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
    refuse_other_file(out_csv, "filename,label")
    labels, problems = classify(image_files(in_dir, SUFFIXES), predict, size)
    with replacing(out_csv) as temporary, open(temporary, "w", newline="", encoding="utf-8", errors="surrogateescape") as file:
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
