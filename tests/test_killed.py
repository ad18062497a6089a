"""The short form of benchmarks/killed.py, and what becomes of the leftovers of killed processes."""

import os
import subprocess
import sys

import pytest
from conftest import run_script

from common import files
from common.files import HOST


def test_killed_and_full_disks_leave_whole_files_and_the_same_training():
    pytest.importorskip("resource", reason="a file size limit stands for the full disk, and Windows has none")
    done = run_script("benchmarks/killed.py", "--kills", "2")
    assert done.returncode == 0, done.stderr
    assert [line.split(":")[0] for line in done.stdout.splitlines()[-4:]] == ["training", "p2_inference", "decoding cache", "figure"]
    assert done.stdout.count("2 killed, 2 disk full") == 4


def test_leftovers_of_ended_processes_are_removed(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for pid in (ended.pid, os.getppid()):
        (tmp_path / f".a[1].txt.{HOST}.{pid}.part").write_text("half")
    (tmp_path / f".b.txt.{HOST}.{ended.pid}.part").write_text("of another file")
    (tmp_path / f".b.txt.elsewhere.{ended.pid}.part").write_text("of another machine, where it may run")
    with files.atomic_write(tmp_path / "a[1].txt") as temporary:
        temporary.write_text("whole")
    assert temporary.name == f".a[1].txt.{HOST}.{os.getpid()}.part"  # or the next run would not know whose it is
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"a[1].txt", f".a[1].txt.{HOST}.{os.getppid()}.part", f".b.txt.elsewhere.{ended.pid}.part"}
