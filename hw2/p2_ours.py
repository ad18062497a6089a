"""Our own training for hw2 problem 2, from random weights, in four steps.

1. Two networks, each trained on half of the training images, give every image of the other half a probability; the 13 % whose own label
   is least probable are dropped (the course says that about that many are dirty).
2. A teacher is trained on the others and gives each unlabelled image its probabilities as a soft label.
3. A student is trained on both.
4. A wider student is trained on both, the unlabelled images with the mean of the teacher's and the first student's probabilities.
"""

import argparse
import contextlib
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import classification, setup, training
from common.data import Labelled, Splits
from hw2 import p2_models, p2_tables
from hw2.p2_data import CLASSES, NORMALISED, load_unlabeled
from hw2.p2_recipes import OURS, Recipe

DIRTY_SHARE = 0.13
SMALLER = "whitened"  # the network of all steps but the last
FOLD_EPOCHS, TEACHER_EPOCHS = 12, 40
QUICK = {"network": SMALLER, "epochs": 4, "batch_size": 50, "lr": 0.05}
QUICK_UNLABELED = 200


def train_stage(
    name: str, recipe: Recipe, splits: Splits, runtime: setup.Runtime, args: argparse.Namespace
) -> tuple[nn.Module, list[dict], Path]:
    """Train one network from random weights: the network, its history and its folder."""
    setup.log(f"{name}, {len(splits.train)} training images:")
    folder = setup.writable_folder(training.run_folder(args, f"hw2-p2-{name}", splits.name))
    setup.seed_everything(args.seed)
    model = p2_models.build(recipe.network)
    model.whiten_like(NORMALISED(splits.train.images[:1000], torch.empty(0, 0)))
    settings = p2_tables.run_settings(recipe, "none", splits, runtime, args)
    return model, classification.train(model, recipe, splits, NORMALISED, folder, settings, runtime, args), folder


def probabilities(model: nn.Module, images: Tensor, history: list[dict], folder: Path, runtime: setup.Runtime) -> Tensor:
    """Class probabilities (N, 10) by ten views of each image; kept in `folder` with the history of the training that they come from."""
    path = folder / "probabilities.pth"
    with contextlib.suppress(setup.UsageError):
        kept = setup.load_checkpoint(path, "")
        if kept["history"] == history and len(kept["probabilities"]) == len(images):
            return kept["probabilities"]
    found = p2_models.logits(model.eval(), images, runtime).softmax(1)
    setup.save_checkpoint(path, {"history": history, "probabilities": found})
    return found


def label_probabilities(splits: Splits, recipe: Recipe, runtime: setup.Runtime, args: argparse.Namespace) -> tuple[Tensor, float]:
    """Of each training image the probability of its own label (N,), by the network trained on the other half; the seconds of both."""
    seconds = 0.0
    order = torch.randperm(len(splits.train), generator=torch.Generator().manual_seed(args.seed))
    halves, found = order.chunk(2), torch.empty(len(order))
    for number, (seen, unseen) in enumerate((halves, halves[::-1])):
        half = Splits(splits.name, splits.train.take(seen), splits.validation)
        model, history, folder = train_stage(f"fold{number + 1}", recipe, half, runtime, args)
        held = splits.train.take(unseen)
        found[unseen] = probabilities(model, held.images, history, folder, runtime).gather(1, held.target[:, None])[:, 0]
        seconds += sum(epoch["seconds"] for epoch in history)
    return found, seconds


def clean(splits: Splits, probability: Tensor) -> tuple[Splits, list[str]]:
    """The splits without the training images whose own label is least probable, and the names of those."""
    order, count = probability.argsort(), round(DIRTY_SHARE * len(splits.train))
    kept = Splits(splits.name, splits.train.take(order[count:].sort().values), splits.validation)
    return kept, splits.train.take(order[:count]).names


@setup.on_rank_zero
def write_dropped(path: Path, names: list[str]) -> None:
    """The names of the images dropped, a csv that hw1/p3_ssl_pretrain.py leaves out too."""
    with setup.replacing(path) as temporary:
        temporary.write_text("\n".join(["filename", *sorted(names)]) + "\n")


def with_soft_labels(splits: Splits, images: Tensor, labels: Tensor, smoothing: float) -> Splits:
    """The splits with unlabelled images and their soft labels (N, 10) added to the training images, all with probabilities as target."""
    sure = F.one_hot(splits.train.target, len(CLASSES)) * (1 - smoothing) + smoothing / len(CLASSES)
    both = Labelled(torch.cat([splits.train.images, images]), torch.cat([sure, labels]), splits.train.names + [""] * len(images))
    return Splits(splits.name, both, splits.validation)


def train(splits: Splits, recipe: Recipe, runtime: setup.Runtime, args: argparse.Namespace) -> tuple[list[dict], Path, dict]:
    """All four steps; `recipe` is the last student's. Returns its history and folder, and what a result says of the steps before."""
    unlabeled = load_unlabeled(args.data)[: QUICK_UNLABELED if args.quick else None]
    smaller = replace(recipe, network=SMALLER)
    fold, teacher = (
        replace(smaller, epochs=max(1, round(recipe.epochs * epochs / OURS.epochs))) for epochs in (FOLD_EPOCHS, TEACHER_EPOCHS)
    )
    probability, seconds = label_probabilities(splits, fold, runtime, args)
    cleaned, dropped = clean(splits, probability)
    before, labels, training_set = {}, [], cleaned
    for name, used in (("teacher", teacher), ("student", replace(smaller, label_smoothing=0.0))):
        model, before[name], folder = train_stage(name, used, training_set, runtime, args)
        labels.append(probabilities(model, unlabeled, before[name], folder, runtime))
        training_set = with_soft_labels(cleaned, unlabeled, torch.stack(labels).mean(0), recipe.label_smoothing)
    _, history, folder = train_stage("best", replace(recipe, label_smoothing=0.0), training_set, runtime, args)
    write_dropped(folder / "dropped.csv", dropped)
    spent = [round(sum(epoch["seconds"] for epoch in once), 1) for once in before.values()]
    steps = {
        "labelled images kept": len(cleaned.train),
        "label smoothing of the teacher and of the labelled images": recipe.label_smoothing,
        "unlabelled images, softly labelled by teacher and first student": len(unlabeled),
        "network of all steps but the last": SMALLER,
        "epochs of fold networks, teacher and first student": [fold.epochs, teacher.epochs, smaller.epochs],
        "validation accuracy of teacher and first student": [once[-1]["validation_accuracy"] for once in before.values()],
        "seconds of fold networks, teacher and first student, besides": [round(seconds, 1), *spent],
    }
    return history, folder, steps
