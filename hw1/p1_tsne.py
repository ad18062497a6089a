"""hw1 problem 1, item 1.6 of f22a and f23 and the second half of f22b's 1.5: t-SNE of model A's second-last layer at the first, a middle
and the last epoch.

Reported: figures; f23 with accuracy and loss of epochs 1, 50 and 100 (2.04 % and 3.9176; 65.00 % and 1.5015; 70.48 % and 1.7552). Claims:
same-class points come closer over the epochs; f22b, f23: at epoch 1 the classes are mixed; f22b: neighbouring clusters are similar classes;
f23: from the middle to the end accuracy and loss both rise. Writes results/<report>-1.6.{json,png}, of f22b f22b-1.5-tsne.{json,png}.
Needs p1_train.py's checkpoints.

    python hw1/p1_tsne.py --report f22a
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

from common import figures, items, metrics, results, setup
from hw1 import p1_embedding, p1_recipes
from hw1.p1_data import P1_CLASSES

ITEMS = {"f22a": "f22a 1.6", "f22b": "f22b 1.5-tsne", "f23": "f23 1.6"}
STAGES = ("first", "middle", "last")
PERPLEXITY = 30  # no report states one; van der Maaten's and scikit-learn's default
LEAST = 50  # images: t-SNE begins from as many principal components


def tsne(feats: torch.Tensor, seed: int) -> torch.Tensor:
    """t-SNE (van der Maaten and Hinton, 2008; scikit-learn's Barnes-Hut) of feats (N, D) to (N, 2), from a PCA start.

    More than 50 dimensions are first reduced to 50 by PCA, as its authors do.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    feats = feats.numpy()
    if feats.shape[1] > 50:
        feats = PCA(n_components=50, random_state=seed).fit_transform(feats)
    perplexity = min(PERPLEXITY, (len(feats) - 1) / 3)
    return torch.from_numpy(TSNE(perplexity=perplexity, init="pca", random_state=seed, n_jobs=-1).fit_transform(feats))


def panel_title(embedding: p1_embedding.Embedding) -> str:
    """A panel's epoch with its accuracy and loss."""
    return f"epoch {embedding.epoch}\naccuracy {embedding.accuracy:.2%}, loss {embedding.loss:.4f}"


def draw(planes: list[torch.Tensor], embeddings: list[p1_embedding.Embedding], title: str):
    """Three panels side by side, accuracy and loss in their titles, the classes below."""
    figure, grid = figures.new_figure(1, 3, height=4.8)
    for axes, points, embedding in zip(grid[0], planes, embeddings, strict=True):
        handles = p1_embedding.scatter_classes(axes, points.numpy(), embedding.target.numpy(), P1_CLASSES)
        axes.set_title(panel_title(embedding))
    figure.suptitle(title)
    p1_embedding.class_legend(figure, handles)
    return figure


def similar_neighbours(points: torch.Tensor, feats: torch.Tensor, target: torch.Tensor) -> float | None:
    """metrics.rank_correlation of the distances between class centres in the plane with those in feature space."""
    centres = [torch.stack([values[target == label].double().mean(0) for label in target.unique()]) for values in (points, feats)]
    return metrics.rank_correlation(*map(torch.pdist, centres))


def claims(item: items.Item, planes: list[torch.Tensor], embeddings: list[p1_embedding.Embedding], apart: list[dict]) -> list[dict]:
    """The report's claims as numbers; `apart` are the separations in the planes."""
    middle, last = embeddings[1:]
    rise = {name: [values[name] for values in apart] for name in apart[0]}
    found = [item.claim("closer", all(values[0] < values[-1] for values in rise.values()), **rise)]
    if "mixed" in item.claims:
        found.append(item.claim("mixed", p1_embedding.mixed(apart[0]), **apart[0]))
    if "neighbours" in item.claims:
        correlation = similar_neighbours(planes[-1], last.feats, last.target)
        holds, words = (None, metrics.NO_CORRELATION) if correlation is None else (correlation > 0.3, round(correlation, 3))
        found.append(item.claim("neighbours", holds, **{"rank correlation": words}))
    if "both_rise" in item.claims:
        found.append(item.claim("both_rise", last.accuracy > middle.accuracy and last.loss > middle.loss))
    return found


def main(args: argparse.Namespace) -> dict:
    """Draw the figure and measure its claims; returns the result."""
    runtime, item = setup.start(args), items.get(ITEMS[args.report])
    splits = p1_recipes.load_splits(args.data, args.report, "A", args.quick)
    target = splits.validation.target
    p1_embedding.check_enough_images(splits.validation, LEAST)
    paths = p1_embedding.checkpoints(runtime, args.report, splits.describe(), args.run)
    if len(paths) != len(STAGES):
        what = f"{paths[0].parent} keeps {len(paths)} epochs and the figure shows {len(STAGES)}"
        raise cli.UsageError(f"{what}; train for three epochs or more")
    embeddings, settings = zip(*(p1_embedding.embed(path, splits.validation, runtime) for path in paths), strict=True)
    planes = [tsne(embedding.feats, args.seed) for embedding in embeddings]
    apart = [p1_embedding.separation(points, target) for points in planes]
    numbers = [
        {"epoch": each.epoch, "accuracy": each.accuracy, "loss": round(each.loss, 4), **values}
        for each, values in zip(embeddings, apart, strict=True)
    ]
    return results.write_result(
        runtime,
        item.name,
        item.title,
        figures={"": draw(planes, embeddings, f"{args.report} model A, t-SNE of the second-last layer on validation")},
        extras=p1_embedding.points_file(
            {panel_title(each): points.numpy() for each, points in zip(embeddings, planes, strict=True)}, target.numpy()
        ),
        reported=item.reported,
        reproduced=dict(zip(STAGES, numbers, strict=True)),
        claims=claims(item, planes, embeddings, apart),
        **p1_embedding.origin(args.report, settings[-1] | {"perplexity": PERPLEXITY, "start": "PCA"}, splits, paths),
    )


if __name__ == "__main__":
    cli.run(main, ARGS)
