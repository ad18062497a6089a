"""common/speed.py: the same numbers as torch's convolution, whatever the map, and as its batch norm."""

import pytest
import torch
from torch import nn
from torchvision import models

from common import speed

CASES = [  # map's height and width, kernel, stride, padding
    ((1, 1), 1, 1, 0),
    ((2, 2), 1, 1, 0),
    ((2, 2), 1, 2, 0),
    ((1, 1), 3, 1, 1),
    ((2, 2), 3, 1, 1),
    ((2, 2), 3, 2, 1),
    ((2, 1), 3, 1, 1),
    ((2, 2), 5, 1, 2),
    ((2, 2), 2, 2, 0),
    ((2, 2), 3, 1, 2),
    ((1, 2), (3, 1), (2, 1), (1, 0)),
    ((2, 2), 1, 1, 1),
    ((3, 3), 3, 1, 1),
    ((8, 8), 1, 1, 0),
]


@pytest.mark.parametrize("size, kernel, stride, padding", CASES)
@pytest.mark.parametrize("bias", [False, True])
def test_same_as_torch(size, kernel, stride, padding, bias):
    torch.manual_seed(0)
    plain, x = nn.Conv2d(5, 7, kernel, stride, padding, bias=bias), torch.randn(4, 5, *size).to(memory_format=torch.channels_last)
    expected, gradients = result(plain, x)
    converted = speed.convert_convolutions(plain)
    assert type(converted) is speed.Conv2d
    found, own = result(converted, x)
    assert torch.allclose(found, expected, atol=1e-5)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(own, gradients, strict=True))


def result(conv, x):
    x = x.clone(memory_format=torch.preserve_format).requires_grad_()
    out = conv(x)
    return out, torch.autograd.grad((out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum(), [x, *conv.parameters()])


def test_the_product_is_used_where_it_pays(monkeypatch):
    def refuse(self, x):
        raise AssertionError("torch's convolution was called")

    monkeypatch.setattr(nn.Conv2d, "forward", refuse)
    for conv in (speed.convert_convolutions(nn.Conv2d(5, 7, 3, padding=1)), speed.convert_convolutions(nn.Conv2d(5, 7, 1))):
        assert conv(torch.randn(4, 5, 2, 2)).shape == (4, 7, 2, 2)
        with pytest.raises(AssertionError, match="torch's convolution"):
            conv(torch.randn(4, 5, 4, 4))


def test_networks_keep_their_names_and_other_convolutions():
    model = models.resnext50_32x4d(num_classes=3)
    names, grouped = list(model.state_dict()), model.layer1[0].conv2
    speed.convert_convolutions(model)
    assert list(model.state_dict()) == names and type(grouped) is nn.Conv2d and type(model.conv1) is speed.Conv2d
    others = ({"dilation": 2}, {"padding_mode": "reflect"}, {"padding": "same"})
    assert {type(speed.convert_convolutions(nn.Conv2d(3, 3, 3, **other))) for other in others} == {nn.Conv2d}


def test_narrow_batch_norm_is_torchs():
    torch.manual_seed(0)
    plain, narrow = nn.BatchNorm2d(3), speed.NarrowBatchNorm2d(3)
    x = torch.randn(4, 3, 8, 8).to(memory_format=torch.channels_last)
    expected, gradients = result(plain, x)
    found, own = result(narrow, x)
    assert found.is_contiguous() and torch.allclose(found, expected, atol=1e-5)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(own, gradients, strict=True))
    assert all(torch.allclose(a, b) for a, b in zip(narrow.buffers(), plain.buffers(), strict=True))
    narrow.load_state_dict(plain.state_dict())
