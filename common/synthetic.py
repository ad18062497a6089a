"""Stand-in data sets, drawn in the courses' layouts for readers who lack the courses' images; the same loaders read them.

The pictures are simple, but they ask of a network what photographs ask: a class is a form, while place, size, angle, colours, background
and noise say nothing of it. A problem's p*_synthetic.py has `draw_<problem>(folder)`, which writes the layout; here is what several draw.
"""

import hashlib
import inspect
import itertools
from pathlib import Path

import numpy as np


def version(draw) -> str:
    """12 hex digits that change with the file of the function `draw` and with this one: a set drawn by an older form is not today's."""
    files = Path(inspect.getfile(draw)), Path(__file__)
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


# ---- files ----


# ---- 50 classes of 32x32: ten shapes with five fillings each ----

SIZE = 32


def draw_class(label: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw `count` images of the shape and filling `KINDS[label]`, all else at random: uint8 (count, 3, 32, 32)."""
    shape, filling = KINDS[label]
    x, y = pixel_grid()
    x, y = x - uniform(rng, count, -4, 4), y - uniform(rng, count, -4, 4)
    radius = uniform(rng, count, 8, 12)
    edge = radius * SHAPES[shape](*rotate(x / radius, y / radius, uniform(rng, count, -0.5, 0.5)))
    edge, share = FILLINGS[filling](edge, *rotate(x, y, uniform(rng, count, 0, np.pi)))

    ground, colour, second = contrasting_colours(rng, count)
    paint = colour + share[:, None] * (second - colour)
    canvas = background(rng, count, ground)
    image = canvas + coverage(edge)[:, None] * (paint - canvas)
    return to_uint8(rng, image)


def pixel_grid() -> tuple[np.ndarray, np.ndarray]:
    """x to the right and y upwards, in pixels from the middle of the image: (1, 32) and (32, 1)."""
    axis = np.arange(SIZE, dtype=np.float32) - (SIZE - 1) / 2
    return axis[None, :], -axis[:, None]


def uniform(rng: np.random.Generator, count: int, low: float, high: float) -> np.ndarray:
    """One number per image, (count, 1, 1), to be spread over its pixels."""
    return rng.uniform(low, high, (count, 1, 1)).astype(np.float32)


def rotate(x: np.ndarray, y: np.ndarray, angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The coordinates in a frame that is turned by `angle` (radians)."""
    cos, sin = np.cos(angle), np.sin(angle)
    return cos * x + sin * y, cos * y - sin * x


def coverage(edge: np.ndarray) -> np.ndarray:
    """How much of a pixel a shape covers, 0 to 1, from the distance in pixels to its edge, negative inside."""
    return np.clip(0.5 - edge, 0, 1)


def star(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Five points, folded into one: its edge runs from the tip, at angle 0 and radius 1.05, to the notch at angle pi / 5."""
    angle, radius = np.arctan2(x, y), np.hypot(x, y)
    angle = np.abs((angle + np.pi / 5) % (2 * np.pi / 5) - np.pi / 5)
    return 0.59 * (radius * np.cos(angle) - 1.05) + 0.81 * radius * np.sin(angle)


def heart(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A square on its corner with a disc on each of its upper sides."""
    x, y = np.abs(x), y + 0.1
    return np.minimum(0.71 * (x + np.abs(y) - 0.8), np.hypot(x - 0.4, y - 0.4) - 0.566)


# A shape of radius about 1: the distance of (x, y) to its edge, negative inside. Mirrored by an augmentation, each stays what it is.
SHAPES = {
    "disc": lambda x, y: np.hypot(x, y) - 0.85,
    "square": lambda x, y: np.maximum(np.abs(x), np.abs(y)) - 0.75,
    "triangle": lambda x, y: np.maximum(0.87 * np.abs(x) + 0.5 * y, -y) - 0.5,
    "star": star,
    "cross": lambda x, y: np.maximum(np.minimum(np.abs(x), np.abs(y)) - 0.33, np.maximum(np.abs(x), np.abs(y)) - 0.95),
    "heart": heart,
    "crescent": lambda x, y: np.maximum(np.hypot(x, y) - 0.95, 0.7 - np.hypot(x - 0.5, y)),
    "bow tie": lambda x, y: np.maximum(np.abs(x) - 0.95, 0.8 * (np.abs(y) - 0.12 - 0.7 * np.abs(x))),
    "bar": lambda x, y: np.maximum(np.abs(x) - 1, np.abs(y) - 0.4),
    "chevron": lambda x, y: np.maximum(np.abs(x) - 0.95, 0.71 * np.abs(y + np.abs(x) - 0.4) - 0.33),
}

# From the distance to the edge and coordinates (u, v) of random direction, in pixels: the edge as it is drawn, the second colour's share.
FILLINGS = {
    "plain": lambda edge, u, v: (edge, np.zeros_like(edge)),
    "hollow": lambda edge, u, v: (np.abs(edge + 1.1) - 1.1, np.zeros_like(edge)),
    "halved": lambda edge, u, v: (edge, coverage(u)),
    "striped": lambda edge, u, v: (edge, coverage(1.5 * np.sin(1.25 * u))),
    "checked": lambda edge, u, v: (edge, coverage(3 * np.sin(0.8 * u) * np.sin(0.8 * v))),
}
KINDS = list(itertools.product(SHAPES, FILLINGS))


def contrasting_colours(rng: np.random.Generator, count: int) -> list[np.ndarray]:
    """Three colours per image, each (count, 3, 1, 1) in 0 to 1, each of the later two the farthest of six from those before."""
    chosen = [rng.random((count, 3), dtype=np.float32)]
    for _ in range(2):
        offers = rng.random((6, count, 3), dtype=np.float32)
        distance = np.min([np.linalg.norm(offers - colour, axis=2) for colour in chosen], axis=0)
        chosen.append(offers[distance.argmax(0), np.arange(count)])
    return [colour[:, :, None, None] for colour in chosen]


def background(rng: np.random.Generator, count: int, ground: np.ndarray) -> np.ndarray:
    """`ground` with a slope, waves and three small blobs: (count, 3, 32, 32)."""
    x, y = pixel_grid()
    u, v = rotate(x, y, uniform(rng, count, 0, 2 * np.pi))
    waves = np.sin(u * uniform(rng, count, 0.2, 0.9) + uniform(rng, count, 0, 6)) * uniform(rng, count, 0, 0.1)
    canvas = ground + (v / SIZE * uniform(rng, count, 0, 0.4) + waves)[:, None]
    for _ in range(3):
        tint = rng.normal(0, 0.25, (count, 3, 1, 1)).astype(np.float32)
        edge = np.hypot(x - uniform(rng, count, -16, 16), y - uniform(rng, count, -16, 16)) - uniform(rng, count, 1, 3.5)
        canvas += coverage(edge)[:, None] * tint
    return canvas


def to_uint8(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """Contrast and noise that differ from image to image: float (N, 3, H, W) about 0 to 1 becomes uint8."""
    count = len(image)
    image = 0.5 + (image - 0.5) * uniform(rng, count, 0.4, 1)[:, None]
    image = image + rng.standard_normal(image.shape, dtype=np.float32) * uniform(rng, count, 0.01, 0.07)[:, None]
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)
