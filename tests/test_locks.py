"""Two runs at once: one works in a training's folder, one fills a cache, and the other says who does."""

import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from conftest import draw_small

from common import checkpoints, files, setup, training
from common import data as data_module
from common.cli import ROOT, UsageError
from common.files import image_files

TRAIN = "import sys; from hw1 import p1_train; from common import cli; cli.run(p1_train.main, p1_train.parse_args(sys.argv[1:]))"

FP32 = {"precision": "fp32"}


def other(code: str, *arguments, **options) -> subprocess.Popen:
    """Another process that runs `code`, its input and output as pipes of text."""
    pipes = {name: subprocess.PIPE for name in ("stdin", "stdout", "stderr")}
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], text=True, cwd=ROOT, **pipes, **options)


# The lock's process has a child of its own, as a training has workers, which ends after it. The child is the one that says "held":
# until it runs, it has the lock that it inherited.
HOLD = "import os, sys, time; from pathlib import Path; from common import files; files.lock_folder(Path(sys.argv[1])); \
os.fork() or (print('held', flush=True), os.closerange(0, 3), time.sleep(5), os._exit(0)); input()"


def test_a_training_folder_has_one_run_and_names_it(tmp_path):
    holder = other(HOLD, tmp_path)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(UsageError, match=rf"^pid {holder.pid} on \S+ \(python\S* -c .*\) works in .*; wait for its end, or give another"):
        files.lock_folder(tmp_path)
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    files.lock_folder(tmp_path)  # a killed run leaves nothing that has to be removed
    files.lock_folder(tmp_path)
    tmp_path.rename(renamed := tmp_path.with_name("renamed"))
    files.lock_folder(renamed)
    renamed.rename(tmp_path)
    assert f"pid {os.getpid()} on " in (tmp_path / ".lock").read_text()
    held = other(HOLD, tmp_path)
    assert held.wait() == 1 and f"pid {os.getpid()} " in held.stderr.read()


def test_a_second_training_ends_with_one_line_and_touches_nothing(tmp_path):
    draw_small(tmp_path / "data", 2, 2)
    words = ["--data", tmp_path / "data", "--out", tmp_path / "out", "--report", "f22a", "--model", "A", "--quick", "--image-size", "32"]
    folder = tmp_path / "out/checkpoints/f22a-A-quick-image_size32"
    folder.mkdir(parents=True)
    holder = other(HOLD, folder)
    assert holder.stdout.readline() == "held\n"
    second = other(TRAIN, *words)
    said = second.communicate()[1]
    assert second.returncode == 2 and said.startswith(f"error: pid {holder.pid} on ") and said.count("\n") == 1, said
    assert [path.name for path in folder.iterdir()] == [".lock"]
    holder.communicate("\n")


def test_best_is_the_epoch_of_the_history_when_a_kill_came_between_two_files(tmp_path, monkeypatch):
    recipe, save = training.Recipe("linear", epochs=3), checkpoints.save_checkpoint
    runtime = setup.Runtime(torch.device("cpu"), False)

    def walk(resuming: bool, accuracies: list[float], end_after: int) -> list[dict]:
        """Train with these accuracies, and end in the place of the kill after so many files."""
        model, files = torch.nn.Linear(1, 1), []

        def saved(path, state) -> None:
            save(path, state)
            files.append(path.name)
            if len(files) == end_after:
                raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(training, "save_checkpoint", saved)
            run = training.Run(tmp_path, recipe, FP32, replace(runtime, resume=resuming))
            for epoch in run.epochs(model, training.make_optimiser(model, recipe)):
                model.weight.data.fill_(accuracies[epoch.index])
                epoch.record(train_loss=1.0, validation_accuracy=accuracies[epoch.index])
        return run.history

    for end_after in (1, 2, 3, 4):
        with pytest.raises(KeyboardInterrupt):
            walk(False, [0.5, 0.9, 0.1], end_after)
        history = walk(True, [0.5, 0.4, 0.3], 99)  # as on a GPU: an epoch that is repeated is not quite the same
        best = checkpoints.load_checkpoint(tmp_path / "best.pth", "")
        kept = training.kept_epoch(history, "accuracy")
        assert best["history"][-1] == kept and best["model"]["weight"].item() == pytest.approx(kept["validation_accuracy"])


def test_a_second_run_waits_for_a_cache_and_decodes_nothing(tmp_path, monkeypatch):
    files = image_files(draw_small(tmp_path, 2, 2) / "train_50", (".png",))
    code = "import sys; from pathlib import Path; from common import data, files as names\n"
    code += "files = names.image_files(Path(sys.argv[1]), ('.png',))\nread = data.read_image\n"
    code += "data.read_image = lambda path: (path == files[0] and (print('decoding', flush=True), input())) and None or read(path)\n"
    code += "data.decode_folder(files, 32)"
    first = other(code, files[0].parent)
    assert first.stdout.readline() == "decoding\n"
    second = other(code, files[0].parent)
    line = second.stderr.readline()
    assert line.startswith(f"waiting for pid {first.pid} on ") and line.endswith("which is decoding train_50\n"), line
    assert first.communicate("\n") == ("", "")
    assert second.communicate() == ("", "") and second.returncode == 0
    assert not list(data_module.cache_folder().rglob("*.lock"))


def test_without_a_place_for_the_lock_the_work_is_done(tmp_path):
    (tmp_path / "file").touch()
    with files.exclusive(tmp_path / "file/a.pt", "decoding a"):
        pass
