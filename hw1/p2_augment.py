"""The augmentation of hw1 problem 2 beside common/augment.py, whose conventions it keeps."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from common.augment import sample, sample_points, to_device_of


@dataclass(frozen=True)
class Symmetries:
    """One of the eight flips and quarter turns of a square, each as likely."""

    draws: ClassVar[int] = 1

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        which, out = (u[:, 0] * 8).long(), images.clone()
        for k in range(1, 8):
            rows = to_device_of((which == k).nonzero()[:, 0], images)
            turned = images[rows].rot90(k % 4, (2, 3))
            out[rows] = turned.flip(-1) if k >= 4 else turned
        return out


@dataclass(frozen=True)
class Zoom:
    """A square tile and its labels, together (N, 3 + 1, S, S): a crop at a random place, resized to S, bilinear, the labels nearest.

    The crop's side is `smallest` to 1 times the tile's.
    """

    smallest: float = 0.5
    draws: ClassVar[int] = 3

    def __call__(self, both: Tensor, u: Tensor) -> Tensor:
        side = both.shape[-1]
        length = ((self.smallest + u[:, 0] * (1 - self.smallest)) * side).round()
        x, y = (sample_points((draw * (side - length + 1)).floor(), length, side, side) for draw in (u[:, 1], u[:, 2]))
        return torch.cat([sample(both[:, :3], x, y), sample(both[:, 3:], x, y, "nearest")], 1)
