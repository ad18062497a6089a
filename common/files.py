"""Files, without torch: folders of images as users have them, outputs that are whole or absent, and locks between processes."""

import contextlib
import errno
import functools
import glob
import hashlib
import os
import platform
import re
import shlex
import shutil
import sys
import tempfile
import zlib
from pathlib import Path

from common.cli import UsageError

try:
    import fcntl
except ImportError:  # Windows: nothing is locked there
    fcntl = None


def digest(*values) -> str:
    """Twelve digits of a hash of plain values, such as names and labels: it tells apart what shares a name and counts."""
    return hashlib.sha256(repr(values).encode()).hexdigest()[:12]


def file_digest(path: Path) -> str:
    """Twelve digits of a hash of a file's content. Raises UsageError if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:12]
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror or error}); name another file") from None


def name_and_digest(path: Path) -> str:
    """A file as results name it: what lies where is one machine's, and one name may stand for several contents. Raises as file_digest."""
    return f"{Path(path).name} ({file_digest(path)})"


# ---- folders of images ----


def image_files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    """The folder's files with these lower-case suffixes, sorted by name, hidden ones left out. Raises UsageError if there are none.

    Links to nowhere are among them: whoever reads one says that it cannot be read, where a silent gap would change what is counted.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder; see docs/data.md for the layout")
    with os.scandir(folder) as entries:
        found = [entry for entry in entries if os.path.splitext(entry.name)[1].lower() in suffixes and entry.name[0] != "."]
        names = sorted(entry.name for entry in found if (_is_file_or_gone(Path(entry)) if entry.is_symlink() else entry.is_file()))
    files = [folder / name for name in names]
    if not files:
        has_folders = any(path.is_dir() for path in folder.iterdir())
        held = "folders, but in the course's layout images lie flat" if has_folders else f"no {'/'.join(suffixes)} files"
        raise UsageError(f"{folder} holds {held}; see docs/data.md")
    return files


def _is_file_or_gone(link: Path) -> bool:
    return link.is_file() or not link.exists()


def raise_if_any(folder: Path, problems: list[str]) -> None:
    """Raise UsageError that names the first problems of a folder or file, if there are any."""
    if problems:
        rest = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise UsageError(f"{folder}: {'; '.join(problems[:3])}{rest}; mend or remove what is named")


def filesystem_name(name: str) -> str:
    """A file's name from a UTF-8 text as Python's file functions give and take it: under LC_ALL=C their names need not be UTF-8."""
    if sys.getfilesystemencoding() != "utf-8":
        with contextlib.suppress(UnicodeError):
            return os.fsdecode(name.encode("utf-8", "surrogateescape"))
    return name


def listed_files(path: Path, names: list, folder: Path) -> list[Path]:
    """The files of `folder` whose names the file `path` lists.

    Raises UsageError that names what is no text, no file directly in the folder ('../a.png', '/a.png'), or listed twice.
    """
    there = {entry.name for entry in os.scandir(folder) if not entry.is_dir()} if folder.is_dir() else set()
    found, problems, seen = [], [], set()
    for name in names:
        own = filesystem_name(name) if isinstance(name, str) else None
        if own is None:
            problems.append(f"{name!r} in place of a file's name")
        elif own not in there:
            problems.append(f"{own} is not in {folder}")
        elif own in seen:
            problems.append(f"{own} is listed twice")
        else:
            found.append(folder / own)
            seen.add(own)
    raise_if_any(path, problems)
    return found


# ---- outputs that are whole or absent ----


def fsync(path: Path) -> None:
    """Wait until a file, or which names a folder holds, is on the disk."""
    file = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(file)
    finally:
        os.close(file)


@contextlib.contextmanager
def atomic_write(path: Path, synced: bool = False):
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
            fsync(temporary)
        os.replace(temporary, path)
        if synced and os.name == "posix":  # elsewhere a folder cannot be opened
            with contextlib.suppress(OSError):  # some network drives sync no folders
                fsync(path.parent)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}; choose another output path") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def check_writable(path: Path, name: str) -> None:
    """Raise UsageError now, not after minutes of work, if the file that the argument `name` gives cannot be written."""
    path = Path(path)
    if path.is_dir():
        raise UsageError(f"{name} {path} is a folder; give the name of a file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path.parent).close()
    except OSError as error:
        raise UsageError(f"{name} {path} cannot be written: {error.strerror or error}; choose another path") from error


def writable_folder(path: Path) -> Path:
    """Make a folder and return it; raises UsageError now, not after hours of work, if nothing can be written there."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=path).close()
    except OSError as error:
        raise UsageError(f"cannot write to {path}: {error.strerror or error}; choose another --out") from error
    return path


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


@contextlib.contextmanager
def atomic_folder(folder: Path):
    """Yield a temporary folder beside `folder` that takes its name when the body succeeds and is removed when it fails.

    A `folder` that already holds something (another process was first) is kept. Raises UsageError if nothing can be written there.
    """
    folder = Path(folder)
    temporary = temporary_name(folder)
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        remove_leftovers(folder.parent)
        temporary.mkdir(parents=True)
        yield temporary
        os.replace(temporary, folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise UsageError(f"cannot write {folder}: {error.strerror or error}; name another cache with XDG_CACHE_HOME") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


# ---- pictures of ours ----

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


# ---- locks between processes: the kernel releases one when its process ends, however it ends; a lock file that is left tells nothing ----

_locked: list[int] = []  # the descriptors of the locks that this process has until it ends


def _release_in_child() -> None:
    # A worker process that survives a killed training for seconds must not keep its folder locked.
    while _locked:
        os.close(_locked.pop())


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
            flock(file, busy, wait)
            if is_same_file(file, path):
                with contextlib.suppress(OSError):  # a full disk: the lock is what counts
                    os.ftruncate(file, 0)
                    command = shlex.join([Path(sys.executable).name, *sys.argv])
                    os.pwrite(file, f"pid {os.getpid()} on {platform.node()} ({command})".encode(errors="surrogateescape"), 0)
                return file
        except BaseException:
            os.close(file)
            raise
        os.close(file)  # whoever had it has removed the file


def flock(file: int, busy: str, wait: bool) -> None:
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


def is_same_file(file: int, path: Path) -> bool:
    """Whether an open file is the one that has the name `path`."""
    with contextlib.suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file), os.stat(path))
    return False


def lock_folder(folder: Path) -> None:
    """Lock a folder for this process until it ends. Raises UsageError that says who works in it, or that it cannot be locked."""
    path = folder / ".lock"
    if any(is_same_file(file, path) for file in _locked):  # of an earlier training here, perhaps under another name of the folder
        return
    try:
        _locked.append(acquire(path, f"works in {folder}; wait for its end, or give another --out", wait=False))
    except OSError as error:
        raise UsageError(f"cannot lock {path}: {error.strerror}; choose another --out") from error


@contextlib.contextmanager
def exclusive(path: Path, doing: str):
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
