"""The 15 scenes of hw2 problem 1 on disk -> grey images: `p1/{train,test}/<Category>/*.jpg`."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torchvision.transforms.functional import rgb_to_grayscale

from common.cli import UsageError
from common.data import locate, read_image
from common.files import digest, image_files
from hw2 import p1_synthetic
from hw2.p1_classes import CLASSES

LAYOUT = "hw2_data/p1_data"
SUFFIXES = (".jpg", ".jpeg", ".png")


@dataclass(frozen=True)
class Scenes:
    """A split: `files`, and `target` int64 (N,), labels in the order of CLASSES."""

    files: list[Path]
    target: Tensor

    def __len__(self) -> int:
        return len(self.files)

    def digest(self) -> str:
        """Of the names and labels."""
        return digest([path.name for path in self.files], self.target.tolist())

    def first_per_class(self, count: int) -> "Scenes":
        """The first `count` images of each class: what `--quick` works on."""
        kept = torch.cat([(self.target == label).nonzero().flatten()[:count] for label in self.target.unique()])
        return Scenes([self.files[i] for i in kept], self.target[kept])

    def images(self) -> Iterator[Tensor]:
        """Each image, grey, float (H, W) of 0 to 1. Raises UsageError that names a file that cannot be read."""
        for path in self.files:
            try:
                yield rgb_to_grayscale(read_image(path))[0] / 255
            except ValueError as error:
                raise UsageError(f"{path} is {error}; mend or remove it") from None


def load_split(folder: Path) -> Scenes:
    """One split. Raises UsageError that names missing and empty category folders."""
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; see docs/data.md for the layout")
    if missing := [name for name in CLASSES if not (folder / name).is_dir()]:
        raise UsageError(f"{folder} has no folder {', '.join(missing)}; restore what is missing")
    files = [image_files(folder / name, SUFFIXES) for name in CLASSES]
    target = torch.tensor([label for label, paths in enumerate(files) for _ in paths])
    return Scenes([path for paths in files for path in paths], target)


def load_scenes(data: str | None, dataset_path: Path | None) -> tuple[str, Scenes, Scenes]:
    """The data's name ('p1_data' or 'synthetic'), training and test split; `dataset_path` names the folder with train/ and test/ itself."""
    if dataset_path:
        return "p1_data", load_split(dataset_path / "train"), load_split(dataset_path / "test")
    folder, name = locate(data, LAYOUT, p1_synthetic.draw_scenes)
    return name, load_split(folder / "p1/train"), load_split(folder / "p1/test")
