"""What the training scripts share: learning-rate schedules, a run's folder, published weights, optimisers, and the walk over the epochs.

Each problem's recipes are frozen dataclasses below `Recipe`, or for classifiers below common.classification.Recipe.
"""

import argparse
import contextlib
import math
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from common import locks, setup
from common.files import named

Schedule = Callable[[float, int], float]

# ---- learning rates: the factor at `epoch`, counted from 0 and with a fraction for the step within it, of `epochs` ----


def constant(epoch: float, epochs: int) -> float:
    """The learning rate stays: factor 1."""
    return 1.0


def cosine(epoch: float, epochs: int) -> float:
    """Cosine annealing to 0 without restarts, one step an epoch."""
    return (1 + math.cos(math.pi * int(epoch) / epochs)) / 2


def one_cycle(epoch: float, epochs: int) -> float:
    """Linear from 0.1 to 1 over a fifth of the training, then linear to 0, in every step (after Smith and Topin, 2017)."""
    progress = epoch / epochs
    return 0.1 + 4.5 * progress if progress < 0.2 else (1 - progress) / 0.8


# ---- a recipe ----


@dataclass(frozen=True)
class Recipe:
    """One training: what every problem's recipe has. `keep` says what the kept epoch is best in, or 'last'."""

    network: str
    epochs: int = 30
    batch_size: int = 128
    optimiser: str = "sgd"
    lr: float = 0.01
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    schedule: Schedule = constant
    keep: str = "accuracy"
    pretrained: bool = False

    def parameters(self, model: nn.Module) -> list:
        """What the optimiser gets: all parameters, or groups of them, whose `scale` is a factor of the learning rate."""
        return list(model.parameters())

    def averaged(self, model: nn.Module) -> AveragedModel | None:
        """A moving average of the network's weights, which is then what is evaluated and kept; None without one."""
        return None

    def kept_epochs(self) -> tuple[int, ...]:
        """The epochs, counted from 1, whose checkpoints the figures need."""
        return ()

    def settings(self) -> dict:
        """Every hyper-parameter that is a plain JSON value, and the schedule's name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)} | {"schedule": self.schedule.__name__}
        return {name: value for name, value in values.items() if isinstance(value, (str, int, float))}


# ---- what a user changes in a recipe, and where the run goes ----

OPTIONS = ("epochs", "batch_size", "lr", "image_size")  # of the command line that stand for a recipe's field


def find_recipe(recipes: dict, report: str | None, model: str):
    """A report's recipe for model 'A' or 'B', or our own ones ('best', 'scratch'); raises UsageError if there is none."""
    key = (report or "ours", model)
    if key not in recipes:
        known = sorted({name for name, _ in recipes} - {"ours"})
        raise setup.UsageError(
            f"no recipe for --report {report} --model {model}; give {', '.join(known)} with --model A or B, or --model best"
        )
    return recipes[key]


def changes(args: argparse.Namespace) -> dict:
    """What the user's options change in a recipe, by field."""
    return {name: value for name in OPTIONS if (value := getattr(args, name, None)) is not None}


def run_settings(recipe, weights: str, data: dict, runtime: setup.Runtime, args: argparse.Namespace) -> dict:
    """What a training's checkpoints and its result say of it; `weights` in a file are known by its name and digest, wherever it lies."""
    if weights not in WEIGHTS:
        weights = setup.from_rank_zero(lambda: named(Path(weights)))
    return recipe.settings() | {"weights": weights, "seed": args.seed, "data": data, "precision": runtime.precision()}


WEIGHTS = {"none": "random", "default": "published"}  # what --weights may be but a file
SEEDS = (0, 1, 2)  # of a table's repetitions; every other training has the first
TOLD_APART = ("transforms", "pretrained", "validation_batch")  # settings that deviations tell otherwise, or that change no number


