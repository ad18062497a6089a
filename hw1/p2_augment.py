"""The augmentation of hw1 problem 2 beside common/augment.py, whose conventions it keeps."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from common.augment import beside


@dataclass(frozen=True)
class Symmetries:
    """One of the eight flips and quarter turns of a square, each as likely."""

    draws: ClassVar[int] = 1

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        which, out = (u[:, 0] * 8).long(), images.clone()
        for k in range(1, 8):
            rows = beside((which == k).nonzero()[:, 0], images)
            turned = images[rows].rot90(k % 4, (2, 3))
            out[rows] = turned.flip(-1) if k >= 4 else turned
        return out
