"""run_all.sh and run_all.py: set-up, selection, order, failures, interruption. Small scripts stand in for the items'."""

import contextlib
import importlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

import run_all as runner
from common import cli, items
from common.cli import ROOT
from common.files import file_digest
from hw1 import p1_synthetic, p3_data, p3_recipes
from hw2 import p2_final, p2_models, p2_ours, p2_recipes
from hw2 import p2_synthetic as cifar_synthetic

SCRIPT = """import argparse, pathlib, sys, time
parser = argparse.ArgumentParser()
for name in ("--out", "--data", "--name", "--sleep"):
    parser.add_argument(name)
for name in ("--quick", "--resume", "--fail"):
    parser.add_argument(name, action="store_true")
args = parser.parse_args()
out = pathlib.Path(args.out)
with open(out / "calls", "a") as file:
    file.write(" ".join(sys.argv[1:]) + "\\n")
print("said by", args.name)
(out / f".half.{HOST}.{PID}.part").touch()
time.sleep(float(args.sleep or 0))
(out / f".half.{HOST}.{PID}.part").unlink()
sys.exit(3 if args.fail else 0)
""".replace("{HOST}", "{__import__('common.files').files.HOST}").replace("{PID}", "{__import__('os').getpid()}")

TOML = """
[reports]
f21 = "a report"
[words]
[items."f21 1.1"]
title = "a training"
runs = ["small_train.py --name a", "small_train.py --name b"]
[items."f21 1.2"]
title = "its figure"
runs = ["small.py --name c"]
needs = ["f21 1.1"]
[items."f21 1.3"]
title = "another"
runs = ["small.py --name d"]
needs = ["small_train.py --name b"]
needs_full = ["f21 1.4"]
[items."f21 1.4"]
title = "one that fails"
runs = ["small.py --name e --fail"]
"""


@pytest.fixture
def small(tmp_path, monkeypatch):
    """Four items and their script in a folder of their own, whose `calls` says what ran."""
    for name in ("small.py", "small_train.py"):
        (tmp_path / name).write_text(SCRIPT)
    (tmp_path / "items.toml").write_text(TOML)
    for module in (runner, items):
        monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(runner, "WARM", ())
    monkeypatch.setattr(runner, "speed", lambda: 1.0)
    for cached in (items.load, items._table):
        cached.cache_clear()
    yield tmp_path
    for cached in (items.load, items._table):
        cached.cache_clear()


def run(folder, *options):
    """Run run_all.py's main; returns the calls that it made, in order, by --name."""
    runner.main(runner.parse_args(["--out", str(folder), *options]))
    return calls(folder)


def calls(folder) -> list[str]:
    lines = (folder / "calls").read_text().splitlines()
    (folder / "calls").unlink()
    return lines


def names(lines: list[str]) -> list[str]:
    return [line.split()[1] for line in lines]


def test_every_item_is_made_by_a_script_that_is_there_after_what_it_needs():
    runs = runner.all_runs(full=True)
    assert len(runs) > 40 and all((ROOT / run.command.split()[0]).is_file() for run in runs)
    places = {run.command: place for place, run in enumerate(runs)}
    assert all(need < place for place, run in enumerate(runs) for need in run.needs)
    assert places["hw2/p2_final.py --model scratch"] in runs[places["hw1/p3_ssl_pretrain.py --supervised"]].needs
    assert places["hw2/p2_final.py --model scratch"] not in runner.all_runs(full=False)[places["hw1/p3_ssl_pretrain.py --supervised"]].needs


def test_list_and_dry_run_run_nothing(small, capsys):
    for option in ("--list", "--dry-run"):
        runner.main(runner.parse_args([option, "--only", "f21 1.2"]))
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == ["small_train.py"] * 2 + ["small.py"] + (
        ["small_train.py"] * 2 + ["small.py"]
    )
    assert not (small / "calls").exists()


def test_only_runs_what_an_item_needs_before_it_and_once(small):
    lines = run(small, "--only", "f21-1.2", "--data", "synthetic", "--jobs", "2")
    assert names(lines) == ["a", "b", "c"] and all("--quick --data synthetic" in line for line in lines)
    assert ["--resume" in line for line in lines] == [True, True, False]


