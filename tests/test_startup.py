"""Start-up: what needs no torch does not import it, which takes seconds. Heavy packages are made impossible to import, not timed."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from PIL import Image

from common.cli import ROOT
from hw2 import p2_models, p2_summary
from hw3 import arguments, catr, p1_models

HEAVY = ("torch", "torchvision", "matplotlib", "scipy", "sklearn")
SCRIPTS = [str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("hw*/*.py")) if "__main__" in path.read_text()]
WITHOUT_HEAVY = f"""
import runpy, sys
sys.modules |= dict.fromkeys({HEAVY})
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run_light(*arguments) -> subprocess.CompletedProcess:
    """Run a script of this repository in a process of its own where importing a heavy package fails."""
    command = [sys.executable, "-c", WITHOUT_HEAVY, str(ROOT / arguments[0]), *map(str, arguments[1:])]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def started():
    """Each script's answers to --help and to an option that it does not have, two processes at a time."""
    asked = [(script, option) for script in [*SCRIPTS, "common/page.py"] for option in ("--help", "--nonsense")]
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(asked, pool.map(lambda words: run_light(*words), asked), strict=True))


@pytest.mark.parametrize("script", [*SCRIPTS, "common/page.py"])
def test_help_and_a_wrong_argument_need_no_torch(started, script):
    shown, refused = started[script, "--help"], started[script, "--nonsense"]
    assert (shown.returncode, shown.stderr) == (0, "") and shown.stdout.startswith("usage: ")
    assert refused.returncode == 2 and refused.stderr.startswith("error: ") and refused.stderr.count("\n") == 1, refused.stderr


@pytest.mark.parametrize(
    ("script", "options"),
    [
        ("hw1/p1_train.py", ["--model", "A"]),
        ("hw1/p2_seg_train.py", ["--model", "best", "--report", "f23"]),
        ("hw1/p2_mask_viz.py", []),
        ("hw1/p2_mask_viz.py", ["--image", "0000_sat.jpg"]),
        ("hw1/p3_ssl_pretrain.py", ["--exclude", "dropped.csv"]),
        ("hw2/p1_scenes.py", ["--assign", "3", "--vocab-size", "2"]),
        ("hw2/p2_final.py", ["--model", "scratch", "--weights", "default"]),
    ],
)
def test_arguments_that_exclude_each_other_need_no_torch(script, options):
    done = run_light(script, *options)
    assert done.returncode == 2 and done.stderr.startswith("error: --") and done.stderr.count("\n") == 1, done.stderr


def test_overlay_of_one_mask_needs_no_torch(tmp_path):
    image, mask = tmp_path / "0000_sat.jpg", tmp_path / "0000.png"
    Image.new("RGB", (64, 48), (100, 100, 100)).save(image)
    Image.new("RGB", (64, 48), (0, 255, 255)).save(mask)
    done = run_light("hw1/p2_mask_viz.py", "--image", image, "--mask", mask, "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "out/0000_sat_overlay.png") as picture:
        assert (picture.size, picture.getpixel((32, 24))) == ((64, 48), (70, 146, 146))
    Image.new("L", (64, 48), 6).save(mask)
    done = run_light("hw1/p2_mask_viz.py", "--image", image, "--mask", mask, "--out", tmp_path / "none")
    assert done.returncode == 2 and "0000.png is grey" in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "none").exists()


def test_results_page_needs_no_torch(tmp_path):
    (tmp_path / "f22a-1.2.json").write_text('{"item": "f22a 1.2", "reproduced": {"A": 0.5}}')
    done = run_light("common/page.py", "--out", tmp_path)
    assert done.returncode == 0 and "f22a 1.2" in (tmp_path / "index.html").read_text(), done.stderr


def test_choices_are_those_of_the_networks():
    assert set(p2_summary.NETWORKS) == p2_models.NETWORKS.keys()
    assert set(arguments.VIT_ARCHES) == p1_models.ARCHES.keys() and set(arguments.CAPTION_ARCHES) == catr.ARCHES.keys()
