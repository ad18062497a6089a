"""How each model of hw1 problem 2 is trained: what its report states, and our choice for what the reports leave open.

The reports state the networks, and f23 30 epochs. Chosen for all: 30 epochs, batch 8, Adam with lr 1e-4 on a cosine, flips and quarter
turns, 512 px, and the epoch with the best mIoU. f22a's and f22b's model A start from ImageNet's VGG16; f23 calls its model B alone
pretrained, so its A starts from random weights.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from common import setup, training
from common.augment import ColorJitter, Normalise, Pipeline, Resize
from common.training import Schedule, cosine, one_cycle
from hw1 import reports
from hw1.p2_augment import Symmetries, Zoom
from hw1.p2_data import SIZE


@dataclass(frozen=True)
class Recipe(training.Recipe):
    """One training. `sizes` are (share of the epochs, pixels) of the first epochs, trained smaller; the others have `image_size`.

    `geometric` augmentation moves an image and its labels together, `photometric` changes the image alone.
    The loss weighs a class by its share of the pixels to the power of -`class_weights` (0: all alike).
    `backbone_lr` is a factor of the learning rate for the layers below the network's `backbone`, `average` the decay of the weights' moving
    average, 0 for none: see classification.moving_average.
    """

    batch_size: int = 8
    optimiser: str = "adam"
    lr: float = 1e-4
    schedule: Schedule = cosine
    aux_weight: float = 0.5
    class_weights: float = 0.0
    geometric: tuple = (Symmetries(),)
    photometric: tuple = ()
    backbone_lr: float = 1.0
    average: float = 0.0
    image_size: int = SIZE
    sizes: tuple[tuple[float, int], ...] = ()
    keep: str = "miou"
    pretrained: bool = True

    def train_size(self, epoch: int) -> int:
        """The pixels of a side in an epoch, counted from 0."""
        smaller = (size for share, size in self.sizes if epoch < round(share * self.epochs) and size < self.image_size)
        return next(smaller, self.image_size)

    def train_pipeline(self, epoch: int) -> Pipeline:
        """What happens to the images of an epoch, counted from 0, after what moves the labels too."""
        return Pipeline(*self.photometric, Resize(self.train_size(epoch)), Normalise())

    def parameters(self, model: nn.Module) -> list:
        """All parameters, or those of the backbone and the others, each in a group."""
        if self.backbone_lr == 1:
            return super().parameters(model)
        backbone = list(model.backbone.parameters())
        others = [value for name, value in model.named_parameters() if not name.startswith("backbone.")]
        return [{"params": backbone, "scale": self.backbone_lr}, {"params": others}]

    def kept_epochs(self) -> tuple[int, ...]:
        """The epochs, counted from 1, whose masks the figures show: early, middle and final (f23: 1, 15, 30)."""
        return tuple(sorted({1, self.epochs // 2 or 1, self.epochs}))

    def settings(self) -> dict:
        """Every hyper-parameter as plain JSON values."""
        transforms = f"{Pipeline(*self.geometric)!r}, {self.train_pipeline(self.epochs - 1)!r}"
        return super().settings() | {"sizes": [list(pair) for pair in self.sizes], "transforms": transforms}


A, DEEPLAB = Recipe("vgg16_fcn32s"), Recipe("deeplabv3_resnet50")
RECIPES = {
    ("f22a", "A"): A,
    ("f22a", "B"): DEEPLAB,
    ("f22b", "A"): A,
    ("f22b", "B"): Recipe("fcn_resnet101"),
    ("f23", "A"): replace(A, pretrained=False),
    ("f23", "B"): DEEPLAB,
    ("ours", "best"): Recipe(
        "efficientnet_lite2_fpn",
        epochs=40,
        batch_size=16,
        optimiser="adamw",
        lr=1e-3,
        weight_decay=0.05,
        schedule=one_cycle,
        class_weights=0.5,
        geometric=(Symmetries(), Zoom()),
        photometric=(ColorJitter(0.3, 0.3, 0.3),),
        backbone_lr=0.25,
        average=0.998,
        sizes=((0.5, 384),),
        keep="last",
    ),
    ("ours", "scratch"): Recipe(
        "resnet_fpn",
        epochs=48,
        batch_size=16,
        optimiser="adamw",
        lr=2e-3,
        weight_decay=0.05,
        schedule=one_cycle,
        class_weights=0.5,
        image_size=256,
        sizes=((0.42, 128), (0.84, 192)),
        keep="last",
        pretrained=False,
    ),
}
QUICK = {  # training tiles, and what else differs, so that a quick form from random weights takes seconds on two cores
    "vgg16_fcn32s": (16, {"epochs": 3, "image_size": 64}),
    "deeplabv3_resnet50": (8, {"epochs": 3, "image_size": 64, "batch_size": 4, "lr": 5e-4}),
    "fcn_resnet101": (8, {"epochs": 3, "image_size": 64, "batch_size": 4, "lr": 5e-4}),
    "efficientnet_lite2_fpn": (
        80,
        {"network": "test_efficientnet_fpn", "epochs": 6, "image_size": 96, "batch_size": 8, "backbone_lr": 1.0, "average": 0.0},
    ),
    "resnet_fpn": (80, {"epochs": 6, "image_size": 96, "batch_size": 8}),
}
QUICK_VALIDATION = 8
PROBLEM = {"f22a": 2, "f22b": 2, "f23": 3}  # the number of the segmentation problem in each report


def item(report: str, number: int) -> str:
    """The name of an item of the segmentation problem in a report: ('f23', 4) -> 'f23 3.4'."""
    return f"{report} {PROBLEM[report]}.{number}"


def recipe(report: str | None, model: str, quick: bool = False, changes: dict | None = None) -> Recipe:
    """The recipe of a report's model 'A' or 'B', or of ours, in its quick form if asked for, with the user's `changes`.

    Raises UsageError if there is no such recipe.
    """
    found = reports.find_recipe(RECIPES, report, model)
    if quick:
        found = replace(found, **QUICK[found.network][1])
    return replace(found, **(changes or {}))


def tile_counts(report: str | None, model: str, quick: bool) -> tuple[int | None, int | None]:
    """How many training and validation tiles a run uses: all, or the quick form's."""
    return (QUICK[recipe(report, model).network][0], QUICK_VALIDATION) if quick else (None, None)


def same_training(report: str, model: str) -> list[tuple[str, str]]:
    """The reports and models of one recipe, of which one training is enough: f22a's and f22b's A, f22a's and f23's B."""
    return [names for names, other in RECIPES.items() if names[0] != "ours" and other == RECIPES[report, model]]


def run_folder(runtime: setup.Runtime, report: str | None, model: str, data: str, changed: dict) -> Path:
    """Where the training of a report's model, or of the first one of the same recipe, keeps its checkpoints."""
    first = same_training(report, model)[0] if report else (model,)
    return training.run_folder(runtime, "-".join(("p2", *first)), data, changed)
