"""Regenerates every table and figure, then the results page. `bash run_all.sh` sets the environment up and calls this.

The libraries are imported once, in a process that then forks for each item: a start of Python and torch costs as much as many items do.
An item's output goes to OUT/logs/, and is shown if it fails. Exit code: 0 all done, 1 an item failed (named at the end), 2 wrong use,
130 interrupted.
"""

import argparse
import contextlib
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

from common import cli, files, items, page
from common.cli import ROOT, UsageError

WARM = ("torch", "torchvision", "torchvision.transforms.v2", "torch.optim.swa_utils", "torch.nn.parallel", "torch.utils.data", "sklearn")
WARM += ("sklearn.decomposition", "sklearn.manifold", "sklearn.cluster", "sklearn.linear_model", "scipy.stats", "matplotlib.pyplot")
WARM += ("imageio.v3", "timm", "tokenizers", "tqdm")
RESUMES = re.compile(r"_(train|pretrain|finetune|learning_curves|augmentation|cleaning|final)\.py$")  # scripts that take --resume
STATES = ("waiting", "running", "done", "failed")
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
    writes: set[str] = field(default_factory=set)  # its items, and folders that others work in too
    seconds: float = 0.0  # of its quick form on the machine that items.toml names
    state: str = "waiting"  # then running, done or failed
    asked: bool = True  # not only needed by others

    @property
    def label(self) -> str:
        return ",".join(self.names)

    def matches(self, pattern: str) -> bool:
        """Whether `--only PATTERN` means this run."""
        return any(fnmatch.fnmatchcase(name, pattern.replace(" ", "-")) for name in self.names) or pattern in self.command


def all_runs(full: bool) -> list[Run]:
    """The runs of items.toml, in its order."""
    runs: dict[str, Run] = {}
    for item in items.load().values():
        for command in item.runs:
            run = runs.setdefault(command, Run(command, item.title))
            run.names.append(item.name.replace(" ", "-"))
            run.writes |= {item.name, item.shares} - {""}
            run.seconds = max(run.seconds, item.quick_seconds)
    found = list(runs.values())
    for item in items.load().values():
        for need in item.needs + item.needs_full * full:
            wanted = items.load()[need].runs if need in items.load() else [need]
            for command in item.runs:
                runs[command].needs |= {found.index(runs[one]) for one in wanted}
    return found


def choose(runs: list[Run], patterns: list[str]) -> list[int]:
    """The places of the runs that the patterns mean, and of what they need, in order. Raises UsageError for a pattern without a run."""
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


def command_words(run: Run, full: bool, data: str | None, out: Path) -> list[str]:
    """A run's script and arguments. What others need is trained once, and the long form goes on where it stopped."""
    script, *words = run.command.split()
    words += ["--quick"] * (not full) + ["--data", str(data)] * (data is not None) + ["--out", str(out)]
    return [script, *words, *["--resume"] * bool(RESUMES.search(script) and (full or not run.asked))]


def ready(runs: list[Run], chosen: list[int]) -> list[int]:
    """The places of the runs that may start, those first that most waits for: what they need has ended, and nobody works on the same."""
    busy = {name for run in runs if run.state == "running" for name in run.writes}
    ended = {place for place in chosen if runs[place].state in ("done", "failed")}
    found = [place for place in chosen if runs[place].state == "waiting" and runs[place].needs <= ended and not busy & runs[place].writes]
    return sorted(found, key=lambda place: -seconds_until_end(place, runs))


def seconds_until_end(place: int, runs: list[Run]) -> float:
    """Of a run and of what waits for it, one after the other."""
    return runs[place].seconds + max((seconds_until_end(i, runs) for i, run in enumerate(runs) if place in run.needs), default=0.0)


def log_name(run: Run, runs: list[Run]) -> str:
    """The items that no other run writes or, where there is none, an item and the last argument."""
    own = [name for name in run.names if sum(name in other.names for other in runs) == 1]
    return "+".join(own) or f"{run.names[0]}-{run.command.split()[-1]}"


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
        sys.stdout = sys.stderr = open(log, "w", encoding="utf-8", buffering=1)  # noqa: SIM115  the process's own, until it ends
        os.dup2(sys.stdout.fileno(), 1)  # for what libraries and further processes print
        os.dup2(sys.stdout.fileno(), 2)
    sys.argv = [str(ROOT / words[0]), *words[1:]]
    runpy.run_path(sys.argv[0], run_name="__main__")


def speed() -> float:
    """What a matrix product of 2,048 in fp32 reaches on a core, in GFLOP/s."""
    import torch

    torch.set_num_threads(1)
    a = torch.randn(2048, 2048)
    times = []
    for _ in range(3):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return 2 * 2048**3 / min(times) / 1e9


