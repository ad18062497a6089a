"""hw3 problem 1, item 1.3 of f21: where a vision transformer's class token looks in the last block, drawn for three validation images.

Reported: a figure; attention follows the animal's outline more than its face. Images 26_5064, 29_4718 and 31_4838 of the course's set, of
other data the first three; the share of the attention on edges is measured over all validation images and for each head. `--heads` draws
a row for each image's heads, `--rollout` follows the attention through all blocks. Writes results/f21-1.3.{json,png}, for `--image`
results/f21-1.3-<name>; `--save FILE.npz` keeps logits, attention and similarity of what is drawn.

    python hw3/p3_attention_map.py --arch tiny
    python hw3/p3_attention_map.py --weights hw3/checkpoints/p1.pth --heads
    python hw3/p3_attention_map.py --weights B_16_imagenet1k.pth --image cat.jpg --save cat.npz
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import cli
from hw3 import arguments


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--image", type=Path, help="any picture in place of the three")
    parser.add_argument("--heads", action="store_true", help="a row for each image's heads")
    parser.add_argument("--rollout", action="store_true", help="attention through all blocks (Abnar and Zuidema, 2020)")
    parser.add_argument("--save", type=Path, metavar="FILE.npz", help="keep logits, attention and similarity")
    arguments.add_shown_arguments(parser)
    cli.add_common_arguments(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    ARGS = parse_args()  # before torch is imported: --help and a wrong argument answer at once

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from common import figures, items, results, setup
from common.data import locate, resize_square
from common.files import digest, image_files
from hw3 import p1_data, p1_figures, p1_models
from hw3.p1_data import load_split, validation_pipeline
from hw3.pictures import SUFFIXES, Pictures, read_one

SHOWN = ("26_5064", "29_4718", "31_4838")
BATCH = 20
EDGES = 0.25  # the share of patches that count as edges: those with the steepest grey values


def edge_shares(images: Tensor, attention: Tensor) -> Tensor:
    """The share (N, maps) of each map (N, maps, rows, columns) on the quarter of patches where grey values of (N, 3, S, S) change most."""
    grey = images.float().mean(1)
    steep = torch.stack(torch.gradient(grey, dim=(1, 2))).norm(dim=0)
    strength = F.adaptive_avg_pool2d(steep, attention.shape[2:]).flatten(1)
    chosen = strength.topk(round(EDGES * strength.shape[1])).indices[:, None]
    flat = attention.flatten(2)
    return flat.gather(2, chosen.expand(-1, flat.shape[1], -1)).sum(2) / flat.sum(2)


def measures(shares: Tensor, others: Tensor) -> tuple[dict, bool | None]:
    """What is said of shares (N, 1 + heads), by the drawn map and each head, and of those by another image's; whether edges attract.

    They do if the share is above both the edges' own of the patches and the one by another image's map, which has the same liking for the
    middle, by more than twice the standard error of the mean.
    """
    several = len(shares) > 1
    heads = [{"mean": head.mean().item()} | ({"sd": head.std().item()} if several else {}) for head in shares.T[1:]]
    found = {"share of attention on edges": shares[:, 0].mean().item(), "images": len(shares)}
    found["heads"] = {f"head {number}": head for number, head in enumerate(heads, 1)}
    if not several:
        return found, shares[0, 0].item() > EDGES
    found |= {"sd over images": shares[:, 0].std().item(), "share by another image's attention": others[:, 0].mean().item()}
    above = torch.stack([shares[:, 0] - EDGES, shares[:, 0] - others[:, 0]])
    sure = above.mean(1).abs() > 2 * above.std(1) / len(shares) ** 0.5
    return found, (above.mean(1) > 0).all().item() if sure.all() else None


def draw(images: Pictures, maps: list[Tensor], heads: list[Tensor] | None, titles: list[str], kind: str):
    """A row for each image: image, map (of `kind`), overlay; below it, if asked for, its heads' overlays."""
    columns = max(3, heads[0].shape[0] if heads else 0)
    rows = len(titles) * (2 if heads else 1)
    figure, grid = figures.new_figure(rows, columns, height=10 / columns * rows + 0.4 * rows)
    for axes in grid.flat:
        axes.axis("off")
    for i, (image, attention, title) in enumerate(zip(images, maps, titles, strict=True)):
        row = grid[i * (2 if heads else 1)]
        row[0].imshow(image.permute(1, 2, 0).numpy())
        row[0].set_title(title)
        row[1].imshow(attention.numpy())
        row[1].set_title(kind)
        overlay(row[2], image, attention, "overlay")
        for number, head in enumerate(heads[i] if heads else ()):
            overlay(grid[2 * i + 1, number], image, head, f"head {number + 1}")
    return figure


