"""run_all.sh: selection, failures, and what it says when something is missing. Scripts are stood in for by a fake python."""

import os
import re
import subprocess

import pytest

from common.setup import ROOT

SCRIPTS = re.findall(r"^\S+ *\|.*\| *(\S+\.py)", (ROOT / "run_all.sh").read_text(), flags=re.MULTILINE)


@pytest.fixture
def clone(tmp_path):
    """A folder with run_all.sh and a .venv whose python writes down how it is called, and fails for p1_pca.py."""
    root = tmp_path / "a clone"
    (root / "common").mkdir(parents=True)
    for name in ("run_all.sh", "common/venv.sh", "requirements.txt"):
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
    return done, [call for call in calls if not call.startswith("-m pip")]


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

    python.write_text("#!/bin/bash\necho 'ERROR: Could not find a version'\nexit 1\n")
    assert "no network?" in message(None)
    python.unlink()
    assert "python3 is not on the PATH" in message(None)
    assert "too old" in message('[[ "$*" != *version_info* ]]')
    assert "python3-venv" in message('[[ "$*" != *ensurepip* ]]')


def test_an_interrupted_item_ends_the_run(clone):
    python = clone / ".venv/bin/python"
    python.write_text(python.read_text() + '[[ "$*" != *p1_tsne* ]] || exit 130\n')
    done, calls = run_all(clone, "--only", "f22a-1.6", "--only", "f23-1.6")
    assert done.returncode == 130 and [call.split()[0] for call in calls] == ["hw1/p1_train.py", "hw1/p1_tsne.py"]
