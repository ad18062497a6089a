"""The maps of a caption's words: choosing, drawing and measuring them. A map is (rows, columns) and sums to 1."""

import itertools
import math

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib import colormaps
from torch import Tensor
from torchvision.transforms.functional import resize

from common import figures
from common.cli import UsageError
from common.metrics import mean_and_spread
from hw3.p2_synthetic import NAMES

COLUMNS = 5
CELL, TITLE, GAP = 190, 26, 12  # pixels of a cell's side, of its title above it, and between cells
FREQUENT = 20  # words that a result lists
ARTICLES_AND_PRONOUNS = """a an the this that these those some another each both all
his her its their him them he she it they who which there"""
PREPOSITIONS = """of in on at to with by for from into onto through over under above below behind between near next beside up down out off
around across along against during and or but as while"""
AUXILIARIES = "is are was were be been being has have had do does not"
FUNCTION_WORDS = frozenset(f"{ARTICLES_AND_PRONOUNS} {PREPOSITIONS} {AUXILIARIES}".split())


def chosen(attention: Tensor, layer: int, head: int | None) -> Tensor:
    """(layers, heads, steps, rows, columns) -> (steps, rows, columns): one layer, one head or the mean. Or UsageError."""
    layers, heads = attention.shape[:2]
    if not -layers <= layer < layers or (head is not None and not 0 <= head < heads):
        raise UsageError(f"--layer {layer} --head {head}: there are {layers} layers with {heads} heads, counted from 0")
    return attention[layer].mean(0) if head is None else attention[layer, head]


def overlay(image: Tensor, attention: Tensor) -> np.ndarray:
    """A picture, uint8 (3, H, W), under its map in jet, scaled to the map's own range: uint8 (H, W, 3)."""
    large = F.interpolate(attention[None, None], image.shape[1:], mode="bilinear", align_corners=False)[0, 0]
    level = (large - large.min()) / (large.max() - large.min()).clamp(min=1e-12)
    tinted = 0.5 * image.permute(1, 2, 0).numpy() + 0.5 * 255 * colormaps["jet"](level.numpy())[..., :3]
    return tinted.round().astype(np.uint8)


def cells(image: Tensor, words: list[str], maps: Tensor) -> list[tuple[str, np.ndarray]]:
    """Title and picture of each cell: `<start>` with the plain image, then each token with its own map."""
    plain = image.permute(1, 2, 0).numpy()
    return [(words[0], plain)] + [(word, overlay(image, attention)) for word, attention in zip(words[1:], maps, strict=True)]


def draw(image: Tensor, words: list[str], maps: Tensor):
    """One cell a token, five to a row; all cells are one picture, as so many axes took matplotlib twice as long as the network."""
    height, width = image.shape[1:]
    tall = round(CELL * min(2.0, height / width)) or 1
    scale = min(CELL / width, tall / height)
    small = resize(image, [max(1, round(height * scale)), max(1, round(width * scale))], antialias=True)
    rows, top, left = math.ceil(len(words) / COLUMNS), (tall - small.shape[1]) // 2, (CELL - small.shape[2]) // 2
    canvas = np.full((rows * (tall + TITLE), COLUMNS * (CELL + GAP) - GAP, 3), 255, np.uint8)
    figure, grid = figures.new_figure(height=figures.PAGE_WIDTH * canvas.shape[0] / canvas.shape[1])
    axes = grid[0, 0]
    axes.axis("off")
    for place, (title, picture) in enumerate(cells(small, words, maps)):
        y, x = place // COLUMNS * (tall + TITLE) + TITLE, place % COLUMNS * (CELL + GAP)
        canvas[y + top : y + top + picture.shape[0], x + left : x + left + picture.shape[1]] = picture
        axes.text(x + CELL / 2, y - 6, title, ha="center", va="bottom", size=11)
    axes.imshow(canvas)
    return figure


def frames(image: Tensor, words: list[str], maps: Tensor) -> list[np.ndarray]:
    """The cells one after the other, each with its word: uint8 (H, W, 3) of one size."""
    found = []
    for title, picture in cells(image, words, maps):
        figure, grid = figures.new_figure(1, 1, height=4.0)
        figure.set_size_inches(4, 4)
        grid[0, 0].axis("off")
        grid[0, 0].imshow(picture)
        grid[0, 0].set_title(title)
        figure.canvas.draw()
        found.append(np.asarray(figure.canvas.buffer_rgba())[..., :3].copy())
        figures.plt.close(figure)
    return found


# ---- measures ----


def centre_and_spread(attention: Tensor) -> tuple[float, float, float]:
    """A map's centre (x, y) as shares of the sides, and its spread: the root of its mean squared distance to that centre."""
    rows, columns = attention.shape
    share = attention / attention.sum()
    y, x = (torch.arange(rows) + 0.5) / rows, (torch.arange(columns) + 0.5) / columns
    cx, cy = (share.sum(0) @ x).item(), (share.sum(1) @ y).item()
    return cx, cy, math.sqrt((share * ((x - cx) ** 2 + (y[:, None] - cy) ** 2)).sum().item())


