"""Batched augmentation with an own draw for each image.

An operation is called with images (N, 3, H, W), values 0 to 255 until `Normalise`, and `u`, N rows of `op.draws` uniform numbers in [0, 1).
All randomness comes from `u`: the same rows give the same images, on any device and with any number of processes.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision import transforms
from torchvision.transforms import functional as vision

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
        return warp(images, torch.stack([cos, -sin, zero, sin, cos, zero], 1))


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
        size = torch.tensor([images.shape[3], images.shape[2]], device=u.device)
        x, y = (both[:, 1:3] * self.translate * size).round().unbind(1)
        factor = self.scale[0] + u[:, 3] * (self.scale[1] - self.scale[0])
        cos, sin = angle.cos() / factor, angle.sin() / factor
        across, down = torch.stack([cos - sin * slope, cos * slope + sin], 1), torch.stack([-sin, cos], 1)
        rows = [torch.cat([row, -(row[:, :1] * x[:, None] + row[:, 1:] * y[:, None])], 1) for row in (across, down)]
        return warp(images, torch.cat(rows, 1))


def warp(images: Tensor, matrix: Tensor) -> Tensor:
    """The pixel (x, y) of an image, counted from its centre, becomes the one nearest to matrix (N, 6) @ (x, y, 1); black outside."""
    height, width = images.shape[2:]
    half = torch.tensor([width / 2, height / 2, 1.0], device=images.device)
    grid = F.affine_grid(matrix.view(-1, 2, 3) * half / half[:2, None], list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), grid, mode="nearest", align_corners=False).to(images.dtype)


@dataclass(frozen=True)
class ColorJitter:
    """torchvision's ColorJitter without hue: each factor in [1 - strength, 1 + strength], the three in an order of the image's own."""

    brightness: float
    contrast: float
    saturation: float
    draws: ClassVar[int] = 6

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        strength = torch.tensor([self.brightness, self.contrast, self.saturation], device=u.device)
        factors, order, images = 1 + (2 * u[:, :3] - 1) * strength, u[:, 3:].argsort(1), images.clone()
        for turn in range(3):
            for kind in range(3):
                rows = (order[:, turn] == kind).nonzero()[:, 0]
                images[rows] = blend(images[rows], kind, factors[rows, kind])
        return images


def blend(images: Tensor, kind: int, factor: Tensor) -> Tensor:
    """Images of 0 to 255 with their brightness (0), contrast (1) or saturation (2) times `factor` (N,)."""
    grey = vision.rgb_to_grayscale(images)
    other = (torch.zeros_like(grey), grey.float().mean((1, 2, 3), keepdim=True), grey)[kind]
    factor = factor[:, None, None, None]
    return (factor * images + (1 - factor) * other).clamp(0, 255).to(images.dtype)


@dataclass(frozen=True)
class GaussianBlur:
    """torchvision's GaussianBlur: a kernel of `kernel` x `kernel` pixels, its standard deviation in [sigma[0], sigma[1]]."""

    kernel: int
    sigma: tuple[float, float]
    draws: ClassVar[int] = 1

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        n, channels, height, width = images.shape
        sigma, pad = self.sigma[0] + u * (self.sigma[1] - self.sigma[0]), self.kernel // 2
        line = torch.exp(-0.5 * ((torch.arange(self.kernel, device=u.device) - (self.kernel - 1) / 2) / sigma) ** 2)
        line = (line / line.sum(1, keepdim=True)).repeat_interleave(channels, 0)[:, None]
        padded = F.pad(images.float(), (pad,) * 4, mode="reflect").view(1, n * channels, height + 2 * pad, width + 2 * pad)
        blurred = F.conv2d(F.conv2d(padded, line[..., None], groups=n * channels), line[:, :, None], groups=n * channels)
        blurred = blurred.view(images.shape)
        return blurred if images.is_floating_point() else blurred.round().to(images.dtype)


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


@dataclass(frozen=True)
class PerImage:
    """Any of torchvision's random transforms, called for each image: for what few images draw or many branches decide."""

    transform: Callable[[Tensor], Tensor]
    draws: ClassVar[int] = 1

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        return one_by_one(self.transform, images, u)


def one_by_one(transform, images: Tensor, u: Tensor) -> Tensor:
    """A torchvision transform on each image (N, C, H, W), seeded by the image's own draw u (N, 1).

    Transforms of many branches would not become simpler in a batched form, and at 32 px they cost less than the network's step.
    """
    with torch.random.fork_rng(devices=[]):
        return torch.stack([seeded(transform, *pair) for pair in zip(images, (u[:, 0].double() * 2**40).long().tolist(), strict=True)])


def seeded(transform, image: Tensor, seed: int) -> Tensor:
    """The transform of one image, by this seed of the global generator."""
    torch.default_generator.manual_seed(seed)
    return transform(image)


@dataclass(frozen=True)
class OneOf:
    """One of several pipelines for each image; `choices` are (share, pipeline), shares of any sum."""

    choices: tuple[tuple[float, "Pipeline"], ...]

    @property
    def draws(self) -> int:
        """One for the choice, and as many as the longest pipeline needs."""
        return 1 + max(pipeline.draws for _, pipeline in self.choices)

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        shares = torch.tensor([share for share, _ in self.choices], device=u.device)
        which = torch.bucketize(u[:, 0].contiguous(), shares.cumsum(0)[:-1] / shares.sum(), right=True)
        images = images.clone()
        for number, (_, pipeline) in enumerate(self.choices):
            rows = (which == number).nonzero()[:, 0]
            if len(rows):
                images[rows] = pipeline(images[rows], u[rows, 1 : 1 + pipeline.draws])
        return images


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
