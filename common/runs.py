"""A finished training: what its run.json and its checkpoints hold, and what the items of a problem take from them."""

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path

from common import figures, locks, results, setup, training


@setup.on_rank_zero
def finish(args: argparse.Namespace, runtime: setup.Runtime, full, used, folder: Path, run: dict) -> dict:
    """Complete `run`, a training's history and settings, and write it as run.json beside its checkpoints; returns its content.

    `full` is the report's recipe, `used` the one that was trained.
    """
    history, settings = run["history"], run["settings"] | precision(run["history"])
    run = {
        "settings": settings,
        "deviations": training.deviations(full, settings | used.settings()),
        "kept": training.kept_epoch(history, used.keep),
        "history": history,
        "checkpoints": [f"epoch-{epoch:03d}.pth" for epoch in used.kept_epochs()],
        **results.provenance(args, runtime),
        **origin(history),
    }
    results.write_json(folder / "run.json", run)
    return run


def origin(*histories: list[dict]) -> dict:
    """Where trainings ran, and their seconds together; every device and commit where --resume went on at another.

    A history that an older commit wrote does not say where; a result then names the device and the commit that wrote it.
    """
    epochs = [epoch for history in histories for epoch in history]
    places = {key: ", ".join(dict.fromkeys(epoch[key] for epoch in epochs if key in epoch)) for key in ("device", "commit")}
    return {"seconds": round(sum(epoch["seconds"] for epoch in epochs), 1)} | {key: place for key, place in places.items() if place}


def precision(*histories: list[dict]) -> dict:
    """The setting `precision` of trainings that have ended: that of their epochs, whichever machine reads them."""
    return {"precision": ", ".join(dict.fromkeys(epoch["precision"] for history in histories for epoch in history if "precision" in epoch))}


def own_fields(run: dict) -> dict:
    """The entries of a result that are the run's own."""
    fields = {"settings": run["settings"], "weights": run["settings"]["weights"], "data": run["settings"]["data"]}
    return fields | {key: run[key] for key in ("deviations", "seconds", "command", "commit", "device")}


ROW = ("kept", "settings", "deviations", "quick", "command", "seconds", "device", "commit")  # what a table keeps of a model's run.json


def of_both_models(args: argparse.Namespace, item: str, run_folder: Callable, data: dict, numbers: tuple[str, ...]) -> dict[str, dict]:
    """A table's rows: of models A and B the best run on the same data, of those that the table has had and those of today's form.

    Of each run ROW's entries of its run.json, and of its history these `numbers` ('loss', ...).
    """
    found = {}
    for model in "AB":
        folder = run_folder(argparse.Namespace(**vars(args) | {"model": model}), data["name"])
        run = results.read_json(folder / "run.json")
        if run and {"digest": data["digest"]} | run["settings"]["data"] == data:
            names = ["epoch", *(f"{split}_{number}" for split in ("train", "validation") for number in numbers)]
            short = [{name: epoch[name] for name in names if name in epoch} for epoch in run["history"]]
            found[model] = {key: run[key] for key in ROW} | ({"history": short} if numbers else {})
    return results.best_rows(args, item, data, found)


def both_fields(rows: dict[str, dict]) -> dict:
    """The entries of a result that is made of both models' runs, which it keeps as `rows`."""
    origin = ("command", "seconds", "device", "commit")
    return {
        "weights": ", ".join(f"{model} {row['settings']['weights']}" for model, row in rows.items()),
        "settings": {model: row["settings"] | {key: row[key] for key in origin} for model, row in rows.items()},
        **of_rows(rows),
    }


def of_rows(rows: dict[str, dict]) -> dict:
    """The entries of a table's result that its rows have together."""
    places = {key: ", ".join(dict.fromkeys(row[key] for row in rows.values() if key in row)) for key in ("device", "commit")}
    deviations = said_once({name: row["deviations"] for name, row in rows.items()})
    return {"deviations": deviations, "seconds": round(sum(row["seconds"] for row in rows.values()), 1), **places, "rows": rows}


