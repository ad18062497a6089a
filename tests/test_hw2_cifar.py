"""hw2 problem 2: annotated data, the two small networks, the summary, and the learning curves on drawn images."""

import json

import pytest
import torch
from PIL import Image

from common.checkpoints import load_checkpoint
from common.cli import UsageError
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


def test_lenet_and_the_residual_net_differ_in_the_blocks():
    plain, residual = p2_models.LeNet(), p2_models.LeNet(residual=True)
    counts = [sum(parameter.numel() for parameter in model.parameters()) for model in (plain, residual)]
    others = 456 + 2416 + 48120 + 10164 + 850
    assert counts == [others + 90 + 342 + 2352, others + 96 + 354 + 2384]  # the second batch norms have 2 * (3 + 6 + 16) more
    assert residual(torch.rand(2, 3, 32, 32)).shape == plain(torch.rand(2, 3, 32, 32)).shape == (2, 10)


def test_blocks_by_hand():
    x, norms = torch.randn(2, 6, 5, 5), [torch.rand(4, 6) + 0.1 for _ in range(2)]
    plain, residual = p2_models.plain_block(6), p2_models.SkipBlock(6)

    def fill(norm, values):
        for tensor, value in zip((norm.weight.data, norm.bias.data, norm.running_mean, norm.running_var), values, strict=True):
            tensor.copy_(value)

    def by_hand(y, values):
        weight, bias, mean, variance = values[..., None, None]
        return (y - mean) / (variance + 1e-5).sqrt() * weight + bias

    fill(plain[1], norms[0]), fill(residual.inner[1], norms[0]), fill(residual.norm, norms[1])
    residual.inner[0].load_state_dict(plain[0].state_dict())
    inner = by_hand(torch.nn.functional.conv2d(x, plain[0].weight, plain[0].bias, padding=1), norms[0])
    assert torch.allclose(plain.eval()(x), inner.clamp(min=0), atol=1e-5)
    assert torch.allclose(residual.eval()(x), by_hand(inner + x, norms[1]).clamp(min=0), atol=1e-5)


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
        assert found["train loss per image"] == pytest.approx(p2_learning_curves.QUICK["batch_size"] * found["train loss / batch size"])
    assert (tmp_path / "cv22-2.1.png").exists() and len(item["claims"]) == 4 and item["quick"]
    for network in ("lenet", "residual"):
        history = load_checkpoint(tmp_path / f"checkpoints/cv22-{network}-quick-epochs2/last.pth", "")["history"]
        assert len(history) == 2 and history[1]["train_loss"] < history[0]["train_loss"]
    assert p2_recipes.CURVES.batch_size == 128 and not item["tables"]


def test_the_second_form_of_the_learning_curves_says_which_is_nearer_to_the_report(cifar, tmp_path):
    options = ["--data", str(cifar), "--out", str(tmp_path), "--quick", "--epochs", "1"]
    plain, combined = (p2_learning_curves.main(p2_learning_curves.parse_args(options + more)) for more in ([], ["--combined"]))
    assert combined["item"] == "cv22 2.1-combined" and (tmp_path / "cv22-2.1-combined.png").exists()
    assert "ByPart" in combined["settings"]["transforms"] and plain["data"] == combined["data"]
    found = {name: combined["reproduced"][name] | {"train accuracy": value} for name, value in (("LeNet", 0.439), ("residual net", 0.477))}
    (table,) = p2_learning_curves.forms("cv22 2.1-combined", found, plain)
    assert table["title"].endswith("the combined set of 2.3") and len(table["header"]) == 6
    assert [row[0] for row in table["rows"]] == ["reported", "the combined set of 2.3", "crops and flips"]
    assert table["rows"][1][-1] == pytest.approx(0.015) and table["rows"][0][1:] == [0.449, 0.457, 11, 9, None]
    assert len(combined["tables"]) == 1


def test_epoch_of_forty_percent_is_absent_when_it_is_not_reached():
    same = {"validation_accuracy": 0.3, "train_loss": 1.6, "validation_loss": 1.6}
    epochs = [{"epoch": i + 1, "train_accuracy": accuracy, **same} for i, accuracy in enumerate((0.2, 0.41, 0.5))]
    assert p2_learning_curves.of_report(epochs, 16)["epoch of 40 % train accuracy"] == 2
    assert "epoch of 40 % train accuracy" not in p2_learning_curves.of_report(epochs[:1], 16)
