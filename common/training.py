"""What the training scripts share: learning-rate schedules, recipes, optimisers, and a Run, which gives the loop its epochs.

Each problem's recipes are frozen dataclasses below `Recipe`, or for classifiers below common.classification.Recipe.
"""

import argparse
import contextlib
import math
import shlex
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from common import cli, files, setup
from common.checkpoints import load_checkpoint, load_checkpoint_for_all, load_weights, save_checkpoint
from common.files import name_and_digest

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

    def kept_epochs(self) -> tuple[int, ...]:
        """The epochs, counted from 1, whose checkpoints the figures need."""
        return ()

    def settings(self) -> dict:
        """Every hyper-parameter that is a plain JSON value, and the schedule's name."""
        values = {field.name: getattr(self, field.name) for field in fields(self)} | {"schedule": self.schedule.__name__}
        return {name: value for name, value in values.items() if isinstance(value, (str, int, float))}


# ---- what a user changes in a recipe, and where the run goes ----

OPTIONS = ("epochs", "batch_size", "lr", "image_size")  # of the command line that stand for a recipe's field


def overrides(args: argparse.Namespace) -> dict:
    """What the user's options change in a recipe, by field."""
    return {name: value for name in OPTIONS if (value := getattr(args, name, None)) is not None}


def seeds(args: argparse.Namespace) -> range:
    """The seeds of a table's repetitions: so many as --seeds says, from --seed on."""
    return range(args.seed, args.seed + (args.seeds or (args.quick_seeds if args.quick else 3)))


def run_settings(recipe, weights: str, data: dict, runtime: setup.Runtime) -> dict:
    """What a training's checkpoints and its result say of it; `weights` in a file are known by its name and digest, wherever it lies."""
    if weights not in WEIGHTS:
        weights = setup.from_rank_zero(lambda: name_and_digest(Path(weights)))
    return recipe.settings() | {"weights": weights, "seed": runtime.seed, "data": data, "precision": runtime.precision()}


WEIGHTS = {"none": "random", "default": "published"}  # what --weights may be but a file
SEEDS = (0, 1, 2)  # of a table's repetitions; every other training has the first
NO_DEVIATION = ("transforms", "pretrained", "validation_batch")  # settings that deviations tell otherwise, or that change no number


def deviations(full, settings: dict) -> list[str]:
    """In words, what a training, or with `seeds` several, does otherwise than the `full` recipe: other values, weights or seeds."""
    recipe, weights, started = full.settings(), settings.get("weights", "none"), "default" if full.pretrained else "none"
    before = {name: value for name, value in recipe.items() if name in settings and name not in NO_DEVIATION}
    words = []
    for name, value in before.items():
        ours = settings[name]
        short = [f"{each:.4g}" if isinstance(each, float) else str(each) for each in (ours, value)]
        if ours != value:  # with all digits where four would show them alike
            words.append(f"{name} {short[0]}, not {short[1]}" if short[0] != short[1] else f"{name} {ours}, not {value}")
    if weights != started:
        words.append(f"{WEIGHTS[weights]} weights" if weights in WEIGHTS else f"weights of {weights}")
        words[-1] += f", not {WEIGHTS[started]} ones"
    seeds, usual = settings.get("seeds", [settings.get("seed", 0)]), SEEDS if "seeds" in settings else SEEDS[:1]
    if not set(usual) <= set(seeds):
        words.append(f"seed {', '.join(map(str, seeds))}, not {', '.join(map(str, usual))}")
    return words


def run_folder(runtime: setup.Runtime, name: str, data: str, changed: dict) -> Path:
    """Where a training keeps its checkpoints; other data, another seed, changed settings or the quick form make a folder of their own."""
    parts = [name] + ["synthetic"] * (data == "synthetic") + ["quick"] * runtime.quick
    parts += [f"seed{runtime.seed}"] * (runtime.seed != 0) + [f"{field}{value}" for field, value in changed.items()]
    return Path(runtime.out) / "checkpoints" / "-".join(parts)


