"""Locks between processes: one run at a time works in a folder or fills a cache, and the others can say which run that is.

The kernel releases a lock when its process ends, however it ends: a lock file that is left tells nothing.
"""

import contextlib
import os
import platform
import shlex
import sys
from pathlib import Path

from common.cli import UsageError

try:
    import fcntl
except ImportError:  # Windows: nothing is locked there
    fcntl = None

_kept: list[int] = []  # the descriptors of the locks that this process has until it ends


def _release_in_child() -> None:
    # A worker process that survives a killed training for seconds must not keep its folder locked.
    while _kept:
        os.close(_kept.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_in_child)


def acquire(path: Path, busy: str, wait: bool) -> int:
    """Lock the file `path`, which is made, and write into it who has it; returns its descriptor, whose closing releases the lock.

    While another process has it: `wait` prints the line "waiting for <who>, `busy`"; else UsageError "<who> `busy`" is raised. On a file
    system without locks nothing is locked. Raises OSError if the file cannot be made.
    """
    while True:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            lock(file, busy, wait)
            if is_at(file, path):
                with contextlib.suppress(OSError):  # a full disk: the lock is what counts
                    os.ftruncate(file, 0)
                    os.pwrite(file, this_process().encode(errors="surrogateescape"), 0)
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # whoever had it has removed the file


def lock(file: int, busy: str, wait: bool) -> None:
    """Lock an open file, as `acquire` says."""
    if fcntl is None:
        return
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(file, 2000, 0).decode(errors="replace").strip() or "another process"
            if not wait:
                raise UsageError(f"{holder} {busy}") from None
            print(f"waiting for {holder}, {busy}", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
    except OSError as error:
        print(f"note: this file system has no locks ({error.strerror}): start no second run on the same folder", file=sys.stderr)


def is_at(file: int, path: Path) -> bool:
    """Whether an open file is the one that has the name `path`."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file), os.stat(path))
    return False


def this_process() -> str:
    """Who has a lock, in words: process number, machine and command."""
    return f"pid {os.getpid()} on {platform.node()} ({shlex.join([Path(sys.executable).name, *sys.argv])})"


def keep(folder: Path) -> None:
    """Lock a folder for this process until it ends. Raises UsageError that says who works in it, or that it cannot be locked."""
    path = folder / ".lock"
    if any(is_at(file, path) for file in _kept):  # of an earlier training here, perhaps under another name of the folder
        return
    try:
        _kept.append(acquire(path, f"works in {folder}; wait for its end, or give another --out", wait=False))
    except OSError as error:
        raise UsageError(f"cannot lock {path}: {error.strerror}; choose another --out") from error


@contextlib.contextmanager
def alone(path: Path, doing: str):
    """The body runs in one process at a time for each `path`; the others wait, and say for whom, who is `doing` it.

    The lock file lies beside `path`, and is removed. Where it cannot be made nothing is locked.
    """
    own, file = path.with_name(f".{path.name}.lock"), None
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = acquire(own, f"which is {doing}", wait=True)
    try:
        yield
    finally:
        if file is not None:
            with contextlib.suppress(OSError):
                own.unlink()
            os.close(file)
