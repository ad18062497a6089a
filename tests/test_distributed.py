"""Training under torchrun: two processes give one process's losses, and only one of them writes."""

import json
import os
import subprocess
import sys

import pytest
import torch

from common.setup import ROOT, Runtime
from hw1 import p2_data, p2_models


def launch(script, processes: int, *options) -> str:
    """Run a script with one process or under torchrun; returns its output."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes > 1 else []
    command = [sys.executable, *launcher, str(ROOT / script), *map(str, options)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def train(data, out, script, processes: int, *options) -> dict:
    """Train f22a's model A with one process or several; returns its run.json."""
    printed = launch(script, processes, "--report", "f22a", "--model", "A", "--data", data, "--out", out, *options)
    assert printed.count("epoch 1 ") == ("--resume" not in options)
    return json.loads(next(out.glob("checkpoints/*/run.json")).read_text())


@pytest.mark.skipif(sys.platform == "win32", reason="gloo with torchrun is tested on Linux and macOS only")
def test_two_processes_give_one_process_losses(data, tmp_path):
    # 400 images in batches of 56: the last batch of 8 is shared too, and its weight must be right.
    options = ["--device", "cpu", "--epochs", "2", "--batch-size", "56", "--lr", "0.05"]
    one, two = (train(data, tmp_path / str(n), "tests/train_without_norm.py", n, *options)["history"] for n in (1, 2))
    for name in ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy"):
        assert [epoch[name] for epoch in two] == pytest.approx([epoch[name] for epoch in one], abs=1e-3)
    assert one[1]["train_loss"] < one[0]["train_loss"] - 0.01  # the test would be empty if nothing were learnt


def test_the_script_itself_under_torchrun(data, tmp_path):
    run = train(data, tmp_path, "hw1/p1_train.py", 2, "--device", "cpu", "--quick", "--epochs", "1", "--batch-size", "100")
    assert "2 processes" in run["device"] and run["history"][0]["train_loss"] > 0
    assert (tmp_path / "f22a-1.2.json").exists()
    again = train(data, tmp_path, "hw1/p1_train.py", 2, "--device", "cpu", "--quick", "--epochs", "1", "--batch-size", "100", "--resume")
    assert again["history"] == run["history"]


def test_segmentation_is_evaluated_over_all_processes(land, tmp_path):
    options = ["--device", "cpu", "--quick", "--epochs", "1", "--batch-size", "4", "--image-size", "64"]
    run = train(land, tmp_path, "hw1/p2_seg_train.py", 2, *options)
    runtime = Runtime(torch.device("cpu"), bf16=False)
    model, _ = p2_models.load_trained(next(tmp_path.glob("checkpoints/*/best.pth")), runtime, "")
    alone = p2_models.evaluate(model, p2_data.load_p2(str(land), 64).validation, runtime)
    assert {name: run["history"][0][name] for name in alone} == pytest.approx(alone, abs=1e-6)


@pytest.mark.parametrize(("script", "item", "trainings", "rows"), [("augmentation", "2.3", 7, 7), ("cleaning", "2.4", 5, 4)])
def test_a_table_on_the_stand_in(tmp_path, script, item, trainings, rows):
    options = ["--device", "cpu", "--quick", "--epochs", "1", "--data", "synthetic", "--out", tmp_path]
    printed = launch(f"hw2/p2_{script}.py", 2, *options)
    assert printed.count("epoch 1 ") == trainings and printed.count("wrote ") == 1
    found = json.loads((tmp_path / f"cv22-{item}.json").read_text())
    assert "2 processes" in found["device"] and len(found["reproduced"]) == rows
