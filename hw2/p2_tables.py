"""What cv22's tables 2.3 and 2.4 share: short trainings repeated over seeds, and the mean and spread of their accuracies."""

import argparse
import contextlib
from collections.abc import Callable
from pathlib import Path

from torch import Tensor, nn

from common import checkpoints, classification, figures, results, setup, training
from common.data import Labelled, Splits
from common.results import ended, keep_history, origin, precision, repetitions, summary
from hw2 import p2_models
from hw2.p2_data import COURSE_SHARE, NORMALISED, load_cifar
from hw2.p2_recipes import TABLE, Recipe

ACCURACIES = ("train", "validation")
RIGHT = "validation_right"  # of a history's last epoch: "1" for each validation image that is right, "0" for each that is not
LEARNT = 0.2  # training accuracy, twice chance, below which a network is said not to learn
QUICK = {"network": "lenet", "epochs": 8, "batch_size": 25, "lr": 0.02}  # the quick form: ResNet-50 would stay at chance
QUICK_IMAGES = (180, 20)  # training and validation images of each class


def load_splits(args: argparse.Namespace, share: float = COURSE_SHARE) -> Splits:
    """The split of one seed, `share` of it for training, cut to the quick form's size if asked for."""
    splits = load_cifar(args.data, args.seed, share)
    return splits.first_per_class(*QUICK_IMAGES) if args.quick else splits


def each_seed(args: argparse.Namespace) -> list[tuple[argparse.Namespace, Splits]]:
    """The arguments and the split of each repetition."""
    return [(once, load_splits(once)) for once in repetitions(args)]


def starting_weights(args: argparse.Namespace, recipe: Recipe) -> str:
    """What the trainings start from. Raises UsageError now, not after the hours of another network, if it cannot be had."""
    weights = training.starting_weights(args, recipe)
    p2_models.build(recipe.network, weights)
    return weights


def train_row(
    table: str, row: str, recipe: Recipe, weights: str, splits: Splits, runtime: setup.Runtime, args: argparse.Namespace
) -> list[dict]:
    """The history of one training, read from its folder if --resume finds that it has ended; its checkpoints are not kept.

    Row none is the same training in both tables and has one folder.
    """
    setup.log(f"{table} {row}, seed {args.seed}, {len(splits.train)} training images:")
    name = "cv22-plain" if row == "none" else f"cv22-{table}-{row.replace(' ', '-')}"
    folder = setup.writable_folder(training.run_folder(args, name, splits.name))
    settings = run_settings(recipe, weights, splits, runtime, args)
    history = ended(folder, settings, args.resume)
    if history and RIGHT in history[-1]:
        setup.log(f"  has ended: {folder}")
        return history
    setup.seed_everything(args.seed)
    model = p2_models.build(recipe.network, weights)
    history = classification.train(model, recipe, splits, NORMALISED, folder, settings, runtime, args)
    history[-1][RIGHT] = right(model, splits.validation, runtime)
    keep_history(folder, settings, history)
    return history


def right(model: nn.Module, split: Labelled, runtime: setup.Runtime) -> str:
    """Which images of a split a network gets right, of all its outputs: a "1" or a "0" for each."""
    labels = classification.predict(model.eval(), split.images, NORMALISED, runtime, views=1).max(1).indices
    return "".join(str(int(same)) for same in labels == split.target)


def learning(train_accuracy: float) -> dict[str, str]:
    """A note for a row whose training accuracy says that nothing was learnt, else {}."""
    return {} if train_accuracy >= LEARNT else {"note": f"does not learn: training accuracy below {LEARNT}, twice chance"}


def table_row(histories: list[list[dict]]) -> dict:
    """A row of a result: `results.summary`, and a note where nothing was learnt."""
    found = summary(histories)
    return found | learning(found["train"])


def run_settings(recipe: Recipe, weights: str, splits: Splits, runtime: setup.Runtime, args: argparse.Namespace) -> dict:
    """What a checkpoint says of its training; which images and labels it saw may depend on an earlier one's scores."""
    return training.run_settings(recipe, weights, splits.describe(), runtime, args) | {"training set": splits.train.digest()}


def made_once(path: Path, history: list[dict], count: int, make: Callable[[], Tensor]) -> Tensor:
    """What `make()` makes with a trained network of `count` images, from a file that is kept with the training's history.

    Another machine would make it a little different, and the trainings after it would not be the same.
    """
    with contextlib.suppress(setup.UsageError):
        kept = checkpoints.load_checkpoint_for_all(path, "")
        if kept.get("history") == history and len(kept.get("made", ())) == count:
            return kept["made"]
    made = make()
    checkpoints.save_checkpoint(path, {"history": history, "made": made})
    return made


def own_fields(
    args: argparse.Namespace, runtime: setup.Runtime, recipe: Recipe, weights: str, data: dict, runs: dict[str, list[list[dict]]]
) -> dict:
    """The entries of a table's result that come from its trainings, `runs` by row; `data` describes the splits before any row's change."""
    histories = [history for row in results.values() for history in row]
    settings = training.run_settings(recipe, weights, data, runtime, args) | precision(*histories)
    settings |= {"seeds": [once.seed for once in repetitions(args)], **p2_models.outputs(recipe.network)}
    return {
        "weights": settings["weights"],
        "data": data,
        **origin(*histories),
        "deviations": training.deviations(TABLE, settings),
        "settings": settings,
    }


def draw(rows: dict[str, dict], reported: dict[str, dict], title: str, further: str = ""):
    """Training and validation accuracy of each row with its spread, the reported values as rings; `further` names a second validation."""
    figure, grid = figures.new_figure(1, 2, height=1.2 + 0.4 * len(rows), sharey=True)
    places = range(len(rows))
    for axes, split in zip(grid[0], ACCURACIES, strict=True):
        values, spread = ([row.get(key, 0) for row in rows.values()] for key in (split, f"{split} sd"))
        axes.errorbar(values, places, xerr=spread, fmt="o", capsize=3, label="ours: mean and standard deviation")
        axes.plot([reported[name][split] for name in rows], places, "o", mfc="none", ms=9, label="reported")
        if further and split == "validation":
            axes.plot([row.get(further) for row in rows.values()], places, "x", label=f"ours: {further}")
        axes.set(xlabel=f"{split} accuracy", yticks=places, yticklabels=list(rows))
        axes.grid(axis="x", alpha=0.3)
    grid[0, 0].invert_yaxis()
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.suptitle(title)
    return figure
