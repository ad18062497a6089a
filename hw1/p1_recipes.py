"""How each model of hw1 problem 1 is trained: what its report states, and our choice for what the report leaves open.

The choices, once for all: images keep their 32 px for a network of our own and are resized to 224 px, the size of the ImageNet weights, for
torchvision's networks; f22a trains with random crops and flips; f22b's AutoAugment is torchvision's default policy and is
applied at 32 px; f22b's DenseNet is DenseNet-121 and its ConvNeXt is ConvNeXt-Tiny. `chosen` names a model's own open points.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from torchvision.transforms import AutoAugment, AutoAugmentPolicy

from common import classification, setup, training
from common.augment import NORMALISE, Crop, Cutout, Flip, PerImage, Pipeline, Resize, Rotate
from common.data import Splits
from common.training import cosine, one_cycle
from hw1 import reports
from hw1.p1_augment import RandomErasing
from hw1.p1_data import P1_CLASSES, load_p1


def warm_up_then_linear(epoch: float, epochs: int) -> float:
    """f23's LambdaLR: epoch / 30, then 1 - (epoch - 30) / 70, counted from 0, for 100 epochs; stretched for others.

    The first epoch's factor is 0, as the report's accuracy of 2.04 % after it (chance) confirms.
    """
    epoch, warm = int(epoch), 0.3 * epochs
    return epoch / warm if epoch < warm else 1 - (epoch - warm) / (epochs - warm)


@dataclass(frozen=True)
class Recipe(classification.Recipe):
    """One training.

    `augment` runs on 32-px images before resizing; `small_share` of the epochs are trained at `small_size` px. `normalise` is a key of
    augment.NORMALISE. Depthwise convolutions are slower in bf16 on a CPU: `cpu_bf16` false leaves a CPU in fp32.
    `views` is how many views of an image the graders' script takes the mean over: see classification.tta_logits.
    """

    weight_decay: float = 1e-4
    augment: tuple = (Crop(4), Flip())
    image_size: int = 224
    after_resize: tuple = ()
    after_normalise: tuple = ()
    small_size: int = 0
    small_share: float = 0.0
    normalise: str = "imagenet"
    cpu_bf16: bool = True
    num_classes: int = P1_CLASSES
    views: int = 10
    figure_epochs: tuple[int, int, int] | None = None
    chosen: str = ""

    def train_pipeline(self, epoch: int) -> Pipeline:
        """The augmentation of an epoch, counted from 0."""
        small = epoch < round(self.small_share * self.epochs)
        size = Resize(self.small_size if small else self.image_size)
        return Pipeline(*self.augment, size, *self.after_resize, NORMALISE[self.normalise], *self.after_normalise)

    def kept_epochs(self) -> tuple[int, ...]:
        """The epochs, counted from 1, whose checkpoints the figures need: the report's, else the first, the middle and the last."""
        if self.figure_epochs and self.figure_epochs[-1] == self.epochs:
            return self.figure_epochs
        return tuple(sorted({1, (self.epochs + 1) // 2, self.epochs}))

    def settings(self) -> dict:
        """Every hyper-parameter as plain JSON values."""
        return super().settings() | {"transforms": repr(self.train_pipeline(self.epochs - 1))}


F22A = Recipe("small_cnn", epochs=90)
F22B = Recipe(
    "densenet121",
    epochs=50,
    lr=0.1,
    weight_decay=2e-5,
    schedule=cosine,
    label_smoothing=0.1,
    augment=(PerImage(AutoAugment()),),
    after_normalise=(RandomErasing(),),
)
F23 = Recipe(
    "resnet18_mlp",
    epochs=100,
    batch_size=32,
    optimiser="adam",
    lr=1e-4,
    weight_decay=0.0,
    schedule=warm_up_then_linear,
    augment=(),
    after_resize=(Flip(), Rotate(10)),
    validation_batch=20,
    keep="loss",
)
F23_MLP = "hidden layers of 256 and 128 in the MLP, as in the code that the report's author published"
RECIPES = {
    ("f22a", "A"): replace(
        F22A,
        batch_size=64,
        image_size=32,
        figure_epochs=(1, 36, 90),
        chosen="3x3 convolutions of 32 and 64 channels; linear layers of 512 and 256; batch 64; crop by 4 px and flip",
    ),
    ("f22a", "B"): replace(
        F22A, network="resnext101_64x4d", epochs=200, pretrained=True, chosen="224 px; batch 128; crop by 4 px and flip"
    ),
    ("f22b", "A"): replace(F22B, figure_epochs=(1, 25, 50), chosen="DenseNet-121; 224 px"),
    ("f22b", "B"): replace(F22B, network="convnext_tiny", epochs=20, pretrained=True, chosen="ConvNeXt-Tiny; 224 px"),
    ("f23", "A"): replace(F23, figure_epochs=(1, 50, 100), chosen=F23_MLP),
    ("f23", "B"): replace(F23, pretrained=True, chosen=F23_MLP),
    ("ours", "best"): Recipe(
        "tf_efficientnet_lite2",
        epochs=40,
        optimiser="adamw",
        lr=1e-3,
        weight_decay=0.05,
        schedule=one_cycle,
        label_smoothing=0.1,
        clip=1.0,
        mixup=0.2,
        average=0.999,
        augment=(PerImage(AutoAugment(AutoAugmentPolicy.CIFAR10)), Crop(4), Flip()),
        image_size=208,
        small_size=144,
        small_share=0.6,
        normalise="half",
        views=1,
        cpu_bf16=False,
        keep="last",
        pretrained=True,
        chosen="everything",
    ),
    ("ours", "scratch"): Recipe(
        "resnet9",
        epochs=32,
        lr=0.2,
        nesterov=True,
        weight_decay=5e-4,
        schedule=one_cycle,
        label_smoothing=0.1,
        image_size=32,
        after_normalise=(Cutout(8),),
        small_size=24,
        small_share=0.625,
        keep="last",
        chosen="everything",
    ),
}
QUICK = {  # training images of each class, and what else differs, so that a network's quick form takes seconds on two cores
    "small_cnn": (25, {"epochs": 8}),
    "resnext101_64x4d": (5, {"epochs": 1}),
    "densenet121": (5, {"epochs": 3}),
    "convnext_tiny": (5, {"epochs": 2}),
    "resnet18_mlp": (8, {"epochs": 3}),
    "tf_efficientnet_lite2": (
        25,  # too few for a network of its size
        {"network": "test_efficientnet", "epochs": 16, "batch_size": 25, "lr": 3e-3, "mixup": 0.0, "average": 0.0, "small_share": 0.0},
    ),
    "resnet9": (
        20,
        {"network": "resnet9_narrow", "epochs": 8, "batch_size": 25, "lr": 0.05, "after_normalise": (), "small_share": 0.0, "views": 2},
    ),
}
QUICK_VALIDATION = 10  # images of each class


def recipe(report: str | None, model: str, quick: bool = False, changes: dict | None = None) -> Recipe:
    """The recipe of a report's model ('A' or 'B'; 'best' needs no report), in its quick form if asked for, with the user's `changes`.

    Raises UsageError if there is no such recipe.
    """
    found = reports.find_recipe(RECIPES, report, model)
    if quick:
        found = replace(found, image_size=32, **QUICK[found.network][1])
    return replace(found, **(changes or {}))


def load_splits(data: str | None, report: str | None, model: str, quick: bool) -> Splits:
    """p1_data or its stand-in, cut to the size of a model's quick form if asked for."""
    splits = load_p1(data)
    return splits.first_per_class(QUICK[recipe(report, model).network][0], QUICK_VALIDATION) if quick else splits


def run_folder(runtime: setup.Runtime, report: str | None, model: str, data: str, changes: dict) -> Path:
    """Where a training keeps its checkpoints."""
    return training.run_folder(runtime, f"{report}-{model}" if report else model, data, changes)
