"""Batched augmentation with an own draw for each image.

An operation is called with images (N, 3, H, W), values 0 to 255 until `Normalise`, and `u`, N rows of `op.draws` uniform numbers in [0, 1).
All randomness comes from `u`: the same rows give the same images, on any device and with any number of processes.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision import transforms

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Crop:
    """Pad by `padding` pixels (mirrored) and cut the image's own size out at a random place."""

    padding: int = 4
    draws: ClassVar[int] = 2

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        n, _, height, width = images.shape
        padded = F.pad(images.float(), (self.padding,) * 4, mode="reflect").to(images.dtype)
        offset = (u * (2 * self.padding + 1)).long()
        rows = offset[:, :1] + torch.arange(height, device=images.device)
        columns = offset[:, 1:] + torch.arange(width, device=images.device)
        one_each = torch.arange(n, device=images.device)[:, None, None]
        return padded.permute(0, 2, 3, 1)[one_each, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)


@dataclass(frozen=True)
class Flip:
    """Mirror left and right with probability `p`."""

    p: float = 0.5
    draws: ClassVar[int] = 1

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        return torch.where((u < self.p)[:, :, None, None], images.flip(-1), images)


@dataclass(frozen=True)
class Symmetries:
    """One of the eight flips and quarter turns of a square, each as likely."""

    draws: ClassVar[int] = 1

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        which, out = (u[:, 0] * 8).long(), images.clone()
        for k in range(1, 8):
            turned = images[which == k].rot90(k % 4, (2, 3))
            out[which == k] = turned.flip(-1) if k >= 4 else turned
        return out


@dataclass(frozen=True)
class Rotate:
    """Turn about the centre by an angle in [-degrees, degrees], nearest pixel, black outside, as torchvision's RandomRotation."""

    degrees: float
    draws: ClassVar[int] = 1

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        angle = torch.deg2rad((2 * u[:, 0] - 1) * self.degrees)
        cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
        height, width = images.shape[2:]
        matrix = torch.stack([cos, -sin * height / width, zero, sin * width / height, cos, zero], 1).view(-1, 2, 3)
        grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
        return F.grid_sample(images.float(), grid, mode="nearest", align_corners=False)


@dataclass(frozen=True)
class Cutout:
    """Set a square of `size` pixels, cut at the border, to the value 0 (after Normalise: the mean). DeVries and Taylor, 2017."""

    size: int
    draws: ClassVar[int] = 2

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        def inside(length: int, draw: Tensor) -> Tensor:
            start = (draw * length).long()[:, None] - self.size // 2
            place = torch.arange(length, device=images.device)
            return (place >= start) & (place < start + self.size)

        height, width = images.shape[2:]
        hole = inside(height, u[:, 0])[:, None, :, None] & inside(width, u[:, 1])[:, None, None, :]
        return images.masked_fill(hole, 0)


@dataclass(frozen=True)
class AutoAugment:
    """torchvision's AutoAugment (Cubuk et al., 2019) on uint8 images; `policy` is 'imagenet', 'cifar10' or 'svhn'."""

    policy: str = "imagenet"
    draws: ClassVar[int] = 1

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        return one_by_one(transforms.AutoAugment(transforms.AutoAugmentPolicy(self.policy)), images, u)


@dataclass(frozen=True)
class RandomErasing:
    """torchvision's RandomErasing (Zhong et al., 2017): with probability `p` a rectangle is set to 0, after Normalise the mean."""

    p: float = 0.5
    draws: ClassVar[int] = 1

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        return one_by_one(transforms.RandomErasing(self.p), images, u)


def one_by_one(transform, images: Tensor, u: Tensor) -> Tensor:
    """A torchvision transform on each image (N, C, H, W), seeded by the image's own draw u (N, 1).

    Transforms of many branches would not become simpler in a batched form, and at 32 px they cost less than the network's step.
    """
    out = torch.empty_like(images)
    with torch.random.fork_rng(devices=[]):
        for i, seed in enumerate((u[:, 0].double() * 2**40).long().tolist()):
            torch.default_generator.manual_seed(seed)
            out[i] = transform(images[i])
    return out


@dataclass(frozen=True)
class Resize:
    """Bilinear with antialiasing to `size` x `size` pixels; float from here on."""

    size: int
    draws: ClassVar[int] = 0

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        if images.shape[2:] == (self.size, self.size):
            return images
        return F.interpolate(images.float(), (self.size, self.size), mode="bilinear", antialias=True, align_corners=False)


@dataclass(frozen=True)
class Normalise:
    """0 to 255 -> (value / 255 - mean) / std for each channel, in channels-last order; by default ImageNet's mean and std."""

    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    draws: ClassVar[int] = 0

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        mean, std = (torch.tensor(values, device=images.device)[:, None, None] * 255 for values in (self.mean, self.std))
        return images.contiguous(memory_format=torch.channels_last).float().sub(mean).div_(std)


class Pipeline:
    """Operations one after the other; `draws` is the number of uniform numbers that an image needs."""

    def __init__(self, *operations):
        self.operations = operations
        self.draws = sum(operation.draws for operation in operations)

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        start = 0
        for operation in self.operations:
            images = operation(images, u[:, start : start + operation.draws])
            start += operation.draws
        return images

    def __repr__(self) -> str:
        return ", ".join(map(repr, self.operations))
