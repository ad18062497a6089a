"""Kills, at random moments, a training, the graders' segmentation, the decoding cache and a figure, and fills the disk while each writes.

Each trial is a forked child of this process, ended by SIGKILL or under a limit on the size of its files, which stands for the full disk.
After each: files under a final name are whole, and at most one `.part` is left a name. At the end of a training that was killed and
resumed, its network and history equal those of one that was never interrupted. Prints the counts; any failure ends the program.

    python benchmarks/killed.py [--kills 50]
"""

import argparse
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import cli, data, figures, files
from common.checkpoints import load_checkpoint
from common.cli import UsageError
from hw1 import p1_synthetic, p1_train, p2_inference


def trial(job: Callable[[], object], seconds: float | None = None, file_bytes: int | None = None) -> tuple[int, float]:
    """Run `job` in a forked child, killed after `seconds`, no file longer than `file_bytes`; returns its exit code and seconds.

    Prints the traceback of an unexpected end.
    """
    said, say = os.pipe()  # not a file: it has no limit to its size
    start, child = time.monotonic(), os.fork()
    if child == 0:
        code = 1
        try:  # whatever is raised must not reach the parent's code, which would go on in the child too
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, 1), os.dup2(silence, 2)
            if file_bytes is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
            torch.set_num_threads(1)  # makes torch's pool anew, which is lost in a fork, before two threads of the job do so at once
            job()
            code = 0
        except UsageError:
            code = 2
        except BaseException:
            os.write(say, traceback.format_exc().encode())
        finally:
            os._exit(code)
    ended = os.WEXITED | os.WNOHANG | os.WNOWAIT
    while seconds is not None and time.monotonic() - start < seconds and not os.waitid(os.P_PID, child, ended):
        time.sleep(0.002)
    if seconds is not None:
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    seconds = time.monotonic() - start
    os.close(say)
    with open(said, encoding="utf-8", errors="replace") as pipe:
        print(pipe.read(), end="", file=sys.stderr)
    return code, seconds


def check_files(folder: Path) -> None:
    """Raise AssertionError if a file under a final name is not whole, or leftovers have grown beyond one a file."""
    left = [path.name.rsplit(".", 2)[0] for path in folder.rglob(".*.part")]
    assert len(left) == len(set(left)), f"leftovers grow: {left}"
    for path in folder.rglob("*"):
        if path.suffix in (".pth", ".pt"):
            load_checkpoint(path, "")
        elif path.suffix == ".png" and path.name[0] != ".":
            with Image.open(path) as picture:
                picture.load()


def history(folder: Path) -> list[dict]:
    """A training's history without its times and the commit, which may change under a long run of this program."""
    return [
        {key: value for key, value in epoch.items() if key not in ("seconds", "commit")} for epoch in load_checkpoint(folder, "")["history"]
    ]


def same_training(one: Path, other: Path) -> bool:
    """Whether two last.pth hold the same network, to the bit, and the same history."""
    models = [load_checkpoint(path, "")["model"] for path in (one, other)]
    return all(torch.equal(value, models[1][key]) for key, value in models[0].items()) and history(one) == history(other)


def jobs(work: Path) -> dict[str, tuple[Callable[[], object], Path]]:
    """Each job by name, and the folder that it writes to."""
    p1_synthetic.draw_p1(work / "data/hw1_data/p1_data", 4, 2)
    rng = np.random.default_rng(0)
    for i in range(6):
        (work / "tiles").mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)).save(work / f"tiles/{i}.jpg")
    images = files.image_files(work / "data/hw1_data/p1_data/train_50", (".png",))
    words = ["--data", str(work / "data"), "--report", "f22a", "--model", "A", "--quick", "--device", "cpu", "--image-size", "32"]
    words += ["--epochs", "4", "--batch-size", "50", "--resume", "--out"]

    def draw() -> None:
        figure, grid = figures.new_figure(1, 1, height=3.0)
        grid[0][0].plot(range(9))
        figures.save(figure, work / "figure/a.png")

    def segment() -> None:
        p2_inference.main(p2_inference.parse_args([str(work / "tiles"), str(work / "masks"), "--device", "cpu"]))

    return {
        "training": (lambda: p1_train.main(p1_train.parse_args([*words, str(work / "out")])), work / "out"),
        "p2_inference": (segment, work / "masks"),
        "decoding cache": (lambda: data.decode_folder(images, 32), data.cache_folder()),
        "figure": (draw, work / "figure"),
    }


def attack(name: str, job: Callable[[], object], folder: Path, kills: int, draw: random.Random) -> dict[str, int]:
    """Kill the job `kills` times and fill the disk as often; returns the counts."""
    code, whole = trial(job)
    assert code == 0, f"{name} failed undisturbed"
    reference = folder.with_name(f"{folder.name}-reference")
    shutil.copytree(folder, reference)
    shutil.rmtree(folder)
    counts = {"killed": 0, "disk full": 0, "ended": 0, "same bits": 0}
    largest = max(path.stat().st_size for path in reference.rglob("*") if path.is_file())
    while counts["killed"] < kills or counts["disk full"] < kills:
        full = counts["killed"] >= kills
        code, _ = trial(job, None, draw.randrange(largest)) if full else trial(job, draw.uniform(0, whole))
        assert code in (0, 2, -signal.SIGKILL), f"{name} ended with exit code {code}"
        counts["disk full" if full else "killed" if code == -signal.SIGKILL else "ended"] += 1
        check_files(folder)
        if full or code == 0:
            if name == "training":
                assert trial(job)[0] == 0, "the training does not resume"
                (last,) = folder.rglob("last.pth")
                assert same_training(last, reference / last.relative_to(folder)), "resumed to other bits"
                counts["same bits"] += 1
            shutil.rmtree(folder, ignore_errors=True)
    assert trial(job)[0] == 0 and not list(folder.rglob(".*.part")), f"{name}: leftovers remain"
    return counts


def main(args: argparse.Namespace) -> dict[str, dict[str, int]]:
    """Attack each job; prints and returns the counts."""
    torch.set_num_threads(1)  # a pool of threads does not survive a fork
    found, kept = {}, os.environ.get("XDG_CACHE_HOME")
    with tempfile.TemporaryDirectory() as name:
        os.environ["XDG_CACHE_HOME"] = str(Path(name) / "cache")
        try:
            for job, (call, folder) in jobs(Path(name)).items():
                found[job] = attack(job, call, folder, args.kills, random.Random(args.seed))
                print(f"{job}: {', '.join(f'{count} {what}' for what, count in found[job].items())}", flush=True)
        finally:
            os.environ.pop("XDG_CACHE_HOME") if kept is None else os.environ.update(XDG_CACHE_HOME=kept)
    return found


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args(argv)


if __name__ == "__main__":
    main(parse_args())
