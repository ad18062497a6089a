"""hw2 problem 1: dense SIFT against its definition, bags, nearest neighbours, and the script on drawn scenes."""

import json
import math

import cv2
import numpy as np
import pytest
import torch
from conftest import run_script
from PIL import Image

from common.cli import UsageError
from hw2 import p1_data, p1_features, p1_scenes, p1_synthetic, sift
from hw2.p1_classes import CLASSES

SMALL = ("--step", "16", "--bin-size", "6", "--vocab-size", "30")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """A --data folder with six training and four test pictures of each class."""
    folder = tmp_path_factory.mktemp("scenes")
    p1_synthetic.draw_scenes(folder / "hw2_data/p1_data", 6, 4)
    return folder


def run(data, out, *options) -> dict:
    return p1_scenes.main(p1_scenes.parse_args(["--data", str(data), "--out", str(out), *options]))


# ---- dense SIFT ----


def slow_descriptor(image, left: int, top: int, size: int):
    """One descriptor by its definition, pixel by pixel, in numpy: bins around (left + i * size, top + j * size)."""
    dy, dx = np.gradient(image)
    found = np.zeros((4, 4, 8))
    for y, x in np.ndindex(image.shape):
        angle = math.atan2(dy[y, x], dx[y, x]) / (2 * math.pi) * 8 % 8
        for j, i in np.ndindex(4, 4):
            weight = max(0, 1 - abs(y - top - j * size) / size) * max(0, 1 - abs(x - left - i * size) / size)
            for lower, share in ((math.floor(angle), 1 - angle % 1), (math.floor(angle) + 1, angle % 1)):
                found[j, i, lower % 8] += weight * share * math.hypot(dx[y, x], dy[y, x])
    offsets = (np.arange(4) - 1.5)[:, None] + np.linspace(-0.5, 0.5, 101)
    gauss = np.exp(-0.5 * (offsets / 2) ** 2).mean(1)
    found = (found * gauss[:, None, None] * gauss[:, None]).ravel()
    found = np.minimum(found / np.linalg.norm(found), 0.2)
    return found / np.linalg.norm(found)


def test_dense_sift_follows_its_definition():
    image = np.random.default_rng(0).random((22, 27))
    found, centres = sift.dense_sift(torch.from_numpy(image), 5, 4)
    assert found.shape == (2 * 3, 128) and centres.tolist() == [[x, y] for y in (6, 11) for x in (6, 11, 16)]
    for row, (x, y) in zip(found, centres.tolist(), strict=True):
        assert np.allclose(row, slow_descriptor(image, int(x) - 6, int(y) - 6, 4), atol=1e-5)


