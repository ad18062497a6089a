"""hw1 problem 2, items 2.4 (f22a, f22b) and 3.4 (f23): masks of three validation tiles at an early, a middle and the final stage.

Reported: a figure; f22a's mIoU at its stages 0.548221, 0.686392, 0.730315. The last one is its item 2.3's, so its final stage is the kept
model; the others' is the last epoch. Draws for each of 0013, 0062, 0104 (other data: the first three
tiles) the image, the truth, and for each stage the predicted mask and the image with its regions tinted and their edges opaque; writes
results/<item>.json, a PNG and a GIF for each tile. Needs p2_seg_train.py's checkpoints. With --image and --mask draws one overlay, as the
course's viz_mask does, to OUT/<image>_overlay.png.

    python hw1/p2_mask_viz.py --report f22a
    python hw1/p2_mask_viz.py --image data/hw1_data/p2_data/validation/0013_sat.jpg --mask masks/0013_sat.png
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import cli
from hw1 import arguments, p2_masks


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--report", choices=("f22a", "f22b", "f23"))
    parser.add_argument(
        "--model", choices=("A", "B", "best", "scratch"), default="B", help="whose stages (default: B; best, scratch: our own)"
    )
    parser.add_argument("--run", type=Path, help="a folder of checkpoints that p2_seg_train.py made (default: the model's in --out)")
    parser.add_argument("--image", type=Path, metavar="X_sat.jpg", help="draw this image alone, with --mask")
    parser.add_argument("--mask", type=Path, metavar="Y.png")
    cli.add_common_arguments(parser)
    args = parser.parse_args(argv)
    if (args.image is None) != (args.mask is None):
        parser.error("--image and --mask belong together: give both, or neither and --report")
    if not args.image:
        arguments.check_report(parser, args)
    return args


if __name__ == "__main__":
    ARGS = parse_args()  # before torch is imported: --help and a wrong argument answer at once
    if ARGS.image:  # one overlay needs no torch either
        cli.run(lambda args: p2_masks.draw_overlay(args.image, args.mask, args.out), ARGS)
        sys.exit()

import io
import json

import numpy as np
import torch
from matplotlib.patches import Patch
from PIL import Image, ImageDraw
from torch import Tensor

from common import figures, items, results, setup, training
from common.cli import UsageError
from common.data import locate
from common.files import listed_files
from hw1 import p2_models, p2_recipes, p2_synthetic, reports
from hw1.p2_data import LAYOUT, SIZE, data_digest, load_some, shrink_image
from hw1.p2_masks import CLASSES, COLOURS, overlay

TILES = ("0013", "0062", "0104")
FINAL_IS_KEPT = ("f22a",)  # reports whose final stage is the model of the item before
STAGES = {3: ("early", "middle", "final"), 2: ("early", "final"), 1: ("final",)}  # by how many epochs there are


def show(axes, pixels: np.ndarray, title: str) -> None:
    """Draw uint8 pixels (H, W, 3) without axes."""
    axes.imshow(pixels)
    axes.set_title(title)
    axes.axis("off")


def draw_tile(name: str, image: np.ndarray, truth: np.ndarray, stages: dict[str, np.ndarray]):
    """A tile's figure: image and truth, then for each stage, labels by their caption, the mask above the overlay."""
    figure, grid = figures.new_figure(2, 1 + len(stages), height=6.0)
    show(grid[0, 0], image, f"{name}_sat")
    show(grid[1, 0], COLOURS[truth], "truth")
    for column, (caption, labels) in enumerate(stages.items(), 1):
        show(grid[0, column], COLOURS[labels], caption)
        show(grid[1, column], overlay(image, labels), "overlay")
    patches = [
        Patch(facecolor=colour, edgecolor="black", linewidth=0.5, label=label)
        for label, colour in zip(CLASSES, (COLOURS / 255).tolist(), strict=True)
    ]
    figure.legend(handles=patches, loc="outside lower center", ncols=len(CLASSES))
    return figure


