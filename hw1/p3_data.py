"""hw1 problem 3's data: images without labels to pre-train on, and a small labelled set to transfer to.

The course's layout is `p3_data/mini/train/` (84x84, no labels) and `p3_data/office/{train,val}/` with `office/{train,val}.csv`. Where it is
missing but the other problems' data are there, these stand in: hw2's unlabelled images for mini-ImageNet (its labelled ones for supervised
pre-training), and for Office-Home p1_data, its training images cut to as many as Office-Home has.
"""

import contextlib
import csv
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms.functional import center_crop, resize

from common.cli import ROOT, UsageError
from common.data import CIFAR_SIZE, LARGE_PIXELS, Labelled, Splits, decode_folder, load_annotations, locate, per_channel, read_image
from common.files import digest, file_digest, filesystem_name, image_files, listed_files, raise_if_any
from common.setup import from_rank_zero, log, on_rank_zero
from hw1 import p3_synthetic
from hw1.p1_data import load_p1, parse_integer, read_csv

LAYOUT = "hw1_data/p3_data"
CIFAR, P1 = "hw2_data/p2_data", "hw1_data/p1_data"
STAND_INS = "stand-ins: p2_data of hw2, p1_data"
OFFICE_TRAIN = 3951  # Office-Home's training images in the course
SAMPLE = 100  # images by which a set's own size is known
SUFFIXES = (".jpg", ".jpeg", ".png")
COLUMNS = ("id", "filename", "label")


@dataclass(frozen=True)
class Source:
    """Where images come from: `name` as results say it, `folder` with mini/ and office/, or for the stand-ins with hw1_data/, hw2_data/.

    `by_data_dir`: whether `--data-dir` named the folder.
    """

    name: str
    folder: Path
    by_data_dir: bool = False


def find(data: str | None, data_dir: Path | None) -> Source:
    """`--data-dir`, or p3_data below `--data`, or stand-ins. Raises UsageError if what the user named holds nothing of this."""
    if data_dir:
        if not (data_dir / "office").is_dir():
            raise UsageError(f"--data-dir {data_dir} has no folder office; name the folder that holds mini/ and office/")
        return Source("p3_data", data_dir, by_data_dir=True)
    top = Path(data or ROOT / "data")
    has = from_rank_zero(lambda: {layout for layout in (LAYOUT, CIFAR, P1) if (top / layout).exists()})
    if data != "synthetic" and has == {CIFAR, P1}:
        log(f"data: no {LAYOUT} in {top}: using hw2's p2_data and hw1's p1_data in its place")
        return Source(STAND_INS, top)
    folder, name = locate(data, LAYOUT, p3_synthetic.draw_p3)
    return Source(name, folder)


def unlabelled_files(source: Source) -> list[Path]:
    """The files to pre-train on."""
    return image_files(source.folder / (f"{CIFAR}/unlabeled" if source.name == STAND_INS else "mini/train"), SUFFIXES)


def unlabelled_digest(source: Source) -> str:
    """Of the names of the images to pre-train on."""
    return digest([path.name for path in unlabelled_files(source)])


def load_unlabelled(source: Source, size: int) -> Tensor:
    """The images to pre-train on, uint8 (N, 3, side, side).

    Squares of one size, up to `size`, keep it, so that they can be blurred before they are resized; others are resized and cut to `size`.
    """
    files = unlabelled_files(source)
    if source.name == STAND_INS:
        return decode_folder(files, CIFAR_SIZE)
    return decode_folder(files, min(own_side(files) or size, size), resize_and_crop)


