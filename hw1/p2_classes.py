"""The seven classes of hw1 problem 2 and their colours in masks."""

import torch
from torch import Tensor

CLASSES = ("urban", "agriculture", "rangeland", "forest", "water", "barren", "unknown")
COLOURS = torch.tensor(
    [(0, 255, 255), (255, 255, 0), (255, 0, 255), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0)], dtype=torch.uint8
)
SCORED, UNKNOWN = 6, 6  # the first six classes have an IoU; the label of the seventh
LABEL_OF_CODE = torch.tensor([6, 4, 3, 0, 6, 2, 1, 5], dtype=torch.uint8)  # by 4R + 2G + B; code 4 (red) is no class's: unknown


def coloured(labels: Tensor) -> Tensor:
    """Labels (H, W) of 0 to 6 -> the mask's colours, uint8 (3, H, W)."""
    found = torch.empty(3, *labels.shape, dtype=torch.uint8)
    for rows, part in zip(found.split(512, 1), labels.split(512), strict=True):  # an index takes four bytes a pixel
        rows.copy_(COLOURS[part.int()].permute(2, 0, 1))
    return found
