"""How hw3's vision transformers are trained: what f21 states, and our choice for what it leaves open.

f21: Adam with lr 1e-4 and a scheduler, then a second fine-tuning by SGD with lr 0.01; RandomResizedCrop of scale 0.7 to 1, brightness 0.3,
flips, rotations by 15 degrees. Chosen: ten epochs and five, batch 16, a cosine and then a constant rate, momentum 0.9, and the best epoch.

Two small networks are for machines without a GPU. DeiT-tiny starts from ImageNet's weights and has what fine-tuning of transformers uses
besides: a head that begins as a linear classifier, rates that fall from layer to layer, mixup, smoothed labels, a moving average of the
weights. The tiny one sees 96 px and starts from random weights, so it is trained longer and with AdamW. Both keep the last epoch:
validation chooses nothing.
"""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn
from torchvision import transforms

from common import classification, training
from common.augment import NORMALISE, ColorJitter, Flip, PerImage, Pipeline, Resize, ResizedCrop, Rotate
from common.setup import Runtime
from common.training import Schedule, constant, cosine, one_cycle
from hw3.p1_synthetic import CLASSES


@dataclass(frozen=True)
class Recipe(classification.Recipe):
    """One phase of a training.

    `normalise` is a key of augment.NORMALISE, which the starting weights decide. `layer_decay` is the factor of the learning rate from a
    block to the one before it. With `linear_start` the head begins as a linear classifier of the frozen features. With a `margin`, training
    pictures are decoded once to squares of so many times image_size and augmented a batch at a time, which keeps two cores free for the
    network; else each keeps its shape and is augmented by torchvision.
    """

    network: str = "b16"
    num_classes: int = CLASSES
    epochs: int = 10
    batch_size: int = 16
    optimiser: str = "adam"
    lr: float = 1e-4
    schedule: Schedule = cosine
    image_size: int = 384
    validation_batch: int = 16
    pretrained: bool = True
    normalise: str = "half"
    layer_decay: float = 1.0
    linear_start: bool = False
    margin: float = 0.0
    crop: bool = True

    def train_pipeline(self, epoch: int) -> Pipeline:
        """f21's four augmentations."""
        if self.margin:
            place = (ResizedCrop((0.7, 1.0), size=self.image_size),) if self.crop else (Resize(self.image_size), Flip())
            four = *place, ColorJitter(0.3, 0.0, 0.0), Rotate(15)
        else:
            four = (PerImage(self.per_image()),)
        return Pipeline(*four, NORMALISE[self.normalise])

    def per_image(self) -> transforms.Compose:
        """The same for a picture of any size."""
        cropped = transforms.RandomResizedCrop(self.image_size, (0.7, 1.0), antialias=True)
        return transforms.Compose(
            [
                cropped if self.crop else transforms.Resize([self.image_size] * 2, antialias=True),
                transforms.ColorJitter(brightness=0.3),
                transforms.RandomHorizontalFlip(0.5),
                transforms.RandomRotation(15),
            ]
        )

    def squares(self) -> tuple[int, int] | None:
        """Pixels of the squares that training and validation pictures are decoded to; None where each keeps its shape."""
        return (round(self.margin * self.image_size), self.image_size) if self.margin else None

    def parameters(self, model: nn.Module) -> list:
        """A group for each depth; with layer decay, weight decay spares biases, norms and tokens, as is usual for transformers."""
        if self.layer_decay == 1.0:
            return super().parameters(model)
        last, groups = len(model.encoder.layers) + 1, {}
        for name, parameter in model.named_parameters():
            if block := re.search(r"encoder_layer_(\d+)\.", name):
                depth = int(block[1]) + 1
            else:
                depth = last if name.startswith(("heads.", "encoder.ln.")) else 0
            spared = parameter.ndim == 1 or name in ("class_token", "encoder.pos_embedding")
            group = {"params": [], "scale": self.layer_decay ** (last - depth), "weight_decay": 0.0 if spared else self.weight_decay}
            groups.setdefault((depth, spared), group)["params"].append(parameter)
        return list(groups.values())

    def settings(self) -> dict:
        """Every hyper-parameter as plain JSON values."""
        *four, normalise = self.train_pipeline(0).operations
        steps = four if self.margin else self.per_image().transforms
        return super().settings() | {"transforms": ", ".join(map(repr, [*steps, normalise]))}


FIRST = Recipe()
SECOND = replace(FIRST, epochs=5, optimiser="sgd", lr=0.01, schedule=constant)
DEIT_TINY = {
    "network": "deit_tiny",
    "batch_size": 32,
    "validation_batch": 50,
    "schedule": one_cycle,
    "clip": 1.0,
    "keep": "last",
    "normalise": "imagenet",
    "label_smoothing": 0.1,
    "layer_decay": 0.75,
    "linear_start": True,
    "mixup": 0.2,
    "average": 0.99,
    "margin": 9 / 7,
}
TINY = {"network": "tiny", "image_size": 96, "batch_size": 32, "validation_batch": 74, "keep": "last", "pretrained": False}
PHASES = {
    "b16": (FIRST, SECOND),
    "deit_tiny": (
        replace(FIRST, image_size=224, epochs=8, optimiser="adamw", lr=2e-4, weight_decay=0.05, **DEIT_TINY),
        replace(SECOND, image_size=224, epochs=2, **DEIT_TINY | {"linear_start": False}),
    ),
    "tiny": (
        replace(FIRST, epochs=60, optimiser="adamw", lr=1e-3, weight_decay=0.05, schedule=one_cycle, clip=1.0, **TINY),
        replace(SECOND, lr=0.001, **TINY),
    ),
}
QUICK = {"epochs": 4, "image_size": 64}
QUICK_IMAGES = (5, 2)  # training and validation pictures of each breed


def phases(arch: str, quick: bool, changes: dict, crop: bool = True) -> tuple[Recipe, Recipe]:
    """Both phases with the user's changes; `epochs` and `lr` are the first phase's. The quick form is the small network's."""
    first, second = PHASES["tiny" if quick else arch]
    shared = {name: value for name, value in changes.items() if name in ("batch_size", "image_size")}
    if quick:
        first, second = replace(first, **QUICK), replace(second, **QUICK | {"epochs": 1})
    return replace(first, crop=crop, **changes), replace(second, crop=crop, **shared)


def run_folder(runtime: Runtime, arch: str, data: str, changes: dict, crop: bool = True) -> Path:
    """Where a training keeps its checkpoints."""
    return training.run_folder(runtime, f"hw3-p1-{arch}" + "-uncropped" * (not crop), data, changes)
