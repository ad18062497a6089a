"""What every script needs before torch is there: its command line and exit codes.

Importing torch takes seconds. A script parses its arguments before it does, so that --help and a wrong argument answer at once; this file
imports the standard library alone.
"""

import argparse
import atexit
import contextlib
import os
import sys
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DEFAULT_OUT = ROOT / "results"


class UsageError(Exception):
    """Wrong use or missing input: the message is one line that says what, where and what to do; the script exits with 2."""


class Incomplete(Exception):
    """Some of the work could not be done: the message is one line that says how much; the rest is written and the script exits with 1."""


# ---- command line ----


class Parser(argparse.ArgumentParser):
    """An argparse parser that shows a script's docstring under --help, and says what is wrong in one line (exit code 2)."""

    def __init__(self, **options):
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **options)

    def error(self, message: str):
        self.exit(2, f"error: {message}; {self.prog} --help shows the options\n" if is_first_to_fail() else None)


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that every script has."""
    parser.add_argument("--data", help="folder with hw1_data/, hw2_data/, hw3_data/ (default: data/), or 'synthetic'")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT, help="where results go (default: results/)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--quick", action="store_true", help="a small version of the same experiment, a minute or two on two cores")


def positive_int(text: str) -> int:
    """An argparse type: an integer of at least 1."""
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def non_negative_int(text: str) -> int:
    """An argparse type: an integer of at least 0."""
    if (value := int(text)) < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return value


def positive_float(text: str) -> float:
    """An argparse type: a finite number above 0."""
    if not 0 < (value := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def add_training_arguments(parser: argparse.ArgumentParser, weights: bool = True) -> None:
    """The options that every training script has, `--weights` where it can start from some; None means the recipe's own value."""
    parser.add_argument("--epochs", type=positive_int)
    parser.add_argument("--batch-size", type=positive_int, help="images per step over all processes")
    parser.add_argument("--lr", type=positive_float)
    parser.add_argument("--resume", action="store_true", help="continue after the last complete epoch, to the same result")
    if weights:
        parser.add_argument("--weights", help="none, default (torchvision's published ones) or a checkpoint file")


def add_workers(parser: argparse.ArgumentParser) -> None:
    """The option of trainings some of whose augmentation is done image by image."""
    words = "processes that augment images beside the training; changes no result (default: on a GPU up to 8, on the CPU 0)"
    parser.add_argument("--workers", type=non_negative_int, help=words)


def add_seeds(parser: argparse.ArgumentParser, quick: int = 1) -> None:
    """The option that `runs.repetitions` needs; the quick form has `quick` repetitions."""
    parser.set_defaults(quick_seeds=quick)
    parser.add_argument("--seeds", type=positive_int, help=f"repetitions, from --seed on (default: 3, quick {quick})")


def grading_parser(description: str, weights: str, default: Path | None = None) -> Parser:
    """The command line of a graders' script without its inputs and outputs: --weights, with its help `weights`, and --device."""
    parser = Parser(description=description)
    parser.add_argument("--weights", type=Path, default=default, help=weights)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.set_defaults(seed=0)
    return parser


def run(main, args: argparse.Namespace) -> None:
    """Call `main(args)` and leave the process with exit code 0, 1 (failure), 2 (wrong use, one line on stderr) or 130 (Ctrl-C).

    Of several processes the one that fails first says why. Its end breaks the connection to the others, which then end too, silently.
    """
    code, words = 0, ""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # names of files may hold bytes that are no UTF-8
    try:
        main(args)
    except UsageError as error:
        code, words = 2, f"error: {' '.join(str(error).split())}"
    except Incomplete as error:
        code, words = 1, f"error: {error}"
    except KeyboardInterrupt:
        code, words = 130, "interrupted; what was complete has been kept"
    except Exception:
        if not distributed():
            raise
        code, words = 1, traceback.format_exc().rstrip()
    if words and is_first_to_fail():
        print(words, file=sys.stderr, flush=True)
    sys.stdout.flush()
    if distributed():
        if code:
            atexit._run_exitfuncs()  # ends the processes that prepare images
            os._exit(code)  # without torch's own end, which may wait for the other processes
        distributed().destroy_process_group()
    if code:
        sys.exit(code)


GRACE = 3  # seconds that a process which fails later leaves the first one to say why: torchrun ends all when it sees one end


def distributed():
    """torch.distributed, if this process has joined others; else None."""
    dist = sys.modules.get("torch.distributed")
    return dist if dist and dist.is_initialized() else None


def is_first_to_fail() -> bool:
    """Whether no other process has failed before this one; if one has, this waits a little. Before they join, rank 0 is the first."""
    first = int(os.environ.get("RANK", 0)) == 0
    if dist := distributed():
        try:
            first = dist.distributed_c10d._get_default_store().add("failed", 1) == 1
        except RuntimeError:  # the store has gone with the process that kept it
            first = False
    if not first:
        with contextlib.suppress(KeyboardInterrupt):  # torchrun's, after the user's
            time.sleep(GRACE)
    return first
