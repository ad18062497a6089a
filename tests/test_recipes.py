"""Every field of a recipe changes the training: two trainings that differ in one field alone end in different networks."""

import json
from dataclasses import dataclass, fields, replace

import pytest
import torch

from common import classification, training
from common.augment import ColorJitter, Flip, Normalise, Pipeline
from common.data import Labelled
from common.setup import Runtime, seed_everything
from hw1 import p2_augment, p2_data, p2_recipes, p2_seg_train
from hw3 import p2_caption_train, p2_synthetic
from hw3 import p2_recipes as caption_recipes

CPU, FP32 = Runtime(torch.device("cpu"), False), {"precision": "fp32"}
NO_EFFECT = {"network", "keep", "pretrained", "num_classes", "validation_batch"}  # on the steps of a training that is given its network


@dataclass(frozen=True)
class Recipe(classification.Recipe):
    """Of images that are flipped."""

    def train_pipeline(self, epoch: int) -> Pipeline:
        return Pipeline(Flip(), Normalise())


PLAIN = Recipe("linear", epochs=2, batch_size=4, lr=0.1, num_classes=3)
OTHER = {
    "epochs": 3,
    "batch_size": 6,
    "optimiser": "adam",
    "lr": 0.2,
    "momentum": 0.5,
    "nesterov": True,
    "weight_decay": 0.1,
    "schedule": training.one_cycle,
    "label_smoothing": 0.2,
    "clip": 0.01,
    "mixup": 0.5,
    "average": 0.5,
}


def trained(recipe: Recipe, folder) -> torch.Tensor:
    """The kept weights of a linear layer that was trained on twelve images."""
    seed_everything(0)
    folder.mkdir()
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
    split = Labelled(torch.randint(0, 256, (12, 3, 2, 2), dtype=torch.uint8), torch.arange(12) % 3, [""] * 12)
    train(model, recipe, split, folder)
    return torch.load(folder / "best.pth", weights_only=True)["model"]["1.weight"]


def train(model, recipe: Recipe, split: Labelled, folder) -> list[dict]:
    """The loop of the training scripts, validation left out; returns the history."""
    optimiser = training.make_optimiser(model, recipe)
    average = classification.moving_average(model, optimiser, recipe.average)
    run = training.Run(folder, recipe, FP32, CPU)
    for epoch in run.epochs(model, optimiser, average):
        epoch.record(**classification.train_epoch(model, optimiser, split, recipe, CPU, epoch.index))
    return run.history


def test_the_table_has_every_field():
    assert {field.name for field in fields(Recipe)} == NO_EFFECT | OTHER.keys()


@pytest.mark.parametrize("name", OTHER)
def test_each_field_of_a_classifiers_recipe_changes_its_training(tmp_path, name):
    plain = replace(PLAIN, keep="last")
    first = trained(plain, tmp_path / "plain")
    assert torch.equal(first, trained(plain, tmp_path / "again"))
    assert not torch.equal(first, trained(replace(plain, **{name: OTHER[name]}), tmp_path / "other"))


def test_label_smoothing_is_the_losses_own(tmp_path):
    """With all labels alike a smoothed loss has a lower bound; without smoothing it goes to zero."""
    seed_everything(0)
    split = Labelled(torch.zeros(4, 3, 2, 2, dtype=torch.uint8), torch.zeros(4, dtype=torch.long), [""] * 4)
    least = -(0.9 * torch.tensor(0.9).log() + 2 * 0.05 * torch.tensor(0.05).log())
    for smoothing, expected in ((0.0, 0.0), (0.15, float(least))):
        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
        recipe = replace(PLAIN, epochs=200, lr=0.1, label_smoothing=smoothing, keep="last")
        history = train(model, recipe, split, tmp_path / str(smoothing))
        assert history[-1]["train_loss"] == pytest.approx(expected, abs=0.01)


SEGMENTATION = {
    "class_weights": 0.5,
    "geometric": (p2_augment.Zoom(),),
    "photometric": (ColorJitter(0.3, 0.3, 0.3),),
    "backbone_lr": 0.25,
    "average": 0.5,
    "image_size": 64,
    "sizes": ((0.6, 32),),
    "batch_size": 3,
    "lr": 1e-3,
}


@pytest.mark.parametrize("name", SEGMENTATION)
def test_each_field_of_a_segmentations_recipe_changes_its_training(tmp_path, name):
    class Dots(torch.nn.Module):
        """A network that sees each pixel alone."""

        def __init__(self):
            super().__init__()
            self.backbone, self.head = torch.nn.Conv2d(3, 7, 1), torch.nn.Conv2d(7, 7, 1)

        def forward(self, x):
            return self.head(self.backbone(x))

    def last(recipe, folder):
        seed_everything(0)
        folder.mkdir()
        images = torch.randint(0, 256, (6, 3, 96, 96), dtype=torch.uint8)
        tiles = p2_data.Tiles(images, torch.where(images[:, 0] > 200, 1, 0).to(torch.uint8), [""] * 6)
        model = Dots()
        optimiser = training.make_optimiser(model, recipe)
        average = classification.moving_average(model, optimiser, recipe.average)
        for epoch in training.Run(folder, recipe, FP32, CPU).epochs(model, optimiser, average):
            numbers = p2_seg_train.train_epoch(model, optimiser, tiles, recipe, CPU, epoch.index)
            epoch.record(**numbers)
        return torch.load(folder / "best.pth", weights_only=True)["model"]["backbone.weight"]

    plain = p2_recipes.Recipe("dots", epochs=2, batch_size=2, image_size=96, keep="last")
    assert not torch.equal(last(plain, tmp_path / "a"), last(replace(plain, **{name: SEGMENTATION[name]}), tmp_path / "b"))


CAPTIONS = {"clip": 0.01, "side": 40, "label_smoothing": 0.1, "together": True, "pieces": 50}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A --data folder of eight drawn pictures, the first of two captions."""
    folder = tmp_path_factory.mktemp("pictures")
    p2_synthetic.draw_captions(folder / "hw3_data/p2_data", 8, 2)
    path = folder / "hw3_data/p2_data/train.json"
    content = json.loads(path.read_text())
    content["annotations"].append({"caption": "two shapes", "image_id": 0, "id": 8})
    path.write_text(json.dumps(content))
    return folder


@pytest.mark.parametrize("name", CAPTIONS)
def test_each_field_of_a_captioners_recipe_changes_its_training(tmp_path, monkeypatch, pictures, name):
    def last(recipe, folder):
        monkeypatch.setitem(caption_recipes.RECIPES, "small", recipe)
        options = ["--arch", "small", "--data", str(pictures), "--out", str(folder)]
        p2_caption_train.main(p2_caption_train.parse_args(options))
        return torch.load(folder / "checkpoints/hw3-p2-small/last.pth", weights_only=True)["model"]["input_proj.weight"]

    plain = replace(caption_recipes.RECIPES["small"], epochs=1, batch_size=4, side=32)
    assert not torch.equal(last(plain, tmp_path / "a"), last(replace(plain, **{name: CAPTIONS[name]}), tmp_path / "b"))
