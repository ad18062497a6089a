"""The augmentation: each operation against its definition or torchvision, one draw per image, no chance but `u`."""

import pytest
import torch
from conftest import check_own_draws
from torchvision import transforms
from torchvision.transforms import functional as vision

from common.augment import ColorJitter, Crop, Cutout, Flip, GaussianBlur, Normalise, PerImage, Pipeline, Resize, ResizedCrop, Rotate
from hw1.p1_augment import RandomErasing
from hw1.p2_augment import Symmetries, Zoom
from hw1.p3_augment import Grayscale, Sometimes

IMAGES = torch.randint(0, 256, (6, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
U = torch.rand(6, 8, generator=torch.Generator().manual_seed(1))


def test_symmetries_are_the_eight_of_a_square():
    image = torch.arange(3 * 4 * 4).view(1, 3, 4, 4)
    out = Symmetries()(image.expand(8, -1, -1, -1), torch.arange(0.5, 8)[:, None] / 8)
    quarters = [image[0].rot90(k, (1, 2)) for k in range(4)]
    expected = {tuple(one.flatten().tolist()) for one in [*quarters, *(one.flip(-1) for one in quarters)]}
    assert {tuple(one.flatten().tolist()) for one in out} == expected and len(expected) == 8


def test_zoom_cuts_image_and_labels_at_the_same_place():
    both, u = torch.cat([IMAGES, IMAGES[:, :1]], 1), torch.rand(6, 3, generator=torch.Generator().manual_seed(3))
    both = torch.nn.functional.interpolate(both, (64, 64))  # as large as a crop of half the side has room in
    u[0] = torch.tensor([0.999, 0.5, 0.5])
    out = Zoom()(both, u)
    assert out.shape == both.shape and out.dtype == torch.uint8 and torch.equal(out[0], both[0])  # the whole side: nothing is moved
    for i in range(6):
        side = round(64 * (0.5 + float(u[i, 0]) / 2))
        left, top = (int(float(draw) * (65 - side)) for draw in u[i, 1:])
        crop = both[i : i + 1, :, top : top + side, left : left + side].float()
        image = torch.nn.functional.interpolate(crop[:, :3], (64, 64), mode="bilinear", align_corners=False)[0]
        labels = torch.nn.functional.interpolate(crop[:, 3:], (64, 64), mode="nearest-exact")[0]
        assert (out[i, :3] - image).abs().max() < 1 and (out[i, 3:] != labels).float().mean() < 0.02
    assert (Zoom(1.0)(both, u) == both).all()
    check_own_draws(Zoom(), both[:1])


def test_random_erasing_erases_a_share_p_of_the_images_and_2_to_33_hundredths_of_each():
    u = torch.rand(400, 1, generator=torch.Generator().manual_seed(0))
    for p in (0.2, 0.7):
        erased = (RandomErasing(p)(torch.ones(400, 1, 32, 32), u) == 0).float().mean((1, 2, 3))
        hit = erased[erased > 0]
        assert abs(len(hit) / 400 - p) < 0.08 and hit.min() > 0.015 and hit.max() < 0.36 and 0.1 < hit.mean() < 0.25


def test_crop_is_a_window_of_the_padded_image():
    u = torch.tensor([[0.0, 0.0], [0.5, 0.5], [0.999, 0.999], [0.0, 0.999], [0.2, 0.7], [0.9, 0.1]])
    out = Crop(4)(IMAGES, u)
    padded = torch.nn.functional.pad(IMAGES.float(), (4,) * 4, mode="reflect").byte()
    for i, (top, left) in enumerate((u * 9).long().tolist()):
        assert torch.equal(out[i], padded[i, :, top : top + 32, left : left + 32])
    assert torch.equal(out[1], IMAGES[1])


def test_flip():
    out = Flip(0.5)(IMAGES, torch.tensor([[0.1], [0.6], [0.49], [0.5], [0.0], [0.99]]))
    for i, flipped in enumerate([True, False, True, False, True, False]):
        assert torch.equal(out[i], IMAGES[i].flip(-1) if flipped else IMAGES[i])


@pytest.mark.parametrize("shape", [(32, 32), (40, 24)])
def test_rotate_as_torchvision(shape):
    images = torch.nn.functional.interpolate(IMAGES.float(), shape)
    u = torch.linspace(0, 0.999, 6)[:, None]
    out = Rotate(10)(images, u)
    for i in range(6):
        expected = vision.rotate(images[i], float((2 * u[i] - 1) * 10))
        assert (out[i] != expected).any(0).float().mean() < 0.01  # pixels on the very edge may round to the other side


def test_colour_jitter_as_torchvision():
    adjust = (vision.adjust_brightness, vision.adjust_contrast, vision.adjust_saturation)
    u, strength = torch.rand(6, 6, generator=torch.Generator().manual_seed(6)), (0.1, 0.5, 0.9)
    out = ColorJitter(*strength)(IMAGES, u)
    for i, row in enumerate(u):
        expected = IMAGES[i]
        for kind in row[3:].argsort().tolist():
            expected = adjust[kind](expected, float(1 + (2 * row[kind] - 1) * strength[kind]))
        assert (out[i].int() - expected.int()).abs().max() <= 1 and (out[i] != expected).float().mean() < 0.01


@pytest.mark.parametrize("size", [None, 24])
def test_resized_crop_as_torchvision(size):
    u = torch.rand(40, 23, generator=torch.Generator().manual_seed(7))
    images, operation = IMAGES.repeat(7, 1, 1, 1)[:40], ResizedCrop(size=size)
    out, boxes = operation(images, u), operation.boxes(u, 32, 32).int().tolist()
    for i, box in enumerate(boxes):
        expected = vision.resized_crop(images[i], *box, [size or 32] * 2, antialias=False)
        expected = expected.flip(-1) if u[i, 22] < 0.5 else expected
        assert (out[i].int() - expected.int()).abs().max() <= 1 and (out[i] != expected).float().mean() < 0.04


def test_resized_crop_draws_boxes_as_torchvision_does():
    u = torch.rand(4000, 23, generator=torch.Generator().manual_seed(8))
    top, left, height, width = ResizedCrop((0.3, 1.0)).boxes(u, 32, 32).T
    theirs = torch.tensor([transforms.RandomResizedCrop.get_params(IMAGES[0], [0.3, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)]).float().T
    assert (top + height <= 32).all() and (left + width <= 32).all() and min(height.min(), width.min()) > 10
    for ours, other in zip(
        (top, left, height * width, width / height), (theirs[0], theirs[1], theirs[2] * theirs[3], theirs[3] / theirs[2]), strict=True
    ):
        assert abs(ours.mean() - other.mean()) < 0.1 * other.std()
    assert torch.equal(ResizedCrop((2.0, 3.0)).boxes(u[:1], 32, 32), torch.tensor([[0.0, 0, 32, 32]]))  # none fits: the whole image


def test_sometimes_and_greyscale():
    u = torch.tensor([[0.1], [0.6], [0.49], [0.5], [0.0], [0.99]])
    out = Sometimes(0.5, Grayscale())(IMAGES, u)
    for i, grey in enumerate([True, False, True, False, True, False]):
        assert torch.equal(out[i], vision.rgb_to_grayscale(IMAGES[i], 3) if grey else IMAGES[i])
    jitter = ColorJitter(0.5, 0.5, 0.5)
    assert torch.equal(Sometimes(1.0, jitter)(IMAGES, U[:, :7]), jitter(IMAGES, U[:, 1:7]))
    assert torch.equal(Sometimes(0.0, jitter)(IMAGES, U[:, :7]), IMAGES)


def test_blur_as_torchvision():
    u = torch.linspace(0, 0.999, 6)[:, None]
    out = GaussianBlur(7, (0.1, 3))(IMAGES, u)
    for i in range(6):
        expected = vision.gaussian_blur(IMAGES[i], [7, 7], [float(0.1 + u[i] * 2.9)] * 2)
        assert (out[i].int() - expected.int()).abs().max() <= 1 and (out[i] != expected).float().mean() < 0.01


def test_per_image_may_change_the_size():
    out = PerImage(transforms.RandomCrop(25))(IMAGES, U[:, :1])
    assert out.shape == (6, 3, 25, 25) and out.dtype == torch.uint8


def test_cutout_covers_a_square():
    out = Cutout(8)(torch.ones(6, 1, 32, 32), torch.full((6, 2), 0.5))
    assert (out == 0).sum() == 6 * 64 and (out[:, :, 12:20, 12:20] == 0).all()
    assert (Cutout(8)(torch.ones(1, 1, 32, 32), torch.zeros(1, 2)) == 0).sum() == 16  # cut at the border


def test_normalise():
    out = Normalise((0.5, 0.5, 0.5), (0.25, 0.5, 1.0))(IMAGES, U)
    expected = vision.normalize(IMAGES.float() / 255, (0.5, 0.5, 0.5), (0.25, 0.5, 1.0))
    assert torch.allclose(out, expected, atol=1e-5)
    assert out.is_contiguous(memory_format=torch.channels_last)


def test_resize():
    assert Resize(32)(IMAGES, U) is IMAGES
    assert torch.allclose(Resize(48)(IMAGES, U), vision.resize(IMAGES.float(), [48, 48], antialias=True), atol=1e-3)


@pytest.mark.parametrize(
    "operation",
    [
        Crop(4),
        Flip(),
        Rotate(10),
        ColorJitter(0.1, 0.1, 0.1),
        GaussianBlur(7, (0.1, 3)),
        Cutout(8),
        PerImage(transforms.AutoAugment()),
        PerImage(transforms.AutoAugment(transforms.AutoAugmentPolicy.CIFAR10)),
        RandomErasing(),
        PerImage(transforms.RandomPerspective(p=1)),
    ],
)
def test_each_image_has_its_own_draw(operation):
    check_own_draws(operation, IMAGES[:1])


def test_pipeline_hands_out_draws_in_order():
    pipeline = Pipeline(Crop(4), Flip(), Normalise())
    assert pipeline.draws == 3
    u = U[:, :3]
    assert torch.equal(pipeline(IMAGES, u), Normalise()(Flip()(Crop(4)(IMAGES, u[:, :2]), u[:, 2:]), u))
    assert repr(pipeline).startswith("Crop(padding=4), Flip(p=0.5), Normalise(")