def overlay(axes, image: Tensor, attention: Tensor, title: str) -> None:
    """The map, resampled to the image's size, over the image."""
    large = F.interpolate(attention[None, None], image.shape[1:], mode="bilinear", align_corners=False)[0, 0]
    axes.imshow(image.permute(1, 2, 0).numpy())
    axes.imshow(large.numpy(), cmap="jet", alpha=0.5)
    axes.set_title(title)


@setup.evaluation()
def attention_maps(model, images: Pictures | Tensor, rollout: bool, runtime: setup.Runtime) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (N, classes), the maps (N, rows, columns) and the last block's by head (N, heads, rows, columns)."""
    x = validation_pipeline(model.image_size, model.normalise)(images, torch.empty(0, 0)).to(runtime.device)
    logits, attention = p1_models.forward_with_attention(model, x)
    grid = p1_models.grid_size(model)
    by_head = p1_models.class_attention(attention[-1], grid)
    maps = p1_models.class_attention(p1_models.attention_rollout(attention), grid) if rollout else by_head.mean(1)
    return logits.cpu(), maps.cpu(), by_head.cpu()


def main(args: argparse.Namespace) -> dict:
    """Draw the maps and measure the claim; returns the result."""
    runtime = setup.start(args)
    folder, name = locate(args.data, p1_data.LAYOUT, p1_data.draw_pets)
    model, origin = p1_figures.load_shown(args.arch, args.weights, args.image_size, runtime)
    pictures = [args.image] if args.image else image_files(folder / "val", SUFFIXES)
    files = sorted(pictures, key=lambda path: path.stem not in SHOWN)[:3]  # the report's own as far as the data have them, then the first
    breeds = p1_data.breed_names(args.data)
    images = Pictures([read_one(path) for path in files])
    logits, maps, by_head = attention_maps(model, images, args.rollout, runtime)
    if args.save:
        one, similarity = len(maps) == 1, p1_models.position_similarity(model).cpu().numpy()
        with files.atomic_write(args.save) as temporary, open(temporary, "wb") as file:
            np.savez(file, logits=logits[0] if one else logits, attention=maps[0] if one else maps, similarity=similarity)
    labels = logits.max(1).indices.tolist()

    squares = torch.stack([resize_square(image, model.image_size) for image in images])
    drawn = edge_shares(squares, maps[:, None])[:, 0].tolist()
    if not args.image:
        squares = load_split(folder / "val", model.image_size).images
    every = []
    for some in tqdm(squares.split(BATCH), "attention", disable=None, leave=False):
        _, mean, heads = attention_maps(model, some, args.rollout, runtime)
        every.append(torch.cat([mean[:, None], heads], 1))
    every = torch.cat(every)
    found, follows = measures(edge_shares(squares, every), edge_shares(squares, every.roll(1, 0)))

    item, outline = items.get("f21 1.3"), "outline_of_one" if args.image else "outline"
    kind = "attention rollout" if args.rollout else "attention of the class token"
    titles = [f"{path.stem}\nseen as {breeds[label]}" for path, label in zip(files, labels, strict=True)]
    origin["deviations"] = origin["deviations"] + ["attention rollout"] * args.rollout
    return results.write_result(
        runtime,
        f"{item.name}-{args.image.stem}" if args.image else item.name,
        f"{kind} over all blocks" if args.rollout else f"{kind}, last block, mean over heads",
        figures={"": draw(images, list(maps), list(by_head) if args.heads else None, titles, kind)},
        reported=item.reported,
        reproduced=found | {path.stem: {"edges": share, "label": label} for path, share, label in zip(files, drawn, labels, strict=True)},
        claims=[item.claim(outline, follows, share=found["share of attention on edges"]), item.claim("face", None)],
        **{"data": {"name": name, "digest of the pictures": digest([path.name for path in pictures])}} | origin,
    )


if __name__ == "__main__":
    cli.run(main, ARGS)