def test_dense_sift_measures_what_opencv_does():
    # On a smooth image OpenCV's blur and its weight for each pixel change little: same bins, same eight directions, y upwards there.
    noise = torch.randn(1, 1, 100, 120, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.avg_pool2d(torch.nn.functional.avg_pool2d(noise, 15, 1, 7), 15, 1, 7)[0, 0]
    image = ((smooth - smooth.min()) / (smooth.max() - smooth.min()) * 255).round()
    found, centres = sift.dense_sift(image, 8, 6)
    points = [cv2.KeyPoint(x, y, 6 / 1.5, 0.0) for x, y in centres.tolist()]
    theirs = torch.from_numpy(cv2.SIFT_create().compute(image.byte().numpy(), points)[1]).view(-1, 16, 8)
    upright = torch.nn.functional.normalize(theirs[..., [0, 7, 6, 5, 4, 3, 2, 1]].flatten(1), dim=1)
    other = torch.nn.functional.normalize(theirs.flatten(1), dim=1)
    assert (found * upright).sum(1).median() > 0.95 > 0.8 > (found * other).sum(1).median()


def test_a_ramp_has_one_direction_and_flat_images_none():
    ramp = torch.arange(40.0).expand(40, 40)
    found = sift.dense_sift(ramp, 8, 4)[0].view(-1, 16, 8)
    assert (found[..., 0] > 0.1).all() and (found[..., 1:] == 0).all()
    assert (sift.dense_sift(torch.ones(40, 40), 8, 4)[0] == 0).all()
    assert len(sift.dense_sift(torch.ones(9, 40), 8, 4)[0]) == len(sift.dense_sift(torch.ones(1, 40), 8, 4)[1]) == 0


# ---- bags and neighbours ----


def test_bags_count_the_nearest_words():
    words = torch.eye(3, 128)
    found = torch.zeros(4, 128, dtype=torch.uint8)
    found[0, 0] = found[1, 1] = found[2, 1] = found[3, 2] = 200
    bags = p1_features.bags(found, torch.tensor([3, 1]), words)
    assert torch.allclose(bags, torch.tensor([[1 / 3, 2 / 3, 0], [0, 0, 1]]))


@pytest.mark.parametrize("metric", ["euclidean", "l1", "cosine", "hellinger"])
def test_distances_by_hand(metric):
    a, b = torch.tensor([0.25, 0.75]), torch.tensor([0.64, 0.36])
    wanted = {
        "euclidean": math.hypot(0.39, 0.39),
        "l1": 0.78,
        "cosine": 1 - float(a @ b / (a.norm() * b.norm())),
        "hellinger": math.hypot(0.5 - 0.8, math.sqrt(0.75) - 0.6),
    }
    assert p1_features.distances(a[None], b[None], metric).item() == pytest.approx(wanted[metric], abs=1e-6)


def test_majority_wins_and_a_tie_goes_to_the_nearer_class():
    points, target = torch.tensor([[1.0], [2.0], [3.0], [4.0], [9.0]]), torch.tensor([2, 1, 1, 2, 0])
    votes = [p1_features.nearest_neighbours(torch.zeros(1, 1), points, target, k, "euclidean", 3).item() for k in (1, 2, 3, 4, 5)]
    assert votes == [2, 2, 1, 2, 2]
    with pytest.raises(UsageError, match="--k 6 is more than the 5 training images"):
        p1_features.nearest_neighbours(torch.zeros(1, 1), points, target, 6, "euclidean", 3)


def test_more_words_than_descriptors_is_refused():
    with pytest.raises(UsageError, match="--vocab-size 5 is more than the 4 descriptors"):
        p1_features.vocabulary(torch.ones(4, 128, dtype=torch.uint8), 5, 0)
    with pytest.raises(UsageError, match="--vocab-size 5 is more than the 3 descriptors"):
        p1_features.vocabulary(torch.ones(9, 128, dtype=torch.uint8), 5, 0, sample=3)


# ---- the script ----


def test_both_features_on_drawn_scenes(scenes, tmp_path, capsys):
    item = run(scenes, tmp_path, *SMALL)
    out = capsys.readouterr().out
    assert f"Accuracy =  {item['reproduced']['bag_of_sift']}\n" in out and out.count("Accuracy =  ") == 2
    assert item["reproduced"]["bag_of_sift"] > item["reproduced"]["tiny_image"] > 1 / 15
    assert json.loads((tmp_path / "cv22-1.json").read_text())["claims"] == item["claims"] and item["claims"][0]["holds"]
    assert (tmp_path / "cv22-1.png").exists() and item["data"].items() > {"name": "p1_data", "train": 90, "test": 60}.items()


def test_graders_command_and_cached_descriptors(scenes, tmp_path, monkeypatch):
    path = scenes / "hw2_data/p1_data/p1"
    options = ("--feature", "bag_of_sift", "--dataset_path", path, "--out", tmp_path, *SMALL)
    first, second = (run_script("hw2/p1_scenes.py", *options, "--classifier", name) for name in ("nearest_neighbor", "linear_svm"))
    assert first.returncode == second.returncode == 0, second.stderr
    monkeypatch.setattr(sift, "dense_sift", None)  # the script has left every descriptor in the cache
    assert run(scenes, tmp_path, "--feature", "bag_of_sift", *SMALL)["deviations"]
    fractions = [float(done.stdout.split("Accuracy =  ")[1].split()[0]) for done in (first, second)]
    assert all(0.2 < fraction <= 1 for fraction in fractions)


def test_confusion_claims_are_measured():
    confusion = torch.eye(15, dtype=torch.int64) * 10
    confusion[2, 3], confusion[2, 10], confusion[12, 11], confusion[6, 0] = 6, 2, 5, 3
    assert p1_scenes.error_shares(confusion) == pytest.approx(
        {"rooms stay": 6 / 8, "outdoors stay": 5 / 8, "not recognised": 8 / 108, "called indoor": 3 / 108}
    )


def test_claims_about_outdoor_scenes_and_the_darkest_cell():
    accuracy, plain = {"bag_of_sift": 0.6, "tiny_image": 0.2}, torch.eye(15, dtype=torch.int64) * 10
    assert [CLASSES[i] for i in (2, 3, 6, 12)] == ["Bedroom", "LivingRoom", "Suburb", "Coast"]

    def holds(*cells):
        confusion = plain.clone()
        for row, column, count in cells:
            confusion[row, column] = count
        return {claim["claim"]: claim for claim in p1_scenes.claims({"bag_of_sift": confusion, "tiny_image": confusion.flip(0)}, accuracy)}

    darkest, *outdoors = [claim for claim in holds((3, 2, 6), (12, 6, 5)) if "darkest" in claim or "outdoor scenes with" in claim]
    assert [claim.split(" confuses")[0] for claim in outdoors] == ["bag of SIFT", "tiny image"]
    found = holds((3, 2, 6), (12, 6, 5), (6, 3, 1))
    assert found[darkest]["holds"] and found[darkest]["share"] == pytest.approx(6 / 16)
    assert found[darkest]["darkest"] == "LivingRoom called Bedroom"
    assert found[outdoors[0]]["holds"] and found[outdoors[0]]["share of outdoor images called indoor"] == pytest.approx(1 / 106)
    assert found[outdoors[0]]["share of their errors that stays outdoors"] == pytest.approx(5 / 6)
    assert not holds((3, 2, 6), (12, 6, 9))[darkest]["holds"]
    assert not holds((12, 6, 5), (6, 3, 5))[outdoors[0]]["holds"]  # half of the errors stay outdoors, by chance 9 of 14 do


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: [path.unlink() for path in (folder / "Coast").iterdir()], "Coast holds no .jpg"),
        (lambda folder: (folder / "Coast").rename(folder / "Beach"), "no folder Coast"),
        (lambda folder: (folder / "Coast/image_0000.jpg").write_text("no image"), "image_0000.jpg is unreadable"),
        (lambda folder: Image.new("L", (8, 8)).save(folder / "Coast/image_0000.jpg"), "image_0000.jpg is too small for a descriptor"),
    ],
)
def test_wrong_folders_are_one_line(tmp_path, spoil, message):
    p1_synthetic.draw_scenes(tmp_path / "hw2_data/p1_data", 1, 1)
    spoil(tmp_path / "hw2_data/p1_data/p1/train")
    with pytest.raises(UsageError, match=message):
        run(tmp_path, tmp_path / "out", *SMALL, "--feature", "bag_of_sift")


def test_other_modes_and_sizes_are_read(tmp_path):
    p1_synthetic.draw_scenes(tmp_path / "hw2_data/p1_data", 1, 1)
    folder = tmp_path / "hw2_data/p1_data/p1/train"
    Image.new("RGB", (90, 70), "red").save(folder / "Coast/image_0000.jpg")
    images = list(p1_data.load_split(folder).images())
    assert images[CLASSES.index("Coast")].shape == (70, 90) and images[0].shape == (256, 256)
    assert abs(images[CLASSES.index("Coast")].mean() - 0.2989) < 0.02
