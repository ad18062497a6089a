"""Batched augmentation with an own draw for each image.

An operation is called with images (N, 3, H, W), values 0 to 255 until `Normalise`, and `u`, N rows of `op.draws` uniform numbers in [0, 1).
All randomness comes from `u`: the same rows give the same images, on any device and with any number of processes.

`u` stays on the CPU: what follows from it is computed and decided there, and sent to the images' device, which never has to tell the host a
value. Operations with `on_cpu` work image by image, in branches, and belong on the CPU altogether; see data.py.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import functional as vision

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CACHED = 600_000  # values; on a CPU a batch is worked on in parts of so many, which its caches hold


def to_device_of(values: Tensor, images: Tensor) -> Tensor:
    """A few values of the CPU on the images' device; the host does not wait for what the device still has to do."""
    return values.to(images.device, non_blocking=True)


@dataclass(frozen=True)
class Crop:
    """Pad by `padding` pixels (mirrored) and cut the image's own size out at a random place."""

    padding: int = 4
    draws: ClassVar[int] = 2

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        n, _, height, width = images.shape
        padded = F.pad(images.float(), (self.padding,) * 4, mode="reflect").to(images.dtype)
        offset = to_device_of((u * (2 * self.padding + 1)).long(), images)
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
        return torch.where(to_device_of(u < self.p, images)[:, :, None, None], images.flip(-1), images)


@dataclass(frozen=True)
class Rotate:
    """Turn about the centre by an angle in [-degrees, degrees], nearest pixel, black outside, as torchvision's RandomRotation."""

    degrees: float
    draws: ClassVar[int] = 1

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        angle = torch.deg2rad((2 * u[:, 0] - 1) * self.degrees)
        cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
        return warp(images, torch.stack([cos, -sin, zero, sin, cos, zero], 1))


def warp(images: Tensor, matrix: Tensor) -> Tensor:
    """The pixel (x, y) of an image, counted from its centre, becomes the one nearest to matrix (N, 6) @ (x, y, 1); black outside.

    The matrix is on the CPU.
    """
    height, width = images.shape[2:]
    half = torch.tensor([width / 2, height / 2, 1.0])
    grid = F.affine_grid(to_device_of(matrix.view(-1, 2, 3) * half / half[:2, None], images), list(images.shape), align_corners=False)
    return F.grid_sample(images.float(), grid, mode="nearest", align_corners=False).to(images.dtype)


@dataclass(frozen=True)
class ColorJitter:
    """torchvision's ColorJitter without hue: each factor in [1 - strength, 1 + strength], the three in an order of the image's own."""

    brightness: float
    contrast: float
    saturation: float
    draws: ClassVar[int] = 6

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        strength = torch.tensor([self.brightness, self.contrast, self.saturation])
        order, whole = u[:, 3:].argsort(1), not images.is_floating_point()
        factors = (1 + (2 * u[:, :3] - 1) * strength).gather(1, order)
        images = images.float() if whole else images.clone()
        for kind, factor in zip(to_device_of(order, images).T, to_device_of(factors, images).T, strict=True):
            blend(images, kind, factor, whole)
        return images.to(torch.uint8) if whole else images


def blend(images: Tensor, kind: Tensor, factor: Tensor, whole: bool) -> None:
    """Multiply, in place, each float image's brightness (`kind` 0), contrast (1) or saturation (2) by its `factor` (N,).

    Values are 0 to 255, with `whole` rounded down to whole numbers as torchvision does for uint8.
    """
    kind, factor = kind[:, None, None, None], factor[:, None, None, None]
    grey = vision.rgb_to_grayscale(images)
    grey = grey.floor_() if whole else grey
    other = torch.where(kind == 1, grey.mean((1, 2, 3), keepdim=True), grey).mul_((1 - factor) * (kind > 0))
    images.mul_(factor).add_(other).clamp_(0, 255)
    if whole:
        images.floor_()


