"""run_all.sh: selection, failures, and what it says when something is missing. A fake python stands in for the scripts, but in one test."""

import contextlib
import importlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from common import synthetic
from common.files import file_digest
from common.setup import ROOT
from hw1 import p3_data, p3_recipes
from hw2 import p2_final, p2_models, p2_ours, p2_recipes
from hw2 import p2_synthetic as cifar_synthetic

SCRIPTS = re.findall(r"^\S+ *\|.*\| *(\S+\.py)", (ROOT / "run_all.sh").read_text(), flags=re.MULTILINE)


@pytest.fixture
def clone(tmp_path):
    """A folder with run_all.sh and a .venv whose python writes down how it is called, and fails for p1_pca.py."""
    root = tmp_path / "a clone"
    (root / "common").mkdir(parents=True)
    for name in ("run_all.sh", "common/venv.sh", "common/locks.py", "common/cli.py", "requirements.txt"):
        (root / name).write_text((ROOT / name).read_text())
    python = root / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/bash\necho "${{@#"{root}/"}}" >>"{root}/calls"\n[[ "$*" != *p1_pca* ]]\n')
    python.chmod(0o755)
    return root


def run_all(root, *options, **environment):
    command = ["bash", str(root / "run_all.sh"), *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root.parent, env=os.environ | environment)
    calls = (root / "calls").read_text().splitlines() if (root / "calls").exists() else []
    return done, [call for call in calls if not call.startswith(("-m pip", "-c"))]


def test_list_and_dry_run_run_nothing(clone):
    listed, calls = run_all(clone, "--list")
    assert len(listed.stdout.splitlines()) == len(SCRIPTS) > 30 and not calls
    dry, calls = run_all(clone, "--dry-run", "--only", "f23 1.6")
    assert [line.split()[2:5] for line in dry.stdout.replace(str(clone), "R").splitlines()] == [
        ["--report", "f23", "--model"],
        ["--report", "f23", "--quick"],
    ]
    assert not calls


def test_only_runs_what_an_item_needs_in_order(clone):
    done, calls = run_all(clone, "--only", "f22a-1.6", "--data", "synthetic")
    assert done.returncode == 0
    scripts = [call.split()[0] for call in calls]
    assert scripts == ["hw1/p1_train.py", "hw1/p1_tsne.py", "common/page.py"]
    assert "--resume" in calls[0] and all("--quick --data synthetic" in call for call in calls[:2])


def test_the_long_form_makes_the_list_of_dirty_images_before_what_leaves_them_out(clone):
    scripts = [" ".join(call.split()[:2]) for call in run_all(clone, "--only", "f23-2.2", "--full")[1][:-1]]
    assert scripts[1:3] == ["hw2/p2_final.py --model", "hw1/p3_ssl_pretrain.py --supervised"] and len(scripts) == 4
    (clone / "calls").unlink()
    assert "hw2/p2_final.py" not in " ".join(run_all(clone, "--only", "f23-2.2")[1])
    (clone / "calls").unlink()
    calls = run_all(clone, "--full")[1]
    places = {call.split(" --out")[0]: place for place, call in enumerate(calls)}
    assert places["hw2/p2_final.py --model best"] < places["hw1/p3_ssl_pretrain.py --supervised"] < places["hw1/p3_ssl_finetune.py"]


def test_the_long_form_of_items_that_build_on_each_other_runs_twice(tmp_path, monkeypatch):
    data, out = tmp_path / "data", tmp_path / "out"
    synthetic.draw_p1(data / "hw1_data/p1_data", 1, 1)
    cifar_synthetic.draw_cifar(data / "hw2_data/p2_data", 100, 20, 10)
    for module in (p2_final, p2_ours):
        monkeypatch.setattr(module, "OURS", replace(p2_recipes.OURS, network="whitened", epochs=1, batch_size=40))
    monkeypatch.setitem(p2_models.NETWORKS, "whitened", lambda: p2_models.Whitened(widths=(4, 4, 4)))
    monkeypatch.setitem(p3_recipes.SMALL, "network", "small")
    monkeypatch.setitem(p3_recipes.STAND_INS, p3_recipes.SUPERVISED, {"epochs": 1})

    options = ["--full", "--dry-run", "--only", "f23-2.2-supervised", "--data", data, "--out", out]
    printed = subprocess.run(["bash", ROOT / "run_all.sh", *options], capture_output=True, text=True, check=True).stdout
    found, checkpoints = [], out / "checkpoints"
    for _ in range(2):
        for line in printed.splitlines():
            _, script, *words = shlex.split(line)
            module = importlib.import_module(".".join(Path(script).relative_to(ROOT).with_suffix("").parts))
            module.main(module.parse_args(words))
        best, supervised = (
            json.loads(path.read_text()) for path in (out / "hw2-p2-best.json", checkpoints / "f23-supervised-stand-ins/backbone.json")
        )
        left_out = file_digest(checkpoints / "hw2-p2-best/dropped.csv")
        found.append([best["data"], best["reproduced"], best["settings"], supervised, left_out])
    assert found[0] == found[1] and supervised["settings"]["list of images left out"] == left_out
    used = supervised["settings"]["data"]
    assert used["name"] == p3_data.STAND_INS and used["train"] + used["validation"] == 100 - round(p2_ours.DIRTY_SHARE * 98)