def test_patterns(small):
    assert names(run(small, "--only", "name d")) == ["b", "d"]
    assert names(run(small, "--only", "f21-1.[12]", "--jobs", "1")) == ["a", "b", "c"]


def test_full_form_resumes_and_is_not_quick(small):
    lines = run(small, "--only", "f21-1.1", "--full")
    assert all("--resume" in line and "--quick" not in line for line in lines)
    assert not any("--resume" in line for line in run(small, "--only", "f21-1.1"))


def test_a_failing_item_is_named_and_shown_and_does_not_stop_the_rest(small, capsys):
    with pytest.raises(cli.Incomplete, match=r"failed: f21-1\.4 \(.*logs/f21-1\.4\.txt\)"):
        run(small)
    assert sorted(names(calls(small))) == ["a", "b", "c", "d", "e"]
    out, error = capsys.readouterr()
    assert error == "said by e\n" and "said by" not in out and "FAILED with exit code 3" in out
    assert [line.split()[0] for line in out.splitlines() if line[0] == "["] == [f"[{i}/5]" for i in range(1, 6)]
    assert (small / "logs/f21-1.2.txt").read_text() == "said by c\n" and (small / "logs/f21-1.1-b.txt").exists()


def test_runs_of_one_item_wait_for_each_other_and_others_run_at_once(small):
    both, other = runner.all_runs(full=False)[:2], runner.all_runs(full=False)
    assert both[0].names == both[1].names
    other[0].state = "running"
    assert runner.ready(other, [0, 1, 2, 3, 4]) == [4]
    other[0].writes.add("a folder")
    other[4].writes.add("a folder")
    assert runner.ready(other, [0, 1, 2, 3, 4]) == []


def test_items_that_share_a_training_do_not_run_at_once():
    tables = [run for run in runner.all_runs(full=False) if {"cv22-2.3", "cv22-2.4"} & set(run.names)]
    assert len(tables) == 2 and tables[0].writes & tables[1].writes == {"cv22-plain"}


def test_what_is_left_is_told_from_what_has_ended(small):
    runs = runner.all_runs(full=False)
    for one in runs:
        one.seconds, one.state = 60.0, "waiting"
    runs[0].state = "done"
    assert runner.remaining(runs, passed=30.0) == "      about 2 min left"
    assert runner.remaining(runs, passed=6.0) == "" == runner.remaining(runs[1:], passed=100.0)


def test_an_interrupted_run_ends_within_a_second_and_leaves_nothing_half_written(small):
    text = (small / "items.toml").read_text().replace("--name a", "--name a --sleep 60")
    (small / "items.toml").write_text(text)
    program = f"""
import sys; sys.path.insert(0, {str(ROOT)!r})
import pathlib, run_all
from common import cli, items
items.ROOT = run_all.ROOT = pathlib.Path({str(small)!r}); run_all.WARM = ()
cli.run(run_all.main, run_all.parse_args(["--out", {str(small)!r}, "--only", "f21-1.1"]))
"""
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)
    eventually(lambda: list(small.glob(".half.*")))
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130 and time.monotonic() - began < runner.ENDING + 0.8
    assert not list(small.glob(".half.*")) and process.stderr.read().count("\n") == 1
    process.stderr.close()


