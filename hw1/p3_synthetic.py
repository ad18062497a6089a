"""The stand-in for hw1's problem 3: drawn shapes in p3_data's layout, many without labels and few with.

The class to transfer to is the shape, whatever fills it. Beyond the course's layout `mini/train.csv` labels the images to pre-train on by
shape and filling, for supervised pre-training.
"""

import csv
from pathlib import Path

import numpy as np
import torch
from torchvision.io import encode_jpeg

from common.synthetic import P1_KINDS, SHAPES, p1_class, whole_folder

FILLINGS = len(P1_KINDS) // len(SHAPES)


def draw_p3(folder: Path, unlabelled: int = 4000, train: int = 200, validation: int = 500, seed: int = 0) -> None:
    """Write `mini/train/*.jpg`, `mini/train.csv`, `office/{train,val}/{label}_{id}.jpg` and their csv files into `folder`, 32x32 RGB.

    Raises UsageError if `folder` cannot be written.
    """
    with whole_folder(folder) as temporary:
        kinds = np.arange(unlabelled) % len(P1_KINDS)
        names = [f"{i:05d}.jpg" for i in range(unlabelled)]
        draw_split(temporary / "mini/train", kinds, names, kinds, np.random.default_rng([seed, 0]))
        for number, (split, count) in enumerate((("train", train), ("val", validation)), start=1):
            kinds = np.arange(count) % len(P1_KINDS)
            labels = kinds // FILLINGS
            names = [f"{label}_{i}.jpg" for i, label in enumerate(labels)]
            draw_split(temporary / "office" / split, kinds, names, labels, np.random.default_rng([seed, number]))


def draw_split(folder: Path, kinds: np.ndarray, names: list[str], labels: np.ndarray, rng: np.random.Generator) -> None:
    """One image of each kind, as jpg, and the csv beside the folder."""
    folder.mkdir(parents=True)
    images = np.empty((len(kinds), 3, 32, 32), np.uint8)
    for kind in np.unique(kinds):
        images[kinds == kind] = p1_class(kind, int((kinds == kind).sum()), rng)
    for name, image in zip(names, torch.from_numpy(images), strict=True):
        (folder / name).write_bytes(encode_jpeg(image, quality=95).numpy())
    with open(folder.with_suffix(".csv"), "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["id", "filename", "label"])
        writer.writerows((i, name, label) for i, (name, label) in enumerate(zip(names, labels, strict=True)))
