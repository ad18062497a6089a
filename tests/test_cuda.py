"""What every recipe does on a GPU, on a machine without one: augmentation, forward pass, loss, evaluation, predictions, embeddings.

torch's FakeTensorMode follows shapes, types and devices through every operation. `Gpu` leaves the CPU's tensors real, so that draws and
labels have their values, and fakes the device's. It raises where two devices meet, where the host asks for a value of the device, and, in a
training or an evaluation, where it waits for the device to finish: a copy from it, or one to it that is not `non_blocking`. That the test
fails on a mistake is tested too: `test_planted_mistakes` has one line for each kind, `test_a_mistake_in_a_recipe` plants some in an
augmentation. Left out: backward passes, which need a real device, and what kernels compute.
"""

import contextlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    FakeTensorMode,
    unset_fake_temporarily,
)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from common import classification, data, setup
from common.augment import Pipeline
from common.data import Labelled, Splits
from hw1 import (
    byol,
    p1_embedding,
    p1_models,
    p1_recipes,
    p2_inference,
    p2_mask_viz,
    p2_models,
    p2_recipes,
    p2_seg_train,
    p3_models,
    p3_recipes,
    p3_ssl_finetune,
    p3_ssl_pretrain,
)
from hw1.p2_data import Tiles
from hw2 import p2_models as cifar_models
from hw2 import p2_ours, p2_suspects
from hw2 import p2_recipes as cifar_recipes
from hw2.p2_data import NORMALISED
from hw3 import catr, p1_data, p1_inference, p2_caption_train, p3_attention_map
from hw3 import p1_models as vit
from hw3 import p1_recipes as vit_recipes
from hw3 import p2_recipes as caption_recipes
from hw3.p2_data import preprocess
from hw3.pictures import Pictures

CUDA = setup.Runtime(torch.device("cuda"), bf16=True)
COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
WAITS = (DataDependentOutputException, DynamicOutputShapeException)


class Gpu(TorchDispatchMode):
    """Everything on the device is fake, the rest real. With `waits` the host may wait for copies, with `values` ask for numbers: zeros."""

    waits = values = False

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        real = [tensor for tensor in tensors if not isinstance(tensor, FakeTensor)]
        device = torch.device(kwargs.get("device") or "cpu")
        if len(real) == len(tensors) and device.type == "cpu":
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        if func in COPIES:
            back = func is COPIES[0] and kwargs.get("device") is not None and device.type == "cpu"
            if not self.waits and (back or (real and not (kwargs.get("non_blocking") or args[2:] == (True,)))):
                raise RuntimeError(f"the host waits in {func} {tuple(args[0].shape)}")
            if back:
                with unset_fake_temporarily():
                    return torch.zeros(args[0].shape, dtype=kwargs.get("dtype") or args[0].dtype)
        elif func is torch.ops.aten._local_scalar_dense.default and self.values:
            return 0
        elif any(tensor.ndim for tensor in real):
            raise RuntimeError(f"two devices meet in {func}")
        return func(*args, **kwargs)

    @contextlib.contextmanager
    def waiting(self, values: bool = False):
        """What may wait: the end of an epoch, a prediction, which hands its result to the host."""
        kept = self.waits, self.values
        self.waits, self.values = True, values
        yield
        self.waits, self.values = kept

    def built(self, build, *args):
        """`build(*args)` on the device."""
        with self.waiting(values=True), torch.device("cuda"):
            return build(*args)


class Optimiser:
    """In the place of one that has gradients."""

    param_groups = ({"lr": 0.0},)

    def zero_grad(self, set_to_none: bool) -> None:
        pass

    def step(self) -> None:
        pass


