"""The seven classes of hw1 problem 2 and their colours in masks, as tensors; as arrays, for what needs no torch, in p2_masks.py."""

import torch
from torch import Tensor

from hw1 import p2_masks

CLASSES, SCORED, UNKNOWN = p2_masks.CLASSES, p2_masks.SCORED, p2_masks.UNKNOWN
COLOURS, LABEL_OF_CODE = torch.from_numpy(p2_masks.COLOURS), torch.from_numpy(p2_masks.LABEL_OF_CODE)


def coloured(labels: Tensor) -> Tensor:
    """Labels (H, W) of 0 to 6 -> the mask's colours, uint8 (3, H, W)."""
    return COLOURS[labels.int()].permute(2, 0, 1)
