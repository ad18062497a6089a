"""One look for all figures: Agg, legible at page width, colours that colour-blind readers can tell apart."""

import io
import itertools
import json
import textwrap
from pathlib import Path

import imageio.v3 as imageio
import matplotlib

matplotlib.use("Agg")
matplotlib.rcParams["text.parse_math"] = False  # a file name with two $ is no formula

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

from common.cli import replacing, signed_png

PAGE_WIDTH = 10.0  # inches; at 150 dots per inch a figure fills a page of 1,500 pixels, with photographs at 100 of 1,000
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito, 2008
MARKERS = ("o", "s", "^", "D", "v")
LOOK = {
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": plt.cycler(color=OKABE_ITO),
    "legend.frameon": False,
    "figure.dpi": 150,
    "savefig.facecolor": "white",
}


def new_figure(rows: int = 1, columns: int = 1, height: float = 4.0, **options) -> tuple[Figure, np.ndarray]:
    """A figure of page width and `height` inches with a grid of axes: the figure and a (rows, columns) array of axes."""
    with plt.rc_context(LOOK):
        figure, axes = plt.subplots(rows, columns, figsize=(PAGE_WIDTH, height), squeeze=False, layout="constrained", **options)
    return figure, axes


def epoch_axis(axes: plt.Axes) -> None:
    """Name the horizontal axis, and mark whole epochs alone."""
    axes.set_xlabel("epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)


def save(figure: Figure, path: Path) -> None:
    """Write a PNG of 256 colours (a third of the bytes) whole or not at all, and close it; photographs are coarser and dithered."""
    photographs = any(image.get_array().ndim == 3 for axes in figure.axes for image in axes.get_images())
    for text in figure.findobj(Text):  # bytes of file names that are no text
        text.set_text("".join(letter if letter.isprintable() or letter == "\n" else "\ufffd" for letter in text.get_text()))
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=100 if photographs else 150, format="png")
        with Image.open(temporary) as picture:
            colours = picture.convert("RGB")
        small = colours.quantize(256, dither=Image.Dither.NONE)
        if photographs:
            small = dithered(colours, small)
        small.save(temporary, "PNG", optimize=True)
        temporary.write_bytes(signed_png(temporary.read_bytes()))
    plt.close(figure)


def dithered(colours: Image.Image, palette: Image.Image) -> Image.Image:
    """An RGB picture in a palette's colours, mixed from dots; white stays white, which the pictures' brightest parts would tint."""
    dots = np.array(colours.quantize(256, palette=palette, dither=Image.Dither.FLOYDSTEINBERG).convert("RGB"))
    white = (np.asarray(colours) == 255).all(2)
    dots[white] = 255
    return Image.fromarray(dots).quantize(256, dither=Image.Dither.NONE)


def gif(frames: list[np.ndarray]) -> bytes:
    """Frames, uint8 (H, W, 3), a second each, as an endless GIF's content."""
    return imageio.imwrite("<bytes>", frames, extension=".gif", duration=1000, loop=0)


def class_styles(count: int) -> list[dict]:
    """A colour and a marker for each of up to 50 classes: ten hues, five markers, so that no two classes share both."""
    hues = plt.get_cmap("tab10").colors
    return [{"color": hues[label % 10], "marker": MARKERS[label // 10 % 5]} for label in range(count)]


def scatter_classes(axes: Axes, points: np.ndarray, target: np.ndarray, count: int) -> list:
    """Draw points (N, 2) in the style of their class, (N,) integers below `count`; returns one handle per class for a legend."""
    handles = []
    for label, style in enumerate(class_styles(count)):
        chosen = points[target == label]
        handles.append(axes.scatter(chosen[:, 0], chosen[:, 1], s=9, linewidths=0, alpha=0.75, label=str(label), **style))
    axes.set_xticks([])
    axes.set_yticks([])
    return handles


def class_legend(figure: Figure, handles: list) -> None:
    """The classes' legend below the figure, 25 to a row."""
    look = {"fontsize": 7, "handletextpad": 0, "columnspacing": 0.6, "markerscale": 1.6}
    figure.legend(handles=handles, loc="outside lower center", ncols=25, title="class", **look)


def table(rows: list[list[str]], header: list[str], widths: list[float], title: str) -> Figure:
    """A table of text as a figure of page width; `widths` are the columns' shares of it. Long cells wrap."""
    cells = [
        [textwrap.wrap(cell, int(14.5 * share * PAGE_WIDTH)) for cell, share in zip(row, widths, strict=True)] for row in [header, *rows]
    ]
    heights = [0.16 * max(1, *map(len, row)) + 0.14 for row in cells]  # inches: lines of 9-point text, and a margin
    figure = plt.figure(figsize=(PAGE_WIDTH, sum(heights) + 0.5))
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, PAGE_WIDTH), ylim=(sum(heights) + 0.5, 0))
    axes.axis("off")
    axes.text(PAGE_WIDTH / 2, 0.22, title, ha="center", va="center", size=11)
    top = 0.42
    for i, (row, height) in enumerate(zip(cells, heights, strict=True)):
        axes.plot([0.1, PAGE_WIDTH - 0.1], [top, top], color="#cccccc", lw=0.8)
        for cell, left in zip(row, itertools.accumulate(widths, initial=0), strict=False):
            look = {"weight": "bold" if i == 0 else "normal", "size": 9, "linespacing": 1.25}
            axes.text(left * PAGE_WIDTH + 0.15, top + height / 2, "\n".join(cell), va="center", **look)
        top += height
    return figure


# ---- small files for the results page ----

STRIP = 320  # pixels: height and width of a picture in a strip of stages


def points(planes: dict[str, np.ndarray], target: np.ndarray) -> dict[str, bytes]:
    """The points of scatter plots, so that the results page can show one class; a file for results.write_result, by its suffix.

    `planes` are points (N, 2) by the panel's title, `target` their classes (N,). Each panel's longer side becomes 0 to 999, y downwards:
    2,500 points in three panels take 70 KB.
    """
    panels = []
    for title, plane in planes.items():
        low, extent = plane.min(0), max(float(np.ptp(plane, axis=0).max()), 1e-12)
        x, y = np.rint((plane - low) / extent * 999).astype(int).T
        panels.append({"title": title, "x": x.tolist(), "y": (y.max() - y).tolist()})
    content = {"panels": panels, "target": target.tolist()}
    return {"-points.json": json.dumps(content, separators=(",", ":")).encode()}


def stages(words: list[str], tiles: dict[str, list[np.ndarray]]) -> dict[str, bytes]:
    """Photographs and what a network made of each at several stages, so that the results page can wipe one across the other.

    `tiles` are uint8 pictures (H, W, 3) by name, the photograph first, then one for each of `words`. Files for results.write_result by
    their suffixes: a JSON, and for each tile a strip of its pictures beside one another.
    """
    content = {"stages": words, "tiles": list(tiles), "size": [STRIP, STRIP]}
    files = {"-stages.json": json.dumps(content).encode()}
    for name, pictures in tiles.items():
        strip, file = Image.new("RGB", (STRIP * len(pictures), STRIP)), io.BytesIO()
        for place, picture in enumerate(pictures):
            strip.paste(Image.fromarray(picture).resize((STRIP, STRIP), Image.Resampling.BOX), (STRIP * place, 0))
        strip.save(file, "JPEG", quality=85)
        files[f"-{name}-strip.jpg"] = file.getvalue()
    return files