def own_side(files: list[Path]) -> int | None:
    """The side of a set of squares of one size, as the course's are; None if, of a hundred evenly over the set, some are otherwise."""
    shapes = set()
    for path in files[:: -(-len(files) // SAMPLE)]:
        with contextlib.suppress(ValueError):  # who decodes them all names those that are damaged
            shapes.add(tuple(read_image(path).shape[1:]))
    height, width = shapes.pop() if len(shapes) == 1 else (0, None)
    return width if height == width else None


def load_target(source: Source, size: int) -> tuple[Splits, list[str]]:
    """The labelled set to transfer to, and its classes' names in the order of their numbers."""
    if source.name == STAND_INS:
        splits = load_p1(str(source.folder))
        order = torch.randperm(len(splits.train), generator=torch.Generator().manual_seed(0))
        fewer = splits.train.take(order[:OFFICE_TRAIN].sort().values)
        return replace(splits, name=STAND_INS, train=fewer), [str(i) for i in range(50)]
    office = source.folder / "office"
    rows = {split: read_rows(office / f"{split}.csv", office / split) for split in ("train", "val")}
    classes = class_names(office / "train.csv", rows["train"])
    train, validation = (labelled(office / f"{split}.csv", rows[split], office / split, classes, size) for split in rows)
    return Splits(source.name, train, validation, digest(train.digest(), validation.digest())), classes


def load_labelled(source: Source, size: int, excluded: set[str]) -> tuple[Labelled, str]:
    """The labelled images for supervised pre-training, without those of the names `excluded`, and the digest of all.

    Raises UsageError if there are none, if none is left, or if an excluded name is not among them.
    """
    if source.name == STAND_INS:
        found = load_annotations(source.folder / CIFAR / "annotations/train_annos.json")
    else:
        folder, path = source.folder / "mini/train", source.folder / "mini/train.csv"
        if not path.exists():
            raise UsageError(f"no {path}: the course's images have no labels; use its pretrain_model_SL.pt with p3_ssl_finetune.py --sl")
        rows = read_rows(path, folder)
        found = labelled(path, rows, folder, class_names(path, rows), size)
    if strange := sorted(excluded - set(found.names)):
        raise UsageError(f"--exclude names images that are not there ({', '.join(strange[:3])}); give the list of this data")
    if excluded >= set(found.names):
        raise UsageError("--exclude names all labelled images; leave some")
    return found.take(torch.tensor([i for i, name in enumerate(found.names) if name not in excluded])), found.digest()


@on_rank_zero
def has_labels(source: Source) -> bool:
    """Whether the images to pre-train on have labels, as all but the course's have."""
    return source.name == STAND_INS or (source.folder / "mini/train.csv").exists()


@on_rank_zero
def digest_or_none(path: Path | None) -> str:
    """A file's digest, so that what was made with it is not taken for what another made; 'none' without a file."""
    return file_digest(path) if path else "none"


@on_rank_zero
def read_excluded(path: Path | None) -> set[str]:
    """The names in a csv's column `filename`, none without a file. Raises UsageError if it cannot be read or has no such column."""
    if path is None:
        return set()
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            if "filename" not in (rows.fieldnames or ()):
                raise ValueError("no such column")
            return {filesystem_name(row["filename"]) for row in rows if row["filename"]}
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"--exclude {path} cannot be read as a csv with the column filename ({error})") from None


# ---- csv files with the columns id,filename,label ----


def read_rows(path: Path, folder: Path, needed: tuple[str, ...] = ("filename", "label")) -> list[dict[str, str]]:
    """The rows of a csv whose files are all in `folder`; labels that are whole numbers are written as such ('07' and '7.0' are '7').

    Raises UsageError that names missing columns of those needed, ids that come twice, or what `listed_files` refuses.
    """
    rows = read_csv(path, needed)
    files = listed_files(path, [row["filename"] for row in rows], folder)
    ids = Counter(row.get("id") for row in rows)
    raise_if_any(path, [f"id {number} comes {count} times" for number, count in ids.items() if number and count > 1])
    for row, file in zip(rows, files, strict=True):
        row["filename"] = file.name
        label = row.get("label") or ""
        row["label"] = label if (number := parse_integer(label)) is None else str(number)
    return rows


def class_names(path: Path, rows: list[dict[str, str]]) -> list[str]:
    """The classes of a csv in the order of their numbers: whole numbers by value, any other text sorted.

    Raises UsageError that names the rows that break off from whole numbers, or if there are fewer than two classes.
    """
    names = {row["label"] for row in rows}
    whole = {name for name in names if name.isdecimal()}
    if len(whole) > len(names) / 2:
        raise_if_any(
            path, [f"{row['filename']} has label {row['label'] or 'missing'}, no whole number" for row in rows if row["label"] not in whole]
        )
    if len(names) < 2:
        raise UsageError(f"{path} has one label, {names.pop()!r}, for all images; give the training csv with its labels")
    return sorted(names, key=int) if names == whole else sorted(names)


def labelled(path: Path, rows: list[dict[str, str]], folder: Path, classes: list[str], size: int) -> Labelled:
    """The images of a csv's rows. Raises UsageError that names the rows of other labels than `classes`."""
    number = {name: i for i, name in enumerate(classes)}
    raise_if_any(path, [f"{row['filename']} has label {row['label'] or 'missing'}, unknown" for row in rows if row["label"] not in number])
    names, target = [row["filename"] for row in rows], torch.tensor([number[row["label"]] for row in rows])
    return Labelled(decode_folder([folder / name for name in names], size, resize_and_crop), target, names)


def resize_and_crop(image: Tensor, size: int) -> Tensor:
    """The shorter side resized to `size`, and the middle cut out: (3, H, W) to (3, size, size)."""
    short, long = sorted(image.shape[1:])
    if size * size * long // short > LARGE_PIXELS:  # a thin strip, which grows in both directions: only its middle is resized
        image = center_crop(image, [min(side, 4 * short) for side in image.shape[1:]])
    return center_crop(per_channel(image, lambda part: resize(part, size, antialias=True)), [size])
