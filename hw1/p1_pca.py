"""hw1 problem 1, item 1.5 of f22a, f22b and f23: PCA of the second-last layer of model A on the validation images, after the last epoch; of
f23 the kept model's, that with the lowest validation loss.

Reported: figures, with the claims that PCA does not separate the classes (f22a, f22b), and that it separates them less than t-SNE at the
last epoch, where the kept model has the lower validation loss (f23). Writes results/<report>-1.5.{json,png}. Needs the checkpoints of
p1_train.py.

    python hw1/p1_pca.py --report f22a
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import cli
from hw1 import arguments


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(description=__doc__)
    arguments.add_embedding_arguments(parser)
    cli.add_common_arguments(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    ARGS = parse_args()  # before torch is imported: --help and a wrong argument answer at once

import torch

from common import figures, items, results, setup
from hw1 import p1_embedding, p1_recipes, p1_tsne
from hw1.p1_data import P1_CLASSES

LEAST = 11  # images: each has ten neighbours


def pca(feats: torch.Tensor) -> tuple[torch.Tensor, list[float]]:
    """The first two principal components (N, 2) of feats (N, D), and their shares of the variance."""
    from sklearn.decomposition import PCA

    model = PCA(n_components=2, svd_solver="full")
    return torch.from_numpy(model.fit_transform(feats.double().numpy())), model.explained_variance_ratio_.tolist()


def draw(points: torch.Tensor, shares: list[float], embedding: p1_embedding.Embedding, title: str):
    """One panel, the shares of the variance on its axes, the classes below."""
    figure, grid = figures.new_figure(height=7.5)
    handles = p1_embedding.scatter_classes(grid[0, 0], points.numpy(), embedding.target.numpy(), P1_CLASSES)
    for name, share, axis in zip(("first", "second"), shares, (grid[0, 0].xaxis, grid[0, 0].yaxis), strict=True):
        axis.set_label_text(f"{name} principal component ({share:.1%} of the variance)")
    grid[0, 0].set_title(title)
    p1_embedding.class_legend(figure, handles)
    return figure


def main(args: argparse.Namespace) -> dict:
    """Draw the figure and measure its claims; returns the result."""
    runtime, item, is_f23 = setup.start(args), items.get(f"{args.report} 1.5"), args.report == "f23"
    splits = p1_recipes.load_splits(args.data, args.report, "A", args.quick)
    p1_embedding.check_enough_images(splits.validation, p1_tsne.LEAST if is_f23 else LEAST)
    last = p1_embedding.checkpoints(runtime, args.report, splits.describe(), args.run)[-1]
    path = last.with_name("best.pth") if is_f23 else last
    embedding, settings = p1_embedding.embed(path, splits.validation, runtime)
    points, shares = pca(embedding.feats)
    measured = p1_embedding.separation(points, embedding.target)
    epoch = f"epoch {embedding.epoch}" + ", the kept one" * is_f23
    title = f"{args.report} model A, PCA of the second-last layer, {epoch}, accuracy {embedding.accuracy:.2%}"
    if is_f23:
        ended, _ = p1_embedding.embed(last, splits.validation, runtime)
        apart = p1_embedding.separation(p1_tsne.tsne(ended.feats, args.seed), ended.target)
        less = measured["10-NN accuracy"] < apart["10-NN accuracy"]
        losses = {f"epoch {each.epoch}{word}": round(each.loss, 4) for each, word in ((embedding, ", kept"), (ended, ", last"))}
        claims = [item.claim("less_than_tsne", less, **{"PCA": measured, "t-SNE": apart})]
        claims.append(item.claim("kept_loss", embedding.loss < ended.loss, **losses))
    else:
        claims = [item.claim("mixed", measured["silhouette"] < p1_embedding.MIXED["silhouette"], **measured)]
    return results.write_result(
        runtime,
        item.name,
        item.title,
        figures={"": draw(points, shares, embedding, title)},
        reported=item.reported,
        reproduced=measured
        | {"explained variance": [round(share, 4) for share in shares], "accuracy": embedding.accuracy}
        | ({"epoch": embedding.epoch} if is_f23 else {}),
        claims=claims,
        **p1_embedding.origin(args.report, settings, splits, [path]),
    )


if __name__ == "__main__":
    cli.run(main, ARGS)
