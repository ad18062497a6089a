"""Small data in the courses' layouts, and a cache folder of the tests' own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from common.cli import ROOT
from hw1 import p1_synthetic, p2_synthetic

COURSE_DATA = Path(os.environ.get("COURSE_DATA") or ROOT / "data").resolve()  # the courses' own files, where they are


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """Decoded sets and stand-ins go to a folder of the test run, not to the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


def draw_small(data: Path, train: int = 8, validation: int = 4) -> Path:
    """A data folder whose p1_data holds a few drawn images of each class; returns the p1_data folder."""
    folder = data / "hw1_data" / "p1_data"
    p1_synthetic.draw_p1(folder, train, validation)
    return folder


@pytest.fixture(scope="session")
def data(tmp_path_factory) -> Path:
    """A --data folder with a small p1_data. Read only: tests that break something draw their own."""
    folder = tmp_path_factory.mktemp("data")
    draw_small(folder)
    return folder


@pytest.fixture(scope="session")
def land(tmp_path_factory) -> Path:
    """A --data folder with a small p2_data. Read only: tests that break something copy it."""
    folder = tmp_path_factory.mktemp("land")
    p2_synthetic.draw_p2(folder / "hw1_data" / "p2_data", 12, 4)
    return folder


def run_script(*arguments, cwd: Path | None = None, **environment) -> subprocess.CompletedProcess:
    """Run a script of this repository, python or bash, in a process of its own, its output as text."""
    launcher = "bash" if arguments[0].endswith(".sh") else sys.executable
    command = [launcher, str(ROOT / arguments[0]), *map(str, arguments[1:])]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=os.environ | environment, timeout=300)


def check_own_draws(operation, image: torch.Tensor) -> None:
    """An augmentation draws for each image by itself, from the numbers that it is given alone; `image` is (1, 3, H, W)."""
    images, u = image.expand(64, -1, -1, -1), torch.rand(64, operation.draws, generator=torch.Generator().manual_seed(2))
    state = torch.get_rng_state()
    out = operation(images, u)
    assert torch.equal(state, torch.get_rng_state())
    assert out.shape == images.shape and len(out.float().flatten(1).unique(dim=0)) > 1
    assert torch.equal(operation(images, u), out)
    assert torch.equal(operation(images[10:20], u[10:20]), out[10:20])  # so that ranks may share a batch
