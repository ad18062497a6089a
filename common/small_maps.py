"""Convolutions on feature maps of one pixel or four, as matrix products.

There oneDNN's channels-last convolution on the CPU takes up to twelve times as long as the product (torch 2.12): half the time of a
ResNet-50 on images of 32 pixels. benchmarks/small_maps.py compares the two.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LARGEST = 2  # pixels of a map's side


class Conv2d(nn.Conv2d):
    """nn.Conv2d, the same parameters and result; a matrix product where the map is small."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, O, H', W')."""
        if max(x.shape[2:]) > LARGEST:
            return super().forward(x)
        if self.kernel_size == (1, 1) and self.padding == (0, 0):
            pixels = x[:, :, :: self.stride[0], :: self.stride[1]].permute(0, 2, 3, 1)
            return F.linear(pixels, self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)
        rows, columns = self._first_taps(x, 0), self._first_taps(x, 1)
        return self._product(x, rows, columns) if rows and columns else super().forward(x)

    def _first_taps(self, x: Tensor, axis: int) -> list[int]:
        """For each output place along an axis the tap that meets the map's first pixel; [] if the kernel does not cover the map."""
        size, kernel, padding, stride = x.shape[2 + axis], self.kernel_size[axis], self.padding[axis], self.stride[axis]
        taps = [padding - place * stride for place in range((size + 2 * padding - kernel) // stride + 1)]
        return taps if all(0 <= tap <= kernel - size for tap in taps) else []

    def _product(self, x: Tensor, rows: list[int], columns: list[int]) -> Tensor:
        """Every output pixel from all of the map's pixels."""
        height, width = x.shape[2:]
        taps = [self.weight[:, :, row : row + height, column : column + width] for row in rows for column in columns]
        matrix = torch.cat([tap.permute(0, 2, 3, 1).flatten(1) for tap in taps])
        bias = None if self.bias is None else self.bias.repeat(len(taps))
        out = F.linear(x.permute(0, 2, 3, 1).flatten(1), matrix, bias)
        return out.view(len(x), len(rows), len(columns), -1).permute(0, 3, 1, 2)


def convert(model: nn.Module) -> nn.Module:
    """Give a model's convolutions, in place, the fast form where they can have it; names and parameters stay."""
    for module in model.modules():
        if type(module) is nn.Conv2d and _is_plain(module):
            module.__class__ = Conv2d
    return model


def _is_plain(conv: nn.Conv2d) -> bool:
    zeros = conv.padding_mode == "zeros" and not isinstance(conv.padding, str)
    return zeros and conv.groups == 1 and conv.dilation == (1, 1)
