"""How hw3's vision transformers are trained: what f21 states, and our choice for what it leaves open.

f21: Adam with lr 1e-4 and a scheduler, then a second fine-tuning by SGD with lr 0.01; RandomResizedCrop of scale 0.7 to 1, brightness 0.3,
flips, rotations by 15 degrees. Chosen: ten epochs and five, batch 16, a cosine and then a constant rate, momentum 0.9, and the best epoch.
The small network for machines without a GPU sees 96 px and starts from random weights, so it is trained longer and with AdamW; its last
epoch is kept, because few pictures of validation cannot tell the best.
"""

import argparse
import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from torchvision import transforms

from common import classification, setup, training
from common.augment import PerImage, Pipeline
from common.training import Schedule, constant, cosine, one_cycle
from hw3.p1_data import NORMALISE


@dataclass(frozen=True)
class Recipe(classification.Recipe):
    """One phase of a training."""

    network: str = "b16"
    epochs: int = 10
    batch_size: int = 16
    optimiser: str = "adam"
    lr: float = 1e-4
    schedule: Schedule = cosine
    image_size: int = 384
    validation_batch: int = 16
    pretrained: bool = True

    def train_pipeline(self, epoch: int) -> Pipeline:
        """f21's four augmentations, on pictures of any size."""
        four = transforms.Compose(
            [
                transforms.RandomResizedCrop(self.image_size, (0.7, 1.0), antialias=True),
                transforms.ColorJitter(brightness=0.3),
                transforms.RandomHorizontalFlip(0.5),
                transforms.RandomRotation(15),
            ]
        )
        return Pipeline(PerImage(four), NORMALISE)

    def settings(self) -> dict:
        """Every hyper-parameter as plain JSON values."""
        steps = ", ".join(map(repr, self.train_pipeline(0).operations[0].transform.transforms))
        return super().settings() | {"transforms": f"{steps}, {NORMALISE!r}"}


FIRST = Recipe()
SECOND = replace(FIRST, epochs=5, optimiser="sgd", lr=0.01, schedule=constant)
TINY = {"network": "tiny", "image_size": 96, "batch_size": 32, "validation_batch": 74, "keep": "last", "pretrained": False}
PHASES = {
    "b16": (FIRST, SECOND),
    "tiny": (
        replace(FIRST, epochs=60, optimiser="adamw", lr=1e-3, weight_decay=0.05, schedule=one_cycle, clip=1.0, **TINY),
        replace(SECOND, lr=0.001, **TINY),
    ),
}
QUICK = {"epochs": 4}
QUICK_IMAGES = (8, 2)  # training and validation pictures of each breed


def phases(args: argparse.Namespace) -> tuple[Recipe, Recipe]:
    """Both phases with the user's changes; `--epochs` and `--lr` are the first phase's. The quick form is the small network's."""
    first, second = PHASES["tiny" if args.quick else args.arch]
    changes = training.changes(args)
    shared = {name: value for name, value in changes.items() if name in ("batch_size", "image_size")}
    if args.quick:
        first, second = replace(first, **QUICK), replace(second, epochs=1)
    return replace(first, **changes), replace(second, **shared)


def run_folder(args: argparse.Namespace, data: str) -> Path:
    """Where a training keeps its checkpoints."""
    return training.run_folder(args, f"hw3-p1-{args.arch}", data)


def train_command(args: argparse.Namespace) -> str:
    """The command that makes the checkpoint that a figure with these arguments needs, for messages."""
    words = ["python", "hw3/p1_train.py", "--arch", args.arch, *["--quick"] * args.quick]
    words += ["--data", str(args.data)] * (args.data is not None) + ["--out", str(args.out)] * (args.out != setup.DEFAULT_OUT)
    return shlex.join(words + ["--seed", str(args.seed)] * (args.seed != 0))
