"""The stand-in for hw1's problem 3: drawn patterns in p3_data's layout, many without labels and few with.

The class to transfer to is the pattern, whatever its colours, phase, angle and wavelength, and a flip changes none. Beyond the course's
layout `mini/train.csv` labels the images to pre-train on by pattern and by coarse or fine, for supervised pre-training.
"""

import csv
from pathlib import Path

import numpy as np
import torch
from torchvision.io import encode_jpeg

from common.files import atomic_folder
from common.synthetic import pixel_grid, rotate, to_uint8, uniform

# From coordinates (u, v) in radians and a random sign: the share of the second colour, about -1 to 1.
PATTERNS = {
    "rows": lambda u, v, sign: np.sin(v),
    "columns": lambda u, v, sign: np.sin(u),
    "diagonals": lambda u, v, sign: np.sin(0.71 * (u + sign * v)),
    "checks": lambda u, v, sign: 1.5 * np.sin(u) * np.sin(v),
    "diamonds": lambda u, v, sign: 1.5 * np.sin(0.71 * (u + v)) * np.sin(0.71 * (u - v)),
    "dots": lambda u, v, sign: np.cos(u) + np.cos(v) - 1,
    "grid": lambda u, v, sign: 2 * np.maximum(np.cos(u), np.cos(v)) - 1,
    "rings": lambda u, v, sign: np.sin(np.hypot(u, v)),
    "waves": lambda u, v, sign: np.sin(v + 2 * np.sin(0.5 * u)),
    "spokes": lambda u, v, sign: np.sin(5 * np.arctan2(v, u)),
}
KINDS = 2 * len(PATTERNS)  # each pattern coarse and fine
WAVELENGTHS = ((11, 15), (7, 9))  # pixels


def draw_p3(folder: Path, unlabelled: int = 4000, train: int = 400, validation: int = 1000, seed: int = 0) -> None:
    """Write `mini/train/*.jpg`, `mini/train.csv`, `office/{train,val}/{label}_{id}.jpg` and their csv files into `folder`, 32x32 RGB.

    Raises UsageError if `folder` cannot be written.
    """
    with atomic_folder(folder) as temporary:
        kinds = np.arange(unlabelled) % KINDS
        draw_split(temporary / "mini/train", kinds, [f"{i:05d}.jpg" for i in range(unlabelled)], kinds, np.random.default_rng([seed, 0]))
        for number, (split, count) in enumerate((("train", train), ("val", validation)), start=1):
            kinds = np.arange(count) % KINDS
            names = [f"{kind // 2}_{i}.jpg" for i, kind in enumerate(kinds)]
            draw_split(temporary / "office" / split, kinds, names, kinds // 2, np.random.default_rng([seed, number]))


def draw_split(folder: Path, kinds: np.ndarray, names: list[str], labels: np.ndarray, rng: np.random.Generator) -> None:
    """One image of each kind, as jpg, and the csv beside the folder."""
    folder.mkdir(parents=True)
    images = np.empty((len(kinds), 3, 32, 32), np.uint8)
    for kind in np.unique(kinds):
        images[kinds == kind] = draw_kind(kind, int((kinds == kind).sum()), rng)
    for name, image in zip(names, torch.from_numpy(images), strict=True):
        (folder / name).write_bytes(encode_jpeg(image, quality=95).numpy())
    with open(folder.with_suffix(".csv"), "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "filename", "label"])
        writer.writerows((i, name, label) for i, (name, label) in enumerate(zip(names, labels, strict=True)))


def draw_kind(kind: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` images of pattern `kind // 2`, coarse or fine by `kind % 2`: uint8 (count, 3, 32, 32)."""
    x, y = pixel_grid()
    x, y = rotate(x - uniform(rng, count, -8, 8), y - uniform(rng, count, -8, 8), uniform(rng, count, -0.2, 0.2))
    wave, sign = 2 * np.pi / uniform(rng, count, *WAVELENGTHS[kind % 2]), np.sign(uniform(rng, count, -1, 1))
    share = np.clip(0.5 + 0.5 * list(PATTERNS.values())[kind // 2](wave * x, wave * y, sign), 0, 1)[:, None]
    dark, bright = (rng.normal(level, (0.05,) * 3, (count, 3)).astype(np.float32)[:, :, None, None] for level in (0.3, 0.7))
    return to_uint8(rng, dark + share * (bright - dark))