@pytest.fixture
def gpu(monkeypatch):
    """The device, for the code of a test."""
    mode, total = Gpu(), setup.sum_over_processes

    def total_at_the_end(*counts):
        with mode.waiting():
            return total(*counts)

    monkeypatch.setattr(setup, "sum_over_processes", total_at_the_end)
    # Under inference_mode operations come whole, and with them the copies in them; torch itself calls inference_mode(False).
    monkeypatch.setattr(torch, "inference_mode", lambda on=True: torch.set_grad_enabled(torch.is_grad_enabled() and not on))
    monkeypatch.setattr(Tensor, "backward", lambda self: None)
    monkeypatch.setattr(Tensor, "pin_memory", lambda self: self)
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    with FakeTensorMode(allow_non_fake_inputs=True), mode:
        yield mode


def images(count: int, size: int = 32) -> Tensor:
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8)


def labelled(some, classes: int) -> Splits:
    """Six images of each split."""
    split = Labelled(some, torch.arange(6) % classes, [f"{i}.png" for i in range(6)])
    return Splits("drawn", split, split)


def train(gpu: Gpu, model, recipe, splits: Splits, validation: Pipeline) -> None:
    """An epoch of two steps and its evaluation, as the training scripts have them."""
    recipe = replace(recipe, batch_size=3)
    with gpu.waiting():
        split = data.preload(splits.train, recipe.train_pipeline(0), CUDA)
        held = data.preload(splits.validation, validation, CUDA)
    classification.train_epoch(model, Optimiser(), split, recipe, CUDA, 0)
    assert classification.evaluate(model, held, validation, 3, CUDA)["validation_loss"] == 0


PLANTED = {
    "a tensor of the CPU among the device's": (lambda x: x + torch.ones(2, 3), RuntimeError),
    "the device's index into the CPU's": (lambda x: torch.ones(3)[(x > 0).long()], RuntimeError),
    "the CPU's index into the device's": (lambda x: x[torch.tensor([0])], RuntimeError),
    "item": (lambda x: x.sum().item(), WAITS),
    "tolist": (lambda x: x.tolist(), (RuntimeError, *WAITS)),
    "if": (lambda x: 1 if x.any() else 0, WAITS),
    "nonzero": (lambda x: x.nonzero(), WAITS),
    "a mask as index": (lambda x: x[x > 0], WAITS),
    "bincount": (lambda x: x.long().flatten().bincount(), WAITS),
    "a copy to the device": (lambda x: torch.ones(2, 3).to(x.device), RuntimeError),
    "a copy into a tensor of the device": (lambda x: x.copy_(torch.ones(2, 3)), RuntimeError),
    "a new tensor of Python's numbers": (lambda x: torch.tensor([1.0, 2.0], device=x.device), RuntimeError),
    "a copy to the host": (lambda x: x.cpu(), RuntimeError),
}


@pytest.mark.parametrize("kind", PLANTED)
def test_planted_mistakes(gpu, kind):
    mistake, error = PLANTED[kind]
    x = torch.zeros(2, 3, device="cuda")
    with pytest.raises(error):
        mistake(x)
    assert (x + torch.ones(2, 3).to(x.device, non_blocking=True) * torch.tensor(2.0)).device.type == "cuda"


class Planted:
    """An operation with a mistake."""

    draws = 1

    def __init__(self, mistake):
        self.mistake = mistake

    def __call__(self, x: Tensor, u: Tensor) -> Tensor:
        return self.mistake(x, u)


@pytest.mark.parametrize(
    "mistake", [lambda x, u: x * u[:, :, None, None], lambda x, u: x * x.max().item(), lambda x, u: x * u.to(x.device)[:, :, None, None]]
)
def test_a_mistake_in_a_recipe(gpu, mistake):
    recipe = replace(p1_recipes.RECIPES["f22a", "A"], after_normalise=(Planted(mistake),))
    with pytest.raises((RuntimeError, *WAITS)):
        train(
            gpu,
            gpu.built(p1_models.build, "small_cnn"),
            recipe,
            labelled(images(6), 50),
            classification.validation_pipeline({"image_size": 32}),
        )