@pytest.mark.parametrize("options", [["--only", "f99"], ["--bogus"], ["--only"], ["--jobs", "0"], ["--data", "/no/folder"]])
def test_wrong_use(options):
    done = subprocess.run([sys.executable, ROOT / "run_all.py", *options], capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.count("\n") == 1


def test_the_long_form_of_items_that_build_on_each_other_runs_twice(tmp_path, monkeypatch):
    data, out = tmp_path / "data", tmp_path / "out"
    p1_synthetic.draw_p1(data / "hw1_data/p1_data", 1, 1)
    cifar_synthetic.draw_cifar(data / "hw2_data/p2_data", 100, 20, 10)
    chain = p2_recipes.SCRATCH
    short = replace(chain, last=replace(chain.last, network="whitened", epochs=1, batch_size=40))
    monkeypatch.setitem(p2_final.CHAINS, chain.name, short)
    monkeypatch.setitem(p2_models.NETWORKS, "whitened", lambda: p2_models.Whitened(widths=(4, 4, 4)))
    monkeypatch.setitem(p3_recipes.SMALL, "network", "small")
    monkeypatch.setitem(p3_recipes.STAND_INS, p3_recipes.SUPERVISED, {"epochs": 1})

    options = ["--full", "--dry-run", "--only", "f23-2.2-supervised", "--data", data, "--out", out]
    printed = subprocess.run([sys.executable, ROOT / "run_all.py", *options], capture_output=True, text=True, check=True).stdout
    found, checkpoints = [], out / "checkpoints"
    for _ in range(2):
        for line in printed.splitlines():
            _, script, *words = shlex.split(line)
            module = importlib.import_module(script.removesuffix(".py").replace("/", "."))
            module.main(module.parse_args(words))
        best, supervised = (
            json.loads(path.read_text()) for path in (out / "hw2-p2-scratch.json", checkpoints / "f23-supervised-stand-ins/backbone.json")
        )
        left_out = file_digest(checkpoints / "hw2-p2-scratch/dropped.csv")
        found.append([best["data"], best["reproduced"], best["settings"], supervised, left_out])
    assert found[0] == found[1] and supervised["settings"]["list of images left out"] == left_out
    used = supervised["settings"]["data"]
    assert used["name"] == p3_data.STAND_INS and used["train"] + used["validation"] == 100 - round(p2_ours.DIRTY_SHARE * 98)


# ---- set-up: run_all.sh with a python that stands in for that of .venv ----


@pytest.fixture
def clone(tmp_path):
    """A folder with run_all.sh and a .venv whose python writes down how it is called."""
    root = tmp_path / "a clone"
    (root / "common").mkdir(parents=True)
    for name in ("run_all.sh", "common/venv.sh", "common/files.py", "common/cli.py", "requirements.txt"):
        (root / name).write_text((ROOT / name).read_text())
    python = root / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/bash\necho "${{@#"{root}/"}}" >>"{root}/calls"\n')
    python.chmod(0o755)
    return root


def run_all(root, *options, **environment):
    command = ["bash", str(root / "run_all.sh"), *options]
    return subprocess.run(command, capture_output=True, text=True, cwd=root.parent, env=os.environ | environment)


def test_run_all_sh_hands_its_options_on(clone):
    done = run_all(clone, "--only", "f23 1.6", "--full")
    assert done.returncode == 0 and (clone / "calls").read_text().splitlines()[-1] == "run_all.py --only f23 1.6 --full"
    assert "--only PATTERN" in run_all(clone, "--help").stdout


def test_pins_that_changed_are_installed_again(clone):
    run_all(clone)
    assert "installing requirements.txt" not in run_all(clone).stdout
    (clone / "requirements.txt").write_text("numpy==9\n")
    assert "installing requirements.txt" in run_all(clone).stdout


def test_set_up_says_what_is_missing(clone, tmp_path):
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("bash", "dirname", "cmp", "tr", "cp", "grep", "tail", "sed", "cat"):
        (tools / name).symlink_to(f"/usr/bin/{name}" if os.path.exists(f"/usr/bin/{name}") else f"/bin/{name}")
    python = clone / ".venv/bin/python"

    def message(fake: str | None) -> str:
        if fake is not None:
            (tools / "python3").write_text(f"#!/bin/bash\n{fake}\n")
            (tools / "python3").chmod(0o755)
        done = run_all(clone, PATH=str(tools))
        assert done.returncode == 2 and done.stderr.count("\n") == 1, done.stderr
        return done.stderr

    python.unlink()
    assert "python3 is not on the PATH" in message(None)
    assert "too old" in message('[[ "$*" != *version_info* ]]')
    assert "python3-venv" in message('[[ "$*" != *ensurepip* ]]')


NO_NETWORK = """WARNING: Retrying (...) after connection broken by 'NewConnectionError(...)': /simple/torch/
ERROR: Could not find a version that satisfies the requirement torch==2 (from versions: none)
ERROR: No matching distribution found for torch==2"""


@pytest.mark.parametrize(
    ("log", "told"),
    [
        (NO_NETWORK, "no network? WARNING: Retrying (...) after connection broken by 'NewConnectionError(...)': /simple/torch/"),
        ("ERROR: Ignored the following versions\nERROR: Could not find torch==2 (from versions: 1)", "ERROR: Could not find torch==2"),
        ("ERROR: Exception:\nTraceback\n  a\nOSError: [Errno 28] No space left on device", "OSError: [Errno 28] No space left on device"),
        ("  error: subprocess-exited-with-error\n  No C\nRuntimeError: no compiler\nnote: not pip", "RuntimeError: no compiler"),
        ("killed", "killed"),
    ],
)
def test_the_error_that_is_shown_is_pips_own(clone, log, told):
    python = clone / ".venv/bin/python"
    (clone / "log").write_text(log)
    python.write_text(f'#!/bin/bash\n[[ "$*" != *" install "* ]] || {{ cat "{clone}/log"; exit 1; }}\n')
    done = run_all(clone)
    assert done.returncode == 2 and done.stderr.startswith(f"error: pip could not install requirements.txt: {told}"), done.stderr
    assert done.stderr.count("\n") == 1 and (clone / ".venv.lock").read_text() == ""


FAKE_PIP = """#!/bin/bash
case "$*" in
  *" install "*) echo install >>"{root}/pip"; while [ ! -e "{root}/go" ]; do sleep 0.05; done ;;
  *" --version"*) [ ! -e "{root}/no pip" ] ;;
  -c*) exec {python} "$@" ;;
esac
"""

FAKE_VENV = """#!/bin/bash
[[ "$*" == "-m venv --clear "* ]] || exit 0
rm -r "$4"; mkdir -p "$4/bin"; cp -p "{root}/made" "$4/bin/python"
"""


def eventually(condition):
    """Wait for a condition that another process brings about; its end is the test's."""
    while not condition():
        time.sleep(0.05)


@pytest.fixture
def installing(clone):
    """run_all.sh in a process of its own, its pip at work until the file `go` is there."""
    (clone / ".venv/bin/python").write_text(FAKE_PIP.format(root=clone, python=sys.executable))
    words = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "start_new_session": True}
    run = subprocess.Popen(["bash", str(clone / "run_all.sh")], **words)
    eventually((clone / "pip").exists)
    yield run
    with contextlib.suppress(ProcessLookupError):
        os.killpg(run.pid, signal.SIGKILL)
    run.communicate()


