"""Which training images of hw2 problem 2 show no class: the score that cv22's cleaning (2.4, 2.5) sorts them by."""

import argparse
from dataclasses import replace

import torch
from torch import Tensor

from common import classification, setup, training
from common.data import Labelled, Splits
from hw2 import p2_models, p2_tables
from hw2.p2_data import NORMALISED
from hw2.p2_recipes import SCORER

ALL = 20_700  # the course's training images after the split


@setup.evaluation()
def largest_probability(model: torch.nn.Module, split: Labelled, runtime: setup.Runtime) -> Tensor:
    """The largest of each image's class probabilities, (N,) in 0 to 1, in evaluation mode; the processes share the work."""
    model.eval()

    def largest(images: Tensor) -> Tensor:
        return model(NORMALISED(images.to(runtime.device), torch.empty(0, 0))).softmax(1).amax(1).cpu()

    return torch.cat(setup.shared(largest, split.images.split(250)))


def score(splits: Splits, runtime: setup.Runtime, args: argparse.Namespace) -> tuple[Tensor, float]:
    """cv22's score of each training image (N,), and how many seconds its network took to train.

    The score is the largest probability that a ResNet-50, trained on the same images from random weights, gives it.
    """
    recipe = replace(SCORER, **p2_tables.QUICK) if args.quick else SCORER
    setup.log(f"network that scores, seed {args.seed}, {len(splits.train)} training images:")
    own = argparse.Namespace(**vars(args) | dict.fromkeys(training.OPTIONS))  # the user's changes are for the trainings after it
    folder = setup.writable_folder(training.run_folder(own, "cv22-scorer", splits.name))
    setup.seed_everything(args.seed)
    model = p2_models.build(recipe.network)
    settings = p2_tables.run_settings(recipe, "none", splits, runtime, args)
    history = classification.train(model, recipe, splits, NORMALISED, folder, settings, runtime, args)
    count, path = len(splits.train), folder / "scores.pth"
    scores = p2_tables.made_once(path, history, count, lambda: largest_probability(model, splits.train, runtime))
    return scores, sum(epoch["seconds"] for epoch in history)


def share(count: int, images: int) -> int:
    """How many of `images` training images are dropped where the report drops `count` of its own: the same share."""
    return round(count * images / ALL)


def without(splits: Splits, scores: Tensor, count: int) -> Splits:
    """The splits without the `count` training images of the lowest scores."""
    order = setup.from_rank_zero(scores.argsort)
    return replace(splits, train=splits.train.take(order[count:].sort().values))


def precision_recall(names: list[str], scores: Tensor, count: int, dirty: set[str]) -> tuple[float, float]:
    """Of the `count` lowest scores the share that is dirty, and of the dirty images among `names` the share that they are."""
    dropped = {names[i] for i in scores.argsort()[:count].tolist()}
    found = len(dropped & dirty)
    return found / count, found / max(1, len(dirty & set(names)))
