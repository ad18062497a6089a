"""p2_data of hw1 problem 2 on disk -> decoded tensors: satellite tiles `xxxx_sat.jpg` with masks `xxxx_mask.png`, 512x512, seven classes.

Tiles are decoded in threads at each start and not cached: they take seconds, and 2 GB at 512 px.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from common.cli import UsageError
from common.data import locate, read_image
from common.files import digest, image_files, raise_if_any
from hw1 import p2_masks, p2_synthetic

LAYOUT = "hw1_data/p2_data"
SIZE = 512  # pixels of a side of the course's tiles, the size at which every mIoU is measured


@dataclass(frozen=True)
class Tiles:
    """Decoded tiles: `images` uint8 (N, 3, S, S), `labels` uint8 (N, L, L) of 0 to 6, `names` the N stems without `_sat`."""

    images: Tensor
    labels: Tensor
    names: list[str]

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def pixels(self) -> Tensor:
        """How many pixels there are of each class, (7,)."""
        return torch.stack([(self.labels == label).sum() for label in range(len(p2_masks.CLASSES))])

    def to(self, device: torch.device) -> "Tiles":
        """The same on another device."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))


@dataclass(frozen=True)
class TileSplits:
    """A data set as scripts use it: `name` is the course's folder name, or 'synthetic' for the stand-in; `digest` is data_digest's."""

    name: str
    train: Tiles
    validation: Tiles
    digest: str

    def describe(self) -> dict:
        """What a result says of its data."""
        return {"name": self.name, "train": len(self.train), "validation": len(self.validation), "digest": self.digest}


# ---- one mask ----


def read_mask(path: Path) -> Tensor:
    """A mask's labels, uint8 (H, W) of 0 to 6. Raises what p2_masks.read_codes raises."""
    return torch.from_numpy(p2_masks.read_labels(path))


# ---- a folder of pairs ----


def in_threads(function: Callable, items: list, what: str) -> list:
    """`function` of each item, in order, a thread for each core (torchvision decodes without Python's lock), with a progress bar."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(tqdm(pool.map(function, items), what, len(items), disable=None, leave=False))


def pairs(folder: Path) -> list[tuple[str, Path, Path]]:
    """(name, image, mask) for each `xxxx_sat.jpg` of a folder. Raises UsageError that names images without mask and masks without image."""
    images = {path.stem.removesuffix("_sat"): path for path in image_files(folder, (".jpg", ".jpeg"))}
    masks = {path.stem.removesuffix("_mask"): path for path in image_files(folder, (".png",))}
    problems = [f"{images[name].name} has no mask {name}_mask.png" for name in sorted(images.keys() - masks.keys())]
    problems += [f"{masks[name].name} has no image {name}_sat.jpg" for name in sorted(masks.keys() - images.keys())]
    raise_if_any(folder, problems)
    return [(name, images[name], masks[name]) for name in sorted(images)]


def data_digest(folder: Path) -> str:
    """Of the names and, in the place of labels, the sizes of all mask files of both splits: reading the masks takes seconds."""
    return digest(*([(name, mask.stat().st_size) for name, _, mask in pairs(folder / split)] for split in ("train", "validation")))


def load_tiles(found: list[tuple[str, Path, Path]], image_size: int, label_size: int) -> Tiles:
    """Decode pairs, the images shrunk to `image_size` pixels (bilinear, antialiased), the masks to `label_size` (nearest).

    Raises UsageError that names the files that cannot be read or are not 512x512.
    """
    images = torch.empty(len(found), 3, image_size, image_size, dtype=torch.uint8)
    labels = torch.empty(len(found), label_size, label_size, dtype=torch.uint8)

    def load(i: int) -> str:
        _, image_path, mask_path = found[i]
        path = image_path
        try:
            image = read_image(path)
            path = mask_path
            mask = read_mask(path)
        except ValueError as error:
            return f"{path.name} is {error}"
        if image.shape[1:] != mask.shape:
            return f"{mask_path.name} has {mask.shape[1]}x{mask.shape[0]} pixels, its image {image.shape[2]}x{image.shape[1]}"
        if mask.shape != (SIZE, SIZE):
            return f"{image_path.name} has {mask.shape[1]}x{mask.shape[0]} pixels, not {SIZE}x{SIZE}"
        images[i] = shrink_image(image, (image_size, image_size))
        labels[i] = shrink_labels(mask[None], label_size)[0]
        return ""

    folder = found[0][1].parent
    raise_if_any(folder, list(filter(None, in_threads(load, list(range(len(found))), f"decoding {folder.name}"))))
    return Tiles(images, labels, [name for name, _, _ in found])


def shrink_image(image: Tensor, size: tuple[int, int]) -> Tensor:
    """A decoded image, uint8 (3, H, W), at another size: bilinear, antialiased."""
    if image.shape[1:] == size:
        return image
    fine = F.interpolate(image[None].float(), size, mode="bilinear", antialias=True, align_corners=False)[0]
    return fine.round().clamp(0, 255).to(torch.uint8)


def shrink_labels(labels: Tensor, size: int) -> Tensor:
    """Labels (N, H, W) at `size` x `size`: of each cell the pixel nearest to its middle."""
    middles = [((torch.arange(size, device=labels.device) + 0.5) * side / size).long() for side in labels.shape[1:]]
    return labels if labels.shape[1:] == (size, size) else labels[:, middles[0][:, None], middles[1]]


def load_p2(data: str | None, image_size: int, train: int | None = None, validation: int | None = None) -> TileSplits:
    """p2_data; training labels at `image_size` like the images, validation labels at 512. `data` is the value of `--data`.

    `train` and `validation`: only so many tiles, the first by name. Raises UsageError that names what is wrong.
    """
    if image_size % 32 or not 64 <= image_size <= SIZE:
        raise UsageError(f"--image-size {image_size} is no multiple of 32 from 64 to {SIZE}")
    folder, name = locate(data, LAYOUT, p2_synthetic.draw_p2)
    return TileSplits(
        name,
        load_tiles(pairs(folder / "train")[:train], image_size, image_size),
        load_tiles(pairs(folder / "validation")[:validation], image_size, SIZE),
        data_digest(folder),
    )


def load_some(data: str | None, names: tuple[str, ...]) -> Tiles:
    """The validation tiles of these names at 512 px; with other data, as many of the first."""
    found = pairs(locate(data, LAYOUT, p2_synthetic.draw_p2)[0] / "validation")
    chosen = [pair for pair in found if pair[0] in names]
    return load_tiles(chosen if len(chosen) == len(names) else found[: len(names)], SIZE, SIZE)
