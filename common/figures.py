"""One look for all figures: Agg, legible at page width, colours that colour-blind readers can tell apart."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from common.setup import replacing

PAGE_WIDTH = 10.0  # inches; at 150 dots per inch a figure fills a page of 1,500 pixels
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


def save(figure: Figure, path: Path) -> None:
    """Write a PNG whole or not at all, and close the figure."""
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=150)
    plt.close(figure)


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


def draw_table(axes: Axes, rows: list[list[str]], header: list[str], widths: list[float]) -> None:
    """A table of text with a bold header on axes of its own; `widths` are the columns' shares of the width."""
    axes.axis("off")
    table = axes.table(cellText=rows, colLabels=header, colWidths=widths, cellLoc="left", loc="center", bbox=[0, 0, 1, 1])
    table.auto_set_font_size(False)
    table.set_fontsize(9)
    for (row, _), cell in table.get_celld().items():
        cell.set_edgecolor("#cccccc")
        cell.set_text_props(weight="bold" if row == 0 else "normal", wrap=True)
