"""The stand-in for p2_data: drawn land cover in the course's layout, for readers who lack the course's tiles.

A tile is cut into regions by smooth random fields; each class has a texture of its own (fields with furrows, blocks of houses, crowns of
trees, ripples, ...), while tint, light, scale and direction change from tile to tile, so that a mean colour does not tell the class. Class
shares are about as uneven as the course's. Roads cross the tiles without a label of their own, as in the course's; rivers are water.
"""

import functools
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torchvision.io import encode_jpeg, encode_png
from tqdm import tqdm

from common.files import atomic_folder
from hw1.p2_classes import SCORED, UNKNOWN, coloured

SIDE = 512
SHARES = np.array([0.09, 0.56, 0.10, 0.10, 0.04, 0.11])  # urban, agriculture, rangeland, forest, water, barren
TINTS = np.array([[140, 130, 128], [128, 142, 90], [138, 128, 88], [58, 84, 56], [48, 74, 98], [178, 160, 130]], np.float32)


def draw_p2(folder: Path, train: int = 120, validation: int = 30, seed: int = 0) -> None:
    """Write `train/` and `validation/` with pairs `xxxx_sat.jpg`, `xxxx_mask.png` of 512x512 into `folder`.

    The same arguments give the same files. Raises UsageError if `folder` cannot be written.
    """
    with atomic_folder(folder) as temporary:
        for split, count in (("train", train), ("validation", validation)):
            (temporary / split).mkdir()
            draw = functools.partial(draw_pair, temporary / split, [seed, split == "validation"])
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                list(tqdm(pool.map(draw, range(count)), f"drawing {split}", count, disable=None, leave=False))


def draw_pair(folder: Path, seed: list[int], i: int) -> None:
    """Write the `i`-th tile and its mask."""
    image, labels = land(np.random.default_rng([*seed, i]))
    (folder / f"{i:04d}_sat.jpg").write_bytes(encode_jpeg(image, quality=85).numpy())
    (folder / f"{i:04d}_mask.png").write_bytes(encode_png(coloured(labels), compression_level=1).numpy())


def land(rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """One tile: image uint8 (3, 512, 512) and labels uint8 (512, 512)."""
    labels = regions(rng)
    river = ribbon(rng, rng.uniform(3, 9)) if rng.random() < 0.4 else 0
    labels = np.where(np.asarray(river) > 0.5, 4, labels)
    image = np.zeros((SIDE, SIDE, 3), np.float32)
    for label, texture in enumerate(TEXTURES):
        if (labels == label).any():
            tint = np.float32(TINTS[label] * rng.uniform(0.8, 1.2) + rng.normal(0, 9, 3))
            contrast = np.float32(rng.uniform(0.8, 1.2, 3))
            image += softened(labels == label)[..., None] * (tint + texture(rng)[..., None] * contrast)
    for _ in range(rng.integers(0, 3)):
        road = ribbon(rng, rng.uniform(1, 2.5))[..., None]
        image += road * (np.float32(rng.uniform(120, 190)) - image)
    image += 9 * waves(rng, 3)[..., None] + 5 * rng.standard_normal(image.shape, dtype=np.float32)
    image = image * np.float32(rng.uniform(0.75, 1.2)) + np.float32(rng.normal(0, 6, 3))
    if rng.random() < 0.02:
        corner = rng.integers(4, 16)
        image[:corner, :corner], labels[:corner, :corner] = 0, UNKNOWN
    pixels = np.clip(image, 0, 255).astype(np.uint8)
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous(), torch.from_numpy(labels.astype(np.uint8))


# ---- where the classes lie ----


def waves(rng: np.random.Generator, cells: int, side: int = SIDE) -> np.ndarray:
    """A smooth random field (side, side), about standard normal, with some `cells` hills along a side."""
    coarse = torch.from_numpy(rng.standard_normal((1, 1, cells + 3, cells + 3), dtype=np.float32))
    size = side * (cells + 3) // cells
    fine = F.interpolate(coarse, (size, size), mode="bicubic", align_corners=False)[0, 0].numpy()
    top, left = rng.integers(0, size - side + 1, 2)
    return fine[top : top + side, left : left + side] * 1.4


def regions(rng: np.random.Generator) -> np.ndarray:
    """Labels (512, 512): each class has a field, and the highest wins; some classes are missing from a tile."""
    bias = np.log(SHARES / SHARES.max()) * 1.1
    bias[rng.random(SCORED) < 0.25] -= 3
    fields = [waves(rng, rng.integers(2, 6), 128) + 0.12 * waves(rng, 24, 128) + bias[label] for label in range(SCORED)]
    fine = F.interpolate(torch.from_numpy(np.float32(fields))[None], (SIDE, SIDE), mode="bilinear", align_corners=False)[0]
    return fine.max(0).indices.numpy()


def ribbon(rng: np.random.Generator, width: float) -> np.ndarray:
    """How much of each pixel, 0 to 1, a winding band of `width` pixels across the tile covers."""
    along, across = (axis - np.float32(axis.mean()) for axis in turned_grid(rng))
    bend = np.float32(rng.uniform(5, 40)) * np.sin(along / np.float32(rng.uniform(40, 120)) + np.float32(rng.uniform(0, 6)))
    return np.clip(np.float32(width / 2 + 0.5) - np.abs(across - bend - np.float32(rng.uniform(-180, 180))), 0, 1)


def softened(mask: np.ndarray) -> np.ndarray:
    """A region with a soft border, 0 to 1."""
    tensor = torch.from_numpy(mask.astype(np.float32))[None, None]
    return F.avg_pool2d(tensor, 5, 1, 2, count_include_pad=False)[0, 0].numpy()


# ---- what the classes look like: textures (512, 512), grey values about 0 ----


def turned_grid(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Pixel coordinates in a frame of random direction."""
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    angle = rng.uniform(0, np.pi)
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    return cos * x + sin * y, cos * y - sin * x


def houses(rng: np.random.Generator) -> np.ndarray:
    """Bright roofs in a grid of streets."""
    u, v = turned_grid(rng)
    side = rng.uniform(9, 14)
    roof = rng.normal(0, 45, (200, 200))[(u // side).astype(int), (v // side).astype(int)]
    street = (u % side < 2.5) | (v % side < 2.5)
    return np.where(street, -35, roof + 15).astype(np.float32)


def furrows(rng: np.random.Generator) -> np.ndarray:
    """Large fields of one shade each, finely striped along one side."""
    u, v = turned_grid(rng)
    long, short = rng.uniform(70, 130), rng.uniform(35, 70)
    shade = rng.normal(0, 20, (50, 50))[(u // long).astype(int), (v // short).astype(int)]
    return (shade + 9 * np.sin(v * rng.uniform(0.8, 1.3))).astype(np.float32)


def shrubs(rng: np.random.Generator) -> np.ndarray:
    """Dark spots on open ground."""
    return -45 * (waves(rng, 60) > 1.1) + 6 * waves(rng, 12)


def crowns(rng: np.random.Generator) -> np.ndarray:
    """A dense, fine, round grain."""
    return 17 * waves(rng, 110)


def ripples(rng: np.random.Generator) -> np.ndarray:
    """Almost plain."""
    return 4 * waves(rng, 8)


def dunes(rng: np.random.Generator) -> np.ndarray:
    """Broad bright and dark bands that wind."""
    u, _ = turned_grid(rng)
    return 16 * np.sin(u / rng.uniform(6, 10) + 2.5 * waves(rng, 5)).astype(np.float32)


TEXTURES = (houses, furrows, shrubs, crowns, ripples, dunes)