@dataclass(frozen=True)
class GaussianBlur:
    """torchvision's GaussianBlur: a kernel of `kernel` x `kernel` pixels, its standard deviation in [sigma[0], sigma[1]]."""

    kernel: int
    sigma: tuple[float, float]
    draws: ClassVar[int] = 1

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        n, channels, height, width = images.shape
        sigma, pad = self.sigma[0] + u * (self.sigma[1] - self.sigma[0]), self.kernel // 2
        line = torch.exp(-0.5 * ((torch.arange(self.kernel) - (self.kernel - 1) / 2) / sigma) ** 2)
        line = line / line.sum(1, keepdim=True)
        square = to_device_of(line[:, :, None] * line[:, None], images).repeat_interleave(channels, 0)[:, None]
        padded = F.pad(images.float(), (pad,) * 4, mode="reflect").view(1, n * channels, height + 2 * pad, width + 2 * pad)
        blurred = F.conv2d(padded, square, groups=n * channels).view(images.shape)
        return blurred if images.is_floating_point() else blurred.round().to(images.dtype)


@dataclass(frozen=True)
class ResizedCrop:
    """torchvision's RandomResizedCrop, then a flip with probability 1/2, both in one bilinear sample.

    Images keep their size, or get that of `size` pixels. A crop's area is `scale` times the image's, its sides' ratio, e to a uniform
    number, in `ratio`; of ten draws the first that fits counts. Without one it is the whole image, as torchvision decides for images whose
    own ratio is in `ratio`.
    """

    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    size: int | None = None
    draws: ClassVar[int] = 23

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        height, width = images.shape[2:]
        top, left, rows, columns = self.boxes(u, height, width).T
        x, y = sample_points(left, columns, width, self.size or width), sample_points(top, rows, height, self.size or height)
        return sample(images, torch.where(u[:, 22:] < 0.5, x.flip(1), x), y)

    def boxes(self, u: Tensor, height: int, width: int) -> Tensor:
        """top, left, height and width of each crop, (N, 4) whole numbers."""
        area = (self.scale[0] + u[:, :10] * (self.scale[1] - self.scale[0])) * height * width
        low, high = (math.log(value) for value in self.ratio)
        ratio = torch.exp(low + u[:, 10:20] * (high - low))
        rows, columns = (area / ratio).sqrt().round(), (area * ratio).sqrt().round()
        fits = (rows > 0) & (rows <= height) & (columns > 0) & (columns <= width)
        first = fits.int().argmax(1, keepdim=True)
        size = torch.stack([rows, columns], 2).take_along_dim(first[:, :, None], 1)[:, 0]
        whole = torch.tensor([height, width], dtype=size.dtype)
        size = torch.where(fits.any(1, keepdim=True), size, whole)
        return torch.cat([(u[:, 20:22] * (whole - size + 1)).floor(), size], 1)


def sample_points(start: Tensor, length: Tensor, side: int, count: int) -> Tensor:
    """`count` points (N, count) that resize the pixels from `start` on, `length` of a side's, to `count`; -1 to 1 over the whole side."""
    place = (torch.arange(count) + 0.5) * length[:, None] / count - 0.5
    return (2 * (start[:, None] + place.clamp(min=0).minimum(length[:, None] - 1)) + 1) / side - 1


def sample(images: Tensor, x: Tensor, y: Tensor, mode: str = "bilinear") -> Tensor:
    """The images (N, C, len(y), len(x)) at columns x and rows y, both of the CPU, that `sample_points` gave; `mode` is grid_sample's."""
    grid = torch.stack(torch.broadcast_tensors(to_device_of(x, images)[:, None], to_device_of(y, images)[:, :, None]), 3)
    sampled = F.grid_sample(images.float(), grid, mode, padding_mode="border", align_corners=False)
    return sampled if images.is_floating_point() else sampled.round().to(images.dtype)


@dataclass(frozen=True)
class Cutout:
    """Set a square of `size` pixels, cut at the border, to the value 0 (after Normalise: the mean). DeVries and Taylor, 2017."""

    size: int
    draws: ClassVar[int] = 2

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        height, width = images.shape[2:]
        corner = (u * torch.tensor([height, width])).long() - self.size // 2
        return erase(images, corner, torch.full_like(corner, self.size))


