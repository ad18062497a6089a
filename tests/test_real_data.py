"""The committed checkpoints, and what they reach on the course's own images, in $COURSE_DATA or data/, by the graders' scripts."""

import json
import subprocess
import sys

import pytest
import torch
from conftest import COURSE_DATA

from common.checkpoints import load_checkpoint
from common.cli import ROOT

P1, P2, CIFAR = (COURSE_DATA / name for name in ("hw1_data/p1_data", "hw1_data/p2_data", "hw2_data/p2_data"))


@pytest.mark.parametrize(
    "name, megabytes",
    [
        ("hw1/checkpoints/p1", 16),
        ("hw1/checkpoints/p2", 16),
        ("hw2/checkpoints/p2", 10),
        ("hw3/checkpoints/p1", 16),
        ("hw3/checkpoints/p2", 16),
    ],
)
def test_checkpoints_are_half_precision_and_small(name, megabytes):
    path = ROOT / f"{name}.pth"
    state = load_checkpoint(path, "restore it")
    assert path.stat().st_size <= megabytes * 1e6
    limit = torch.finfo(torch.float16).max
    for key, value in state["model"].items():
        if value.is_floating_point() and value.dtype != torch.float16:
            assert value.abs().max() > limit, f"{key} fits half precision"
        if value.is_floating_point():
            assert value.isfinite().all(), key


def run(cwd, *command) -> str:
    """A command's standard output; it must succeed."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not P1.exists(), reason=f"the course's p1_data is not at {P1}")
def test_p1_checkpoint_on_the_validation_images(tmp_path):
    source = P1 / "val_50"
    answers = ("--answers", source.parent / "val_gt.csv")
    printed = run(tmp_path, "bash", ROOT / "hw1/p1_inference.sh", source, tmp_path / "out.csv", *answers)
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 2501
    accuracy, images = printed.split()[1], printed.split()[3]
    assert images == "2500" and float(accuracy) >= 0.88


@pytest.mark.skipif(not P2.exists(), reason=f"the course's p2_data is not at {P2}")
def test_p2_checkpoint_on_the_validation_tiles(tmp_path):
    source = P2 / "validation"
    run(tmp_path, "bash", ROOT / "hw1/p2_inference.sh", source, tmp_path / "masks")
    assert len(list((tmp_path / "masks").iterdir())) == 257
    printed = run(tmp_path, sys.executable, ROOT / "hw1/p2_evaluate.py", "-g", source, "-p", tmp_path / "masks")
    assert float(printed.split("mean_iou: ")[1]) >= 0.71


@pytest.mark.skipif(not CIFAR.exists(), reason=f"hw2's p2_data is not at {CIFAR}")
def test_hw2_checkpoint_on_the_public_test_images(tmp_path):
    answers, images = CIFAR / "annotations/public_test_annos.json", CIFAR / "public_test"
    content = json.loads(answers.read_text())
    run(tmp_path, "bash", ROOT / "hw2/p2_inference.sh", images, tmp_path / "out.csv")
    labels = dict(row.split(",") for row in (tmp_path / "out.csv").read_text().splitlines()[1:])
    right = [labels[name] == str(label) for name, label in zip(content["images"], content["categories"], strict=True)]
    assert len(labels) == 5000 and sum(right) / 5000 >= 0.915
    (tmp_path / "few.json").write_text(json.dumps({key: values[:500] for key, values in content.items()}))
    command = ("--path", ROOT / "hw2/checkpoints/p2.pth", "--test_anno", tmp_path / "few.json", "--images", images)
    printed = run(tmp_path, sys.executable, ROOT / "hw2/p2_evaluate.py", *command)
    assert float(printed.split("accuracy :  ")[1].split()[0]) == pytest.approx(sum(right[:500]) / 500)
