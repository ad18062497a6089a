"""Folders of images and csv files as users have them, read without torch."""

import contextlib
import csv
import hashlib
import os
import sys
from pathlib import Path

from common.cli import UsageError


def digest(*values) -> str:
    """Twelve digits of a hash of plain values, such as names and labels: it tells apart what shares a name and counts."""
    return hashlib.sha256(repr(values).encode()).hexdigest()[:12]


def file_digest(path: Path) -> str:
    """Twelve digits of a hash of a file's content. Raises UsageError if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:12]
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror or error}); name another file") from None


def named(path: Path) -> str:
    """A file as results name it: what lies where is one machine's, and one name may stand for several contents. Raises as file_digest."""
    return f"{Path(path).name} ({file_digest(path)})"


def image_files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The folder's files with these lower-case suffixes, sorted by name, hidden ones left out. Raises UsageError if there are none.

    Links to nowhere are among them: whoever reads one says that it cannot be read, where a silent gap would change what is counted.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; see docs/data.md for the layout")
    with os.scandir(folder) as entries:
        found = [entry for entry in entries if os.path.splitext(entry.name)[1].lower() in suffixes and entry.name[0] != "."]
        names = sorted(entry.name for entry in found if (_is_file_or_gone(Path(entry)) if entry.is_symlink() else entry.is_file()))
    files = [folder / name for name in names]
    if not files:
        has_folders = any(path.is_dir() for path in folder.iterdir())
        held = "folders, but in the course's layout images lie flat" if has_folders else f"no {'/'.join(suffixes)} files"
        raise UsageError(f"{folder} holds {held}; see docs/data.md")
    return files


def _is_file_or_gone(link: Path) -> bool:
    return link.is_file() or not link.exists()


def refuse(folder: Path, problems: list[str]) -> None:
    """Raise UsageError that names the first problems of a folder or file, if there are any."""
    if problems:
        rest = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise UsageError(f"{folder}: {'; '.join(problems[:3])}{rest}; mend or remove what is named")


def system_name(name: str) -> str:
    """A file's name from a UTF-8 text as Python's file functions give and take it: under LC_ALL=C their names need not be UTF-8."""
    if sys.getfilesystemencoding() != "utf-8":
        with contextlib.suppress(UnicodeError):
            return os.fsdecode(name.encode("utf-8", "surrogateescape"))
    return name


def listed_files(path: Path, names: list, folder: Path) -> list[Path]:
    """The files of `folder` whose names the file `path` lists.

    Raises UsageError that names what is no text, no file directly in the folder ('../a.png', '/a.png'), or listed twice.
    """
    there = {entry.name for entry in os.scandir(folder) if not entry.is_dir()} if folder.is_dir() else set()
    found, problems, seen = [], [], set()
    for name in names:
        own = system_name(name) if isinstance(name, str) else None
        if own is None:
            problems.append(f"{name!r} in place of a file's name")
        elif own not in there:
            problems.append(f"{own} is not in {folder}")
        elif own in seen:
            problems.append(f"{own} is listed twice")
        else:
            found.append(folder / own)
            seen.add(own)
    refuse(path, problems)
    return found


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
