"""Regenerates every table and figure, then the results page. `bash run_all.sh` sets the environment up and calls this.

The libraries are imported once, in a process that then forks for each item: a start of Python and torch costs as much as many items do.
An item's output goes to OUT/logs/, and is shown if it fails. Exit code: 0 all done, 1 an item failed (named at the end), 2 wrong use,
130 interrupted.
"""

import argparse
import fnmatch
import importlib
import multiprocessing
import os
import re
import runpy
import shlex
import signal
import sys
import time
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path

from common import cli, items, page
from common.cli import ROOT, UsageError

WARM = ("torch", "torchvision", "torchvision.transforms.v2", "torch.optim.swa_utils", "torch.nn.parallel", "torch.utils.data", "sklearn")
WARM += ("sklearn.decomposition", "sklearn.manifold", "sklearn.cluster", "sklearn.linear_model", "scipy.stats", "matplotlib.pyplot")
WARM += ("imageio.v3", "timm", "tokenizers", "tqdm")
RESUMES = re.compile(r"_(train|pretrain|finetune|learning_curves|augmentation|cleaning|final)\.py$")  # scripts that take --resume
ENDING = 0.7  # seconds that an interrupted item has to end by itself


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(prog="run_all.sh", description=__doc__)
    parser.add_argument("--full", action="store_true", help="the reports' own settings, hours to days; goes on where it was interrupted")
    parser.add_argument("--data", help="folder with hw1_data/, hw2_data/, hw3_data/ (default: data/), or 'synthetic'")
    parser.add_argument("--out", type=Path, default=cli.DEFAULT_OUT, help="where results go (default: results/)")
    words = "items whose name matches (f22a-1.5, 'f23-*') or whose command contains it (p1_tsne), and what they need; may be repeated"
    parser.add_argument("--only", action="append", default=[], metavar="PATTERN", help=words)
    parser.add_argument("--jobs", type=cli.positive_int, help="items at a time (default: one for each core, with --full one)")
    parser.add_argument("--list", action="store_true", help="print the items and end")
    parser.add_argument("--dry-run", action="store_true", help="print the commands that would run and end")
    parser.add_argument("--verbose", action="store_true", help="show the items' own output as it comes")
    return parser.parse_args(argv)


# ---- what runs, and in which order ----


@dataclass
class Run:
    """A command with the items that it makes, and the places of the runs that must have ended before it."""

    command: str
    title: str
    names: list[str] = field(default_factory=list)
    needs: set[int] = field(default_factory=set)
    state: str = "waiting"  # then running, done or failed
    asked: bool = True  # not only needed by others

    @property
    def label(self) -> str:
        return ",".join(self.names)

    def matches(self, pattern: str) -> bool:
        """Whether `--only PATTERN` means this run."""
        return any(fnmatch.fnmatchcase(name, pattern) for name in self.names) or pattern in self.command


def all_runs(full: bool) -> list[Run]:
    """The runs of items.toml, in its order."""
    runs: dict[str, Run] = {}
    for item in items.load().values():
        for command in item.runs:
            runs.setdefault(command, Run(command, item.title)).names.append(item.name.replace(" ", "-"))
    found = list(runs.values())
    for item in items.load().values():
        for need in item.needs + item.needs_full * full:
            wanted = items.load()[need].runs if need in items.load() else [need]
            for command in item.runs:
                runs[command].needs |= {found.index(runs[one]) for one in wanted}
    return found


def choose(runs: list[Run], patterns: list[str]) -> list[int]:
    """The places of the runs that the patterns mean, and of what they need, in order. Raises UsageError for a pattern without a run."""
    patterns = [pattern.replace(" ", "-") for pattern in patterns]
    for pattern in patterns:
        if not any(run.matches(pattern) for run in runs):
            raise UsageError(f"--only {pattern} matches no item; bash run_all.sh --list shows them")
    asked = [place for place, run in enumerate(runs) if not patterns or any(map(run.matches, patterns))]
    chosen, left = set(asked), list(asked)
    while left:
        new = runs[left.pop()].needs - chosen
        chosen |= new
        left += new
    for place in chosen:
        runs[place].asked = place in asked
    return sorted(chosen)


