"""What cv22 does to training images beside common/augment.py's operations: RandomAffine, and its combined set's three pipelines."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from common.augment import Pipeline, on_cpu, to_device_of, warp


@dataclass(frozen=True)
class Affine:
    """torchvision's RandomAffine: turn and shear along x by up to so many degrees, move by up to a share of the sides, scale."""

    degrees: float
    translate: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    shear: float = 0.0
    draws: ClassVar[int] = 5

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        both = 2 * u - 1
        angle, slope = torch.deg2rad(both[:, 0] * self.degrees), torch.deg2rad(both[:, 4] * self.shear).tan()
        size = torch.tensor([images.shape[3], images.shape[2]])
        x, y = (both[:, 1:3] * self.translate * size).round().unbind(1)
        factor = self.scale[0] + u[:, 3] * (self.scale[1] - self.scale[0])
        cos, sin = angle.cos() / factor, angle.sin() / factor
        across, down = torch.stack([cos - sin * slope, cos * slope + sin], 1), torch.stack([-sin, cos], 1)
        rows = [torch.cat([row, -(row[:, :1] * x[:, None] + row[:, 1:] * y[:, None])], 1) for row in (across, down)]
        return warp(images, torch.cat(rows, 1))


@dataclass(frozen=True)
class ByPart:
    """To each image the pipeline of its part of the training images, the first operation of a pipeline.

    The part, 0, 1, ..., stands in the place of the image's first draw (see p2_data.Combined); a draw, which is below 1, is part 0.
    """

    pipelines: tuple[Pipeline, ...]

    @property
    def draws(self) -> int:
        """One for the part, and as many as the longest pipeline needs."""
        return 1 + max(pipeline.draws for pipeline in self.pipelines)

    @property
    def on_cpu(self) -> bool:
        """Whether one of the pipelines is."""
        return any(on_cpu(operation) for pipeline in self.pipelines for operation in pipeline.operations)

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        part, images = u[:, 0].long(), images.clone()
        for number, pipeline in enumerate(self.pipelines):
            rows = (part == number).nonzero()[:, 0]
            if len(rows):
                chosen = to_device_of(rows, images)
                images[chosen] = pipeline(images[chosen], u[rows, 1 : 1 + pipeline.draws])
        return images
