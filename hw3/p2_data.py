"""hw3's captions on disk: `p2_data/images/{train,val}/*.jpg` with `{train,val}.json` -> pictures and their captions."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from common.data import locate
from common.files import digest, listed_files, refuse
from common.setup import UsageError
from hw3.p2_synthetic import draw_captions
from hw3.pictures import Pictures, decode

LAYOUT = "hw3_data/p2_data"


@dataclass(frozen=True)
class Captioned:
    """Pictures, their files, and each one's captions, one or more."""

    images: Pictures
    files: list[Path]
    captions: list[list[str]]

    def __len__(self) -> int:
        return len(self.files)

    def first(self, count: int | None) -> "Captioned":
        """The first pictures, all for None."""
        return Captioned(Pictures(self.images.images[:count]), self.files[:count], self.captions[:count])


def load_captions(data: str | None) -> tuple[dict, Captioned, Captioned]:
    """The data's name and digest, its training and its validation pictures. Raises UsageError that names what is wrong."""
    folder, name = locate(data, LAYOUT, draw_captions)
    return {"name": name, "digest": data_digest(folder)}, load_split(folder, "train"), load_split(folder, "val")


def data_digest(folder: Path) -> str:
    """Of the files' names and the captions of both splits."""
    return digest(*([(path.name, own) for path, own in read_split(folder, split)] for split in ("train", "val")))


def load_split(folder: Path, split: str) -> Captioned:
    """One split, in the order of its file's images."""
    files, captions = map(list, zip(*read_split(folder, split), strict=True))
    return Captioned(decode(folder / "images" / split, files), files, captions)


def read_split(folder: Path, split: str) -> list[tuple[Path, list[str]]]:
    """The pictures' files and captions of a split, in the order of its file. Raises UsageError that names what is wrong."""
    path, place = folder / f"{split}.json", folder / "images" / split
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        images = [(image["id"], image["file_name"]) for image in content["images"]]
        ids = Counter(number for number, _ in images)
        captions: dict = {number: [] for number in ids}
        notes = [(note["image_id"], note["caption"], captions.get(note["image_id"])) for note in content["annotations"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{path} has no lists 'images' and 'annotations' ({type(error).__name__}); restore the course's file") from None
    problems = [f"image id {number} comes {count} times" for number, count in ids.items() if count > 1]
    for number, caption, own in notes:
        if own is None:
            problems.append(f"a caption of image {number}, which is not listed")
        elif not isinstance(caption, str):
            problems.append(f"image {number} has {caption!r} in place of a caption")
        elif not caption.strip():
            problems.append(f"image {number} has an empty caption")
        else:
            own.append(caption.strip())
    problems += [f"{name} has no caption" for number, name in images if not captions[number]]
    refuse(path, problems or ["no images"] * (not images))
    files = listed_files(path, [name for _, name in images], place)
    return list(zip(files, captions.values(), strict=True))


def preprocess(image: Tensor, side: int) -> Tensor:
    """A picture, uint8 (3, H, W), as CATR sees it: the longer side `side` pixels by PIL's resize, values -1 to 1."""
    height, width = image.shape[1:]
    scale = side / max(height, width)
    size = max(1, int(scale * width)), max(1, int(scale * height))
    small = Image.fromarray(image.permute(1, 2, 0).numpy()).resize(size)
    return torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1) / 127.5 - 1