def train_command(runtime: setup.Runtime, *words: str) -> str:
    """`python`, a training script and its own arguments, then today's common ones: what makes the checkpoints that a figure lacks."""
    line = ["python", *words, *["--quick"] * runtime.quick, *["--seed", str(runtime.seed)] * (runtime.seed != 0)]
    line += ["--data", str(runtime.data)] * (runtime.data is not None)
    return shlex.join(line + ["--out", str(runtime.out)] * (runtime.out != cli.DEFAULT_OUT))


# ---- starting weights ----


def starting_weights(asked: str | None, recipe, quick: bool) -> str:
    """`--weights`, or the recipe's own: published ones where it starts from them, but in the quick form none; says if that is a change."""
    weights = asked or ("default" if recipe.pretrained and not quick else "none")
    if recipe.pretrained and weights == "none":
        setup.log("starting from random weights where the recipe starts from published ones")
    return weights


# ---- a run over the epochs ----


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


def changed_settings(kept: dict, settings: dict, ended: bool) -> list[str]:
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


def add_precision(history: list[dict], settings: dict) -> list[dict]:
    """A kept history whose epochs say in what precision they were trained, if an older commit left that to the settings alone."""
    return [{name: settings[name] for name in ("precision",) if name in settings} | epoch for epoch in history]


def resume(folder: Path, model: nn.Module, optimiser: torch.optim.Optimizer, average: AveragedModel | None, settings: dict) -> list[dict]:
    """Load the last complete epoch into model, optimiser and average; returns its history, [] if there is none.

    [] too if what it started from has been made anew since. Raises UsageError if it was trained with other settings.
    """
    path = folder / "last.pth"
    state = setup.from_rank_zero(lambda: path.exists() and load_checkpoint(path, "train again without --resume"))
    if not state:
        setup.log(f"nothing to resume in {folder}: starting at epoch 1")
        return []
    kept = state.get("settings", {})
    different = changed_settings(kept, settings, len(state.get("history", [])) == settings.get("epochs"))
    if different and set(different) <= set(EARLIER_STAGE):
        setup.log(f"{path} began from an earlier stage that has been trained anew ({', '.join(different)}): starting at epoch 1")
        return []
    if different or "optimiser" not in state:
        raise cli.UsageError(f"{path} was trained with other settings ({', '.join(different)}); repeat them, or train without --resume")
    load_weights(model, state["model"], path)
    optimiser.load_state_dict(state["optimiser"])
    if average:
        average.load_state_dict(state["average"])
    return add_precision(state["history"], kept)


def starting_point(settings: dict) -> dict:
    """Those settings that give a training no folder of its own; of the data its digest, as its name and the quick form give one."""
    data, names = settings.get("data", {}), ("weights", "word pieces", "quarter turns")
    found = {name: settings[name] for name in names if name in settings}
    return found | ({"data": f"{data['name']} ({', '.join(known.values())})"} if (known := digests(data)) else {})


def check_same_start(folder: Path, kept: dict, settings: dict) -> None:
    """Raises UsageError if the folder's training, of settings `kept`, began otherwise: it may be hours of work, and is not replaced."""
    today = starting_point(settings)
    for name, before in starting_point(kept).items():
        if name in today and before != today[name]:
            what = f"{folder} holds a training with {name} {before}, not {today[name]}"
            raise cli.UsageError(f"{what}; give another --out, or remove that folder")


def start_over(folder: Path, settings: dict) -> list[dict]:
    """The history of a training that begins: []. Raises what `check_same_start` raises."""
    kept = {}
    with contextlib.suppress(cli.UsageError):  # nothing there, or damaged
        kept = load_checkpoint(folder / "last.pth", "").get("settings", {})
    check_same_start(folder, kept, settings)
    return []


class Epoch:
    """An epoch of a Run: its `index`, counted from 0, and the numbers that the loop's body records."""

    def __init__(self, index: int):
        self.index, self.numbers = index, {}

    def record(self, **numbers: float) -> None:
        """The epoch's numbers, in the order in which the log shows them."""
        self.numbers |= numbers


