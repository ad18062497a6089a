"""The committed checkpoints, and what they reach on the course's own validation images through the graders' scripts."""

import subprocess
import sys
import tarfile

import pytest
import torch

from common.setup import ROOT, load_checkpoint

ARCHIVES = ROOT.parent / "shared" / "data"
P1, P2 = ARCHIVES / "hw1_p1_data.tar.xz", ARCHIVES / "hw1_p2_data.tar.xz"


@pytest.mark.parametrize("name", ["p1", "p2"])
def test_checkpoints_are_half_precision_and_small(name):
    path = ROOT / f"hw1/checkpoints/{name}.pth"
    state = load_checkpoint(path, "restore it")
    assert path.stat().st_size <= 16_000_000
    assert {value.dtype for value in state["model"].values() if value.is_floating_point()} == {torch.float16}


def unpack(path, folder, part: str):
    """Extract the members of an archive whose path contains `part`."""
    with tarfile.open(path) as archive:
        archive.extractall(folder, members=[member for member in archive if part in member.name], filter="data")


def run(cwd, *command) -> str:
    """A command's standard output; it must succeed."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.skipif(not P1.exists(), reason=f"the course's p1_data is not at {P1}")
def test_p1_checkpoint_on_the_validation_images(tmp_path):
    unpack(P1, tmp_path, "/val_")
    source = next(tmp_path.rglob("val_50"))
    answers = ("--answers", source.parent / "val_gt.csv")
    printed = run(tmp_path, "bash", ROOT / "hw1/p1_inference.sh", source, tmp_path / "out.csv", *answers)
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 2501
    accuracy, images = printed.split()[1], printed.split()[3]
    assert images == "2500" and float(accuracy) >= 0.80


@pytest.mark.skipif(not P2.exists(), reason=f"the course's p2_data is not at {P2}")
def test_p2_checkpoint_on_the_validation_tiles(tmp_path):
    unpack(P2, tmp_path, "/validation/")
    source = next(tmp_path.rglob("validation"))
    run(tmp_path, "bash", ROOT / "hw1/p2_inference.sh", source, tmp_path / "masks")
    assert len(list((tmp_path / "masks").iterdir())) == 257
    printed = run(tmp_path, sys.executable, ROOT / "hw1/p2_evaluate.py", "-g", source, "-p", tmp_path / "masks")
    assert float(printed.split("mean_iou: ")[1]) >= 0.62
