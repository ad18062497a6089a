"""Folders of images and csv files as users have them, read without torch."""

import contextlib
import csv
from pathlib import Path

from common.cli import UsageError


def image_files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The folder's files with these lower-case suffixes, sorted by name, hidden ones left out. Raises UsageError if there are none.

    Links to nowhere are among them: whoever reads one says that it cannot be read, where a silent gap would change what is counted.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; see README.md, 'Real data', for the layout")
    found = [path for path in folder.iterdir() if path.suffix.lower() in suffixes and path.name[0] != "."]
    files = sorted(path for path in found if path.is_file() or (path.is_symlink() and not path.exists()))
    if not files:
        has_folders = any(path.is_dir() for path in folder.iterdir())
        held = "folders, but in the course's layout images lie flat" if has_folders else f"no {'/'.join(suffixes)} files"
        raise UsageError(f"{folder} holds {held}; see README.md, 'Real data'")
    return files


def refuse(folder: Path, problems: list[str]) -> None:
    """Raise UsageError that names the first problems of a folder or file, if there are any."""
    if problems:
        rest = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise UsageError(f"{folder}: {'; '.join(problems[:3])}{rest}; mend or remove what is named")


def read_csv(path: Path, needed: tuple[str, ...]) -> list[dict[str, str]]:
    """The rows of a csv by column, a byte-order mark left out. Raises UsageError if it cannot be read or lacks a needed column."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read ({error}); give a csv with the columns {','.join(needed)}") from None
    if not rows or not set(needed) <= rows[0].keys():
        raise UsageError(f"{path} has no rows under the header '{','.join(needed)}'; restore the course's file")
    refuse(path, [f"row {i} lacks one of the columns {','.join(needed)}" for i, row in enumerate(rows, 1) if None in map(row.get, needed)])
    return rows


def whole_number(text) -> int | None:
    """The number that '7', ' 7', '07' or '7.0' means; None for what is no whole number."""
    with contextlib.suppress(ValueError, TypeError, OverflowError):
        if not isinstance(text, bool) and float(text).is_integer():
            return int(float(text))
    return None
