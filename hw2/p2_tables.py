"""What cv22's tables 2.3 and 2.4 share: short trainings repeated over seeds, and the mean and spread of their accuracies."""

from torch import nn

from common import classification, figures, results, setup, training
from common.data import Labelled, Splits
from hw2 import p2_models, p2_training
from hw2.p2_data import NORMALISED, load_cifar
from hw2.p2_recipes import TABLE, Recipe

ACCURACIES = ("train", "validation")
RIGHT = "validation_right"  # of a history's last epoch: "1" for each validation image that is right, "0" for each that is not
LEARNT = 0.2  # training accuracy, twice chance, below which a network is said not to learn
QUICK = {"network": "lenet", "epochs": 8, "batch_size": 50, "lr": 0.04}  # the quick form: ResNet-50 would stay at chance
QUICK_IMAGES = (180, 20)  # training and validation images of each class


def load_splits(runtime: setup.Runtime) -> Splits:
    """The course's split by the runtime's seed, in the quick form cut to its size."""
    splits = load_cifar(runtime.data, runtime.seed)
    return splits.first_per_class(*QUICK_IMAGES) if runtime.quick else splits


def starting_weights(asked: str | None, recipe: Recipe, quick: bool) -> str:
    """What the trainings start from. Raises UsageError now, not after the hours of another network, if it cannot be had."""
    weights = training.starting_weights(asked, recipe, quick)
    p2_models.build(recipe.network, weights)
    return weights


def train_row(name: str, recipe: Recipe, weights: str, splits: Splits, runtime: setup.Runtime, changed: dict) -> list[dict]:
    """The history of one training, read from its folder if --resume finds that it has ended; its checkpoints are not kept.

    `name` is the table's and the row's, 'cleaning drop 1000'; row none is the same training in both tables and has one folder. `changed` is
    what the user changed in the recipe.
    """
    setup.log(f"{name}, seed {runtime.seed}, {len(splits.train)} training images:")
    folder = "cv22-plain" if name.endswith(" none") else f"cv22-{name.replace(' ', '-')}"
    folder = setup.writable_folder(training.run_folder(runtime, folder, splits.name, changed))
    settings = p2_training.run_settings(recipe, weights, splits, runtime)
    history = results.finished_history(folder, settings, runtime.resume)
    if history and RIGHT in history[-1]:
        setup.log(f"  has ended: {folder}")
        return history
    run = training.Run(folder, recipe, settings, runtime)
    model = p2_training.fit(run, splits, weights)
    run.history[-1][RIGHT] = right(model, splits.validation, runtime)
    results.write_history(folder, settings, run.history)
    return run.history


def right(model: nn.Module, split: Labelled, runtime: setup.Runtime) -> str:
    """Which images of a split a network gets right, of all its outputs: a "1" or a "0" for each."""
    labels = classification.predict(model.eval(), split.images, NORMALISED, runtime, views=1).max(1).indices
    return "".join(str(int(same)) for same in labels == split.target)


def learning(train_accuracy: float) -> dict[str, str]:
    """A note for a row whose training accuracy says that nothing was learnt, else {}."""
    return {} if train_accuracy >= LEARNT else {"note": f"does not learn: training accuracy below {LEARNT}, twice chance"}


def table_row(histories: list[list[dict]]) -> dict:
    """A row of a result: `results.summary`, and a note where nothing was learnt."""
    found = results.summary(histories)
    return found | learning(found["train"])


def table_fields(recipe: Recipe, weights: str, data: dict, rows: dict[str, list[list[dict]]], seeds: range, runtime: setup.Runtime) -> dict:
    """The entries of a table's result that come from its trainings, `rows`; `data` describes the splits before any row's change."""
    histories = [history for row in rows.values() for history in row]
    settings = training.run_settings(recipe, weights, data, runtime) | results.precision(*histories)
    settings |= {"seeds": list(seeds), **p2_models.outputs(recipe.network)}
    return {
        "weights": settings["weights"],
        "data": data,
        **results.origin(*histories),
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
