"""The stand-in for hw1 problem 1: its layout on disk, and that its classes ask for more than colours and single pixels."""

import csv
import errno

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from common import synthetic
from common.cli import UsageError
from hw1 import p1_synthetic, p2_synthetic

TRAIN, VALIDATION = 40, 10  # per class; the counts of `--quick`


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic") / "hw1_data" / "p1_data"
    p1_synthetic.draw_p1(folder, TRAIN, VALIDATION)
    return folder


@pytest.fixture(scope="module")
def splits(folder):
    return read(folder / "train_50"), read(folder / "val_50")


def read(folder):
    """Images as float (N, 3, 32, 32) in -0.5 to 0.5, and labels."""
    files = sorted(folder.iterdir())
    images = torch.from_numpy(np.stack([np.asarray(Image.open(path)) for path in files]))
    return images.permute(0, 3, 1, 2).float() / 255 - 0.5, torch.tensor([int(path.name.split("_")[0]) for path in files])


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# ---- files ----


def test_the_layout_is_the_courses(folder):
    assert {path.name for path in folder.iterdir()} == {"train_50", "val_50", "val_gt.csv"}
    assert {path.name for path in (folder / "train_50").iterdir()} == {f"{c}_{i}.png" for c in range(50) for i in range(TRAIN)}
    validation = {f"{c}_{i}.png" for c in range(50) for i in range(TRAIN, TRAIN + VALIDATION)}
    assert {path.name for path in (folder / "val_50").iterdir()} == validation


def test_images_are_32x32_rgb_png(folder):
    for path in list((folder / "train_50").iterdir())[::50] + list((folder / "val_50").iterdir())[::50]:
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "RGB", (32, 32))


def test_val_gt_agrees_with_the_names(folder):
    with open(folder / "val_gt.csv", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["filename", "label"]
    assert sorted(name for name, _ in rows) == sorted(path.name for path in (folder / "val_50").iterdir())
    assert all(name.split("_")[0] == label for name, label in rows)


def test_the_seed_decides_every_byte(tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        p1_synthetic.draw_p1(tmp_path / name, 2, 1, seed)
    a, b, c = (contents(tmp_path / name) for name in "abc")
    assert a == b
    assert a.keys() == c.keys() and all(a[name] != c[name] for name in a if name.endswith(".png"))
    assert len(set(a.values())) == len(a), "two files are the same"
    assert {path.name for path in tmp_path.iterdir()} == set("abc"), "a temporary folder is left"


def test_a_failed_drawing_leaves_nothing(tmp_path, monkeypatch):
    def full_disk(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(p1_synthetic, "write_pngs", full_disk)
    with pytest.raises(UsageError, match="No space left"):
        p1_synthetic.draw_p1(tmp_path / "p1_data", 1, 1)
    assert not list(tmp_path.iterdir())


def test_a_set_that_another_process_finished_first_is_kept(tmp_path):
    (tmp_path / "p1_data").mkdir()
    (tmp_path / "p1_data" / "theirs").touch()
    p1_synthetic.draw_p1(tmp_path / "p1_data", 1, 1)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["p1_data", "p1_data/theirs"]


def test_version_is_twelve_hex_digits_of_the_drawing_file():
    version = synthetic.version(p1_synthetic.draw_p1)
    assert len(version) == 12 and int(version, 16) >= 0
    assert version != synthetic.version(p2_synthetic.draw_p2)


# ---- what the classes ask for ----


def test_mean_colours_do_not_tell_the_class(splits):
    (images, target), (images_val, target_val) = splits
    colours = images.mean((2, 3))
    centres = torch.stack([colours[target == label].mean(0) for label in range(50)])
    nearest = torch.cdist(images_val.mean((2, 3)), centres).argmin(1)
    assert accuracy(nearest, target_val) < 0.06  # chance is 0.02


def test_a_small_cnn_learns_what_a_linear_model_cannot(splits):
    torch.manual_seed(0)
    linear = trained_accuracy(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 50)), *splits, lr=1e-3)
    cnn = trained_accuracy(nn.Sequential(*block(3, 32, 5, 2), *block(32, 64, 3, 1), nn.Flatten(), nn.Linear(64 * 16, 50)), *splits, lr=5e-3)
    assert cnn > 0.2 and linear < cnn / 2, f"cnn {cnn:.3f}, linear {linear:.3f}, chance 0.02"


def block(inputs, outputs, kernel, stride):
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2)
    return convolution, nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)


def trained_accuracy(model, train, validation, lr, epochs=10, batch_size=50):
    """Validation accuracy after Adam with a one-cycle learning rate."""
    images, target = train
    optimiser = torch.optim.Adam(model.parameters(), lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=epochs * len(target) // batch_size)
    for _ in range(epochs):
        for index in torch.randperm(len(target)).split(batch_size):
            optimiser.zero_grad()
            F.cross_entropy(model(images[index]), target[index]).backward()
            optimiser.step()
            schedule.step()
    with torch.no_grad():
        return accuracy(model.eval()(validation[0]).argmax(1), validation[1])


def accuracy(predicted, target):
    return (predicted == target).float().mean().item()