@pytest.mark.parametrize("key", p1_recipes.RECIPES)
def test_hw1_p1(gpu, monkeypatch, key):
    recipe, validation = replace(p1_recipes.RECIPES[key], image_size=32), classification.validation_pipeline({"image_size": 32})
    model, splits = gpu.built(p1_models.build, recipe.network), labelled(images(6), 50)
    train(gpu, model, recipe, splits, validation)
    with gpu.waiting():
        assert classification.predict(model, splits.train.images, validation, CUDA).shape == (6, 50)
        monkeypatch.setattr(p1_models, "load_trained", lambda *_: (model, {"settings": {"image_size": 32}, "epoch": 1}))
        embedding, _ = p1_embedding.embed(Path("none") / "best.pth", splits.validation, CUDA)
    assert len(embedding.feats) == 6 and embedding.feats.device.type == "cpu"


@pytest.mark.parametrize("key", [("f22a", "A"), ("f22a", "B"), ("f22b", "B"), ("ours", "best"), ("ours", "scratch")])
def test_hw1_p2(gpu, key):
    recipe = replace(p2_recipes.RECIPES[key], batch_size=2, image_size=96, sizes=((1.0, 64),))
    tiles = Tiles(images(4, 96), torch.randint(0, 7, (4, 96, 96), dtype=torch.uint8), list("abcd"))
    model = gpu.built(p2_models.build, recipe.network)
    with gpu.waiting():
        there = tiles.to(CUDA.device)
    p2_seg_train.train_epoch(model, Optimiser(), there, recipe, CUDA, 0)
    for turns in (False, True):
        p2_models.evaluate(model, tiles, CUDA, turns)
    with gpu.waiting():
        assert p2_inference.predict(model, images(2, 100), 0.5, CUDA, True).shape == (2, 100, 100)
        assert p2_mask_viz.predict(model, images(1, 64)[0], CUDA).shape == (512, 512)


@pytest.mark.parametrize("crop", [False, True])
def test_hw1_p3_pretraining(gpu, crop):
    recipe = replace(p3_recipes.PRETRAIN, batch_size=4, image_size=48, resized_crop=crop)
    networks = gpu.built(lambda: byol.BYOL(*p3_models.build_backbone("resnet18", 32)))
    with gpu.waiting():
        unlabelled = images(8).to("cuda")
    p3_ssl_pretrain.train_epoch(networks, Optimiser(), unlabelled, recipe, CUDA, 0)
    with gpu.waiting():
        p3_ssl_pretrain.observe(networks.online_encoder, labelled(images(6), 5), CUDA)


def test_hw1_p3_finetuning(gpu, monkeypatch):
    monkeypatch.setattr(setup.Runtime, "place", lambda runtime, module: module)
    backbone, dim = gpu.built(p3_models.build_backbone, "resnet50", 32)
    splits, classifier = labelled(images(6), 5), gpu.built(p3_models.Classifier, dim, 5)
    model = gpu.built(p3_models.Transferred, backbone, classifier)
    for recipe in (p3_recipes.SUPERVISED, p3_recipes.FINETUNE, p3_recipes.CLASSIFIER):
        model.fixed = recipe is p3_recipes.CLASSIFIER
        train(gpu, model, replace(recipe, image_size=32), splits, p3_ssl_finetune.NORMALISED)
    with gpu.waiting():
        assert classification.predict(model, splits.train.images, NORMALISED, CUDA, views=1).shape == (6, 5)
        features = p3_ssl_finetune.as_features(splits, backbone, CUDA)
    train(gpu, classifier, replace(p3_recipes.CLASSIFIER, trains=p3_recipes.ON_FEATURES), features, Pipeline())


@pytest.mark.parametrize("row", cifar_recipes.AUGMENTATIONS)
def test_hw2_p2_tables(gpu, row):
    recipe = replace(cifar_recipes.TABLE, augment=cifar_recipes.AUGMENTATIONS[row])
    train(gpu, gpu.built(cifar_models.build, "lenet"), recipe, labelled(images(6), 10), NORMALISED)