def command_words(run: Run, args: argparse.Namespace) -> list[str]:
    """A run's script and arguments. What others need is trained once, and the long form goes on where it stopped."""
    script, *words = run.command.split()
    words += ["--quick"] * (not args.full) + ["--data", str(args.data)] * (args.data is not None) + ["--out", str(args.out)]
    return [script, *words, *["--resume"] * bool(RESUMES.search(script) and (args.full or not run.asked))]


def may_start(place: int, runs: list[Run], chosen: list[int]) -> bool:
    """Whether what the run needs has ended, and no other run writes one of its items now."""
    run = runs[place]
    busy = {name for other in chosen if runs[other].state == "running" for name in runs[other].names}
    ready = all(runs[need].state not in ("waiting", "running") for need in run.needs)
    return run.state == "waiting" and ready and not busy & set(run.names)


# ---- one run, in a process of its own ----


def warm_up(threads: int) -> None:
    """Import what scripts import. Nothing is computed here: threads that libraries start do not survive a fork."""
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    for name in WARM:
        importlib.import_module(name)


def run_script(words: list[str], log: Path | None) -> None:
    """Run a script as its command would; in the forked process."""
    os.setpgid(0, 0)  # with the processes that it starts: see stop
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if log:
        with open(log, "w", encoding="utf-8") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
    sys.argv = [str(ROOT / words[0]), *words[1:]]
    runpy.run_path(sys.argv[0], run_name="__main__")


def speed() -> None:
    """Print what a matrix product of 2,048 in fp32 reaches, on all of a process's threads."""
    import torch

    a = torch.randn(2048, 2048)
    a @ a
    start = time.perf_counter()
    for _ in range(4):
        a @ a
    print(f"{4 * 2 * 2048**3 / (time.perf_counter() - start) / 1e9:.0f} GFLOP/s on {torch.get_num_threads()} thread(s)", flush=True)


def stop(processes) -> None:
    """End processes and what they have started, at the latest after ENDING seconds, and remove what they had half written."""
    for process in processes:
        process.terminate()
    wait([process.sentinel for process in processes], ENDING)
    end = time.monotonic() + ENDING
    for process in processes:
        process.join(max(0.0, end - time.monotonic()))
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


# ---- all of them ----


def run_all(runs: list[Run], chosen: list[int], args: argparse.Namespace) -> None:
    """Run what is chosen, so many at a time, and say in a line how each has ended."""
    jobs = args.jobs or (1 if args.full else os.cpu_count() or 1)
    warm_up(max(1, (os.cpu_count() or 1) // jobs))
    fork, start, ended = multiprocessing.get_context("fork"), time.monotonic(), 0
    logs = cli.writable_folder(Path(args.out) / "logs")
    working: dict = {}  # by sentinel: place, process, log, start
    try:
        while True:
            for place in chosen:
                if len(working) < jobs and may_start(place, runs, chosen):
                    log = None if args.verbose else logs / f"{runs[place].label}{'-' + runs[place].command[-1] * 1}.txt"
                    process = fork.Process(target=run_script, args=(command_words(runs[place], args), log))
                    process.start()
                    runs[place].state = "running"
                    working[process.sentinel] = place, process, log, time.monotonic()
            if not working:
                return
            for sentinel in wait(list(working)):
                place, process, log, began = working.pop(sentinel)
                process.join()
                run, ended = runs[place], ended + 1
                run.state = "failed" if process.exitcode else "done"
                mark = f"exit code {process.exitcode}, " if process.exitcode else ""
                print(f"[{ended}/{len(chosen)}] {run.label}  {run.title}  {mark}{time.monotonic() - began:.0f} s", flush=True)
                if process.exitcode and log:
                    print(log.read_text(encoding="utf-8", errors="replace").rstrip(), file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        stop([process for _, process, _, _ in working.values()])
        raise


def main(args: argparse.Namespace) -> None:
    """List, or run, and sum up."""
    runs = all_runs(args.full)
    chosen = choose(runs, args.only)
    if args.list or args.dry_run:
        for place in chosen:
            run = runs[place]
            print(f"{run.label:19} {run.command}" if args.list else shlex.join(["python", *command_words(run, args)]))
        return
    run_all(runs, chosen, args)
    print(page.build(args.out))
    if failed := [runs[place] for place in chosen if runs[place].state == "failed"]:
        raise cli.Incomplete("failed: " + "; ".join(f"{run.label}: {run.command}" for run in failed))


if __name__ == "__main__":
    cli.run(main, parse_args())