def difference(maps: Tensor) -> float:
    """How much the maps of different steps differ: mean total variation distance of all pairs, 0 (alike) to 1 (apart)."""
    share = maps.flatten(1) / maps.flatten(1).sum(1, keepdim=True)
    pairs = [(a - b).abs().sum().item() / 2 for a, b in itertools.combinations(share, 2)]
    return sum(pairs) / max(1, len(pairs))


def by_word(words: list[list[str]], maps: list[Tensor]) -> dict[str, list[tuple[float, float, float]]]:
    """Centre and spread of every map of each word, over all pictures, the most frequent words first."""
    found: dict[str, list] = {}
    for own, attention in zip(words, maps, strict=True):
        for word, one in zip(own[1:], attention, strict=True):
            found.setdefault(word, []).append(centre_and_spread(one))
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))


def measures(words: list[list[str]], maps: list[Tensor]) -> dict[str, float]:
    """How much the maps of one picture differ and how far a map spreads, mean over all pictures."""
    spreads = [spread for values in by_word(words, maps).values() for _, _, spread in values]
    return {"difference between maps": sum(map(difference, maps)) / len(maps), "spread of a map": sum(spreads) / len(spreads)}


def entropy(attention: Tensor) -> float:
    """How evenly a map is spread: its entropy over that of an even one, 0 (one place) to 1 (everywhere alike)."""
    share = (attention / attention.sum()).flatten()
    return -torch.special.xlogy(share, share).sum().item() / math.log(max(2, share.numel()))


def entropy_by_kind(words: list[list[str]], maps: list[Tensor]) -> dict[str, dict[str, float]]:
    """The entropy of the maps of function words and of all others; signs and the end are neither.

    Of each kind mean and standard deviation over the pictures, of each its own words' mean; then the same of the difference within a
    picture that has both, positive where the others' maps are more concentrated.
    """
    kinds: dict[str, list[float]] = {"function words": [], "other words": [], "difference": []}
    for own, attention in zip(words, maps, strict=True):
        found: dict[bool, list[float]] = {True: [], False: []}
        for word, one in zip(own[1:], attention, strict=True):
            if word.removeprefix("##").isalpha():
                found[word in FUNCTION_WORDS].append(entropy(one))
        means = {kind: sum(values) / len(values) for kind, values in found.items() if values}
        for kind, name in ((True, "function words"), (False, "other words")):
            kinds[name] += [means[kind]] if kind in means else []
        kinds["difference"] += [means[True] - means[False]] if len(means) == 2 else []
    return {name: mean_and_spread(values) for name, values in kinds.items() if len(values) > 1}


def word_table(words: list[list[str]], maps: list[Tensor]) -> dict:
    """The most frequent words with the mean centre and spread of their maps, as a result's further table."""
    rows = [[word, len(values), *np.mean(values, 0).round(3).tolist()] for word, values in by_word(words, maps).items()]
    title = f"Where the maps of the {FREQUENT} most frequent words lie, as shares of the sides, from the upper left corner"
    return {"title": title, "header": ["word", "maps", "x", "y", "spread"], "rows": rows[:FREQUENT]}


def share_in_box(attention: Tensor, box: list[float]) -> tuple[float, float]:
    """The share of a map inside a box [left, top, right, bottom] of shares of the sides, and the box's share of the picture."""
    rows, columns = attention.shape
    left, top, right, bottom = (min(1.0, max(0.0, edge)) for edge in box)

    def inside(count: int, low: float, high: float) -> Tensor:
        start = torch.arange(count) / count
        return ((start + 1 / count).clamp(max=high) - start.clamp(min=low)).clamp(min=0) * count

    weight = inside(rows, top, bottom)[:, None] * inside(columns, left, right)
    return ((attention * weight).sum() / attention.sum()).item(), (right - left) * (bottom - top)


def on_shapes(words: list[list[str]], maps: list[Tensor], boxes: list[dict[str, list[float]]]) -> dict[str, float]:
    """Where the shapes' places are known: the mean share of a noun's map on its own shape, on the other shape, and by chance."""
    own, other, chance = [], [], []
    for caption, attention, known in zip(words, maps, boxes, strict=True):
        for word, one in zip(caption[1:], attention, strict=True):
            if word in known and word in NAMES:
                share, area = share_in_box(one, known[word])
                own.append(share)
                chance.append(area)
                other += [share_in_box(one, box)[0] for name, box in known.items() if name != word]
    if not own:
        return {}
    shares = {"on its shape": own, "on the other shape": other, "by chance": chance}
    return {f"share of a noun's map {name}": sum(values) / max(1, len(values)) for name, values in shares.items()}
