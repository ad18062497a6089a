"""How the captioner of hw3 problem 2 is trained. f21 trains none; CATR's own training is AdamW, lr 1e-4, weight decay 1e-4, batch 32.

It starts from an ImageNet ResNet-101, whose batch norm stays frozen.
"""

import argparse
import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from common import setup, training
from common.training import one_cycle


@dataclass(frozen=True)
class Recipe(training.Recipe):
    """One training; `clip` is the largest norm of the gradient, `side` the longer side of the pictures in pixels."""

    network: str = "full"
    batch_size: int = 32
    optimiser: str = "adamw"
    lr: float = 1e-4
    weight_decay: float = 1e-4
    clip: float = 0.1
    side: int = 299
    keep: str = "last"


FULL = Recipe(pretrained=True)
SMALL = {"network": "small", "epochs": 120, "batch_size": 25, "lr": 5e-4, "schedule": one_cycle, "clip": 1.0, "side": 96}
RECIPES = {"full": FULL, "small": replace(FULL, pretrained=False, **SMALL)}
QUICK = {"epochs": 20, "side": 64}
QUICK_IMAGES = (2000, 100)  # training and validation pictures


def recipe(args: argparse.Namespace) -> Recipe:
    """The recipe of the network asked for, with the user's changes; the quick form is the small network's."""
    found = replace(RECIPES["small"], **QUICK) if args.quick else RECIPES[args.arch]
    return replace(found, **training.changes(args))


def run_folder(args: argparse.Namespace, data: str) -> Path:
    """Where a training keeps its checkpoints."""
    return training.run_folder(args, f"hw3-p2-{args.arch}", data)


def train_command(args: argparse.Namespace) -> str:
    """The command that makes the checkpoint that a figure with these arguments needs, for messages."""
    words = ["python", "hw3/p2_caption_train.py", "--arch", args.arch, *["--quick"] * args.quick]
    words += ["--data", str(args.data)] * (args.data is not None) + ["--out", str(args.out)] * (args.out != setup.DEFAULT_OUT)
    return shlex.join(words + ["--seed", str(args.seed)] * (args.seed != 0))
