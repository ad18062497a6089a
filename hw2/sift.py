"""Dense SIFT (Lowe, 2004) on a grid, in the flat-window form of VLFeat's vl_dsift.

Eight orientation maps of the gradient are pooled by triangles around the 4 x 4 bins of every descriptor: two banded matrix products per
image, one along each side. The Gaussian window of the original is constant over a bin, its mean there. vl_dsift repeats the border's
gradients outwards and takes its window's mean over two bins' width; here nothing lies outside the image.
"""

import functools
import math

import torch
from torch import Tensor

ORIENTATIONS, BINS = 8, 4
DIMENSIONS = ORIENTATIONS * BINS * BINS
WINDOW = 2.0  # standard deviation of the Gaussian window, in bins


def dense_sift(image: Tensor, step: int, bin_size: int) -> tuple[Tensor, Tensor]:
    """Descriptors of a grey image (H, W), any value range, every `step` pixels: (N, 128) of length 1 (0 where nothing varies).

    A descriptor spans 4 bins of `bin_size` pixels each way; with it comes its centre (N, 2) as (x, y). Order of the 128: bin row, bin
    column, orientation. An image too small for one descriptor gives none. Values are normalised, cut at 0.2, normalised.
    """
    height, width = image.shape
    if min(height, width) <= (BINS - 1) * bin_size:
        return torch.empty(0, DIMENSIONS), torch.empty(0, 2)
    rows, columns = pooling(height, step, bin_size), pooling(width, step, bin_size)
    down, along = len(rows) // BINS, len(columns) // BINS
    pooled = rows @ orientation_maps(image) @ columns.T  # (8, down * 4, along * 4)
    blocks = pooled.view(ORIENTATIONS, down, BINS, along, BINS).permute(1, 3, 2, 4, 0)
    features = (blocks * window()[:, None, None] * window()[:, None]).reshape(down * along, DIMENSIONS)
    centre = 1.5 * bin_size + torch.arange(max(down, along)) * step
    return normalised(normalised(features).clamp(max=0.2)), torch.cartesian_prod(centre[:down], centre[:along]).flip(-1).view(-1, 2)


def orientation_maps(image: Tensor) -> Tensor:
    """The gradient's length shared between the two nearest of eight directions: (8, H, W). Central differences, one-sided at the border."""
    dy, dx = torch.gradient(image.float())
    angle = torch.atan2(dy, dx) * (ORIENTATIONS / (2 * math.pi)) % ORIENTATIONS
    lower = angle.floor()
    share, length, lower = angle - lower, torch.hypot(dx, dy), lower.long() % ORIENTATIONS
    maps = torch.zeros(ORIENTATIONS, *image.shape)
    maps.scatter_(0, lower[None], ((1 - share) * length)[None])
    return maps.scatter_(0, ((lower + 1) % ORIENTATIONS)[None], (share * length)[None])


@functools.lru_cache(maxsize=64)
def pooling(length: int, step: int, bin_size: int) -> Tensor:
    """The weights (positions * 4, length) with which the four bins at each grid position take from a side's pixels: triangles."""
    positions = range(0, length - (BINS - 1) * bin_size, step)
    centres = torch.tensor([start + i * bin_size for start in positions for i in range(BINS)], dtype=torch.float32).view(-1, 1)
    return (1 - (torch.arange(length) - centres).abs() / bin_size).clamp(min=0)


@functools.lru_cache(maxsize=1)
def window() -> Tensor:
    """The Gaussian window's mean over each of a side's four bins."""
    offsets = (torch.arange(BINS) - (BINS - 1) / 2)[:, None] + torch.linspace(-0.5, 0.5, 101)
    return torch.exp(-0.5 * (offsets / WINDOW) ** 2).mean(1)


def normalised(features: Tensor) -> Tensor:
    """Rows of length 1; rows of zeros stay."""
    return features / features.norm(dim=1, keepdim=True).clamp(min=1e-12)
