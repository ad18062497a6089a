"""Start-up that every script shares: arguments, device, seeds, precision, distributed training, checkpoints, versions.

A script calls `start(args)` once and then works as if it were alone: started by `torchrun`, the functions here give each process (rank)
its share of a batch, sum what was counted, and let rank 0 alone print and write.
"""

import argparse
import contextlib
import functools
import glob
import os
import pickle
import platform
import random
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from common import small_maps

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
        self.exit(2, f"error: {message}; {self.prog} --help shows the options\n")


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


def run(main, args: argparse.Namespace) -> None:
    """Call `main(args)` and leave the process with exit code 0, 1 (failure), 2 (wrong use, one line on stderr) or 130 (Ctrl-C)."""
    code = 0
    try:
        main(args)
    except UsageError as error:
        code = 2
        if int(os.environ.get("RANK", 0)) == 0:
            print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    except Incomplete as error:
        code = 1
        print(f"error: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        code = 130
        print("interrupted; what was complete has been kept", file=sys.stderr)
    finally:
        if dist.is_initialized() and code == 0:
            dist.destroy_process_group()
    sys.stdout.flush()
    if code:
        sys.exit(code)


# ---- device, seeds, precision ----


@dataclass(frozen=True)
class Runtime:
    """Where and how the networks of this process run."""

    device: torch.device
    bf16: bool

    def autocast(self):
        """Mixed precision for a training step's forward pass."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else contextlib.nullcontext()

    def place(self, module: nn.Module) -> nn.Module:
        """Move a network to the device, in channels-last memory order; on the CPU with fast convolutions on small maps."""
        module = small_maps.convert(module) if self.device.type == "cpu" else module
        return module.to(self.device, memory_format=torch.channels_last)

    def describe(self) -> str:
        """The device in words, for results."""
        if self.device.type == "cuda":
            name = torch.cuda.get_device_name(self.device)
        else:
            name = f"{_cpu_name()}, {torch.get_num_threads()} threads"
        processes = f", {world_size()} processes" if world_size() > 1 else ""
        return f"{self.device.type} ({name}){processes}"

    def precision(self) -> str:
        """The training precision in words, for results."""
        return "bf16 autocast, channels last" if self.bf16 else "fp32, channels last"


def start(args: argparse.Namespace) -> Runtime:
    """Choose the device, join the process group if `torchrun` made one, seed everything.

    Raises UsageError if `--device cuda` is asked for and there is none.
    """
    cuda = torch.cuda.is_available()
    if args.device == "cuda" and not cuda:
        raise UsageError("--device cuda: torch finds no CUDA device here; use --device cpu or auto")
    device = torch.device("cpu")
    if cuda and args.device != "cpu":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(device)
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = torch.backends.cudnn.allow_tf32 = True
    if "WORLD_SIZE" in os.environ and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", device_id=device if device.type == "cuda" else None)
    seed_everything(args.seed)
    return Runtime(device, bf16=device.type == "cuda" or _cpu_has_bf16())


@contextlib.contextmanager
def evaluation():
    """What reported numbers are computed in: no gradients, fp32 throughout, without TF32. Works as a decorator too."""
    kept = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_float32_matmul_precision(kept[0])
        torch.backends.cudnn.allow_tf32 = kept[1]


def seed_everything(seed: int, *more: int) -> None:
    """Seed python, numpy and torch from one seed and any further integers (an epoch, a rank)."""
    seed = mixed_seed(seed, *more)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def mixed_seed(*parts: int) -> int:
    """One 63-bit seed from several integers, by numpy's SeedSequence: near inputs give unrelated streams."""
    return int(np.random.SeedSequence([part % 2**63 for part in parts]).generate_state(1, np.uint64)[0] >> 1)


def _cpu_has_bf16() -> bool:
    # Without such instructions (those with AMX have them too), bf16 convolutions ran five times slower than fp32 ones.
    with contextlib.suppress(OSError):
        return "avx512_bf16" in Path("/proc/cpuinfo").read_text()
    return False


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


# ---- several processes ----


def rank() -> int:
    """This process's number, 0 without torchrun."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """The number of processes, 1 without torchrun."""
    return dist.get_world_size() if dist.is_initialized() else 1


def log(*words) -> None:
    """Print a line, on rank 0 only, at once."""
    if rank() == 0:
        print(*words, flush=True)


def total(*counts: torch.Tensor | float) -> list[float]:
    """Each count (a scalar) summed over all processes."""
    summed = torch.stack([torch.as_tensor(count, dtype=torch.float64).cpu() for count in counts])
    if world_size() > 1:
        summed = summed.to("cuda" if dist.get_backend() == "nccl" else "cpu")
        dist.all_reduce(summed)
    return summed.tolist()


def from_rank_zero(read):
    """What `read()` returns on rank 0, on all processes: files may lie on the first machine alone."""
    if world_size() == 1:
        return read()
    box = [read() if rank() == 0 else None]
    dist.broadcast_object_list(box, 0)
    return box[0]


def on_rank_zero(function):
    """A decorator: the function runs on rank 0, the other processes wait for it and have its result too."""
    return functools.wraps(function)(lambda *args, **kwargs: from_rank_zero(lambda: function(*args, **kwargs)))


@contextlib.contextmanager
def one_process_first():
    """The body runs on each machine's first process, then on its others: the first fills a cache that the others read."""
    first = int(os.environ.get("LOCAL_RANK", 0)) == 0
    if world_size() > 1 and not first:
        dist.barrier()
    try:
        yield
    finally:
        if world_size() > 1 and first:
            dist.barrier()


def parallel(model: nn.Module, runtime: Runtime) -> nn.Module:
    """The network as it trains: itself, or under DistributedDataParallel, on GPUs with synchronised batch norm (torch has none on CPUs)."""
    if world_size() == 1:
        return model
    if runtime.device.type == "cuda":
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return nn.parallel.DistributedDataParallel(model, device_ids=[runtime.device])
    return nn.parallel.DistributedDataParallel(model)


def synchronise_buffers(model: nn.Module) -> None:
    """Give every process rank 0's buffers (batch norm's running statistics), so that all evaluate and keep the same network."""
    if world_size() > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


# ---- checkpoints ----


@contextlib.contextmanager
def replacing(path: Path):
    """Yield a temporary path beside `path` that takes its place when the body succeeds and is removed when it fails.

    Makes the folder. Raises UsageError if it cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")  # no .png that a killed run would leave to a grader's `*.png`
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}; choose another output path") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def remove_leftovers(path: Path) -> None:
    """Remove the temporary files for `path` whose process no longer runs: a killed one leaves them, and they would grow in number."""
    with contextlib.suppress(OSError):
        for left in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
            pid = left.name.split(".")[-2]
            if pid.isdecimal() and not is_running(int(pid)):
                left.unlink(missing_ok=True)


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


def save_checkpoint(path: Path, state: dict) -> None:
    """Write `state` (tensors, numbers, strings, lists, dicts) whole or not at all; rank 0 only."""
    if rank() == 0:
        with replacing(path) as temporary, open(temporary, "wb") as file:
            try:
                torch.save(state, file)
            except RuntimeError as error:  # of torch's writer, which closes its file even after the disk was full
                raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None


def load_checkpoint(path: Path, remedy: str) -> dict:
    """Read a checkpoint's dict to the CPU, with `weights_only=True`: a pickle that would run code is refused.

    Raises UsageError, which ends with `remedy` (what the user can do), if the file is missing, damaged, or holds anything else.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UsageError(f"no checkpoint {path}; {remedy}") from None
    except pickle.UnpicklingError as error:
        kind = "holds more than tensors and plain values, refused" if "WeightsUnpickler" in str(error) else "is damaged"
        raise UsageError(f"checkpoint {path} {kind}; {remedy}") from None
    except (OSError, EOFError, RuntimeError, ValueError, KeyError) as error:
        raise UsageError(f"checkpoint {path} cannot be read ({str(error)[:80] or type(error).__name__}); {remedy}") from None
    if not isinstance(state, dict):
        raise UsageError(f"checkpoint {path} holds a {type(state).__name__}, not a dict; {remedy}")
    return state


def load_weights(model: nn.Module, state: dict, path: Path) -> None:
    """Copy a state dict into `model`; raises UsageError naming the first keys or shapes that do not fit."""
    try:
        model.load_state_dict(state)
    except (RuntimeError, AttributeError, TypeError) as error:
        lines = [line.strip() for line in str(error).splitlines()[1:]] or [str(error)]
        raise UsageError(f"{path} belongs to another model: {'; '.join(lines)[:200]}") from None


# ---- where a result comes from ----


def commit() -> str:
    """The commit of this code, with '+changes' if files differ from it; 'unknown' outside a git checkout."""
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
        changes = subprocess.run(["git", "status", "--porcelain", "-uno"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head[:12] + ("+changes" if changes else "")


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    import sklearn
    import torchvision

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
    }
