"""hw2/p2_transforms.py: each operation against torchvision or its definition, one draw per image, no chance but `u`."""

import pytest
import torch
from conftest import check_own_draws
from torchvision.transforms import functional as vision

from common.augment import ColorJitter, Flip, PerImage, Pipeline
from hw2.p2_transforms import Affine, ByPart

IMAGES = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(32, 32), (40, 24)])
def test_affine_as_torchvision(shape):
    images, size = torch.nn.functional.interpolate(IMAGES.float(), shape).round().byte(), torch.tensor(shape[::-1])
    u = torch.rand(6, 5, generator=torch.Generator().manual_seed(5))
    out = Affine(50, 0.2, (0.7, 1.3), 8)(images, u)
    for i, (angle, x, y, scale, shear) in enumerate(u.tolist()):
        shift = ((2 * torch.tensor([x, y]) - 1) * 0.2 * size).round().int().tolist()
        expected = vision.affine(images[i], (2 * angle - 1) * 50, shift, 0.7 + 0.6 * scale, [(2 * shear - 1) * 8, 0.0])
        assert (out[i] != expected).any(0).float().mean() < 0.01  # pixels on the very edge may round to the other side


def test_each_part_has_its_pipeline():
    paint = [PerImage(lambda image, value=value: torch.full_like(image, value)) for value in (7, 8, 9)]
    images, operation = torch.zeros(6, 3, 2, 2, dtype=torch.uint8), ByPart(tuple(map(Pipeline, paint)))
    u = torch.rand(6, operation.draws)
    assert operation(images, u)[:, 0, 0, 0].tolist() == [7] * 6  # draws, not parts
    u[:, 0] = torch.tensor([2, 0, 1, 1, 0, 2])
    assert operation(images, u)[:, 0, 0, 0].tolist() == [9, 7, 8, 8, 7, 9] and not images.any()
    assert operation(images[1:2], u[1:2]).unique().tolist() == [7]  # a batch may hold none of a part's images


@pytest.mark.parametrize(
    "operation",
    [Affine(50, 0.2, (0.7, 1.3), 8), ByPart((Pipeline(Affine(20), ColorJitter(0.1, 0.1, 0.1)), Pipeline(Flip(1.0))))],
)
def test_each_image_has_its_own_draw(operation):
    check_own_draws(operation, IMAGES[:1])
