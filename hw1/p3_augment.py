"""The augmentation of hw1 problem 3 beside common/augment.py, whose conventions it keeps."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor
from torchvision.transforms import functional as vision

from common.augment import on_cpu, to_device_of


@dataclass(frozen=True)
class Grayscale:
    """The brightness in all three channels, as torchvision weighs it."""

    draws: ClassVar[int] = 0

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        return vision.rgb_to_grayscale(images, 3)


@dataclass(frozen=True)
class Sometimes:
    """The operation, which keeps the size, with probability `p` for each image by itself."""

    p: float
    operation: Callable[[Tensor, Tensor], Tensor]

    @property
    def draws(self) -> int:
        """One for the choice, and the operation's own."""
        return 1 + self.operation.draws

    @property
    def on_cpu(self) -> bool:
        """As the operation."""
        return on_cpu(self.operation)

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        if not len(rows := (u[:, 0] < self.p).nonzero()[:, 0]):
            return images
        images, chosen = images.clone(), to_device_of(rows, images)
        images[chosen] = self.operation(images[chosen], u[rows, 1:])
        return images