def test_patterns(clone):
    assert [call.split()[2] for call in run_all(clone, "--only", "p1_architecture")[1][:3]] == ["f22a", "f22b", "f23"]
    (clone / "calls").unlink()
    assert len(run_all(clone, "--only", "f22b-1.5*")[1]) == 4


def test_full_form_resumes_and_is_not_quick(clone):
    calls = run_all(clone, "--only", "f22a-1.3", "--full")[1]
    assert "--quick" not in calls[0] and "--resume" in calls[0]
    assert "--resume" not in run_all(clone, "--only", "f22a-1.3")[1][-2]
    assert "--resume" in run_all(clone, "--only", "cv22-2.4", "--full")[1][-2]


def test_a_failing_item_does_not_stop_the_rest(clone):
    done, calls = run_all(clone)
    assert done.returncode == 1 and [call.split()[0] for call in calls] == [*SCRIPTS, "common/page.py"]
    assert [line for line in done.stderr.splitlines() if line.startswith("failed: ")] == [
        f"failed: {key}-1.5: hw1/p1_pca.py --report {key} (exit code 1)" for key in ("f22a", "f22b", "f23")
    ]


@pytest.mark.parametrize("options", [["--only", "f99"], ["--bogus"], ["--only"]])
def test_wrong_use(clone, options):
    done, calls = run_all(clone, *options)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and not calls


def test_pins_that_changed_are_installed_again(clone):
    run_all(clone, "--only", "f22a-1.1")
    assert "installing requirements.txt" not in run_all(clone, "--only", "f22a-1.1")[0].stdout
    (clone / "requirements.txt").write_text("numpy==9\n")
    assert "installing requirements.txt" in run_all(clone, "--only", "f22a-1.1")[0].stdout


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
        done = run_all(clone, "--only", "f22a-1.1", PATH=str(tools))[0]
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
    done = run_all(clone, "--only", "f22a-1.1")[0]
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
    run = subprocess.Popen(["bash", str(clone / "run_all.sh"), "--only", "f22a-1.1"], **words)
    eventually((clone / "pip").exists)
    yield run
    with contextlib.suppress(ProcessLookupError):
        os.killpg(run.pid, signal.SIGKILL)
    run.communicate()


def test_a_second_run_waits_for_the_first_to_install(clone, installing):
    second = subprocess.Popen(["bash", str(clone / "run_all.sh"), "--only", "f22a-1.1"], stderr=subprocess.PIPE, text=True)
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
    done = run_all(clone, "--only", "f22a-1.1", PATH=path)[0]
    assert done.returncode == 0 and f"making {clone / '.venv'} again: it is half made" in done.stdout, done.stderr
    assert not (clone / ".venv/half").exists() and (clone / ".venv/requirements.txt.installed").exists()
    (clone / "requirements.txt").write_text("numpy==9\n")
    (clone / "no pip").touch()  # what an interrupted `python3 -m venv` leaves
    assert "it is half made" in run_all(clone, "--only", "f22a-1.1", PATH=path)[0].stdout


def test_an_interrupted_item_ends_the_run(clone):
    python = clone / ".venv/bin/python"
    python.write_text(python.read_text() + '[[ "$*" != *p1_tsne* ]] || exit 130\n')
    done, calls = run_all(clone, "--only", "f22a-1.6", "--only", "f23-1.6")
    assert done.returncode == 130 and [call.split()[0] for call in calls] == ["hw1/p1_train.py", "hw1/p1_tsne.py"]
