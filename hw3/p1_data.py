"""hw3's pets on disk -> decoded pictures: `p1_data/{train,val}/{label}_{id}.jpg`, labels 0 to 36, sizes differ."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor
from torchvision.transforms.functional import resize
from tqdm import tqdm

from common.augment import Normalise, Pipeline
from common.data import Labelled, Splits, image_files, locate, read_image, refuse
from hw3.p1_synthetic import CLASSES, draw_pets

LAYOUT = "hw3_data/p1_data"
LARGEST = 448  # pixels of the shorter side that are kept in memory: what random crops for 384 px need
SUFFIXES = (".jpg", ".jpeg", ".png")


class Pictures:
    """Decoded pictures of differing size, uint8 (3, H, W) each, indexed by a tensor of places."""

    def __init__(self, images: list[Tensor]):
        self.images = images

    def __getitem__(self, index: Tensor) -> "Pictures":
        return Pictures([self.images[i] for i in index.tolist()])

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.images)

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: torch.device) -> "Pictures":
        """The same on another device."""
        return Pictures([image.to(device) for image in self.images])


@dataclass(frozen=True)
class Square:
    """Each picture resized to `size` x `size` pixels, whatever its shape: uint8 (N, 3, size, size)."""

    size: int
    draws: ClassVar[int] = 0

    def __call__(self, images: Pictures | Tensor, u: Tensor) -> Tensor:
        return torch.stack([resize(image, [self.size] * 2, antialias=True) for image in images])


NORMALISE = Normalise((0.5,) * 3, (0.5,) * 3)


def validation_pipeline(size: int) -> Pipeline:
    """What a network sees of a picture that is not augmented."""
    return Pipeline(Square(size), NORMALISE)


def load_pets(data: str | None) -> Splits:
    """p1_data of hw3; raises UsageError that names what is wrong."""
    folder, name = locate(data, LAYOUT, draw_pets)
    return Splits(name, load_split(folder / "train"), load_split(folder / "val"))


def load_split(folder: Path) -> Labelled:
    """One folder of `{label}_{id}.jpg`."""
    files = image_files(folder, SUFFIXES)
    labels, problems = [], []
    for path in files:
        match = re.fullmatch(r"(\d+)_\d+", path.stem)
        labels.append(int(match[1]) if match else -1)
        if not match:
            problems.append(f"{path.name} is not named label_id{path.suffix}")
        elif labels[-1] >= CLASSES:
            problems.append(f"{path.name} has label {labels[-1]}, outside 0-{CLASSES - 1}")
    refuse(folder, problems)
    return Labelled(decode(folder, files), torch.tensor(labels), [path.name for path in files])


def decode(folder: Path, files: list[Path]) -> Pictures:
    """All pictures, those with a longer shorter side than 448 pixels made smaller. Raises UsageError that names the unreadable ones."""
    images, problems = [], []
    for path in tqdm(files, f"decoding {folder.name}", disable=None, leave=False):
        try:
            image = read_image(path)
            images.append(resize(image, [LARGEST], antialias=True) if min(image.shape[1:]) > LARGEST else image)
        except ValueError as error:
            problems.append(f"{path.name} {error}")
    refuse(folder, problems)
    return Pictures(images)


def breed_names(data: str | None) -> dict[int, str]:
    """The breeds' names where the data folder has id2label.json, else the labels themselves."""
    path = locate(data, LAYOUT, draw_pets)[0] / "id2label.json"
    found = json.loads(path.read_text()) if path.exists() else {}
    return {label: found.get(str(label), str(label)) for label in range(CLASSES)}
