"""The networks of hw2 problem 2: images (N, 3, 32, 32) to logits (N, 10)."""

from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models

from common import checkpoints, classification, setup, speed
from hw2.p2_data import CLASSES


class LeNet(nn.Module):
    """cv22's LeNet and, with `residual`, its residual net: the two differ only in the blocks."""

    def __init__(self, residual: bool = False, classes: int = len(CLASSES)):
        super().__init__()
        self.block1, self.block2, self.block3 = map(SkipBlock if residual else plain_block, (3, 6, 16))
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(self.block1(x))), 2)
        x = F.max_pool2d(F.relu(self.conv2(self.block2(x))), 2)
        x = F.adaptive_avg_pool2d(self.block3(x), 5).flatten(1)  # 32 px give 5x5 already; RandomCrop(25) gives less
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """LeNet's blocks have 3, 6 and 16 channels."""
    return (speed.NarrowBatchNorm2d if channels < 8 else nn.BatchNorm2d)(channels)


def plain_block(channels: int) -> nn.Sequential:
    """3x3 convolution, batch norm, ReLU, as many channels out as in."""
    return nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), batch_norm(channels), nn.ReLU())


class SkipBlock(nn.Module):
    """cv22's residual block: 3x3 convolution, batch norm, addition of the input, a second batch norm, ReLU."""

    def __init__(self, channels: int):
        super().__init__()
        self.inner = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), batch_norm(channels))
        self.norm = batch_norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.inner(x) + x))


class Whitened(nn.Module):
    """Ours: a fixed 2x2 convolution that whitens, then three blocks that halve the side (after airbench, Jordan, 2024).

    `make_block` is conv_block (2 M parameters with these widths) or ResidualBlock.
    """

    def __init__(self, make_block=None, widths: tuple = (64, 256, 256), classes: int = len(CLASSES)):
        super().__init__()
        self.whiten = nn.Conv2d(3, 24, 2, bias=False).requires_grad_(False)
        self.blocks = nn.Sequential(*map(make_block or conv_block, (24, *widths), widths))
        self.fc = nn.Linear(widths[-1], classes, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.blocks(F.gelu(self.whiten(x))).amax((2, 3))) / 9

    def whiten_like(self, images: Tensor) -> "Whitened":
        """Set the first filters to the directions of the 2x2 patches' variance, each scaled to variance 1, and their negatives."""
        patches = F.unfold(images, 2).transpose(1, 2).flatten(0, 1)
        values, vectors = torch.linalg.eigh(patches.T.cov())
        filters = (vectors / (values + 5e-4).sqrt()).T.view(12, 3, 2, 2)
        self.whiten.weight.copy_(torch.cat([filters, -filters]))
        return self


class ResidualBlock(nn.Module):
    """A 3x3 convolution and a max pool, then two more whose output is added to their input; each with batch norm and GELU."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.first = nn.Sequential(conv3x3(inputs, outputs), nn.MaxPool2d(2), nn.BatchNorm2d(outputs), nn.GELU())
        second = (conv3x3(outputs, outputs), nn.BatchNorm2d(outputs), nn.GELU())
        self.others = nn.Sequential(*second, conv3x3(outputs, outputs), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return F.gelu(x + self.others(x))


def conv_block(inputs: int, outputs: int) -> nn.Sequential:
    """Two 3x3 convolutions, each with batch norm and GELU, a max pool after the first."""
    first, second = conv3x3(inputs, outputs), conv3x3(outputs, outputs)
    return nn.Sequential(first, nn.MaxPool2d(2), nn.BatchNorm2d(outputs), nn.GELU(), second, nn.BatchNorm2d(outputs), nn.GELU())


def conv3x3(inputs: int, outputs: int) -> nn.Conv2d:
    """A convolution that keeps the map's size; batch norm follows, so no bias."""
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)


TIMM = ("tf_efficientnet_lite2", "tf_efficientnet_lite0", "test_efficientnet")  # the last, of 0.3 M parameters, is the quick form's
NETWORKS = {
    "lenet": LeNet,
    "residual": lambda: LeNet(residual=True),
    "resnet50": models.resnet50,  # see `outputs`
    "whitened": Whitened,
    "whitened_residual": lambda: Whitened(ResidualBlock, (64, 256, 352)),  # 4.5 M: half precision stays below 10 MB
    "whitened_small": lambda: Whitened(widths=(16, 32, 64)),  # the quick form's
    **{name: partial(checkpoints.timm_model, name, num_classes=len(CLASSES)) for name in TIMM},
}
PUBLISHED = {"resnet50": models.ResNet50_Weights.DEFAULT.url}  # where torchvision's ImageNet weights of them are


def build(name: str, weights: str = "none") -> nn.Module:
    """A network by its name; `weights` is 'none' (random), 'default' (the published ImageNet file) or a state dict's file.

    A network of timm's keeps its random head where the file's has other classes than ours. Raises UsageError if the published file cannot
    be had, or a file is missing, damaged or of another network.
    """
    model = NETWORKS[name]()
    if weights == "none":
        return model
    if weights == "default":
        url = checkpoints.timm_url(name) if name in TIMM else PUBLISHED.get(name)
        state, path = checkpoints.published_weights(name, url), Path(name)
    else:
        path = Path(weights)
        state = checkpoints.load_checkpoint_for_all(path, f"--weights takes none, default or a state dict of {name}")
    state = state.get("model", state)
    if name in TIMM:
        checkpoints.load_weights_except_head(model, checkpoints.to_timm_names(state, model, path), "classifier", path)
    else:
        checkpoints.load_weights(model, state, path)
    return model


def logits(model: nn.Module, images: Tensor, settings: dict, runtime: setup.Runtime) -> Tensor:
    """Logits (N, 10) of images (N, 3, 32, 32) of 0 to 255, with the size, normalisation and views of a checkpoint's settings.

    Of more outputs they are the first ten.
    """
    return classification.make_predictor(model, settings, runtime)(images)[:, : len(CLASSES)]


def outputs(network: str) -> dict[str, str]:
    """What a result says of a ResNet-50's 1000 outputs for ten classes, of which the report says that it uses the first ten; else {}."""
    how = "all 1000 in the loss and in training and validation accuracy, as in the code of the report's author; on public_test the first 10"
    return {"outputs": how} if network == "resnet50" else {}


def load_trained(path: Path, runtime: setup.Runtime, remedy: str) -> tuple[nn.Module, dict]:
    """common.checkpoints.load_trained for the networks of this problem."""
    return checkpoints.load_trained(path, lambda settings: build(settings["network"]), NETWORKS, "hw2/p2_final.py", runtime, remedy)
