"""The data of hw1 problem 1: 50 classes of 32x32 images, and the csv of the true labels."""

import contextlib
import csv
import re
from pathlib import Path

import torch

from common.cli import UsageError
from common.data import Labelled, Splits, decode_folder, locate
from common.files import digest, filesystem_name, image_files, raise_if_any
from common.setup import one_process_first
from hw1 import p1_synthetic

P1_CLASSES, P1_SIZE = 50, 32


def load_p1(data: str | None) -> Splits:
    """p1_data of hw1 (50 classes, 32x32); `data` is the value of `--data`. Raises UsageError that names what is wrong."""
    folder, name = locate(data, "hw1_data/p1_data", p1_synthetic.draw_p1)
    with one_process_first():
        train, validation = load_p1_split(folder / "train_50"), load_p1_split(folder / "val_50")
    raise_if_any(folder, [f"{name} is in train_50 and in val_50" for name in sorted(set(train.names) & set(validation.names))])
    if (answers := folder / "val_gt.csv").exists():
        check_answers(answers, validation)
    return Splits(name, train, validation, digest(train.digest(), validation.digest()))


def load_p1_split(folder: Path) -> Labelled:
    """One folder of `{label}_{id}.png`, labels 0 to 49."""
    files = image_files(folder, (".png",))
    target, problems, seen = [], [], {}
    for path in files:
        match = re.fullmatch(r"(\d+)_(\d+)\.png", path.name, re.IGNORECASE)
        label, number = map(int, match.groups()) if match else (-1, -1)
        if not match:
            problems.append(f"{path.name} is not named label_id.png")
        elif label >= P1_CLASSES:
            problems.append(f"{path.name} has label {label}, outside 0-{P1_CLASSES - 1}")
        elif (first := seen.setdefault((label, number), path.name)) != path.name:
            problems.append(f"{path.name} repeats the id of {first}")
        target.append(label)
    raise_if_any(folder, problems)
    return Labelled(decode_folder(files, P1_SIZE), torch.tensor(target), [path.name for path in files])


def read_answers(path: Path) -> dict[str, int]:
    """A csv `filename,label` as {name: label}. Raises UsageError, also for a label that is no whole number: it would score as wrong."""
    rows = read_csv(path, ("filename", "label"))
    wrong = [row for row in rows if parse_integer(row["label"]) is None]
    raise_if_any(path, [f"{row['filename']} has label {row['label']!r}, no whole number" for row in wrong])
    names = [filesystem_name(row["filename"]) for row in rows]
    answers = {name: parse_integer(row["label"]) for name, row in zip(names, rows, strict=True)}
    raise_if_any(path, [f"{name} is listed twice" for name in answers if names.count(name) > 1] if len(answers) < len(names) else [])
    return answers


def check_answers(path: Path, split: Labelled) -> None:
    """Compare a `filename,label` csv with the labels in the names. Raises UsageError that names what differs."""
    answers, labels = read_answers(path), dict(zip(split.names, split.target.tolist(), strict=True))
    different = [name for name in labels if answers.get(name) != labels[name]]
    raise_if_any(path, [f"{name} has label {answers.get(name, 'missing')}, its name says {labels[name]}" for name in different])


def read_csv(path: Path, needed: tuple[str, ...]) -> list[dict[str, str]]:
    """The rows of a csv by column, a byte-order mark left out. Raises UsageError if it cannot be read or lacks a needed column."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read ({error}); give a csv with the columns {','.join(needed)}") from None
    if not rows or not set(needed) <= rows[0].keys():
        raise UsageError(f"{path} has no rows under the header '{','.join(needed)}'; restore the course's file")
    raise_if_any(
        path, [f"row {i} lacks one of the columns {','.join(needed)}" for i, row in enumerate(rows, 1) if None in map(row.get, needed)]
    )
    return rows


def parse_integer(text) -> int | None:
    """The number that '7', ' 7', '07' or '7.0' means; None for what is no whole number."""
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        if not isinstance(text, bool) and float(text).is_integer():
            return int(float(text))
    return None
