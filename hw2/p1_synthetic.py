"""The stand-in for hw2's 15 scenes: grey pictures of a texture in a layout, in the course's folders.

A class is one of five textures in one of three layouts; scale, direction, phase, light and noise differ from picture to picture. A bag of
local features sees the texture and something of the layout, a tiny image little more than the layout.
"""

import itertools
from pathlib import Path

import numpy as np
import torch
from torchvision.io import encode_jpeg

from common.files import atomic_folder
from hw2.p1_classes import CLASSES

SIDE = 256


def draw_scenes(folder: Path, train: int = 20, test: int = 20, seed: int = 0) -> None:
    """Write `p1/{train,test}/<Category>/*.jpg`, so many of each class, grey, 256x256; the same arguments give the same files.

    Raises UsageError if `folder` cannot be written.
    """
    with atomic_folder(folder) as temporary:
        for split, count in (("train", train), ("test", test)):
            for label, name in enumerate(CLASSES):
                place = temporary / "p1" / split / name
                place.mkdir(parents=True)
                for i in range(count):
                    pixels = scene(label, np.random.default_rng([seed, split == "test", label, i]))
                    (place / f"image_{i:04d}.jpg").write_bytes(encode_jpeg(torch.from_numpy(pixels)[None], quality=90).numpy())


def scene(label: int, rng: np.random.Generator) -> np.ndarray:
    """One picture of a class, uint8 (256, 256)."""
    texture, layout = KINDS[label]
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    angle, scale = rng.uniform(-0.3, 0.3), rng.uniform(0.8, 1.25)
    u, v = (np.cos(angle) * x + np.sin(angle) * y) * scale, (np.cos(angle) * y - np.sin(angle) * x) * scale
    pattern = TEXTURES[texture](u + rng.uniform(0, 99), v + rng.uniform(0, 99), rng)
    where = LAYOUTS[layout](x / SIDE, y / SIDE, rng)
    light = rng.uniform(90, 160) + rng.uniform(-40, 40) * x / SIDE + rng.uniform(-40, 40) * y / SIDE
    image = light + where * rng.uniform(25, 55) * pattern + (1 - where) * rng.uniform(-30, 50)
    return np.clip(image + rng.normal(0, rng.uniform(3, 9), image.shape), 0, 255).astype(np.uint8)


def spots(u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Dark discs in rows."""
    return 1 - 2 * (np.hypot(u % 18 - 9, v % 18 - 9) < 5.5)


def grain(u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Square grains of random light."""
    return rng.uniform(-1.3, 1.3, (128, 128))[(u // 5).astype(int) % 128, (v // 5).astype(int) % 128]


# Values about -1 to 1 at coordinates in pixels.
TEXTURES = {
    "bars": lambda u, v, rng: np.sign(np.sin(u * 0.5)),
    "waves": lambda u, v, rng: np.sin(v * 0.45 + 2 * np.sin(u * 0.12)),
    "checks": lambda u, v, rng: np.sign(np.sin(u * 0.3) * np.sin(v * 0.3)),
    "spots": spots,
    "grain": grain,
}
# How much of the texture shows, 0 or 1, at coordinates of 0 to 1.
LAYOUTS = {
    "everywhere": lambda x, y, rng: np.ones_like(x),
    "below the horizon": lambda x, y, rng: (y > rng.uniform(0.4, 0.6)).astype(np.float32),
    "beside the road": lambda x, y, rng: (np.abs(x - rng.uniform(0.45, 0.55)) > rng.uniform(0.1, 0.2) + 0.2 * y).astype(np.float32),
}
KINDS = list(itertools.product(TEXTURES, LAYOUTS))
