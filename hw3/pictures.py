"""Decoded pictures of differing size, and how a folder of them is read."""

from collections.abc import Iterator
from pathlib import Path

from torch import Tensor
from torchvision.transforms.functional import resize
from tqdm import tqdm

from common.cli import UsageError
from common.data import per_channel, read_image
from common.files import raise_if_any

LARGEST = 448  # pixels of the shorter side that are kept in memory: what random crops for 384 px need
LONGEST = 8 * LARGEST
SUFFIXES = (".jpg", ".jpeg", ".png")


class Pictures:
    """Pictures of differing size, uint8 (3, H, W) each, indexed by a tensor of places."""

    def __init__(self, images: list[Tensor]):
        self.images = images

    def __getitem__(self, index: Tensor) -> "Pictures":
        return Pictures([self.images[i] for i in index.tolist()])

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.images)

    def __len__(self) -> int:
        return len(self.images)


def decode(folder: Path, files: list[Path]) -> Pictures:
    """All pictures, those with a longer shorter side than 448 pixels made smaller. Raises UsageError that names the unreadable ones."""
    images, problems = [], []
    for path in tqdm(files, f"decoding {folder.name}", disable=None, leave=False):
        try:
            image = read_image(path)
            images.append(shrunk(image))
        except ValueError as error:
            problems.append(f"{path.name} {error}")
    raise_if_any(folder, problems)
    return Pictures(images)


def shrunk(image: Tensor) -> Tensor:
    """A picture, uint8 (3, H, W), with a shorter side of 448 pixels at most, and a longer one of 3,584: a strip gets thinner."""
    short, long = sorted(image.shape[1:])
    if long * min(1, LARGEST / short) > LONGEST:
        return per_channel(image, lambda part: resize(part, [max(1, side * LONGEST // long) for side in image.shape[1:]], antialias=True))
    return per_channel(image, lambda part: resize(part, [LARGEST], antialias=True)) if short > LARGEST else image


def read_one(path: Path) -> Tensor:
    """One picture that the user named, uint8 (3, H, W). Raises UsageError if it cannot be read."""
    try:
        return read_image(path)
    except (ValueError, OSError) as error:
        raise UsageError(f"{path} cannot be read ({getattr(error, 'strerror', None) or error}); give a jpg or png") from None