def frame(image: np.ndarray, labels: np.ndarray, words: str) -> np.ndarray:
    """One picture of a tile's GIF: the overlay at half its size with `words` above it, uint8 (H, W, 3)."""
    picture = Image.fromarray(overlay(image, labels))
    picture = picture.resize((picture.width // 2, picture.height // 2))
    canvas = Image.new("RGB", (picture.width, picture.height + 20), "white")
    canvas.paste(picture, (0, 20))
    ImageDraw.Draw(canvas).text((4, 4), words, fill="black")
    return np.array(canvas)


def load_stages(folder: Path, ends_kept: bool, runtime: setup.Runtime, command: str) -> tuple[dict, list]:
    """The run's numbers, and (an epoch's numbers, its network) for each stage, in the order of the epochs.

    With `ends_kept` the final stage is the kept model, and the earlier stages are those that were trained before it.
    Raises UsageError that names the training `command` if the run is missing or not complete.
    """
    run = results.read_json(folder / "run.json")
    if not run:
        raise UsageError(f"no finished training in {folder}; make it with: {command}")
    stages = []
    for path in listed_files(folder / "run.json", run["checkpoints"] + ["best.pth"] * ends_kept, folder):
        model, state = p2_models.load_trained(path, runtime, f"make it with: {command}")
        reports.check_same_run(path, state, run)
        stages.append((state["history"][-1], model))
    if ends_kept:
        *others, kept = stages
        stages = [stage for stage in others if stage[0]["epoch"] < kept[0]["epoch"]] + [kept]
    return run, stages


@setup.evaluation()
def predict(model: torch.nn.Module, image: Tensor, runtime: setup.Runtime) -> np.ndarray:
    """Labels, uint8 (512, 512), of one image, uint8 (3, S, S)."""
    logits = p2_models.logits_at(model, image[None].to(runtime.device), (SIZE, SIZE))
    return logits.max(1).indices[0].to(torch.uint8).cpu().numpy()


STRIP = 320  # pixels: height and width of a picture in a strip of stages


def stages_files(words: list[str], tiles: dict[str, list[np.ndarray]]) -> dict[str, bytes]:
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


def main(args: argparse.Namespace) -> dict:
    """Draw the report's three tiles at the run's stages; returns the result. One overlay is p2_masks.draw_overlay's."""
    runtime = setup.start(args)
    tiles, (where, name) = load_some(args.data, TILES), locate(args.data, LAYOUT, p2_synthetic.draw_p2)
    folder = args.run or p2_recipes.run_folder(runtime, args.report, args.model, name, {})
    words = ["--report", args.report] if args.report else []
    command = training.train_command(runtime, "hw1/p2_seg_train.py", *words, "--model", args.model)
    ends_kept = args.report in FINAL_IS_KEPT
    run, stages = load_stages(folder, ends_kept, runtime, command)
    settings = run["settings"]
    if settings["data"].get("digest") not in (None, data_digest(where)):
        raise UsageError(f"{folder} was trained on other data than {where} holds; give the same --data")
    drawn, moving, wiped = {}, {}, {}
    captions = [f"epoch {numbers['epoch']}, mIoU {numbers['validation_miou']:.4f}" for numbers, _ in stages]
    for tile, image, truth in zip(tiles.names, tiles.images, tiles.labels, strict=True):
        small, pixels = shrink_image(image, (settings["image_size"],) * 2), image.permute(1, 2, 0).numpy()
        masks = [predict(model, small, runtime) for _, model in stages]
        drawn[f"-{tile}"] = draw_tile(tile, pixels, truth.numpy(), dict(zip(captions, masks, strict=True)))
        wiped[tile] = [pixels, *(overlay(pixels, labels) for labels in masks)]
        moving[f"-{tile}"] = [
            frame(pixels, labels, f"{tile}  epoch {numbers['epoch']}  mIoU {numbers['validation_miou']:.4f}")
            for labels, (numbers, _) in zip(masks, stages, strict=True)
        ]
    miou = dict(zip(STAGES[len(stages)], (numbers["validation_miou"] for numbers, _ in stages), strict=True))
    lacking = [f"reproduced / {stage}" for stage in STAGES[3] if ends_kept and stage not in miou]
    item, usual = (items.get(p2_recipes.item(args.report, 4)), "B") if args.report else (items.get("hw1-p2 stages"), "best")
    return results.write_result(
        runtime,
        item.name,
        f"masks of {', '.join(tiles.names)} at {len(stages)} stages of model {args.model}" + ", the final one the kept model" * ends_kept,
        figures=drawn | {f"{suffix}.gif": figures.gif(frames) for suffix, frames in moving.items()},
        extras=stages_files(captions, wiped),
        reported=item.reported,
        reproduced=miou | {"epochs": [numbers["epoch"] for numbers, _ in stages]},
        missing=dict.fromkeys(lacking, f"the kept model is of epoch {stages[-1][0]['epoch']} already"),
        claims=[],
        data=settings["data"],
        weights=settings["weights"],
        deviations=run["deviations"] + [f"model {args.model}, not {usual}"] * (args.model != usual),
        settings=settings,
    )


if __name__ == "__main__":
    cli.run(main, ARGS)