@pytest.mark.parametrize("recipe", [cifar_recipes.CURVES, replace(cifar_recipes.CURVES, network="residual"), cifar_recipes.FINAL])
def test_hw2_p2(gpu, recipe):
    model, splits = gpu.built(cifar_models.build, recipe.network), labelled(images(6), 10)
    train(gpu, model, recipe, splits, NORMALISED)
    with gpu.waiting():
        assert p2_suspects.largest_probability(model, splits.train, CUDA).shape == (6,)
        assert cifar_models.logits(model, splits.train.images, {}, CUDA).shape == (6, 10)


@pytest.mark.parametrize("chain", cifar_recipes.CHAINS.values(), ids=cifar_recipes.CHAINS)
def test_hw2_p2_ours(gpu, tmp_path, chain):
    splits, training_set = labelled(images(6), 10), labelled(images(6), 10)
    recipes = [*(chain.recipe(stage, chain.last) for stage in (chain.fold, *chain.stages)), chain.last]
    for number, recipe in enumerate(recipes):
        model = gpu.built(cifar_models.build, recipe.network)
        own = p2_ours.for_soft_labels(recipe) if training_set.train.target.ndim == 2 else recipe
        train(gpu, model, own, training_set, classification.validation_pipeline(own.settings()))
        run = SimpleNamespace(history=[], settings=own.settings(), runtime=CUDA)
        with gpu.waiting():
            soft = p2_ours.probabilities(model, images(6), run, tmp_path / f"{number}.pth")
        training_set = p2_ours.with_soft_labels(splits, images(6), soft, 0.1)


@pytest.mark.parametrize("arch", vit.ARCHES)
def test_hw3_p1(gpu, arch):
    model = gpu.built(vit.build, arch, 32)
    pictures = Pictures([torch.randint(0, 256, (3, 40 + i, 50 - i), dtype=torch.uint8) for i in range(6)])
    for recipe in vit_recipes.PHASES[arch]:
        split = labelled(images(6) if recipe.margin else pictures, 37)
        train(gpu, model, replace(recipe, image_size=32), split, p1_data.validation_pipeline(32, recipe.normalise))
    with gpu.waiting():
        assert p1_inference.predict(model, images(6), 4, CUDA).shape == (6, 37)
        for rollout in (False, True):
            _, maps, _ = p3_attention_map.attention_maps(model, pictures, rollout, CUDA)
            assert maps.shape[1:] == vit.grid_size(model)
        assert vit.position_similarity(model).device.type == "cuda"


@pytest.mark.parametrize("arch", catr.ARCHES)
def test_hw3_p2(gpu, arch):
    config = replace(catr.ARCHES[arch], vocab=40, start=1, end=2, side=64)
    model, pairs = gpu.built(catr.CATR, config), object.__new__(p2_caption_train.Pairs)
    channels = model.backbone[0].channels if model.frozen else 3
    pairs.images = [torch.rand(channels, 64, 48), torch.rand(channels, 40, 64), torch.rand(channels, 64, 48)]
    pairs.place, pairs.tokens, pairs.counts = torch.tensor([0, 0, 1, 2]), torch.randint(1, 40, (4, 7)), torch.full((4,), 6)
    pairs.units, pairs.amounts = torch.arange(4).split([2, 1, 1]), torch.tensor([12, 6, 6])
    recipe = replace(caption_recipes.RECIPES[arch], batch_size=2)
    pairs.turns = True
    p2_caption_train.train_epoch(model, Optimiser(), pairs, recipe, CUDA, 0)
    p2_caption_train.evaluate(model, pairs, 2, CUDA)
    with gpu.waiting(values=True):  # after each word: whether all captions have ended
        seen = [preprocess(image, config.side).to("cuda") for image in images(2, 50)]
        captions = catr.generate(model, seen, 3)
        catr.generate(model, seen, 3, 2)
    assert len(captions) == 2
