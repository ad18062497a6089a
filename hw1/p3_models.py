"""hw1 problem 3's networks: any torchvision classifier without its last layer, and the classifier that all five settings share."""

import copy
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision import models

from common.augment import Normalise, Pipeline
from common.checkpoints import load_weights
from common.cli import UsageError
from common.setup import Runtime, distributed_map
from hw1.p1_models import head_name, last_linear

SMALL = 64  # pixels: up to here a ResNet's stem is a 3x3 convolution of stride 1


def conv_layer(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """3x3 convolution, batch norm, ReLU."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def small() -> nn.Sequential:
    """Three convolutions for the quick form: (N, 3, H, W) to (N, 128)."""
    layers = [conv_layer(3, 32, 2), conv_layer(32, 64, 2), conv_layer(64, 128, 2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def names() -> list[str]:
    """What --backbone takes: torchvision's classifiers, and 'small'."""
    return ["small", *models.list_models(models)]


def build_backbone(name: str, image_size: int) -> tuple[nn.Module, int]:
    """torchvision's network `name` or 'small', from random weights and without its last linear layer, and the length of its features.

    For images of up to 64 px a ResNet's 7x7 convolution of stride 2 becomes 3x3 of stride 1; the max pool behind it stays. Raises
    UsageError for an unknown name, or a network that does not give features for such images.
    """
    if name not in names():
        raise UsageError(f"--backbone {name}: torchvision has no such classifier; try resnet50 or resnet18")
    if name == "small":
        return small(), 128
    model = models.get_model(name)
    if isinstance(model, models.ResNet) and image_size <= SMALL:
        model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    try:
        dim = last_linear(model).in_features
        path, _, last = head_name(model).rpartition(".")
        setattr(model.get_submodule(path), last, nn.Identity())
        check_features(model, image_size, dim)
    except (RuntimeError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UsageError(f"--backbone {name} gives no features of {image_size} px images ({reason}); try resnet50 or resnet18") from None
    return model, dim


@torch.no_grad()
def check_features(model: nn.Module, image_size: int, dim: int) -> None:
    """Raise whatever a copy of the network raises for two images in training mode, or TypeError if it gives anything but (2, dim)."""
    found = copy.deepcopy(model).train()(torch.zeros(2, 3, image_size, image_size))
    if not isinstance(found, Tensor) or found.shape != (2, dim):
        raise TypeError(f"not one vector of {dim} for each")


class Classifier(nn.Sequential):
    """f23's, the same in all five settings: features (N, dim) to 1000, 500 and the classes; batch norm, ReLU and dropout between."""

    def __init__(self, dim: int, classes: int):
        super().__init__(*self._hidden(dim, 1000), *self._hidden(1000, 500), nn.Linear(500, classes))

    @staticmethod
    def _hidden(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
        return nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True), nn.Dropout(0.2)


class Transferred(nn.Module):
    """A backbone and a classifier of its features: images (N, 3, H, W) to logits (N, classes).

    A `fixed` backbone has no gradients, and its batch norms keep their statistics.
    """

    def __init__(self, backbone: nn.Module, classifier: nn.Module, fixed: bool = False):
        super().__init__()
        self.backbone = backbone.requires_grad_(not fixed)
        self.classifier = classifier
        self.fixed = fixed

    def train(self, mode: bool = True) -> "Transferred":
        super().train(mode)
        if self.fixed:
            self.backbone.eval()
        return self

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.backbone(x))


def load_backbone(model: nn.Module, state: dict[str, Tensor], path: Path) -> None:
    """Copy a state dict of torchvision's network into the backbone; its last layer, if it is there, is left out.

    Raises UsageError that names the first keys that do not fit.
    """
    own = model.state_dict()
    state = state.get("model", state)
    extra = {key for key in state if key not in own and key.split(".")[0] in ("fc", "classifier", "head", "heads")}
    load_weights(model, {key: value for key, value in state.items() if key not in extra}, path)


def features(backbone: nn.Module, images: Tensor, runtime: Runtime) -> Tensor:
    """The backbone's output for images (N, 3, H, W) of 0 to 255, in evaluation mode: (N, dim) on the CPU; the processes share the work."""
    backbone.eval()
    normalise = Pipeline(Normalise())
    return torch.cat(distributed_map(lambda some: backbone(normalise(some.to(runtime.device), torch.empty(0, 0))).cpu(), images.split(250)))