def test_a_second_run_waits_for_the_first_to_install(clone, installing):
    second = subprocess.Popen(["bash", str(clone / "run_all.sh")], stderr=subprocess.PIPE, text=True)
    line = second.stderr.readline()
    assert line.startswith(f"waiting for pid {installing.pid} on ") and line.endswith("which is setting up .venv\n"), line
    (clone / "go").touch()
    assert installing.wait() == second.wait() == 0 and second.stderr.read() == ""
    assert (clone / "pip").read_text() == "install\n" and (clone / ".venv.lock").read_text() == ""
    second.stderr.close()


def test_a_half_made_venv_is_made_again(clone, installing, tmp_path):
    os.killpg(installing.pid, signal.SIGKILL)
    installing.wait()
    (clone / ".venv/half").touch()
    (clone / "go").touch()
    shutil.copy(clone / ".venv/bin/python", clone / "made")
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools/python3").write_text(FAKE_VENV.format(root=clone))
    (tmp_path / "tools/python3").chmod(0o755)
    path = f"{tmp_path / 'tools'}:{os.environ['PATH']}"
    done = run_all(clone, PATH=path)
    assert done.returncode == 0 and f"making {clone / '.venv'} again: it is half made" in done.stdout, done.stderr
    assert not (clone / ".venv/half").exists() and (clone / ".venv/requirements.txt.installed").exists()
    (clone / "requirements.txt").write_text("numpy==9\n")
    (clone / "no pip").touch()  # what an interrupted `python3 -m venv` leaves
    assert "it is half made" in run_all(clone, PATH=path).stdout