class Run:
    """A training in its folder: it gives the loop its epochs, logs them, and keeps complete checkpoints, by which it resumes.

        run = Run(folder, recipe, settings, runtime)
        for epoch in run.epochs(model, optimiser):
            epoch.record(train_loss=...)

    `history` has a dict for each epoch that has ended: its number, counted from 1, what was recorded, seconds, device, commit, precision.
    """

    def __init__(self, folder: Path, recipe, settings: dict, runtime: setup.Runtime):
        """Raises UsageError if the folder cannot be written, another run works in it, or processes differ in their settings."""
        first = setup.from_rank_zero(lambda: settings)  # else each process would train on its own data, or in its own precision
        if different := [name for name in settings if settings[name] != first.get(name)]:
            what = "; ".join(f"{name} {settings[name]}, in the first {first.get(name)}" for name in different)
            raise cli.UsageError(f"process {setup.rank()} has {what}; give all machines the same files and options")
        self.folder, self.recipe, self.settings, self.runtime = setup.writable_folder(folder), recipe, settings, runtime
        self.history: list[dict] = []
        self.commit = setup.commit()  # of the code that was loaded, whatever happens to its files in the meantime
        setup.from_rank_zero(lambda: files.lock_folder(self.folder))

    @property
    def kept(self) -> dict:
        """The numbers of the epoch whose network is best.pth."""
        return kept_epoch(self.history, self.recipe.keep)

    def epochs(self, model: nn.Module, optimiser: torch.optim.Optimizer, average: AveragedModel | None = None) -> Iterator[Epoch]:
        """The epochs that are left, all of them or with --resume those after the last complete one; the loop's body records each.

        After the body come a log line and the checkpoints: last.pth with the optimiser, then the recipe's kept epochs as epoch-NNN.pth
        and best.pth, whose network is the `average` of the weights where there is one. They are of the history whenever the run is killed
        and resumed. Raises Incomplete if a recorded number is not finite, and what `resume` and `start_over` raise.
        """
        if self.runtime.resume:
            self.history = resume(self.folder, model, optimiser, average, self.settings)
        else:
            self.history = setup.from_rank_zero(lambda: start_over(self.folder, self.settings))
        network = average.module if average else model
        if self.history:  # the run may have been killed after last.pth and before the others
            self._keep(network, again=True)
        for index in range(len(self.history), self.recipe.epochs):
            epoch, start = Epoch(index), time.monotonic()
            yield epoch
            self._end(epoch, time.monotonic() - start)
            to_resume = {"model": model.state_dict(), "average": average.state_dict()} if average else {}
            to_resume["optimiser"] = optimiser.state_dict()
            save_checkpoint(self.folder / "last.pth", self._state(network) | to_resume)
            self._keep(network)

    def _end(self, epoch: Epoch, seconds: float) -> None:
        """Log an epoch and add it to the history, with where it was trained: --resume may go on elsewhere."""
        if broken := [name.replace("_", " ") for name, value in epoch.numbers.items() if not math.isfinite(value)]:
            what = f"no longer finite in epoch {epoch.index + 1}: {', '.join(broken)}"
            raise cli.Incomplete(f"{what}; lower --lr, or look at the data; earlier checkpoints are in {self.folder}")
        numbers = {"epoch": epoch.index + 1, **epoch.numbers, "seconds": round(seconds, 2)}
        setup.log(" ".join(f"{key} {value:.4g}" for key, value in numbers.items()))
        here = {"device": self.runtime.describe(), "commit": self.commit, "precision": self.settings["precision"]}
        self.history.append(setup.from_rank_zero(lambda: numbers | here))

    def _state(self, network: nn.Module) -> dict:
        return {"model": network.state_dict(), "epoch": len(self.history), "history": self.history, "settings": self.settings}

    def _keep(self, network: nn.Module, again: bool = False) -> None:
        """Write the last epoch as epoch-NNN.pth if the recipe keeps it, and as best.pth if it is the best of the history.

        `again`: a file that holds this epoch is left alone, as later stages know it by its content.
        """
        number = len(self.history)
        names = [f"epoch-{number:03d}.pth"] * (number in self.recipe.kept_epochs()) + ["best.pth"] * (self.kept is self.history[-1])
        for name in names:
            if not (again and self._holds(name)):
                save_checkpoint(self.folder / name, self._state(network))

    def _holds(self, name: str) -> bool:
        """Whether a file of the run's folder is of its last epoch."""
        with contextlib.suppress(cli.UsageError):  # missing or damaged
            return load_checkpoint_for_all(self.folder / name, "").get("history") == self.history
        return False
