"""The stand-in for hw3's pets: drawn shapes for the 37 breeds, as jpg of differing size in the course's layout.

A breed is a shape and filling of hw1's stand-in, in a picture whose sides differ.
"""

from pathlib import Path

import numpy as np
import torch
from torchvision.io import encode_jpeg
from torchvision.transforms.functional import resize

from common.files import atomic_folder
from common.synthetic import draw_class

CLASSES = 37


def draw_pets(folder: Path, train: int = 12, validation: int = 4, seed: int = 0) -> None:
    """Write `{train,val}/{label}_{id}.jpg`, so many of each breed; raises UsageError if `folder` cannot be written."""
    with atomic_folder(folder) as temporary:
        for number, (split, count) in enumerate((("train", train), ("val", validation))):
            (temporary / split).mkdir()
            for label in range(CLASSES):
                rng = np.random.default_rng([seed, number, label])
                for i, image in enumerate(torch.from_numpy(draw_class(label, count, rng))):
                    sides = [int(side) for side in rng.integers(112, 177, 2)]
                    path = temporary / split / f"{label}_{number * train + i}.jpg"
                    path.write_bytes(encode_jpeg(resize(image, sides, antialias=True), quality=90).numpy())