def deviations(full, settings: dict) -> list[str]:
    """In words, what a training, or with `seeds` several, does otherwise than the `full` recipe: other values, weights or seeds."""
    recipe, weights, started = full.settings(), settings.get("weights", "none"), "default" if full.pretrained else "none"
    before = {name: value for name, value in recipe.items() if name in settings and name not in TOLD_APART}
    words = [f"{name} {', not '.join(told_apart(settings[name], value))}" for name, value in before.items() if settings[name] != value]
    if weights != started:
        words.append(f"{WEIGHTS[weights]} weights" if weights in WEIGHTS else f"weights of {weights}")
        words[-1] += f", not {WEIGHTS[started]} ones"
    seeds, usual = settings.get("seeds", [settings.get("seed", 0)]), SEEDS if "seeds" in settings else SEEDS[:1]
    if not set(usual) <= set(seeds):
        words.append(f"seed {', '.join(map(str, seeds))}, not {', '.join(map(str, usual))}")
    return words


def told_apart(value, other) -> list[str]:
    """Two different settings as text: fractions with four significant digits, or with all where four would show them alike."""
    short = [f"{each:.4g}" if isinstance(each, float) else str(each) for each in (value, other)]
    return short if short[0] != short[1] else [str(value), str(other)]


def run_folder(args: argparse.Namespace, name: str, data: str) -> Path:
    """Where a training keeps its checkpoints; other data, another seed, changed settings or the quick form make a folder of their own."""
    parts = [name] + ["synthetic"] * (data == "synthetic") + ["quick"] * args.quick + [f"seed{args.seed}"] * (args.seed != 0)
    return Path(args.out) / "checkpoints" / "-".join(parts + [f"{name}{value}" for name, value in changes(args).items()])


def train_command(script: str, args: argparse.Namespace) -> str:
    """The command that makes the checkpoints that a figure with these arguments needs, for messages."""
    words = ["python", script, *["--report", args.report] * (args.report is not None), "--model", args.model, *["--quick"] * args.quick]
    words += ["--seed", str(args.seed)] * (args.seed != 0) + ["--data", str(args.data)] * (args.data is not None)
    return shlex.join(words + ["--out", str(args.out)] * (args.out != setup.DEFAULT_OUT))


# ---- starting weights ----


def starting_weights(args: argparse.Namespace, recipe) -> str:
    """`--weights`, or the recipe's own: published ones where it starts from them, but in the quick form none; says if that is a change."""
    weights = args.weights or ("default" if recipe.pretrained and not args.quick else "none")
    if recipe.pretrained and weights == "none":
        setup.log("starting from random weights where the recipe starts from published ones")
    return weights


# ---- a trained network ----


def first_trained(*files: str | Path) -> Path:
    """Of a network's files, relative ones below results/checkpoints/, the first that is there, or the first if none is."""
    paths = [setup.DEFAULT_OUT / "checkpoints" / file for file in files]
    return next((path for path in paths if path.exists()), paths[0])


def load_trained(path: Path, build: Callable, networks, script: str, runtime: setup.Runtime, remedy: str) -> tuple[nn.Module, dict]:
    """A network that `script` saved (an epoch's, best.pth or a half-precision file) ready for evaluation in fp32, and the whole checkpoint.

    `build(settings)` makes the network that the checkpoint's settings name, one of `networks`. Raises UsageError, with `remedy`, if the
    file is missing, damaged, no checkpoint of the script, or of another network.
    """
    state = setup.load_checkpoint_for_all(path, remedy)
    settings = state.get("settings", {})
    if "model" not in state or not isinstance(settings, dict) or settings.get("network") not in networks:
        raise setup.UsageError(f"{path} is no checkpoint of {script}; {remedy}")
    try:
        model = build(settings)
    except KeyError as error:
        raise setup.UsageError(f"{path} is no checkpoint of {script}: its settings have no {error}; {remedy}") from None
    setup.load_weights(model, state["model"], path)
    return runtime.place(model).eval(), state


# ---- the walk over the epochs ----


