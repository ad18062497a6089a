"""One look for all figures: Agg, legible at page width, colours that colour-blind readers can tell apart."""

from pathlib import Path

import imageio.v3 as imageio
import matplotlib

matplotlib.use("Agg")
matplotlib.rcParams["text.parse_math"] = False  # a file name with two $ is no formula

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.patches import Patch
from matplotlib.text import Text
from PIL import Image

from common.files import atomic_write, signed_png

PAGE_WIDTH = 10.0  # inches; at 150 dots per inch a figure fills a page of 1,500 pixels, with photographs at 100 of 1,000
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito, 2008
RGB_CODE = np.array([1 << 16, 1 << 8, 1])  # a colour (R, G, B) times this is one number
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
    """Write a PNG of 256 colours (a third of the bytes) whole or not at all, and close it; photographs are coarser and dithered.

    A legend's swatches, and what has their colours, stay exact.
    """
    photographs = any(image.get_array().ndim == 3 for axes in figure.axes for image in axes.get_images())
    for text in figure.findobj(Text):  # bytes of file names that are no text
        text.set_text("".join(letter if letter.isprintable() or letter == "\n" else "\ufffd" for letter in text.get_text()))
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=100 if photographs else 150, format="png")
        with Image.open(temporary) as picture:
            drawn = picture.convert("RGB")
        swatches = [patch for legend in figure.findobj(Legend) for patch in legend.findobj(Patch)]
        exact = np.unique([np.round(np.multiply(to_rgb(patch.get_facecolor()), 255)) for patch in (figure.patch, *swatches)], axis=0)
        reduced(drawn, exact.astype(np.uint8), dither=photographs).save(temporary, "PNG", optimize=True)
        temporary.write_bytes(signed_png(temporary.read_bytes()))
    plt.close(figure)


def reduced(picture: Image.Image, exact: np.ndarray, dither: bool) -> Image.Image:
    """An RGB picture in 256 colours: pixels of the colours `exact`, uint8 (N, 3), as they are, others near, with `dither` mixed from dots.

    Pillow's quantize alone gives small areas a mean of their colour and others', so that two classes of a legend became one.
    """
    palette = picture.quantize(256 - len(exact), dither=Image.Dither.NONE)
    near = picture.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) if dither else palette
    before, after = (np.array(each) @ RGB_CODE for each in (picture, near.convert("RGB")))
    codes, index = np.unique(np.where(np.isin(before, exact @ RGB_CODE), before, after), return_inverse=True)
    small = Image.fromarray(index.reshape(before.shape).astype(np.uint8))
    small.putpalette((codes[:, None] // RGB_CODE % 256).astype(np.uint8).tobytes())
    return small


def gif(frames: list[np.ndarray]) -> bytes:
    """Frames, uint8 (H, W, 3), a second each, as an endless GIF's content."""
    return imageio.imwrite("<bytes>", frames, extension=".gif", duration=1000, loop=0)


def learning_curves(histories: dict[str, list[dict]], numbers: tuple[str, ...], title: str, notes: dict[str, str] | None = None):
    """`numbers` ('loss', 'accuracy', ...) over the epochs, one panel each; a line for each split of each training, named by the keys.

    `notes` are words for the legend by line: {'train_loss': 'with label smoothing'}, with a training's name {'B train_loss': ...}.
    """
    figure, grid = new_figure(1, len(numbers), height=3.6)
    for axes, number in zip(grid[0], numbers, strict=True):
        for name, history in histories.items():
            epochs = [epoch["epoch"] for epoch in history]
            for split in ("train", "validation"):
                if f"{split}_{number}" in history[0]:
                    values = [epoch[f"{split}_{number}"] for epoch in history]
                    note = (notes or {}).get(f"{name} {split}_{number}".strip(), "")
                    words = f"{name} {split} {note}".strip()
                    axes.plot(epochs, values, marker="o" if len(epochs) < 12 else None, label=words)
        axes.set_ylabel({"miou": "mIoU"}.get(number, number))
        epoch_axis(axes)
        axes.legend()
    figure.suptitle(title)
    return figure
