"""The networks of hw1 problem 1, all with 50 outputs; torchvision's where the report names one, our own where it does not."""

import re
from functools import partial
from pathlib import Path

from torch import Tensor, nn
from torchvision import models

from common import checkpoints, setup
from common.checkpoints import load_checkpoint_for_all
from hw1.p1_data import P1_CLASSES


class SmallCNN(nn.Module):
    """f22a's model A: two groups of convolution, batch norm, ReLU and max pooling, then three linear layers. Input (N, 3, 32, 32)."""

    def __init__(self, classes: int = P1_CLASSES):
        super().__init__()
        self.group1 = self._group(3, 32)
        self.group2 = self._group(32, 64)
        self.fc = nn.Sequential(
            nn.Flatten(), nn.Linear(64 * 8 * 8, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, classes)
        )

    @staticmethod
    def _group(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.group2(self.group1(x)))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, each with batch norm and ReLU, added to their input."""

    def __init__(self, channels: int):
        super().__init__()
        self.branch = nn.Sequential(conv_block(channels, channels), conv_block(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


class ResNet9(nn.Module):
    """Our own model, for 32-px images: the nine-layer residual net that DAWNBench's fast CIFAR-10 entries made known (Page, 2018).

    The stem is half as wide as there, which saves a quarter of the time. Input (N, 3, H, W) with H and W multiples of 8. `width` is the
    stem's; the others are multiples of it.
    """

    def __init__(self, classes: int = P1_CLASSES, width: int = 32):
        super().__init__()
        self.stem = conv_block(3, width)
        self.layer1 = nn.Sequential(conv_block(width, 4 * width, pool=True), ResidualBlock(4 * width))
        self.layer2 = conv_block(4 * width, 8 * width, pool=True)
        self.layer3 = nn.Sequential(conv_block(8 * width, 16 * width, pool=True), ResidualBlock(16 * width))
        self.fc = nn.Linear(16 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.layer3(self.layer2(self.layer1(self.stem(x)))).mean((2, 3)))


def conv_block(inputs: int, outputs: int, pool: bool = False) -> nn.Sequential:
    """3x3 convolution, max pooling by 2 if asked for, batch norm, ReLU; pooling first leaves the others a quarter of the work."""
    layers = [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.MaxPool2d(2), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return nn.Sequential(*(layer for layer in layers if pool or not isinstance(layer, nn.MaxPool2d)))


def build(name: str, weights: str = "none") -> nn.Module:
    """A network by its name in the recipes; `weights` is 'none' (random), 'default' (the published ImageNet file) or a file.

    Raises UsageError if the published file cannot be had, or a file is missing, damaged or of another network.
    """
    if name in OWN:
        model, url = OWN[name](), None
    elif name in TIMM:
        model, url = checkpoints.timm_model(name, num_classes=P1_CLASSES), checkpoints.timm_url(name)
    else:
        url = models.get_model_weights(TORCHVISION[name][0]).DEFAULT.url
        model = models.get_model(TORCHVISION[name][0])
        replace_head(model, TORCHVISION[name][1])
    if weights == "none":
        return model
    if weights == "default":
        state, path = checkpoints.published_weights(name, url), Path(name)
    else:
        path = Path(weights)
        state = load_checkpoint_for_all(path, f"--weights takes none, default or a state dict of {name}")
    load_backbone(model, checkpoints.to_timm_names(state, model, path), path)
    return model


def mlp(inputs: int) -> nn.Sequential:
    """f23's three-layer head in place of ResNet-18's last layer; its widths are those of the code that the report's author published."""
    return nn.Sequential(
        nn.Linear(inputs, 256), nn.ReLU(), nn.Dropout(0.2), nn.Linear(256, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, P1_CLASSES)
    )


def linear(inputs: int) -> nn.Linear:
    """The usual head: one linear layer to the 50 classes."""
    return nn.Linear(inputs, P1_CLASSES)


OWN = {
    "small_cnn": SmallCNN,
    "resnet9": ResNet9,
    "resnet9_narrow": partial(ResNet9, width=8),  # the quick form's
}
TORCHVISION = {  # our name: torchvision's name, the head
    "resnext101_64x4d": ("resnext101_64x4d", linear),
    "densenet121": ("densenet121", linear),
    "convnext_tiny": ("convnext_tiny", linear),
    "resnet18_mlp": ("resnet18", mlp),
}


TIMM = ("tf_efficientnet_lite2", "tf_efficientnet_lite0", "test_efficientnet")  # the last, of 0.3 M parameters, is the quick form's
NAMES = (*OWN, *TORCHVISION, *TIMM)


def replace_head(model: nn.Module, head) -> None:
    """Put `head(inputs)` in place of a torchvision classifier's last linear layer."""
    path, _, name = head_name(model).rpartition(".")
    parent = model.get_submodule(path)
    parent._modules[name] = head(parent._modules[name].in_features)


def head_name(model: nn.Module) -> str:
    """The dotted name of the last linear layer, or of the sequence of layers that took its place ('fc' of resnet18_mlp)."""
    names = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    return "fc" if hasattr(model, "fc") else names[-1]


def load_backbone(model: nn.Module, state: dict, path: Path) -> None:
    """Copy a state dict into the network; its head too if it has 50 classes and the same layers, else the head stays random.

    torchvision's DenseNet files write 'norm.1' for 'norm1'. Raises UsageError that names the first keys that do not match.
    """
    state = {re.sub(r"\.(norm|conv)\.([12])\.", r".\1\2.", key): value for key, value in state.get("model", state).items()}
    checkpoints.load_weights_except_head(model, state, head_name(model), path)


def last_linear(model: nn.Module) -> nn.Linear:
    """The layer that gives the logits; its input is the 'second-last layer' of the reports' figures."""
    return [module for module in model.modules() if isinstance(module, nn.Linear)][-1]


def load_trained(path: Path, runtime: setup.Runtime, remedy: str) -> tuple[nn.Module, dict]:
    """common.checkpoints.load_trained for the networks of hw1/p1_train.py."""
    return checkpoints.load_trained(path, lambda settings: build(settings["network"]), NAMES, "hw1/p1_train.py", runtime, remedy)


def features(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """One pass: the second-last layer's output (N, D) and the logits (N, 50)."""
    kept = []
    handle = last_linear(model).register_forward_pre_hook(lambda module, inputs: kept.append(inputs[0]))
    try:
        logits = model(x)
    finally:
        handle.remove()
    return kept[0].flatten(1), logits
