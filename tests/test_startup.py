"""Start-up: what needs no torch does not import it, which takes seconds. Heavy packages are made impossible to import, not timed."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from common.setup import ROOT
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


def test_choices_are_those_of_the_networks():
    assert set(p2_summary.NETWORKS) == p2_models.NETWORKS.keys()
    assert set(arguments.VIT_ARCHES) == p1_models.ARCHES.keys() and set(arguments.CAPTION_ARCHES) == catr.ARCHES.keys()
