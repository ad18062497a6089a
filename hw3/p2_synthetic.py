"""The stand-in for hw3's captions: two coloured shapes in a picture, above each other or side by side, with the caption that says so.

"a red circle above a blue square": the upper or left one comes first. `shapes.json`, which the course's data does not have, gives for each
file the box of each shape, so that a word's map can be checked.
"""

import json
from pathlib import Path

import numpy as np
import torch
from torchvision.io import encode_jpeg

from common.files import atomic_folder
from common.synthetic import SHAPES, coverage

SIDE = 96
COLOURS = {"red": (220, 40, 40), "green": (40, 170, 60), "blue": (50, 80, 220), "yellow": (235, 210, 40), "white": (245, 245, 245)}
NAMES = {"circle": "disc", "square": "square", "triangle": "triangle", "star": "star", "heart": "heart", "cross": "cross"}
RELATIONS = ("above", "left of")


def draw_captions(folder: Path, train: int = 2000, validation: int = 200, seed: int = 0) -> None:
    """Write `images/{train,val}/*.jpg`, `{train,val}.json` and `shapes.json`; raises UsageError if `folder` cannot be written."""
    with atomic_folder(folder) as temporary:
        boxes = {}
        for number, (split, count) in enumerate((("train", train), ("val", validation))):
            (temporary / "images" / split).mkdir(parents=True)
            images, notes = [], []
            for i in range(count):
                pixels, caption, shapes = scene(np.random.default_rng([seed, number, i]))
                name = f"{split}{i:05d}.jpg"
                (temporary / "images" / split / name).write_bytes(encode_jpeg(torch.from_numpy(pixels), quality=92).numpy())
                images.append({"file_name": name, "id": i})
                notes.append({"caption": caption, "image_id": i, "id": i})
                boxes[name] = shapes
            (temporary / f"{split}.json").write_text(json.dumps({"annotations": notes, "images": images}), encoding="utf-8")
        (temporary / "shapes.json").write_text(json.dumps(boxes), encoding="utf-8")


def scene(rng: np.random.Generator) -> tuple[np.ndarray, str, dict[str, list[float]]]:
    """One picture uint8 (3, 96, 96), its caption, and by shape name its box [left, top, right, bottom] as shares of the sides."""
    names = rng.choice(list(NAMES), 2, replace=False)
    colours = rng.choice(list(COLOURS), 2, replace=False)
    relation = int(rng.integers(len(RELATIONS)))
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32) + 0.5
    image = np.full((3, SIDE, SIDE), rng.uniform(60, 150), np.float32) + rng.uniform(-25, 25, (3, 1, 1)).astype(np.float32)
    boxes = {}
    for place, (name, colour) in enumerate(zip(names, colours, strict=True)):
        radius, along = rng.uniform(11, 17), SIDE * (0.27 + 0.46 * place) + rng.uniform(-5, 5)
        across = rng.uniform(22, SIDE - 22)
        centre = (along, across) if RELATIONS[relation] == "left of" else (across, along)
        edge = radius * SHAPES[NAMES[name]]((x - centre[0]) / radius, (y - centre[1]) / radius)
        image += coverage(edge) * (np.array(COLOURS[colour], np.float32)[:, None, None] - image)
        boxes[str(name)] = [float(v) / SIDE for v in (centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius)]
    caption = f"a {colours[0]} {names[0]} {RELATIONS[relation]} a {colours[1]} {names[1]}"
    image += rng.normal(0, rng.uniform(2, 8), image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), caption, boxes
