"""hw1 problem 1, item 1.5 of f22a, f22b and f23: PCA of the second-last layer of model A on the validation images, after the last epoch.

Reported: figures, with the claims that PCA does not separate the classes (f22a, f22b) and separates them less than t-SNE (f23).
Writes results/<report>-1.5.{json,png}. Needs the checkpoints of p1_train.py.

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

from common import figures, results, setup
from common.data import P1_CLASSES
from hw1 import p1_embedding, p1_recipes

MIXED = 0.0  # a silhouette below this: the average image lies nearer to another class than to its own
LEAST = 11  # images: each has ten neighbours


def pca(feats: torch.Tensor) -> tuple[torch.Tensor, list[float]]:
    """The first two principal components (N, 2) of feats (N, D), and their shares of the variance."""
    from sklearn.decomposition import PCA

    model = PCA(n_components=2, svd_solver="full")
    return torch.from_numpy(model.fit_transform(feats.double().numpy())), model.explained_variance_ratio_.tolist()


def draw(points: torch.Tensor, shares: list[float], embedding: p1_embedding.Embedding, title: str):
    """One panel, the shares of the variance on its axes, the classes below."""
    figure, grid = figures.new_figure(height=7.5)
    handles = figures.scatter_classes(grid[0, 0], points.numpy(), embedding.target.numpy(), P1_CLASSES)
    for name, share, axis in zip(("first", "second"), shares, (grid[0, 0].xaxis, grid[0, 0].yaxis), strict=True):
        axis.set_label_text(f"{name} principal component ({share:.1%} of the variance)")
    grid[0, 0].set_title(title)
    figures.class_legend(figure, handles)
    return figure


def main(args: argparse.Namespace) -> dict:
    """Draw the figure and measure its claim; returns the result."""
    runtime = setup.start(args)
    splits = p1_recipes.load_splits(args)
    p1_embedding.refuse_few(splits.validation, LEAST)
    path = p1_embedding.checkpoints(args, splits.describe())[-1]
    embedding, settings = p1_embedding.embed(path, splits.validation, runtime)
    points, shares = pca(embedding.feats)
    measured = p1_embedding.separation(points, embedding.target)
    title = f"{args.report} model A, PCA of the second-last layer, epoch {embedding.epoch}, accuracy {embedding.accuracy:.2%}"
    claim = {"claim": "PCA does not separate the classes (silhouette below 0)", "holds": measured["silhouette"] < MIXED, **measured}
    return results.write_result(
        args,
        runtime,
        f"{args.report} 1.5",
        "PCA of the second-last layer of model A on validation",
        figures={"": draw(points, shares, embedding, title)},
        reported="figure",
        reproduced=measured | {"explained variance": [round(share, 4) for share in shares], "accuracy": embedding.accuracy},
        claims=[claim],
        **p1_embedding.origin(args, settings, splits, [path]),
    )


if __name__ == "__main__":
    cli.run(main, ARGS)
