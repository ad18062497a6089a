"""What graders call for classifiers: a folder of images of any name, size and kind -> a csv `filename,label`."""

import contextlib
import csv
import hashlib
import io
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from common.cli import Incomplete, UsageError, is_signed, replacing, writable_file
from common.data import read_image, squeezed
from common.files import image_files

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


def refuse_other_file(out_csv: Path, *inputs: Path | None, name: str = "OUT_CSV") -> None:
    """Raise UsageError, before the work, if a csv cannot be written, is an input, or was not written by `write_csv` or changed since.

    `name` is the argument that gives it.
    """
    writable_file(out_csv, name)
    if not out_csv.exists():
        return
    if any(path and path.exists() and out_csv.samefile(path) for path in inputs):
        raise UsageError(f"{name} {out_csv} is one of the inputs and would be replaced; choose another path")
    try:
        content = out_csv.read_bytes()
    except OSError as error:
        raise UsageError(f"{name} {out_csv} is there and cannot be read ({error.strerror}); remove it, or choose another path") from error
    if content and sha256(content) not in recorded(out_csv):
        what = "is there, and not as this script wrote it: it would be replaced"
        raise UsageError(f"{name} {out_csv} {what}; remove it, or choose another path")


def record_of(out_csv: Path) -> Path:
    """The hidden file beside a csv that holds its SHA-256, by which a later run knows that it may replace the csv."""
    return out_csv.with_name(f".{out_csv.name}.sha256")


def recorded(out_csv: Path) -> list[str]:
    """The digests of what was written to a csv last and before that."""
    with contextlib.suppress(OSError):
        return record_of(out_csv).read_text(encoding="utf-8", errors="replace").split()
    return []


def sha256(content: bytes) -> str:
    """The SHA-256 of some bytes, 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def write_csv(out_csv: Path, rows: Iterable[tuple]) -> None:
    """Write a csv, the header first, whole or not at all, and record that it is ours."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    content = text.getvalue().encode("utf-8", "surrogateescape")
    before = [sha256(out_csv.read_bytes())] if out_csv.is_file() else []  # this run may be killed between the two files
    with replacing(record_of(out_csv)) as temporary:
        temporary.write_text("\n".join([*before, sha256(content)]) + "\n", encoding="utf-8")
    with replacing(out_csv) as temporary:
        temporary.write_bytes(content)


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
    refuse_other_file(out_csv)
    labels, problems = classify(image_files(in_dir, SUFFIXES), predict, size)
    write_csv(out_csv, [("filename", "label"), *labels.items()])
    for problem in problems:
        print(problem, file=sys.stderr)
    return labels, problems


def refuse_unread(labels: dict[str, int], problems: list[str], out_csv: Path) -> None:
    """Raise Incomplete if some images could not be read."""
    if problems:
        count = len(problems) + len(labels)
        raise Incomplete(f"{len(problems)} of {count} images could not be read; the other labels are in {out_csv}")