def stop(processes) -> None:
    """End processes and what they have started, at the latest after ENDING seconds."""
    end = time.monotonic() + ENDING
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(max(0.0, end - time.monotonic()))
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


# ---- all of them ----


def run_all(runs: list[Run], commands: dict[int, list[str]], jobs: int, out: Path, verbose: bool) -> None:
    """Run the `commands`, by the places of their runs, so many at a time, and say in a line how each has ended."""
    warm_up(max(1, cores() // jobs))
    chosen = [runs[place] for place in commands]
    fork, logs, working, start = multiprocessing.get_context("fork"), files.writable_folder(out / "logs"), {}, time.monotonic()
    try:
        while True:
            while len(working) < jobs and (places := ready(runs, list(commands))):
                run, log = runs[places[0]], logs / f"{log_name(runs[places[0]], runs)}.txt"
                process = fork.Process(target=run_script, args=(commands[places[0]], None if verbose else log))
                process.start()
                run.state = "running"
                working[process.sentinel] = run, process, log, time.monotonic()
            if not working:
                return
            for sentinel in wait(list(working)):
                run, process, log, began = working.pop(sentinel)
                process.join()
                run.state = "failed" if process.exitcode else "done"
                print(ended_line(run, chosen, process.exitcode, time.monotonic() - began), flush=True)
                if left := remaining(chosen, time.monotonic() - start) if "--quick" in commands[runs.index(run)] else "":
                    print(left, end="\r" if sys.stdout.isatty() else "\n", flush=True)
                if process.exitcode and not verbose:
                    print(log.read_text(encoding="utf-8", errors="replace").rstrip(), file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        stop([process for _, process, _, _ in working.values()])
        for folder in {out, *(out / "checkpoints").glob("**/")}:
            files.remove_leftovers(folder)
        raise


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ended_line(run: Run, chosen: list[Run], code: int, seconds: float) -> str:
    """'[12/45] f22a-1.5  PCA of the second-last layer ...  4 s'."""
    count = sum(other.state in ("done", "failed") for other in chosen)
    return f"[{count}/{len(chosen)}] {run.label}  {run.title}  " + f"FAILED with exit code {code}, " * bool(code) + f"{seconds:.0f} s"


def remaining(chosen: list[Run], passed: float) -> str:
    """How long the rest will take, by what has ended and what items.toml says of the quick forms' times; '' at the end."""
    done, all_of_it = (sum(run.seconds for run in chosen if run.state in states) for states in (("done", "failed"), STATES))
    left = (all_of_it - done) * passed / done if done else 0
    return f"      about {left / 60:.0f} min left" if left >= 30 else ""


def table(chosen: list[Run], out: Path) -> str:
    """Each report's items that leave a result, how many of them are done, and how many claims hold."""
    without = {item.name.replace(" ", "-") for item in items.load().values() if not item.result}
    names = {name for run in chosen for name in run.names} - without
    found = {
        file.removesuffix(".json"): content for file, content in page.read_results(out)[0].items() if file.removesuffix(".json") in names
    }
    lines = ["report     done   claims that hold"]
    for key in items.reports():
        own = [name for name in names if name.split("-")[0] == key or name.startswith(f"{key}-")]
        claims = [claim.get("holds") for name in own if name in found for claim in found[name].get("claims", [])]
        if own:
            lines.append(f"{key:9} {sum(name in found for name in own):2} of {len(own):2}   {claims.count(True)} of {len(claims)}")
    return "\n".join(lines)


def main(args: argparse.Namespace) -> None:
    """List, or run and sum up."""
    start, runs = time.monotonic(), all_runs(args.full)
    commands = {place: command_words(runs[place], args.full, args.data, args.out) for place in choose(runs, args.only)}
    if args.list or args.dry_run:
        for place, words in commands.items():
            print(f"{runs[place].label:19} {runs[place].command}" if args.list else shlex.join(["python", *words]))
        return
    if args.data not in (None, "synthetic") and not Path(args.data).is_dir():
        raise UsageError(f"--data {args.data} is not a folder; name the one that holds hw1_data/, hw2_data/, hw3_data/, or 'synthetic'")
    run_all(runs, commands, args.jobs or (1 if args.full else cores()), args.out, args.verbose)
    chosen_runs = [runs[place] for place in commands]
    print(table(chosen_runs, args.out))
    print(f"{time.monotonic() - start:.0f} s on {cores()} cores; a matrix product of 2,048 in fp32 reaches {speed():.0f} GFLOP/s on one")
    print(f"the results page: {page.build(args.out)}", flush=True)
    if failed := [run for run in chosen_runs if run.state == "failed"]:
        raise cli.Incomplete("failed: " + "; ".join(f"{run.label} ({args.out / 'logs' / log_name(run, runs)}.txt)" for run in failed))


if __name__ == "__main__":
    cli.run(main, parse_args())
