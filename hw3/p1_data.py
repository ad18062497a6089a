"""hw3's pets on disk -> decoded pictures: `p1_data/{train,val}/{label}_{id}.jpg`, labels 0 to 36, sizes differ."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from common.augment import NORMALISE, Pipeline
from common.cli import UsageError
from common.data import Labelled, Splits, decode_folder, locate, resize_square
from common.files import digest, image_files, raise_if_any
from common.results import read_json
from common.setup import one_process_first
from hw3.p1_synthetic import CLASSES, draw_pets
from hw3.pictures import SUFFIXES, Pictures, decode

LAYOUT = "hw3_data/p1_data"


@dataclass(frozen=True)
class Square:
    """Each picture resized to `size` x `size` pixels, whatever its shape: uint8 (N, 3, size, size)."""

    size: int
    draws: ClassVar[int] = 0
    on_cpu: ClassVar[bool] = True

    def __call__(self, images: Pictures | Tensor, u: Tensor) -> Tensor:
        return torch.stack([resize_square(image, self.size) for image in images])


def validation_pipeline(size: int, normalise: str) -> Pipeline:
    """What a network sees of a picture that is not augmented; `normalise` is a key of augment.NORMALISE."""
    return Pipeline(Square(size), NORMALISE[normalise])


def load_pets(data: str | None, squares: tuple[int, int] | None = None) -> Splits:
    """p1_data of hw3: Pictures, or squares of so many pixels for training and validation. Raises UsageError that names what is wrong."""
    folder, name = locate(data, LAYOUT, draw_pets)
    train, validation = squares or (None, None)
    with one_process_first():
        return Splits(name, load_split(folder / "train", train), load_split(folder / "val", validation), data_digest(folder))


def data_digest(folder: Path) -> str:
    """Of the names of both splits' pictures, which tell their labels."""
    return digest(*([path.name for path in image_files(folder / split, SUFFIXES)] for split in ("train", "val")))


def load_split(folder: Path, square: int | None = None) -> Labelled:
    """One folder of `{label}_{id}.jpg`: Pictures, or uint8 (N, 3, square, square)."""
    files = image_files(folder, SUFFIXES)
    labels, problems = [], []
    for path in files:
        match = re.fullmatch(r"(\d+)_\d+", path.stem)
        labels.append(int(match[1]) if match else -1)
        if not match:
            problems.append(f"{path.name} is not named label_id{path.suffix}")
        elif labels[-1] >= CLASSES:
            problems.append(f"{path.name} has label {labels[-1]}, outside 0-{CLASSES - 1}")
    raise_if_any(folder, problems)
    images = decode_folder(files, square, resize_square) if square else decode(folder, files)
    return Labelled(images, torch.tensor(labels), [path.name for path in files])


def breed_names(data: str | None) -> dict[int, str]:
    """The breeds' names where the data folder has id2label.json, else the labels themselves. Raises UsageError if the file is damaged."""
    path = locate(data, LAYOUT, draw_pets)[0] / "id2label.json"
    found = read_json(path)
    if path.exists() and not found:
        raise UsageError(f"{path} holds no names by label; restore or remove it")
    return {label: found.get(str(label), str(label)) for label in range(CLASSES)}
