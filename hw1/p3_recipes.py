"""How the networks of hw1 problem 3 are trained: what f23 states, and our choice for the rest.

Stated by the report or the code that its authors published: BYOL's augmentation in this order, on images of their own 84 px that are
resized to 128 after the blur, Adam with learning rate 1e-4, batches of 100, ResNet-50; for the fine-tuning the schedule, augmentation and
kept epoch of problem 1, batches of 20, and one classifier for all five settings. Chosen: BYOL's epochs, everything of the supervised
pre-training. The report's colour jitter of three numbers is read as brightness, contrast and saturation. The augmentation is drawn for each
image, where the BYOL library that the report used drew it once for a batch: its views then differ in the same way for all images.

The stand-ins use a ResNet-18 at their images' 32 px; BYOL has eight epochs, as the nearest neighbours' accuracy no longer moves by then,
and the supervised pre-training 0.05, because 0.1 diverged. Fine-tuning is shorter there, and settings D and E see each image once, not
augmented, for all epochs. The quick form has a network of four convolutions, and three labelled images of each class: with more the drawn
classes are learnt as well without pre-training.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

from common import classification, cli, setup, training
from common.augment import ColorJitter, Crop, Flip, GaussianBlur, Normalise, Pipeline, Resize, ResizedCrop, Rotate
from common.training import one_cycle
from hw1 import p3_data
from hw1.p1_recipes import warm_up_then_linear
from hw1.p3_augment import Grayscale, Sometimes

COLOURS = (Sometimes(0.3, ColorJitter(0.8, 0.8, 0.2)), Sometimes(0.2, Grayscale()))
BLUR = Sometimes(0.2, GaussianBlur(3, (1.0, 2.0)))
FULL, CLASSIFIER_ONLY, ON_FEATURES = "full model", "classifier only", "classifier only, on features of images that are not augmented"


@dataclass(frozen=True)
class Recipe(classification.Recipe):
    """One training; `network` is the backbone, `hidden` the width of BYOL's projector and predictor.

    `augment` runs on images of their own size before resizing. With `resized_crop` a random crop, which may be flipped, is resized, as in
    the original BYOL; else the whole image. `trains` is FULL, CLASSIFIER_ONLY or ON_FEATURES.
    """

    network: str = "resnet50"
    nesterov: bool = True
    keep: str = "last"
    image_size: int = 128
    hidden: int = 4096
    augment: tuple = ()
    resized_crop: bool = False
    after_resize: tuple = ()
    trains: str = FULL

    def train_pipeline(self, epoch: int) -> Pipeline:
        """The augmentation of an epoch, counted from 0. Images are squares, so Resize and CenterCrop are Resize."""
        if self.trains == ON_FEATURES:
            return Pipeline()
        size = ResizedCrop(size=self.image_size) if self.resized_crop else Resize(self.image_size)
        return Pipeline(*self.augment, size, *self.after_resize, Normalise())

    def settings(self) -> dict:
        """Every hyper-parameter as plain JSON values."""
        return super().settings() | {"transforms": repr(self.train_pipeline(0))}


PRETRAIN = Recipe(epochs=500, batch_size=100, optimiser="adam", lr=1e-4, augment=(*COLOURS, Flip(), BLUR))
CROP = {"augment": (*COLOURS, BLUR), "resized_crop": True}  # what --crop changes in it
SUPERVISED = Recipe(
    epochs=30, batch_size=128, optimiser="sgd", lr=0.05, after_resize=(Crop(4), Flip()), weight_decay=5e-4, schedule=one_cycle
)
FINETUNE = Recipe(  # settings A, B and C
    epochs=100,
    batch_size=20,
    optimiser="adam",
    lr=1e-4,
    schedule=warm_up_then_linear,
    after_resize=(Flip(), Rotate(10)),
    keep="loss",
)
CLASSIFIER = replace(FINETUNE, trains=CLASSIFIER_ONLY)  # D and E
SMALL = {"network": "resnet18", "image_size": 32}  # for the stand-ins
STAND_INS = {PRETRAIN: {"epochs": 8}, SUPERVISED: {"epochs": 15}, FINETUNE: {"epochs": 15}, CLASSIFIER: {"trains": ON_FEATURES}}
FEW = {"epochs": 20, "batch_size": 10, "lr": 1e-3}
QUICK = {
    PRETRAIN: {"epochs": 8, "batch_size": 25, "lr": 1e-3, "hidden": 256},
    SUPERVISED: {"epochs": 6, "batch_size": 50},
    FINETUNE: FEW,
    CLASSIFIER: FEW | {"trains": ON_FEATURES},
}
QUICK_UNLABELLED, QUICK_LABELLED = 1000, (3, 30)  # images; training and validation images of each class


@dataclass(frozen=True)
class Choice:
    """What the user chooses for both trainings of problem 3: the data, `--backbone`, and what else changes in a recipe, by field.

    `files` are the backbones that the fine-tuning is given, by kind: `--sl` and `--ssl`.
    """

    source: p3_data.Source
    backbone: str | None = None
    changes: dict = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)


def adapt(recipe: Recipe, choice: Choice, quick: bool) -> Recipe:
    """One of the recipes above for this data, in its quick form if asked for, with the user's changes.

    Raises UsageError for another image size than the stand-ins have.
    """
    data, size = choice.source.name, choice.changes.get("image_size")
    if data == p3_data.STAND_INS and size not in (None, SMALL["image_size"]):
        raise cli.UsageError(f"--image-size {size}: the stand-ins' images have {SMALL['image_size']} pixels; leave it out")
    course = data == "p3_data" and not quick
    small = {} if course else SMALL | (QUICK[recipe] | {"network": "small"} if quick else STAND_INS[recipe])
    chosen = {"network": choice.backbone} if choice.backbone else {}
    return replace(recipe, **small | chosen | choice.changes)


def run_folder(runtime: setup.Runtime, name: str, choice: Choice) -> Path:
    """Where a training keeps its checkpoints."""
    data = choice.source.name
    parts = [f"f23-{name}"] + ["stand-ins"] * (data == p3_data.STAND_INS) + [choice.backbone] * (choice.backbone is not None)
    return training.run_folder(runtime, "-".join(parts), data, choice.changes)
