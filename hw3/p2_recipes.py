"""How the captioner of hw3 problem 2 is trained. f21 trains none; CATR's own training is AdamW, lr 1e-4, weight decay 1e-4, batch 32.

It starts from an ImageNet ResNet-101, whose batch norm stays frozen. Two small networks are for machines without a GPU: `lite0` for
photographs, on the features of an ImageNet EfficientNet-Lite0 that stays as it is, and `small`, from random weights, for drawn pictures.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from common import training
from common.setup import Runtime
from common.training import one_cycle


@dataclass(frozen=True)
class Recipe(training.Recipe):
    """One training; `clip` is the largest norm of the gradient, `side` the longer side of the pictures in pixels.

    `batch_size` counts captions, each with its picture, or `together` pictures, each with all its captions. `pieces` is the most word
    pieces that are learnt.
    """

    network: str = "full"
    batch_size: int = 32
    optimiser: str = "adamw"
    lr: float = 1e-4
    weight_decay: float = 1e-4
    clip: float = 0.1
    side: int = 299
    label_smoothing: float = 0.0
    together: bool = False
    pieces: int = 2000
    keep: str = "last"


FULL = Recipe(pretrained=True)
SMALL = {"network": "small", "epochs": 120, "batch_size": 25, "lr": 5e-4, "schedule": one_cycle, "clip": 1.0, "side": 96}
LITE0 = {"network": "lite0", "epochs": 12, "batch_size": 20, "lr": 8e-4, "schedule": one_cycle, "clip": 1.0, "side": 224}
LITE0 |= {"weight_decay": 0.05, "label_smoothing": 0.1, "together": True, "pieces": 3000}
RECIPES = {"full": FULL, "lite0": replace(FULL, **LITE0), "small": replace(FULL, pretrained=False, **SMALL)}
QUICK = {"epochs": 20, "side": 64}
QUICK_IMAGES = (2000, 100)  # training and validation pictures


def recipe(arch: str, quick: bool, changes: dict) -> Recipe:
    """The recipe of the network asked for, with the user's changes; the quick form is the small network's."""
    found = replace(RECIPES["small"], **QUICK) if quick else RECIPES[arch]
    return replace(found, **changes)


def run_folder(runtime: Runtime, arch: str, data: str, changes: dict) -> Path:
    """Where a training keeps its checkpoints."""
    return training.run_folder(runtime, f"hw3-p2-{arch}", data, changes)
