"""A page-wide block diagram of a network's stages."""

import itertools
import textwrap

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from common import figures
from common.figures import PAGE_WIDTH
from hw1.architecture import ADD, EARLIER, Inside, Stage, insides, size_words

TOP, LINE, GAP, PAD = 0.62, 0.17, 0.22, 0.12  # in inches: where the boxes begin, the height of a line, between boxes, inside them
HUES = {"conv": 0, "linear": 1, "residual": 2, "concatenating": 2, "norm": 4, "activation": 4, "pool": 4, "branches": 5, "branch": 5}
SAYS = {
    "residual": "residual block: what it computes is added to its input",
    "concatenating": "concatenating block: what it computes is put beside its input",
    "branches": "parallel block: branches from one input, put side by side",
}


def draw(stages: list[Stage], title: str) -> Figure:
    """A page-wide block diagram: stages from top to bottom with output shapes and parameters, and each kind of block opened beside them."""
    figure, grid = figures.new_figure()
    axes, opened = grid[0, 0], insides(stages)
    aside = [(stage.source, i) for i, stage in enumerate(stages) if stage.source not in (i - 1, -1)]
    x = 0.25 + 0.17 * len(aside) if opened else 1.5
    right, edge = 5.5 if opened else 8.5, PAGE_WIDTH - 0.25
    tops, bottom, width = [], TOP - GAP, right - x
    for i, stage in enumerate(stages):
        tops.append(bottom + GAP)
        if stage.source == i - 1 >= 0:
            _arrow(axes, (x + width / 2, bottom), (x + width / 2, tops[-1]))
        bottom = _draw_stage(axes, stage, x, tops[-1], width)
    for lane, (source, target) in enumerate(aside, 1):
        start, end, left = tops[source] + 0.3, tops[target] + 0.15, x - 0.17 * lane
        _arrow(axes, (x, start), (left, start), (left, end), (x, end))
    top = tops[[bool(stage.blocks) for stage in stages].index(True)] if len(opened) == 1 else TOP
    for inside in opened:
        top = _draw_inside(axes, inside, right + 0.3, top, edge - right - 0.3) + GAP
    total = sum(stage.parameters for stage in stages)
    axes.text(PAGE_WIDTH / 2, 0.3, f"{title}: {total:,} parameters", size=12, weight="bold", ha="center", va="center")
    height = max(bottom, top - GAP) + 0.2
    figure.set_layout_engine("none")
    figure.set_size_inches(PAGE_WIDTH, height)
    axes.set(position=(0, 0, 1, 1), xlim=(0, PAGE_WIDTH), ylim=(height, 0))
    axes.axis("off")
    return figure


def _draw_stage(axes: Axes, stage: Stage, x: float, top: float, width: float) -> float:
    """A box with name and contents on the left, output shape and parameters on the right; returns its lower edge."""
    right = [size_words(stage.output).replace("×", " × ")] + [f"{stage.parameters:,} parameters"] * bool(stage.parameters)
    left = [stage.name, *_wrap(stage.text, width - 1.6)]
    bottom = top + 2 * PAD + LINE * max(len(left), len(right)) - 0.03
    _box(axes, (x, top, width, bottom - top), stage.kind)
    _write(axes, left, x + PAD, top + PAD, bold=1)
    _write(axes, right, x + width - PAD, top + PAD, ha="right")
    return bottom