def make_optimiser(model: nn.Module, recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser over all parameters: 'sgd', 'adam' or 'adamw'; fused: ResNet-50 trains 1.2 times as fast by batches of 32."""
    options = {"lr": recipe.lr, "weight_decay": recipe.weight_decay, "fused": True}
    parameters = recipe.parameters(model)
    if recipe.optimiser == "adam":
        return torch.optim.Adam(parameters, **options)
    if recipe.optimiser == "adamw":
        return torch.optim.AdamW(parameters, **options)
    return torch.optim.SGD(parameters, momentum=recipe.momentum, nesterov=recipe.nesterov, **options)


def set_lr(optimiser: torch.optim.Optimizer, lr: float) -> None:
    """Give all parameters this learning rate, groups with a `scale` so many times it."""
    for group in optimiser.param_groups:
        group["lr"] = lr * group.get("scale", 1.0)


def kept_epoch(history: list[dict], keep: str) -> dict:
    """The numbers of the epoch whose network is kept: the last, the lowest validation_loss or the highest validation_<keep> ."""
    if keep == "last":
        return history[-1]
    return (min if keep == "loss" else max)(history, key=lambda epoch: epoch[f"validation_{keep}"])


ADDED = ("weights", "training set", "started from")  # settings that checkpoints of older commits lack
EARLIER_STAGE = ("training set", "started from")  # digests of what an earlier training made


def differences(kept: dict, settings: dict, ended: bool) -> list[str]:
    """The names of the settings in which a training, of settings `kept`, is another one; a digest that it lacks is no difference.

    The precision is none where it has ended: a machine without bf16 reads the result of one that has it.
    """
    kept = {name: settings[name] for name in ADDED if name in settings} | kept
    if isinstance(kept.get("data"), dict):
        kept["data"] = digests(settings["data"]) | kept["data"]
    return [name for name, value in settings.items() if kept.get(name) != value and not (ended and name == "precision")]


def digests(data: dict) -> dict[str, str]:
    """What a description of data says beyond names and counts."""
    return {name: value for name, value in data.items() if name.startswith("digest") and value}


def with_precision(history: list[dict], settings: dict) -> list[dict]:
    """A kept history whose epochs say in what precision they were trained, if an older commit left that to the settings alone."""
    return [{name: settings[name] for name in ("precision",) if name in settings} | epoch for epoch in history]


def resume(folder: Path, model: nn.Module, optimiser: torch.optim.Optimizer, average: AveragedModel | None, settings: dict) -> list[dict]:
    """Load the last complete epoch into model, optimiser and average; returns its history, [] if there is none.

    [] too if what it started from has been made anew since. Raises UsageError if it was trained with other settings.
    """
    path = folder / "last.pth"
    state = setup.from_rank_zero(lambda: path.exists() and setup.load_checkpoint(path, "train again without --resume"))
    if not state:
        setup.log(f"nothing to resume in {folder}: starting at epoch 1")
        return []
    kept = state.get("settings", {})
    different = differences(kept, settings, len(state.get("history", [])) == settings.get("epochs"))
    if different and set(different) <= set(EARLIER_STAGE):
        setup.log(f"{path} began from an earlier stage that has been trained anew ({', '.join(different)}): starting at epoch 1")
        return []
    if different or "optimiser" not in state:
        raise setup.UsageError(f"{path} was trained with other settings ({', '.join(different)}); repeat them, or train without --resume")
    setup.load_weights(model, state["model"], path)
    optimiser.load_state_dict(state["optimiser"])
    if average:
        average.load_state_dict(state["average"])
    return with_precision(state["history"], kept)


def starts(settings: dict) -> dict:
    """Those settings that give a training no folder of its own; of the data its digest, as its name and the quick form give one."""
    data, names = settings.get("data", {}), ("weights", "word pieces", "quarter turns")
    found = {name: settings[name] for name in names if name in settings}
    return found | ({"data": f"{data['name']} ({', '.join(known.values())})"} if (known := digests(data)) else {})


def refuse_other_start(folder: Path, kept: dict, settings: dict) -> None:
    """Raises UsageError if the folder's training, of settings `kept`, began otherwise: it may be hours of work, and is not replaced."""
    today = starts(settings)
    for name, before in starts(kept).items():
        if name in today and before != today[name]:
            what = f"{folder} holds a training with {name} {before}, not {today[name]}"
            raise setup.UsageError(f"{what}; give another --out, or remove that folder")


def refuse_other_run(path: Path, state: dict, run: dict) -> None:
    """Raises UsageError if a checkpoint's epochs are not those of `run`, its folder's run.json: a later training there was broken off."""
    histories = ([(epoch["epoch"], epoch["train_loss"]) for epoch in one] for one in (state.get("history", []), run.get("history", [])))
    if any(one != other for one, other in zip(*histories, strict=False)):
        raise setup.UsageError(f"{path} is of another training than its folder's run.json; train again, or go on with --resume")


def start_over(folder: Path, settings: dict) -> list[dict]:
    """The history of a training that begins: []. Raises what `refuse_other_start` raises."""
    kept = {}
    with contextlib.suppress(setup.UsageError):  # nothing there, or damaged
        kept = setup.load_checkpoint(folder / "last.pth", "").get("settings", {})
    refuse_other_start(folder, kept, settings)
    return []


def keep_if_wanted(recipe, folder: Path, state: dict) -> None:
    """Write an epoch's state as epoch-NNN.pth if the recipe keeps that epoch, and as best.pth if it is the best of its history."""
    if state["epoch"] in recipe.kept_epochs():
        setup.save_checkpoint(folder / f"epoch-{state['epoch']:03d}.pth", state)
    if kept_epoch(state["history"], recipe.keep) is state["history"][-1]:
        setup.save_checkpoint(folder / "best.pth", state)


def refuse_other_settings(settings: dict) -> None:
    """Raises UsageError in a process whose settings are not the first one's: each would train on its own data, or in its own precision."""
    first = setup.from_rank_zero(lambda: settings)
    if different := [name for name in settings if settings[name] != first.get(name)]:
        what = "; ".join(f"{name} {settings[name]}, in the first {first.get(name)}" for name in different)
        raise setup.UsageError(f"process {setup.rank()} has {what}; give all machines the same files and options")


def walk(
    recipe,
    model: nn.Module,
    optimiser: torch.optim.Optimizer,
    folder: Path,
    settings: dict,
    runtime: setup.Runtime,
    resuming: bool,
    one_epoch: Callable,
    average: AveragedModel | None = None,
) -> list[dict]:
    """Train all epochs: `one_epoch(epoch)`, counted from 0, returns the epoch's numbers; then a log line and complete checkpoints.

    With an `average` of the weights, that is the network of best.pth and epoch-NNN.pth.

    Each epoch's entry in the history says where it was trained: --resume may go on at another commit or on another device.

    Writes last.pth with the optimiser, then the recipe's kept epochs as epoch-NNN.pth and best.pth, which are of the history whenever
    the run is killed and resumed. Returns the history, a dict an epoch.
    The folder is this run's until its process ends. Raises Incomplete if one of an epoch's numbers is not finite, UsageError if another run
    works in the folder, and what `resume`, `start_over` and `refuse_other_settings` raise.
    """
    refuse_other_settings(settings)
    setup.from_rank_zero(lambda: locks.keep(folder))
    if resuming:
        history = resume(folder, model, optimiser, average, settings)
    else:
        history = setup.from_rank_zero(lambda: start_over(folder, settings))

    def state() -> dict:
        kept = (average.module if average else model).state_dict()
        return {"model": kept, "epoch": len(history), "history": history, "settings": settings}

    if history:  # the run may have been killed after last.pth and before the others
        keep_if_wanted(recipe, folder, state())
    here = {"device": runtime.describe(), "commit": setup.commit(), "precision": settings["precision"]}
    for epoch in range(len(history), recipe.epochs):
        start = time.monotonic()
        numbers = one_epoch(epoch)
        if broken := [name.replace("_", " ") for name, value in numbers.items() if not math.isfinite(value)]:
            what = f"no longer finite in epoch {epoch + 1}: {', '.join(broken)}"
            raise setup.Incomplete(f"{what}; lower --lr, or look at the data; earlier checkpoints are in {folder}")
        numbers = {"epoch": epoch + 1, **numbers, "seconds": round(time.monotonic() - start, 2)}
        setup.log(" ".join(f"{key} {value:.4g}" for key, value in numbers.items()))
        history.append(setup.from_rank_zero(lambda own=numbers | here: own))
        to_resume = {"model": model.state_dict(), "average": average.state_dict()} if average else {}
        setup.save_checkpoint(folder / "last.pth", state() | to_resume | {"optimiser": optimiser.state_dict()})
        keep_if_wanted(recipe, folder, state())
    return history
