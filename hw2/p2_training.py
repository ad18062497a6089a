"""How each network of hw2 problem 2 is trained: one loop for cv22's tables, curves and final training, and for our own chains."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from common import checkpoints, classification, cli, setup, training
from common.data import Splits, preload
from hw2 import p2_models
from hw2.p2_data import NORMALISED
from hw2.p2_recipes import Recipe


def run_settings(recipe: Recipe, weights: str, splits: Splits, runtime: setup.Runtime) -> dict:
    """What a checkpoint says of its training; which images and labels it saw may depend on an earlier one's scores."""
    return training.run_settings(recipe, weights, splits.describe(), runtime) | {"training set": splits.train.digest()}


def fit(run: training.Run, splits: Splits, weights: str = "none") -> nn.Module:
    """Train the run's network, from these weights, and record its epochs; returns it or, where the recipe has one, its moving average."""
    recipe, runtime = run.recipe, run.runtime
    setup.seed_everything(runtime.seed)
    model = p2_models.build(recipe.network, weights)
    if isinstance(model, p2_models.Whitened):
        model.whiten_like(NORMALISED(splits.train.images[:1000], torch.empty(0, 0)))
    model = runtime.place(model)
    optimiser = training.make_optimiser(model, recipe)
    average = classification.moving_average(model, optimiser, recipe.average)
    parallel, evaluated = setup.parallel(model, runtime), average.module if average else model

    pipeline = classification.validation_pipeline(run.settings)
    train_images = preload(splits.train, recipe.train_pipeline(0), runtime)
    validation_images = preload(splits.validation, pipeline, runtime)
    for epoch in run.epochs(model, optimiser, average):
        trained = classification.train_epoch(parallel, optimiser, train_images, recipe, runtime, epoch.index)
        found = classification.evaluate(evaluated, validation_images, pipeline, recipe.validation_batch, runtime)
        epoch.record(**trained, **found)
    return evaluated


def load_or_compute(path: Path, history: list[dict], count: int, compute: Callable[[], Tensor]) -> Tensor:
    """What `compute()` gives for `count` images with a trained network, or gave: it is kept in a file with the training's history.

    Another machine would make it a little different, and the trainings after it would not be the same.
    """
    with contextlib.suppress(cli.UsageError):
        kept = checkpoints.load_checkpoint_for_all(path, "")
        if kept.get("history") == history and len(kept.get("made", ())) == count:
            return kept["made"]
    made = compute()
    checkpoints.save_checkpoint(path, {"history": history, "made": made})
    return made
