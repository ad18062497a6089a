"""The committed checkpoint, and what it reaches on the course's own validation images through the graders' script."""

import subprocess
import tarfile

import pytest
import torch

from common.setup import ROOT, load_checkpoint

ARCHIVE = ROOT.parent / "shared" / "data" / "hw1_p1_data.tar.xz"


def test_p1_checkpoint_is_half_precision_and_small():
    path = ROOT / "hw1/checkpoints/p1.pth"
    state = load_checkpoint(path, "restore it")
    assert path.stat().st_size <= 16_000_000
    assert {value.dtype for value in state["model"].values() if value.is_floating_point()} == {torch.float16}


@pytest.mark.skipif(not ARCHIVE.exists(), reason=f"the course's p1_data is not at {ARCHIVE}")
def test_p1_checkpoint_on_the_validation_images(tmp_path):
    with tarfile.open(ARCHIVE) as archive:
        wanted = [member for member in archive if "/val_" in member.name]
        archive.extractall(tmp_path, members=wanted, filter="data")
    source = next(tmp_path.rglob("val_50"))
    command = [
        "bash",
        str(ROOT / "hw1/p1_inference.sh"),
        str(source),
        str(tmp_path / "out.csv"),
        "--answers",
        str(source.parent / "val_gt.csv"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 2501
    accuracy, images = done.stdout.split()[1], done.stdout.split()[3]
    assert images == "2500" and float(accuracy) >= 0.80
