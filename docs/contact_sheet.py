"""Eight figures of docs/results on one picture for the head of the README, each with its item and headline: docs/contact-sheet.png.

python docs/contact_sheet.py
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from common import cli, files, items, page
from common.cli import ROOT

FIGURES = {  # each with the share of its height, from the top, that is shown
    "hw1-p2-stages-0013.png": 0.92,
    "f22a-1.6.png": 1.0,
    "f21-1.3.png": 0.3,
    "f21-1.2.png": 0.37,
    "cv22-1.png": 1.0,
    "f23-2.2.png": 1.0,
    "f22a-2.2.png": 0.62,
    "cv22-2.1.png": 1.0,
}
COLUMNS, WIDTH, HEIGHT, CAPTION, GAP = 4, 292, 190, 42, 8  # of a cell, in pixels
INK, GREY = "#1d2330", "#5b6472"


def font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib brings along and which has an arrow."""
    return ImageFont.truetype(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf", size)


def cell(path: Path, share: float, name: str, words: str) -> Image.Image:
    """A figure above its item's name and headline."""
    with Image.open(path) as file:
        figure = file.convert("RGB")
    figure = figure.crop((0, 0, figure.width, round(figure.height * share)))
    figure.thumbnail((WIDTH, HEIGHT), Image.Resampling.LANCZOS)
    picture = Image.new("RGB", (WIDTH, HEIGHT + CAPTION), "white")
    picture.paste(figure, ((WIDTH - figure.width) // 2, (HEIGHT - figure.height) // 2))
    draw = ImageDraw.Draw(picture)
    draw.text((6, HEIGHT + 4), name, INK, font(13))
    draw.text((6, HEIGHT + 22), words, GREY, font(12))
    return picture


def main(args: argparse.Namespace) -> Path:
    """Write the sheet; prints and returns its path. Raises UsageError if a figure is missing."""
    results = {name: content for content in page.read_results(args.results)[0].values() for name in content.get("files", [])}
    if lacking := [name for name in FIGURES if name not in results or not (args.results / name).is_file()]:
        raise cli.UsageError(f"{args.results} lacks {', '.join(lacking)}; choose other figures in {Path(__file__).name}")
    rows = -(-len(FIGURES) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * (WIDTH + GAP) + GAP, rows * (HEIGHT + CAPTION + GAP) + GAP), "#dfe3e8")
    for place, (name, share) in enumerate(FIGURES.items()):
        item = results[name]["item"]
        words = items.headline(item, results[name])
        picture = cell(args.results / name, share, item, words)
        sheet.paste(picture, (GAP + place % COLUMNS * (WIDTH + GAP), GAP + place // COLUMNS * (HEIGHT + CAPTION + GAP)))
    with files.atomic_write(args.out) as temporary:
        sheet.quantize(256, dither=Image.Dither.NONE).save(temporary, "PNG", optimize=True)
    print(args.out)
    return args.out


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--results", type=Path, default=ROOT / "docs/results", help="folder with results (default: docs/results/)")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/contact-sheet.png", help="the picture (default: docs/contact-sheet.png)")
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.run(main, parse_args())
