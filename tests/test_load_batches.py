"""common/data.py: images, labels and draws stay together, and the number of worker processes changes nothing."""

from dataclasses import replace

import pytest
import torch
from torchvision.transforms import AutoAugment

from common import classification, setup, training
from common.augment import Crop, Flip, Normalise, PerImage, Pipeline, Resize
from common.data import Labelled, batches, load_batches
from hw1 import p1_recipes
from hw1.p3_augment import Sometimes
from hw2 import p2_models, p2_recipes
from hw2.p2_transforms import ByPart
from hw3 import p1_recipes as vit_recipes
from hw3.p1_data import validation_pipeline
from hw3.pictures import Pictures

IMAGES = torch.randint(0, 256, (13, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
PICTURES = Pictures([image[:, i:].repeat(1, 2, 2) for i, image in enumerate(IMAGES)])
NAMES = [f"{i}.png" for i in range(13)]


def runtime(workers: int) -> setup.Runtime:
    return setup.Runtime(torch.device("cpu"), False, workers)


def fed(images, pipeline: Pipeline, workers: int) -> list:
    """A pass over thirteen images by batches of four."""
    walk = batches(13, 4, torch.Generator().manual_seed(3), pipeline.draws)
    return list(load_batches(Labelled(images, torch.arange(13), NAMES), pipeline, walk, runtime(workers)))


@pytest.mark.parametrize(
    ("images", "pipeline"),
    [
        (IMAGES, replace(p1_recipes.RECIPES["f22b", "A"], image_size=40).train_pipeline(0)),
        (IMAGES, replace(p2_recipes.TABLE, augment=p2_recipes.AUGMENTATIONS["combined"]).train_pipeline(0)),
        (PICTURES, replace(vit_recipes.FIRST, image_size=32).train_pipeline(0)),
        (PICTURES, validation_pipeline(24, "half")),
    ],
)
def test_any_number_of_workers_gives_the_same_images(images, pipeline):
    state = torch.get_rng_state()
    alone = fed(images, pipeline, 0)
    assert [len(target) for _, target, _ in alone] == [4, 4, 4]  # a batch of one is left out
    for workers in (1, 2):
        for (ours, label, weight), (theirs, other, factor) in zip(alone, fed(images, pipeline, workers), strict=True):
            assert torch.equal(ours, theirs) and torch.equal(label, other) and weight == factor
    assert torch.equal(state, torch.get_rng_state())


def test_each_image_keeps_its_label_and_its_draws():
    pipeline = Pipeline(Crop(4), PerImage(torch.nn.Identity()), Flip(), Normalise())
    walk = list(batches(13, 4, torch.Generator().manual_seed(3), pipeline.draws))
    for (images, target, _), (index, u, _) in zip(fed(IMAGES, pipeline, 0), walk, strict=True):
        assert torch.equal(target, index) and torch.equal(images, pipeline(IMAGES[index], u))


def test_a_pipeline_is_split_after_what_belongs_on_the_cpu():
    crop, auto = Crop(4), PerImage(AutoAugment())
    both = ByPart((Pipeline(Flip()), Pipeline(auto)))
    for operations, count in [((crop, Flip()), 0), ((crop, auto, Flip()), 2), ((Sometimes(0.5, both), crop), 1), ((both,), 1)]:
        first, then = Pipeline(*operations).split()
        assert (first.operations, then.operations) == (operations[:count], operations[count:])
    assert not p2_recipes.SCRATCH.last.train_pipeline(0).split()[0].operations


def test_a_training_does_not_depend_on_the_workers():
    recipe = replace(p2_recipes.TABLE, network="lenet", batch_size=4, augment=p2_recipes.AUGMENTATIONS["RandomCrop"])
    split, found = Labelled(IMAGES, torch.arange(13) % 10, NAMES), []
    for workers in (0, 2):
        torch.manual_seed(0)
        model = p2_models.build("lenet")
        optimiser = training.make_optimiser(model, recipe)
        numbers = classification.train_epoch(model, optimiser, split, recipe, runtime(workers), 0)
        found.append((numbers, classification.evaluate(model, split, Pipeline(Resize(25), Normalise()), 5, runtime(workers))))
    assert found[0] == found[1]


def test_default_number_of_workers(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: range(24), raising=False)
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    assert setup.worker_count(None, cpu) == 0 and setup.worker_count(3, cpu) == setup.worker_count(3, cuda) == 3
    assert setup.worker_count(None, cuda) == 8 and setup.worker_count(0, cuda) == 0
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert setup.worker_count(None, cuda) == 5