def _draw_inside(axes: Axes, inside: Inside, x: float, top: float, width: float) -> float:
    """A frame with the rows of a block from top to bottom, and its shortcut on the right; returns its lower edge."""
    later = " (the last of a stage)" * (len(inside.notes) > 1)
    lines = [f"Inside {inside.block}{later}", *(line for note in [SAYS[inside.kind], *inside.notes] for line in _wrap(note, width - 0.2))]
    _write(axes, lines, x + PAD, top + PAD, bold=1)
    dense = inside.rows[0][0] == EARLIER
    beside = 1.35 if dense else 0.6 if inside.kind == "residual" else PAD
    start, lane, row_width = top + PAD + LINE * len(lines) + 0.08, x + width - beside / 2, width - PAD - beside
    left, middle, y = x + PAD, x + (PAD + width - beside) / 2, start
    leaves = start + GAP / 2  # where the shortcut does
    for i, (text, family) in enumerate(inside.rows):
        gap = 0.05 if i and family == "branch" else GAP
        if gap == GAP:
            _arrow(axes, (middle, y), (middle, y + gap))
        if text == ADD:
            ring = {"boxstyle": "circle,pad=0.1", "fc": "white", "ec": "#444444"}
            axes.text(middle, y + gap + 0.12, "+", size=11, ha="center", va="center", bbox=ring)
            _arrow(axes, (middle, leaves), (lane, leaves), (lane, y + gap + 0.12), (middle + 0.12, y + gap + 0.12))
            y += gap + 0.24
            continue
        lines = _wrap(text, row_width - 0.16)
        height = 0.1 + LINE * len(lines)
        _box(axes, (left, y + gap, row_width, height), family)
        _write(axes, lines, left + row_width / 2, y + gap + 0.05, ha="center")
        y += gap + height
    _arrow(axes, (middle, y), (middle, y + GAP))
    if dense:
        _arrow(axes, (middle, leaves), (lane, leaves), (lane, y + GAP), dashed=True)
        height = 3 * LINE + 0.1
        axes.add_patch(Rectangle((lane - 0.5, (leaves + y) / 2 - height / 2), 1.0, height, fc="white", ec="none", zorder=2))
        _write(axes, ["earlier results", "go on to", "later layers"], lane, (leaves + y) / 2 - height / 2 + 0.05, ha="center")
    _box(axes, (x, top, width, y + GAP + PAD - top), inside.kind, fill=False)
    return y + GAP + PAD


def _box(axes: Axes, place: tuple[float, float, float, float], kind: str, fill: bool = True) -> None:
    x, top, width, height = place
    hue = to_rgb(figures.OKABE_ITO[HUES[kind]] if kind in HUES else "#777777")
    tint = [1 - 0.2 * (1 - part) for part in hue] if fill else "none"
    style = "round,pad=0,rounding_size=0.06"
    look = {"fc": tint, "ec": hue, "lw": 1, "ls": "-" if fill else "--", "zorder": 2 if fill else 1}
    axes.add_patch(FancyBboxPatch((x, top), width, height, boxstyle=style, **look))


def _arrow(axes: Axes, *points: tuple[float, float], dashed: bool = False) -> None:
    look = {"color": "#444444", "lw": 1, "ls": "--" if dashed else "-"}
    axes.plot(*zip(*points[:-1], strict=True), zorder=1, **look)
    head = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, "mutation_scale": 9}
    axes.annotate("", points[-1], points[-2], arrowprops=head | look, zorder=1)


def _write(axes: Axes, lines: list[str], x: float, top: float, ha: str = "left", bold: int = 0) -> None:
    for i, line in enumerate(lines):
        line = line.replace("\u00a0", " ")  # matplotlib 3.11 has no glyph for the space that does not break
        look = {"size": 9.5, "weight": "bold"} if i < bold else {"size": 8.5}
        axes.text(x, top + LINE * (i + 0.45), line, ha=ha, va="center", zorder=3, **look)


def _wrap(text: str, width: float) -> list[str]:
    """Lines of at most `width` inches at 8.5 points, broken between layers rather than inside one."""
    most = int(width / 0.062)
    layers = [layer.replace(" ", "\u00a0") if len(layer) < most else layer for layer in text.split(" · ")]
    return textwrap.wrap("\u00a0· ".join(layers), most, break_long_words=False)


def draw_table(rows: list[list[str]], header: list[str], widths: list[float], title: str) -> Figure:
    """A table of text as a figure of page width; `widths` are the columns' shares of it. Long cells wrap."""
    cells = [
        [textwrap.wrap(cell, int(14.5 * share * PAGE_WIDTH)) for cell, share in zip(row, widths, strict=True)] for row in [header, *rows]
    ]
    heights = [0.16 * max(1, *map(len, row)) + 0.14 for row in cells]  # inches: lines of 9-point text, and a margin
    figure = Figure(figsize=(PAGE_WIDTH, sum(heights) + 0.5))
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