def erase(images: Tensor, corner: Tensor, size: Tensor) -> Tensor:
    """Images with a rectangle set to 0: `corner` (N, 2) its top and left, `size` (N, 2) its height and width; whole numbers on the CPU."""

    def inside(length: int, start: Tensor, count: Tensor) -> Tensor:
        place = torch.arange(length)
        return to_device_of((place >= start[:, None]) & (place < (start + count)[:, None]), images)

    rows, columns = (inside(images.shape[2 + axis], corner[:, axis], size[:, axis]) for axis in (0, 1))
    return images.masked_fill(rows[:, None, :, None] & columns[:, None, None, :], 0)


@dataclass(frozen=True)
class PerImage:
    """Any of torchvision's random transforms, called for each image: for what few images draw or many branches decide."""

    transform: Callable[[Tensor], Tensor]
    draws: ClassVar[int] = 1
    on_cpu: ClassVar[bool] = True

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        return apply_per_image(self.transform, images, u)


def apply_per_image(transform, images: Tensor, u: Tensor) -> Tensor:
    """A torchvision transform on each image (N, C, H, W), seeded by the image's own draw u (N, 1).

    Transforms of many branches would not become simpler in a batched form, and at 32 px they cost less than the network's step.
    """
    with torch.random.fork_rng(devices=[]):
        done = []
        for image, seed in zip(images, seeds(u), strict=True):
            torch.default_generator.manual_seed(seed)
            done.append(transform(image))
        return torch.stack(done)


def seeds(u: Tensor) -> list[int]:
    """A seed of the global generator for each image, from its draw (N, 1)."""
    return (u[:, 0].double() * 2**40).long().tolist()


@dataclass(frozen=True)
class Resize:
    """Bilinear with antialiasing to `size` x `size` pixels; float from here on."""

    size: int
    draws: ClassVar[int] = 0

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        if images.shape[2:] == (self.size, self.size):
            return images
        shrinks = self.size < max(images.shape[2:])  # enlarged images have nothing to smooth, and are ready sooner channels last
        images = images.to(torch.float32, memory_format=torch.contiguous_format if shrinks else torch.channels_last)
        return F.interpolate(images, (self.size, self.size), mode="bilinear", antialias=shrinks, align_corners=False)


@dataclass(frozen=True)
class Normalise:
    """0 to 255 -> (value / 255 - mean) / std for each channel, in channels-last order; by default ImageNet's mean and std."""

    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    draws: ClassVar[int] = 0

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        mean, std = (to_device_of(torch.tensor(values), images)[:, None, None] * 255 for values in (self.mean, self.std))
        values = images.to(torch.float32, copy=True).sub_(mean).div_(std)
        return values.contiguous(memory_format=torch.channels_last)


NORMALISE = {"imagenet": Normalise(), "half": Normalise((0.5,) * 3, (0.5,) * 3)}  # what published weights were trained with


def on_cpu(operation: Callable[[Tensor, Tensor], Tensor]) -> bool:
    """Whether an operation works image by image: small branches, for which a GPU would need more time than for the network."""
    return getattr(operation, "on_cpu", False)


class Pipeline:
    """Operations one after the other; `draws` is the number of uniform numbers that an image needs."""

    def __init__(self, *operations):
        self.operations = operations
        self.draws = sum(operation.draws for operation in operations)

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        in_parts = isinstance(images, Tensor) and images.device.type == "cpu" and self.operations
        if in_parts and len(images) > (part := max(1, CACHED // images.shape[1:].numel())):
            return torch.cat([self(images[i : i + part], u[i : i + part]) for i in range(0, len(images), part)])
        start = 0
        for operation in self.operations:
            images = operation(images, u[:, start : start + operation.draws])
            start += operation.draws
        return images

    def split(self) -> tuple["Pipeline", "Pipeline"]:
        """What belongs on the CPU, up to the last operation with `on_cpu`, and the rest, for the network's device."""
        count = max((place for place, operation in enumerate(self.operations, 1) if on_cpu(operation)), default=0)
        return Pipeline(*self.operations[:count]), Pipeline(*self.operations[count:])

    def __repr__(self) -> str:
        return ", ".join(map(repr, self.operations))
