"""hw2 problem 2: annotated data, the two small networks, the summary, and the learning curves on drawn images."""

import json

import pytest
import torch
from PIL import Image

from common.setup import UsageError, load_checkpoint
from hw2 import p2_data, p2_learning_curves, p2_models, p2_recipes, p2_summary, p2_synthetic


@pytest.fixture(scope="module")
def cifar(tmp_path_factory):
    """A --data folder with 600 drawn training images."""
    folder = tmp_path_factory.mktemp("cifar")
    p2_synthetic.draw_cifar(folder / "hw2_data/p2_data", 600, 20, 20)
    return folder


def test_stand_in_has_ten_classes_and_names_its_dirty_images(cifar):
    notes = cifar / "hw2_data/p2_data/annotations"
    train, dirty = (json.loads((notes / name).read_text()) for name in ("train_annos.json", "dirty.json"))
    assert len(train["images"]) == len(train["categories"]) == 600 and set(train["categories"]) == set(range(10))
    assert 40 < len(dirty["images"]) < 120 and set(dirty["images"]) < set(train["images"])


def test_split_is_nine_to_one_by_seed(cifar):
    splits, again, other = (p2_data.load_cifar(str(cifar), seed) for seed in (0, 0, 1))
    assert (len(splits.train), len(splits.validation)) == (540, 60) and splits.name == "p2_data"
    assert splits.train.names == again.train.names != other.train.names
    assert not set(splits.train.names) & set(splits.validation.names)
    assert splits.train.images.shape == (540, 3, 32, 32) and splits.train.images.dtype == torch.uint8


@pytest.mark.parametrize("count", [1, 2])
def test_too_few_labelled_images_to_split(tmp_path, count):
    p2_synthetic.draw_cifar(tmp_path / "hw2_data/p2_data", count, 1, 1)
    with pytest.raises(UsageError, match=f"{count} labelled images, too few"):
        p2_data.load_cifar(str(tmp_path), 0)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no lists"),
        ("{}", "has no lists"),
        ({"images": ["00000.jpg"], "categories": 5}, "has no lists"),
        ({"images": None, "categories": None}, "has no lists"),
        ({"images": [["00000.jpg"]], "categories": [1]}, r"\['00000.jpg'\] in place of a file's name"),
        ({"images": [7], "categories": [1]}, "7 in place of a file's name"),
        ({"images": ["../train/00000.jpg"], "categories": [1]}, "../train/00000.jpg is not in"),
        ({"images": ["00000.jpg"], "categories": [True]}, "00000.jpg has category True, outside 0-9"),
        ({"images": ["00000.jpg", "00001.jpg"], "categories": [1]}, "lists 2 images and 1 categories"),
        ({"images": ["none.jpg"], "categories": [1]}, "none.jpg is not in"),
        ({"images": ["00000.jpg"], "categories": [10]}, "00000.jpg has category 10, outside 0-9"),
        ({"images": ["00000.jpg"] * 2, "categories": [1, 1]}, "00000.jpg is listed twice"),
    ],
)
def test_wrong_annotations_are_one_line(tmp_path, content, message):
    p2_synthetic.draw_cifar(tmp_path / "hw2_data/p2_data", 3, 3, 3)
    path = tmp_path / "hw2_data/p2_data/annotations/train_annos.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(UsageError, match=message):
        p2_data.load_cifar(str(tmp_path), 0)


def test_an_image_of_another_size_is_named(tmp_path):
    p2_synthetic.draw_cifar(tmp_path / "hw2_data/p2_data", 3, 3, 3)
    Image.new("RGB", (30, 32)).save(tmp_path / "hw2_data/p2_data/train/00001.jpg")
    with pytest.raises(UsageError, match=r"00001.jpg 30x32 pixels, not 32x32"):
        p2_data.load_cifar(str(tmp_path), 0)


def test_residual_net_is_lenet_with_added_inputs():
    plain, residual = p2_models.LeNet(), p2_models.LeNet(residual=True)
    assert {key: value.shape for key, value in plain.state_dict().items()} == {k: v.shape for k, v in residual.state_dict().items()}
    assert sum(parameter.numel() for parameter in plain.parameters()) == 456 + 2416 + 90 + 342 + 2352 + 48120 + 10164 + 850
    for model in (plain, residual):
        for block in (model.block1, model.block2, model.block3):
            block[1].weight.data.zero_()  # a block that gives 0: LeNet sees nothing of the image, the residual net all of it
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(plain(images)[0], plain(images)[1]) and not torch.equal(residual(images)[0], residual(images)[1])


def test_starters_learning_rates():
    factors = [p2_recipes.starter_steps(epoch, 30) for epoch in (0, 14, 15, 24, 25, 29)]
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])


def test_summary_counts_resnet50_as_the_report_does(tmp_path, capsys):
    item = p2_summary.main(p2_summary.parse_args(["--out", str(tmp_path)]))
    assert item["reproduced"]["parameters"] == item["reported"]["parameters"] == 25_557_032
    assert item["reproduced"]["megabytes"] == item["reported"]["megabytes"] == 97.7
    printed = capsys.readouterr().out.splitlines()
    assert printed[1].split() == ["conv1", "Conv2d", "64x16x16", "9,408"]
    counted = sum(int(line.split()[-1].replace(",", "")) for line in printed[1:] if line.split()[-1].replace(",", "").isdigit())
    assert counted == 25_557_032 and (tmp_path / "cv22-2.2.png").exists()


def test_learning_curves_learn_and_give_both_scales(cifar, tmp_path):
    options = ["--data", str(cifar), "--out", str(tmp_path), "--quick", "--epochs", "2"]
    item = p2_learning_curves.main(p2_learning_curves.parse_args(options))
    for name in ("LeNet", "residual net"):
        found = item["reproduced"][name]
        assert found["train loss per image"] == pytest.approx(16 * found["train loss / batch size"])
    assert (tmp_path / "cv22-2.1.png").exists() and len(item["claims"]) == 2 and item["quick"]
    for network in ("lenet", "residual"):
        history = load_checkpoint(tmp_path / f"checkpoints/cv22-{network}-quick-epochs2/last.pth", "")["history"]
        assert len(history) == 2 and history[1]["train_loss"] < history[0]["train_loss"]


def test_epoch_of_forty_percent_is_absent_when_it_is_not_reached():
    same = {"validation_accuracy": 0.3, "train_loss": 1.6, "validation_loss": 1.6}
    epochs = [{"epoch": i + 1, "train_accuracy": accuracy, **same} for i, accuracy in enumerate((0.2, 0.41, 0.5))]
    assert p2_learning_curves.numbers(epochs, 16)["epoch of 40 % train accuracy"] == 2
    assert "epoch of 40 % train accuracy" not in p2_learning_curves.numbers(epochs[:1], 16)