def said_once(deviations: dict[str, list[str]]) -> list[str]:
    """The deviations of a table's rows, each with the names of the rows that have it, unless all of several rows have."""
    rows: dict[str, list[str]] = {}
    for name, words in deviations.items():
        for word in words:
            rows.setdefault(word, []).append(name)
    return [word if len(names) == len(deviations) > 1 else f"{', '.join(names)}: {word}" for word, names in rows.items()]


@setup.on_rank_zero
def save_half(folder: Path, name: str, kept: dict, **more) -> Path:
    """Write best.pth in half precision as `name`, as the graders' script uses it, with the kept epoch's numbers and `more`."""
    state = setup.load_checkpoint(folder / "best.pth", "train again")
    half = {key: value.half() if value.is_floating_point() else value for key, value in state["model"].items()}
    setup.save_checkpoint(folder / name, {"model": half, "settings": state["settings"], "kept": kept, **more})
    return folder / name


# ---- short trainings, repeated over seeds ----


def repetitions(args: argparse.Namespace) -> list[argparse.Namespace]:
    """The arguments once for each seed."""
    count = args.seeds or (args.quick_seeds if args.quick else 3)
    return [argparse.Namespace(**vars(args) | {"seed": seed}) for seed in range(args.seed, args.seed + count)]


@setup.on_rank_zero
def ended(folder: Path, settings: dict, resuming: bool) -> list[dict]:
    """The history that `keep_history` wrote, if `resuming` and that training had these settings and ended; else [].

    Without `resuming` an older history is removed: the training that begins may be interrupted, and resumed. Raises UsageError if that
    training began from other weights or data, or another run works in the folder.
    """
    kept = results.read_json(folder / "history.json")
    training.refuse_other_start(folder, kept.get("settings", {}), settings)
    if not resuming:
        locks.keep(folder)
        (folder / "history.json").unlink(missing_ok=True)
        return []
    if not kept:
        return []
    if different := training.differences(kept["settings"], settings, ended=True):
        setup.log(f"  {folder} ended with other settings ({', '.join(different)}): training again")
        return []
    return training.with_precision(kept["history"], kept["settings"])


@setup.on_rank_zero
def keep_history(folder: Path, settings: dict, history: list[dict]) -> None:
    """Write history.json and remove the checkpoints, which for ResNet-50 take 300 MB a training."""
    results.write_json(folder / "history.json", {"settings": settings, "history": history, "versions": setup.versions()})
    for name in ("best.pth", "last.pth"):
        (folder / name).unlink(missing_ok=True)


def summary(histories: list[list[dict]]) -> dict[str, float]:
    """Mean and standard deviation, over the repetitions, of the last epoch's accuracies; one repetition has no deviation."""
    found = {}
    for split in ("train", "validation"):
        values = [history[-1][f"{split}_accuracy"] for history in histories]
        found[split] = statistics.fmean(values)
        if len(values) > 1:
            found[f"{split} sd"] = statistics.stdev(values)
    return found


def beats(better: dict[str, float], worse: dict[str, float]) -> bool | None:
    """Whether one row's validation accuracy is above another's by more than their spreads; None where one run cannot tell."""
    if "validation sd" not in better or "validation sd" not in worse:
        return None
    spread = (better["validation sd"] ** 2 + worse["validation sd"] ** 2) ** 0.5
    return better["validation"] - worse["validation"] > spread


def curves(histories: dict[str, list[dict]], numbers: tuple[str, ...], title: str, notes: dict[str, str] | None = None):
    """`numbers` ('loss', 'accuracy', ...) over the epochs, one panel each; a line for each split of each training, named by the keys.

    `notes` are words for the legend by line: {'train_loss': 'with label smoothing'}.
    """
    figure, grid = figures.new_figure(1, len(numbers), height=3.6)
    for axes, number in zip(grid[0], numbers, strict=True):
        for name, history in histories.items():
            epochs = [epoch["epoch"] for epoch in history]
            for split in ("train", "validation"):
                if f"{split}_{number}" in history[0]:
                    values = [epoch[f"{split}_{number}"] for epoch in history]
                    words = f"{name} {split} {(notes or {}).get(f'{split}_{number}', '')}".strip()
                    axes.plot(epochs, values, marker="o" if len(epochs) < 12 else None, label=words)
        axes.set_ylabel(number)
        figures.epoch_axis(axes)
        axes.legend()
    figure.suptitle(title)
    return figure
