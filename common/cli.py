"""What every script needs before torch is there: its command line, exit codes, and outputs that are whole or absent.

Importing torch takes seconds. A script parses its arguments before it does, so that --help and a wrong argument answer at once; this file
imports the standard library alone.
"""

import argparse
import atexit
import contextlib
import functools
import glob
import os
import platform
import re
import shutil
import sys
import tempfile
import time
import traceback
import zlib
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


def count(text: str) -> int:
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
    parser.add_argument("--workers", type=count, help=words)


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
        if not joined():
            raise
        code, words = 1, traceback.format_exc().rstrip()
    if words and is_first_to_fail():
        print(words, file=sys.stderr, flush=True)
    sys.stdout.flush()
    if joined():
        if code:
            atexit._run_exitfuncs()  # ends the processes that prepare images
            os._exit(code)  # without torch's own end, which may wait for the other processes
        joined().destroy_process_group()
    if code:
        sys.exit(code)


GRACE = 3  # seconds that a process which fails later leaves the first one to say why: torchrun ends all when it sees one end


def joined():
    """torch.distributed, if this process has joined others; else None."""
    dist = sys.modules.get("torch.distributed")
    return dist if dist and dist.is_initialized() else None


def is_first_to_fail() -> bool:
    """Whether no other process has failed before this one; if one has, this waits a little. Before they join, rank 0 is the first."""
    first = int(os.environ.get("RANK", 0)) == 0
    if dist := joined():
        try:
            first = dist.distributed_c10d._get_default_store().add("failed", 1) == 1
        except RuntimeError:  # the store has gone with the process that kept it
            first = False
    if not first:
        with contextlib.suppress(KeyboardInterrupt):  # torchrun's, after the user's
            time.sleep(GRACE)
    return first


# ---- outputs ----


@contextlib.contextmanager
def replacing(path: Path, synced: bool = False):
    """Yield a temporary path beside `path` that takes its place when the body succeeds and is removed when it fails.

    `synced`: the content is on the disk before it takes the name, and the name at the end, whatever happens to the machine. Makes the
    folder. Raises UsageError if it cannot be written.
    """
    path = Path(path)
    temporary = temporary_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent)
        yield temporary
        if synced:
            sync(temporary)
        os.replace(temporary, path)
        if synced and os.name == "posix":  # elsewhere a folder cannot be opened
            with contextlib.suppress(OSError):  # some network drives sync no folders
                sync(path.parent)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}; choose another output path") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until a file, or which names a folder holds, is on the disk."""
    file = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(file)
    finally:
        os.close(file)


SIGNATURE = b"tEXtSoftware\0course-reports"  # type and content of a PNG chunk, whose length and checksum stand around it


def signed_png(png: bytes) -> bytes:
    """A PNG file with our signature after its header: a later run may replace it, and no picture that somebody else made."""
    chunk = (len(SIGNATURE) - 4).to_bytes(4, "big") + SIGNATURE + zlib.crc32(SIGNATURE).to_bytes(4, "big")
    return png[:33] + chunk + png[33:]


def is_signed(path: Path) -> bool:
    """Whether a picture is one of ours."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        return SIGNATURE in file.read(100)
    return False


def writable_file(path: Path, name: str) -> None:
    """Raise UsageError now, not after minutes of work, if the file that the argument `name` gives cannot be written."""
    path = Path(path)
    if path.is_dir():
        raise UsageError(f"{name} {path} is a folder; give the name of a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise UsageError(f"{name} {path} cannot be written: {error.strerror or error}; choose another path") from error


HOST = re.sub(r"[^\w-]", "-", platform.node())


def temporary_name(path: Path) -> Path:
    """A name beside `path` that says which process of which machine writes it; hidden, no .png that a grader's `*.png` would find."""
    return path.with_name(f".{path.name}.{HOST}.{os.getpid()}.part")


@functools.cache
def remove_leftovers(folder: Path) -> None:
    """Remove, once for each folder, what this machine's killed processes left there: such files and folders would grow in number."""
    with contextlib.suppress(OSError):
        for left in folder.glob(f".*.{glob.escape(HOST)}.*.part"):
            pid = left.name.split(".")[-2]
            if pid.isdecimal() and not is_running(int(pid)):
                shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)


def is_running(pid: int) -> bool:
    """Whether this machine has such a process; taken as running where that cannot be found out."""
    if os.name != "posix":  # elsewhere os.kill would end it
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def writable_folder(path: Path) -> Path:
    """Make a folder and return it; raises UsageError now, not after hours of work, if nothing can be written there."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise UsageError(f"cannot write to {path}: {error.strerror or error}; choose another --out") from error
    return path
