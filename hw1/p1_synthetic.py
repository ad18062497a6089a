"""The stand-in for hw1 problem 1 in the course's layout: 50 classes of 32x32, common/synthetic.py's ten shapes in five fillings."""

import csv
from pathlib import Path

import numpy as np
import torch
from torchvision.io import encode_png

from common.files import atomic_folder
from common.synthetic import KINDS, draw_class


def draw_p1(folder: Path, train_per_class: int = 450, validation_per_class: int = 50, seed: int = 0) -> None:
    """Write `train_50/{label}_{id}.png`, `val_50/{label}_{id}.png` (ids go on after the training ones) and `val_gt.csv` into `folder`.

    The images are 32x32 RGB. The same arguments give the same bytes. Raises UsageError if `folder` cannot be written.
    """
    with atomic_folder(folder) as temporary:
        (temporary / "train_50").mkdir()
        (temporary / "val_50").mkdir()
        answers = [("filename", "label")]
        for label in range(len(KINDS)):
            images = draw_class(label, train_per_class + validation_per_class, np.random.default_rng([seed, label]))
            names = [f"{label}_{i}.png" for i in range(len(images))]
            write_pngs(temporary / "train_50", names[:train_per_class], images[:train_per_class])
            write_pngs(temporary / "val_50", names[train_per_class:], images[train_per_class:])
            answers += [(name, label) for name in names[train_per_class:]]
        with open(temporary / "val_gt.csv", "w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows(answers)


def write_pngs(folder: Path, names: list[str], images: np.ndarray) -> None:
    """Write uint8 `images` (N, 3, H, W) as PNG files, uncompressed: noise hardly shrinks, and so small a file fills a disk block anyway."""
    for name, image in zip(names, torch.from_numpy(images), strict=True):
        (folder / name).write_bytes(encode_png(image, compression_level=0).numpy())
