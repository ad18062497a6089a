"""What the PCA and t-SNE figures of hw1 problem 1 share: the second-last layer of a checkpoint, and how well it separates the classes."""

import json
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from common import classification, cli, metrics, results, setup, training
from common.data import Labelled, Splits
from common.files import listed_files
from hw1 import p1_models, p1_recipes, reports


@dataclass(frozen=True)
class Embedding:
    """The second-last layer's output `feats` (N, D) on N validation images with labels `target` (N,), after training epoch `epoch`."""

    feats: Tensor
    target: Tensor
    epoch: int
    accuracy: float
    loss: float


def checkpoints(runtime: setup.Runtime, report: str, data: dict, run_folder: Path | None = None) -> list[Path]:
    """The checkpoints of the figures' epochs of model A's training on `data`, in order, or of the one that --run names.

    Raises UsageError that says which command makes them.
    """
    folder = run_folder or p1_recipes.run_folder(runtime, report, "A", data["name"], {})
    run = results.read_json(folder / "run.json")
    if "checkpoints" not in run:
        command = training.train_command(runtime, "hw1/p1_train.py", "--report", report, "--model", "A")
        raise cli.UsageError(f"no finished training in {folder}; first run: {command}")
    trained_on = {"digest": data["digest"]} | run["settings"]["data"]
    if different := [f"{trained_on[key]}, not on {data[key]}" for key in ("name", "digest") if trained_on[key] != data[key]]:
        raise cli.UsageError(f"{folder} was trained on {different[0]}; give the same --data")
    return listed_files(folder / "run.json", run["checkpoints"], folder)


def check_enough_images(split: Labelled, least: int) -> None:
    """Raise UsageError if a figure of a split has fewer images than it needs, or all are of one class."""
    if len(split) < least or len(split.target.unique()) < 2:
        found = f"{len(split)} validation images of {len(split.target.unique())} classes"
        raise cli.UsageError(f"{found} are too few: the figure needs {least} of two classes; add some")


@setup.evaluation()
def embed(path: Path, split: Labelled, runtime: setup.Runtime, batch_size: int = 250) -> tuple[Embedding, dict]:
    """Run a checkpoint's network over a split; returns the embedding and the settings of the training."""
    model, state = p1_models.load_trained(path, runtime, "train again")
    reports.check_same_run(path, state, results.read_json(path.parent / "run.json"))
    pipeline, nothing = classification.validation_pipeline(state["settings"]), torch.empty(0, 0)
    parts = [p1_models.features(model, pipeline(images.to(runtime.device), nothing)) for images in split.images.split(batch_size)]
    feats, logits = (torch.cat(part).float().cpu() for part in zip(*parts, strict=True))
    accuracy = metrics.accuracy(logits.max(1).indices, split.target)
    loss = torch.nn.functional.cross_entropy(logits, split.target).item()
    return Embedding(feats, split.target, state["epoch"], accuracy, loss), state["settings"]


# ---- how far the classes are apart in a plane ----


def knn_accuracy(points: Tensor, target: Tensor, k: int = 10) -> float:
    """Leave-one-out accuracy, 0 to 1, of a majority vote among the k nearest other points (Euclidean; ties go to the smaller label).

    points (N, D), target (N,) labels from 0.
    """
    distance = torch.cdist(points.double(), points.double()).fill_diagonal_(float("inf"))
    neighbours = target[distance.topk(k, largest=False).indices]
    votes = torch.nn.functional.one_hot(neighbours, int(target.max()) + 1).sum(1)
    return metrics.accuracy(votes.argmax(1), target)


def silhouette(points: Tensor, target: Tensor) -> float:
    """Mean silhouette of the classes in the plane, -1 (mixed) to 1 (apart). Rousseeuw, 1987; by scikit-learn."""
    from sklearn.metrics import silhouette_score

    return float(silhouette_score(points.numpy(), target.numpy()))


def separation(points: Tensor, target: Tensor) -> dict[str, float]:
    """How far the classes are apart in the plane: leave-one-out accuracy of the 10 nearest neighbours, and the silhouette."""
    return {"10-NN accuracy": round(knn_accuracy(points, target), 4), "silhouette": round(silhouette(points, target), 4)}


MIXED = {"silhouette": 0.0, "10-NN accuracy": 0.5}  # the classes are mixed in a plane where both numbers are below these


def mixed(measured: dict[str, float]) -> bool:
    """Whether the classes are mixed in a plane, by its `separation`.

    A silhouette below 0: the average image lies nearer to the points of another class than to those of its own. But classes that are long
    or in two parts have that too, side by side; so most images must also have another class around them: a 10-NN accuracy below 0.5.
    """
    return all(measured[name] < limit for name, limit in MIXED.items())


# ---- what the two figures have ----

MARKERS = ("o", "s", "^", "D", "v")


def class_styles(count: int) -> list[dict]:
    """A colour and a marker for each of up to 50 classes: ten hues, five markers, so that no two classes share both."""
    hues = matplotlib.colormaps["tab10"].colors
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


def points_file(planes: dict[str, np.ndarray], target: np.ndarray) -> dict[str, bytes]:
    """The points of scatter plots, so that the results page can show one class; a file for results.write_result, by its suffix.

    `planes` are points (N, 2) by the panel's title, `target` their classes (N,). Each panel's longer side becomes 0 to 999, y downwards:
    2,500 points in three panels take 70 KB.
    """
    panels = []
    for title, plane in planes.items():
        low, extent = plane.min(0), max(float(np.ptp(plane, axis=0).max()), 1e-12)
        x, y = np.rint((plane - low) / extent * 999).astype(int).T
        panels.append({"title": title, "x": x.tolist(), "y": (y.max() - y).tolist()})
    content = {"panels": panels, "target": target.tolist()}
    return {"-points.json": json.dumps(content, separators=(",", ":")).encode()}


def origin(report: str, settings: dict, splits: Splits, paths: list[Path]) -> dict:
    """The entries of a result that come from the checkpoints: data, settings, weights, and how their training differs from the report's."""
    run = results.read_json(paths[-1].parent / "run.json")
    made = {"checkpoints": [path.name for path in paths], "trained by": run.get("command"), "trained at": run.get("commit")}
    return {
        "data": splits.describe(),
        "settings": settings | made | {"training seconds": run.get("seconds")},
        "weights": settings["weights"],
        "deviations": training.deviations(p1_recipes.recipe(report, "A"), settings),  # --run may name any training
    }
