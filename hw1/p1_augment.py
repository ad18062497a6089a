"""The augmentation of hw1 problem 1 beside common/augment.py, whose conventions it keeps."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torchvision import transforms

from common.augment import erase, seeds


@dataclass(frozen=True)
class RandomErasing:
    """torchvision's RandomErasing (Zhong et al., 2017): with probability `p` a rectangle is set to 0, after Normalise the mean."""

    p: float = 0.5
    draws: ClassVar[int] = 1

    def __call__(self, images: Tensor, u: Tensor) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            boxes = torch.tensor([self.box(images.shape[1:], seed) for seed in seeds(u)])
        return erase(images, boxes[:, :2], boxes[:, 2:])

    def box(self, shape: torch.Size, seed: int) -> tuple[int, int, int, int]:
        """Top, left, height and width by this seed of the global generator, as torchvision draws them; all 0 where nothing is erased."""
        torch.default_generator.manual_seed(seed)
        shaped = torch.zeros(1).expand(shape)  # torchvision asks for a picture, of which it sees the size
        if torch.rand(1) >= self.p:
            return 0, 0, 0, 0
        *box, filling = transforms.RandomErasing.get_params(shaped, (0.02, 0.33), (0.3, 3.3), [0.0])
        return (0, 0, 0, 0) if filling is shaped else tuple(box)  # the picture itself, if no rectangle fitted
