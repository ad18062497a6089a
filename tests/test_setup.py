"""common/setup.py: checkpoints that are whole or absent, refusals in one line, exit codes, seeds."""

import argparse
import os
import pickle
import random
import subprocess

import numpy as np
import pytest
import torch

from common import checkpoints, cli, files, results, setup
from common.cli import UsageError


def test_checkpoint_there_and_back(tmp_path):
    path = tmp_path / "new" / "a.pth"
    checkpoints.save_checkpoint(path, {"model": {"w": torch.arange(3.0)}, "history": [{"loss": 1.5}], "sizes": (1, 2)})
    state = checkpoints.load_checkpoint(path, "")
    assert torch.equal(state["model"]["w"], torch.arange(3.0)) and state["history"] == [{"loss": 1.5}]
    assert [file.name for file in path.parent.iterdir()] == ["a.pth"]


def test_a_checkpoint_is_on_the_disk_before_it_takes_its_name(tmp_path, monkeypatch):
    said, sync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (said.append(os.fstat(file)), sync(file)))
    monkeypatch.setattr(os, "replace", lambda one, other: (said.append("replaced"), replace(one, other)))
    checkpoints.save_checkpoint(tmp_path / "a.pth", {"w": torch.zeros(1000)})
    file, replaced, folder = said
    assert (file.st_ino, file.st_size) == ((tmp_path / "a.pth").stat().st_ino, (tmp_path / "a.pth").stat().st_size)
    assert replaced == "replaced" and folder.st_ino == tmp_path.stat().st_ino


def test_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), files.atomic_write(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_full_disk_is_one_line_and_keeps_the_old_checkpoint(tmp_path):
    resource = pytest.importorskip("resource", reason="a file size limit stands for the full disk, and Windows has none")
    path, (soft, hard) = tmp_path / "a.pth", resource.getrlimit(resource.RLIMIT_FSIZE)
    checkpoints.save_checkpoint(path, {"w": torch.zeros(2)})
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(UsageError, match=r"cannot write .*a.pth: File too large"):
            checkpoints.save_checkpoint(path, {"w": torch.zeros(100_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(checkpoints.load_checkpoint(path, "")["w"]) == 2 and list(tmp_path.iterdir()) == [path]


def test_unwritable_output_is_wrong_use(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"), files.atomic_write(tmp_path / "file" / "a.csv"):
        pass
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="cannot write"), files.atomic_write(tmp_path / "folder") as temporary:
        temporary.write_text("")


def test_output_folder_is_tried_first(tmp_path):
    assert setup.writable_folder(tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="choose another --out"):
        setup.writable_folder(tmp_path / "file" / "b")


class Harmful:
    def __reduce__(self):
        return open, ("harmed", "w")


def test_bad_checkpoints_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"a": torch.zeros(1000)}, tmp_path / "cut.pth")
    (tmp_path / "cut.pth").write_bytes((tmp_path / "cut.pth").read_bytes()[:2000])
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    torch.save({"a": Harmful()}, tmp_path / "harm.pth")
    (tmp_path / "pickle.pth").write_bytes(pickle.dumps(Harmful()))
    (tmp_path / "text.pth").write_text("no checkpoint")
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "folder.pth").mkdir()
    for path in [*tmp_path.glob("*.pth"), tmp_path / "missing.pth"]:
        with pytest.raises(UsageError, match="do this") as error:
            checkpoints.load_checkpoint(path, "do this")
        assert path.name in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "harmed").exists()


def test_eight_bits_are_a_quarter_of_the_size_and_near(tmp_path):
    state = {
        "large": torch.randn(200, 500) * torch.logspace(-4, 2, 200)[:, None],
        "small": torch.randn(9, 3, 3, 3),
        "count": torch.tensor(3),
    }
    state["large"][7] = 0
    torch.save(state, tmp_path / "whole.pth")
    torch.save({"model": checkpoints.to_eight_bits(state), "settings": {}}, tmp_path / "eight.pth")
    assert (tmp_path / "eight.pth").stat().st_size < 0.27 * (tmp_path / "whole.pth").stat().st_size
    found = checkpoints.load_checkpoint(tmp_path / "eight.pth", "")["model"]
    assert found.keys() == state.keys() and all(torch.equal(found[key], state[key]) for key in ("small", "count"))
    error, largest = (found["large"] - state["large"]).abs(), state["large"].abs().amax(1, keepdim=True)
    assert (error <= largest / 127 * 0.501).all() and not found["large"][7].any()


def test_a_network_saved_in_eight_bits_keeps_small_weights(tmp_path):
    model = {"kernel": torch.randn(300, 400) * 1e-6, "bias": torch.tensor([0.1])}  # steps of 1e-8 are none in half precision
    checkpoints.save_checkpoint(tmp_path / "best.pth", {"model": {key: value.clone() for key, value in model.items()}, "settings": {}})
    path = results.save_half(tmp_path, "p3.pth", {}, eight_bits=True)
    assert path.stat().st_size < 130_000
    found = checkpoints.load_checkpoint(path, "")["model"]
    assert torch.equal(found["bias"], model["bias"].half()) and found["kernel"].dtype == torch.float32
    assert (found["kernel"] - model["kernel"].half().float()).abs().max() < 3e-8


def test_weights_of_another_model_are_named():
    with pytest.raises(UsageError, match=r"other\.pth belongs to another model.*weight"):
        checkpoints.load_weights(torch.nn.Linear(2, 3), torch.nn.Linear(4, 3).state_dict(), "other.pth")


@pytest.mark.parametrize(
    ("error", "code"), [(None, 0), (UsageError("wrong\nuse"), 2), (cli.Incomplete("half"), 1), (KeyboardInterrupt(), 130)]
)
def test_exit_codes(error, code, capsys):
    def main(args):
        if error:
            raise error

    if code == 0:
        cli.run(main, argparse.Namespace())
        return
    with pytest.raises(SystemExit) as stop:
        cli.run(main, argparse.Namespace())
    assert stop.value.code == code and capsys.readouterr().err.count("\n") == 1


def test_the_commit_is_that_of_this_code(tmp_path, monkeypatch):
    def git(*words) -> None:
        own = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run([*own, *words], cwd=tmp_path, check=True, capture_output=True)

    unpacked = tmp_path / "unpacked"
    (unpacked / "common").mkdir(parents=True)
    (unpacked / "common/setup.py").touch()
    monkeypatch.setattr(setup, "ROOT", unpacked)
    git("init", "-q")
    git("commit", "-qm", "of another project", "--allow-empty")
    assert setup.commit() == "unknown"
    git("init", "-q", "unpacked")
    git("-C", "unpacked", "commit", "-qm", "without the code", "--allow-empty")
    assert setup.commit() == "unknown"
    git("-C", "unpacked", "add", ".")
    git("-C", "unpacked", "commit", "-qm", "with it")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))  # as in a hook of the other project
    assert len(setup.commit()) == 12
    (unpacked / "common/setup.py").write_text("changed")
    assert setup.commit().endswith("+changes")


def test_seeds():
    def draws(*seed):
        setup.seed_everything(*seed)
        return random.random(), np.random.rand(), torch.rand(()).item()

    assert draws(1) == draws(1) and len({draws(1), draws(2), draws(1, 1), draws(2, 1)}) == 4


def test_no_cuda_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="--device cuda"):
        setup.start(argparse.Namespace(device="cuda", seed=0))
    assert setup.start(argparse.Namespace(device="auto", seed=0)).device.type == "cpu"
