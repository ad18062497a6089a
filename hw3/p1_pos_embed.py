"""hw3 problem 1, item 1.2 of f21: how similar a vision transformer's position embeddings are to each other, as a grid of grids.

Reported: a figure; the grid structure of the image is recovered, the border looks worse, because of RandomResizedCrop. Each small grid is
the cosine similarity of one patch's embedding with all others', the class token's left out. `--before` shows the weights beside that the
training began with: only what has changed since can come from its random crops. `--uncropped` measures what a training without them leads
to. Writes results/f21-1.2.{json,png}.

    python hw3/p1_pos_embed.py --weights B_16_imagenet1k.pth
    python hw3/p1_pos_embed.py --weights hw3/checkpoints/p1.pth --before deit_tiny_patch16_224.pth
    python hw3/p1_pos_embed.py --arch tiny
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
    parser.add_argument("--before", metavar="FILE", help="the weights that the training began with")
    parser.add_argument("--uncropped", metavar="FILE", help="the p1.pth of p1_train.py --no-crop")
    arguments.add_shown_arguments(parser)
    cli.add_common_arguments(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    ARGS = parse_args()  # before torch is imported: --help and a wrong argument answer at once

import torch
from torch import Tensor
from torchvision.models.vision_transformer import VisionTransformer

from common import figures, items, results, setup
from common.files import name_and_digest
from common.metrics import NO_CORRELATION, rank_correlation
from hw3 import p1_figures, p1_models

ITEM = items.get("f21 1.2")
CHANGED = 0.02  # the difference of rank correlations from which on we say that something has changed
RECOVERED = -0.2  # the rank correlation of similarity and distance from which on we say that the grid can be seen
OTHERS = ("before", "uncropped")  # options for a file, and the claims of what it shows about the border's cause


def grid_of_grids(similarity: Tensor, rows: int, columns: int) -> Tensor:
    """(patches, patches) -> one picture of rows x columns small pictures with gaps of one pixel (nan) between them."""
    small = torch.nn.functional.pad(similarity.view(rows, columns, rows, columns), (0, 1, 0, 1), value=torch.nan)
    return small.permute(0, 2, 1, 3).reshape(rows * (rows + 1), columns * (columns + 1))[:-1, :-1]


def draw(models: dict[str, VisionTransformer]):
    """The grid of grids of each network, -1 to 1, one below the other under its name."""
    figure, grid = figures.new_figure(len(models), 1, height=9.0 * len(models))
    figure.set_layout_engine("compressed")  # of square panels, whose labels "constrained" cuts
    for axes, (name, model) in zip(grid[:, 0], models.items(), strict=True):
        rows, columns = p1_models.grid_size(model)
        small = grid_of_grids(p1_models.position_similarity(model).cpu(), rows, columns)
        picture = axes.imshow(small.numpy(), cmap="viridis", vmin=-1, vmax=1, interpolation="nearest")
        axes.set_xticks([(columns + 1) * i + columns / 2 for i in range(columns)], range(1, columns + 1), size=7)
        axes.set_yticks([(rows + 1) * i + rows / 2 for i in range(rows)], range(1, rows + 1), size=7)
        axes.set(xlabel="patch column", ylabel="patch row", title=f"position embeddings of {rows} x {columns} patches{name}")
        figure.colorbar(picture, ax=axes, label="cosine similarity", shrink=0.8)
    return figure


def measures(similarity: Tensor, rows: int, columns: int) -> dict[str, float | None]:
    """How similarity falls with the distance in the grid: mean similarity of neighbours and of patches farther than half the grid, and
    Spearman's rank correlation of similarity and distance: of all pairs, and the mean over the border's and over the other patches. None
    where there is none.

    Raises UsageError for fewer than 3 x 3 patches, which are all border.
    """
    if min(rows, columns) < 3:
        raise cli.UsageError(f"{rows} x {columns} patches are too few to compare; give a larger --image-size")
    place = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).float()
    distance = torch.cdist(place, place)
    pairs = ~torch.eye(len(place), dtype=torch.bool)
    each = [rank_correlation(similarity[i][pairs[i]], distance[i][pairs[i]]) for i in range(len(place))]
    each = torch.tensor([torch.nan if value is None else value for value in each])
    border = ((place == 0) | (place == torch.tensor([rows - 1, columns - 1]))).any(1)
    found = {
        "neighbours": similarity[distance == 1].mean().item(),
        "far patches": similarity[distance > max(rows, columns) / 2].mean().item(),
        "rank correlation": rank_correlation(similarity[pairs], distance[pairs]),
        "rank correlation at the border": each[border].mean().item(),
        "rank correlation elsewhere": each[~border].mean().item(),
    }
    return {name: None if value != value else value for name, value in found.items()}


def border_gap(found: dict[str, float | None]) -> float | None:
    """How much less the similarity follows the distance at the border."""
    border, elsewhere = (found[f"rank correlation {where}"] for where in ("at the border", "elsewhere"))
    return None if None in (border, elsewhere) else border - elsewhere


def claims(found: dict[str, float | None], beside: dict[str, dict[str, float | None]]) -> list[dict]:
    """What the report says of its figure, measured; of the border's cause, with what was measured `beside`, under the names of OTHERS."""
    whole, gap = found["rank correlation"], border_gap(found)
    recovered = None if whole is None else found["neighbours"] > found["far patches"] and whole < RECOVERED
    worse = None if gap is None else gap > 0
    said = [ITEM.claim("grid", recovered), ITEM.claim("border", worse if recovered else None)]
    for name, other in beside.items():
        growth = None if None in (gap, before := border_gap(other)) else gap - before
        said.append(ITEM.claim(name, None if growth is None else growth >= CHANGED, growth=growth))
    return said


def main(args: argparse.Namespace) -> dict:
    """Draw the figure and measure the claims; returns the result."""
    runtime = setup.start(args)
    model, origin = p1_figures.load_shown(args.arch, args.weights, args.image_size, runtime)
    network, files = origin["settings"]["network"], {name: path for name in OTHERS if (path := getattr(args, name))}
    others = {name: p1_models.build(network, model.image_size, path) for name, path in files.items()}
    found, *more = (measures(p1_models.position_similarity(one).cpu(), *p1_models.grid_size(one)) for one in (model, *others.values()))
    beside = dict(zip(others, more, strict=True))
    origin["settings"] = origin["settings"] | {name: name_and_digest(path) for name, path in files.items()}
    numbers = {"reproduced": found} | {f"reproduced / {name}": one for name, one in beside.items()}
    shown = {", before fine-tuning": others["before"], ", after it": model} if "before" in others else {"": model}
    return results.write_result(
        runtime,
        ITEM.name,
        ITEM.title,
        figures={"": draw(shown)},
        reported=ITEM.reported,
        reproduced=found | beside,
        claims=claims(found, beside),
        missing={f"{label} / {name}": NO_CORRELATION for label, one in numbers.items() for name, value in one.items() if value is None},
        **{"data": {}} | origin,
    )


if __name__ == "__main__":
    cli.run(main, ARGS)
