"""Our own training for hw2 problem 2, from random weights, in three steps.

1. Two networks, each trained on half of the training images, give every image of the other half a probability; the 13 % whose own label
   is least probable are dropped (the course says that about that many are dirty).
2. A teacher is trained on the others and gives each unlabelled image its probabilities as a soft label.
3. The student is trained on both.
"""

import argparse
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
FOLD_EPOCHS, TEACHER_EPOCHS = 12, 40
QUICK = {"epochs": 4, "batch_size": 50, "lr": 0.05}
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


def probabilities(model: nn.Module, images: Tensor, runtime: setup.Runtime) -> Tensor:
    """Class probabilities (N, 10) by ten views of each image."""
    return p2_models.logits(model.eval(), images, runtime).softmax(1)


def label_probabilities(splits: Splits, recipe: Recipe, runtime: setup.Runtime, args: argparse.Namespace) -> tuple[Tensor, float]:
    """Of each training image the probability of its own label (N,), by the network trained on the other half; the seconds of both."""
    seconds = 0.0
    order = torch.randperm(len(splits.train), generator=torch.Generator().manual_seed(args.seed))
    halves, found = order.chunk(2), torch.empty(len(order))
    for number, (seen, unseen) in enumerate((halves, halves[::-1])):
        half = Splits(splits.name, splits.train.take(seen), splits.validation)
        model, history, _ = train_stage(f"fold{number + 1}", recipe, half, runtime, args)
        held = splits.train.take(unseen)
        found[unseen] = probabilities(model, held.images, runtime).gather(1, held.target[:, None])[:, 0]
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


def with_soft_labels(splits: Splits, teacher: nn.Module, images: Tensor, smoothing: float, runtime: setup.Runtime) -> Splits:
    """The splits with the unlabelled images added to the training images, all with probabilities as target."""
    sure = F.one_hot(splits.train.target, len(CLASSES)) * (1 - smoothing) + smoothing / len(CLASSES)
    target = torch.cat([sure, probabilities(teacher, images, runtime)])
    both = Labelled(torch.cat([splits.train.images, images]), target, splits.train.names + [""] * len(images))
    return Splits(splits.name, both, splits.validation)


def train(splits: Splits, recipe: Recipe, runtime: setup.Runtime, args: argparse.Namespace) -> tuple[list[dict], Path, dict]:
    """All three steps; `recipe` is the student's. Returns its history and folder, and what a result says of the steps before."""
    unlabeled = load_unlabeled(args.data)[: QUICK_UNLABELED if args.quick else None]
    fold, teacher = (
        replace(recipe, epochs=max(1, round(recipe.epochs * epochs / OURS.epochs))) for epochs in (FOLD_EPOCHS, TEACHER_EPOCHS)
    )
    probability, seconds = label_probabilities(splits, fold, runtime, args)
    cleaned, dropped = clean(splits, probability)
    model, before, _ = train_stage("teacher", teacher, cleaned, runtime, args)
    both = with_soft_labels(cleaned, model, unlabeled, recipe.label_smoothing, runtime)
    _, history, folder = train_stage("best", replace(recipe, label_smoothing=0.0), both, runtime, args)
    write_dropped(folder / "dropped.csv", dropped)
    steps = {
        "labelled images kept": len(cleaned.train),
        "label smoothing of the teacher and of the labelled images": recipe.label_smoothing,
        "unlabelled images, softly labelled by the teacher": len(unlabeled),
        "epochs of fold networks and teacher": [fold.epochs, teacher.epochs],
        "validation accuracy of the teacher": before[-1]["validation_accuracy"],
        "seconds of the fold networks and of the teacher, besides": [round(seconds, 1), round(sum(e["seconds"] for e in before), 1)],
    }
    return history, folder, steps
