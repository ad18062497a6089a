"""The networks of hw2 problem 2: images (N, 3, 32, 32) to logits (N, 10)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models


class LeNet(nn.Module):
    """cv22's LeNet and, with `residual`, its residual net: the two differ only in the input that is added to each block's output."""

    def __init__(self, residual: bool = False, classes: int = 10):
        super().__init__()
        self.residual = residual
        self.block1, self.block2, self.block3 = (no_residual_block(channels) for channels in (3, 6, 16))
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.conv1(self._run(self.block1, x))), 2)
        x = F.max_pool2d(F.relu(self.conv2(self._run(self.block2, x))), 2)
        x = torch.flatten(self._run(self.block3, x), 1)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))

    def _run(self, block: nn.Module, x: Tensor) -> Tensor:
        return block(x) + x if self.residual else block(x)


def no_residual_block(channels: int) -> nn.Sequential:
    """3x3 convolution, batch norm, ReLU, as many channels out as in."""
    return nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU())


NETWORKS = {
    "lenet": LeNet,
    "residual": lambda: LeNet(residual=True),
    "resnet50": models.resnet50,  # cv22 uses the first 10 of its 1000 outputs
}


def build(name: str) -> nn.Module:
    """A network by its name, with random weights."""
    return NETWORKS[name]()
