"""The stand-in for hw2's CIFAR-10 mini: drawn shapes for the ten classes, and dirty images that show none, in the course's layout.

A class is a shape of hw1's stand-in, whatever fills it. A dirty image is a background without a shape under a random label; their names
are in `annotations/dirty.json`, which the course's data does not have.
"""

import json
from pathlib import Path

import numpy as np
import torch
from torchvision.io import encode_jpeg

from common.files import atomic_folder
from common.synthetic import KINDS, background, contrasting_colours, draw_class, to_uint8

CLASSES, FILLINGS = 10, len(KINDS) // 10
DIRTY = 0.13  # the share of dirty images among the training ones, as in the course's data


def draw_cifar(folder: Path, train: int = 2000, public_test: int = 500, unlabeled: int = 500, seed: int = 0) -> None:
    """Write `{train,public_test,unlabeled}/*.jpg` and `annotations/{train_annos,public_test_annos,dirty}.json` into `folder`.

    Raises UsageError if `folder` cannot be written.
    """
    with atomic_folder(folder) as temporary:
        (temporary / "annotations").mkdir()
        for number, (split, count) in enumerate((("train", train), ("public_test", public_test), ("unlabeled", unlabeled))):
            rng = np.random.default_rng([seed, number])
            images, labels, dirty = draw_split(rng, count, DIRTY if split == "train" else 0)
            names = [f"{i:05d}.jpg" for i in range(count)]
            (temporary / split).mkdir()
            for name, image in zip(names, torch.from_numpy(images), strict=True):
                (temporary / split / name).write_bytes(encode_jpeg(image, quality=90).numpy())
            if split != "unlabeled":
                write_json(temporary / f"annotations/{split}_annos.json", {"images": names, "categories": labels.tolist()})
            if split == "train":
                write_json(temporary / "annotations/dirty.json", {"images": [names[i] for i in np.flatnonzero(dirty)]})


def write_json(path: Path, content: dict) -> None:
    """Write a small JSON file."""
    path.write_text(json.dumps(content), encoding="utf-8")


def draw_split(rng: np.random.Generator, count: int, dirty_share: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images uint8 (count, 3, 32, 32), labels of 0 to 9, and which images are dirty."""
    labels, fillings, dirty = rng.integers(0, CLASSES, count), rng.integers(0, FILLINGS, count), rng.random(count) < dirty_share
    images = np.empty((count, 3, 32, 32), np.uint8)
    for kind in range(len(KINDS)):
        chosen = np.flatnonzero((labels * FILLINGS + fillings == kind) & ~dirty)
        images[chosen] = draw_class(kind, len(chosen), rng)
    ground, _, _ = contrasting_colours(rng, int(dirty.sum()))
    images[dirty] = to_uint8(rng, background(rng, len(ground), ground))
    return images, labels, dirty
