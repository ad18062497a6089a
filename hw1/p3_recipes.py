"""How the networks of hw1 problem 3 are trained: what f23 states, and our choice for the rest.

Stated: the augmentation, Adam with learning rate 1e-4, batches of 100, ResNet-50; by the course 128 px and the same classifier in all
settings. Chosen: epochs, everything of the supervised pre-training and of the fine-tuning. The report's colour jitter of three numbers is
read as brightness, contrast and saturation. The stand-ins use a ResNet-18 at their images' 32 px; BYOL has eight epochs, as the nearest
neighbours' accuracy no longer moves by then, and the supervised pre-training 0.05, because 0.1 diverged. The quick form has a network of
four convolutions, and three labelled images of each class: with more the drawn classes are learnt as well without pre-training.
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

from common import classification, setup, training
from common.augment import ColorJitter, Crop, Flip, GaussianBlur, Grayscale, Normalise, Pipeline, ResizedCrop, Sometimes
from common.training import one_cycle
from hw1 import p3_data
from hw1.p3_data import Source

COLOURS = (Sometimes(0.3, ColorJitter(0.8, 0.8, 0.2)), Sometimes(0.2, Grayscale()))
BLUR = Sometimes(0.2, GaussianBlur(3, (1.0, 2.0)))
STATED = (*COLOURS, Flip(), BLUR, Normalise())
CROPPED = (*COLOURS, BLUR, ResizedCrop(), Normalise())  # --crop: the original's crop in the place of Resize and CenterCrop


@dataclass(frozen=True)
class Recipe(classification.Recipe):
    """One training; `network` is the backbone, `hidden` the width of BYOL's projector and predictor."""

    network: str = "resnet50"
    nesterov: bool = True
    keep: str = "last"
    image_size: int = 128
    hidden: int = 4096
    augment: tuple = ()

    def train_pipeline(self, epoch: int) -> Pipeline:
        """The augmentation of an epoch, counted from 0."""
        return Pipeline(*self.augment)

    def settings(self) -> dict:
        """Every hyper-parameter as plain JSON values."""
        return super().settings() | {"transforms": repr(self.train_pipeline(0))}


PRETRAIN = Recipe(epochs=500, batch_size=100, optimiser="adam", lr=1e-4, augment=STATED)
SUPERVISED = Recipe(
    epochs=30, batch_size=128, optimiser="sgd", lr=0.05, augment=(Crop(4), Flip(), Normalise()), weight_decay=5e-4, schedule=one_cycle
)
FINETUNE = Recipe(  # settings A, B and C: backbone and classifier
    epochs=30, batch_size=64, optimiser="adam", lr=5e-4, augment=(Crop(4), Flip(), Normalise()), schedule=one_cycle
)
CLASSIFIER = Recipe(epochs=30, batch_size=64, optimiser="adam", lr=5e-3, augment=(), schedule=one_cycle)  # D and E, on features
SMALL = {"network": "resnet18", "image_size": 32}  # for the stand-ins
STAND_INS = {PRETRAIN: {"epochs": 8}, SUPERVISED: {"epochs": 15}, FINETUNE: {"epochs": 15}, CLASSIFIER: {"epochs": 15}}
FEW = {"epochs": 20, "batch_size": 10, "lr": 1e-3}
QUICK = {
    PRETRAIN: {"epochs": 12, "batch_size": 50, "lr": 1e-3, "hidden": 512},
    SUPERVISED: {"epochs": 6},
    FINETUNE: FEW,
    CLASSIFIER: FEW | {"lr": 1e-2},
}
QUICK_UNLABELLED, QUICK_LABELLED = 4000, (3, 100)  # images; training and validation images of each class


def adapt(recipe: Recipe, args: argparse.Namespace, source: Source) -> Recipe:
    """One of the recipes above for this data, in its quick form if asked for, with the user's changes.

    Raises UsageError for another image size than the stand-ins have.
    """
    if source.name == p3_data.STAND_INS and args.image_size not in (None, SMALL["image_size"]):
        raise setup.UsageError(f"--image-size {args.image_size}: the stand-ins' images have {SMALL['image_size']} pixels; leave it out")
    course = source.name == "p3_data" and not args.quick
    small = {} if course else SMALL | (QUICK[recipe] | {"network": "small"} if args.quick else STAND_INS[recipe])
    chosen = {"network": args.backbone} if args.backbone else {}
    return replace(recipe, **small | chosen | training.changes(args))


def pretraining(args: argparse.Namespace, source: Source) -> Recipe:
    """BYOL's recipe."""
    recipe = adapt(PRETRAIN, args, source)
    return replace(recipe, augment=CROPPED) if args.crop else recipe


def run_folder(args: argparse.Namespace, name: str, source: Source) -> Path:
    """Where a training keeps its checkpoints."""
    parts = [f"f23-{name}"] + ["stand-ins"] * (source.name == p3_data.STAND_INS) + [args.backbone] * (args.backbone is not None)
    return training.run_folder(args, "-".join(parts), source.name)
