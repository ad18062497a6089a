"""Start-up that every script shares: device, seeds, precision, distributed training, versions.

A script calls `start(args)` once and then works as if it were alone: started by `torchrun`, the functions here give each process (rank)
its share of a batch, sum what was counted, and let rank 0 alone print and write. They talk over gloo; gradients on GPUs go over NCCL.
"""

import argparse
import contextlib
import functools
import os
import platform
import random
import subprocess
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from common import files, speed
from common.cli import DEFAULT_OUT, ROOT, Incomplete, UsageError

# ---- device, seeds, precision ----


@dataclass(frozen=True)
class Runtime:
    """Where and how this process runs: the device of its networks, and what the options that every script has say.

    `workers` is the number of processes that prepare its images, `gpus` the group over which several GPUs average their gradients. `out`,
    `data`, `seed`, `quick` and `resume` are the values of the options of these names.
    """

    device: torch.device
    bf16: bool
    workers: int = 0
    gpus: dist.ProcessGroup | None = None
    out: Path = DEFAULT_OUT
    data: str | None = None
    seed: int = 0
    quick: bool = False
    resume: bool = False

    def autocast(self):
        """Mixed precision for a training step's forward pass."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else contextlib.nullcontext()

    def place(self, module: nn.Module) -> nn.Module:
        """Move a network to the device, in channels-last memory order; on the CPU with fast convolutions on small maps."""
        module = speed.convert_convolutions(module) if self.device.type == "cpu" else module
        return module.to(self.device, memory_format=torch.channels_last)

    def send(self, values: torch.Tensor) -> torch.Tensor:
        """A tensor on the device; it goes to a GPU from pinned memory, so that the host does not wait for the work before it."""
        if self.device.type == "cuda" and values.device.type == "cpu":
            return values.pin_memory().to(self.device, non_blocking=True)
        return values.to(self.device)

    def describe(self) -> str:
        """The device in words, for results."""
        if self.device.type == "cuda":
            name = torch.cuda.get_device_name(self.device)
        else:
            name = f"{_cpu_name()}, {torch.get_num_threads()} threads"
        processes = dist.get_world_size() if dist.is_initialized() else 1
        return f"{self.device.type} ({name})" + f", {processes} processes" * (processes > 1)

    def precision(self, mixed: bool = True) -> str:
        """The training precision in words, for results; not `mixed`: of a training that has no `autocast`."""
        whole = "fp32 with TF32 products" if self.device.type == "cuda" else "fp32"
        return f"{'bf16 autocast' if self.bf16 and mixed else whole}, channels last"


def start(args: argparse.Namespace) -> Runtime:
    """Join the other processes if `torchrun` started some, choose the device, seed everything.

    Raises UsageError if `--device cuda` is asked for and there is none, if the processes' devices differ in kind, or, before any work, if
    nothing can be written to `--out`.
    """
    if "WORLD_SIZE" in os.environ and not dist.is_initialized():
        dist.init_process_group("gloo", timeout=PATIENCE)
    options = {name: value for name in OPTIONS if (value := getattr(args, name, None)) is not None}
    if "out" in options:
        writable_folder(Path(args.out))
    cuda = torch.cuda.is_available()
    if args.device == "cuda" and not cuda:
        raise UsageError("--device cuda: torch finds no CUDA device here; use --device cpu or auto")
    device = torch.device("cpu")
    speed.keep_freed_memory()
    if cuda and args.device != "cpu":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(device)
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.allow_tf32 = True  # not benchmark: its trials were 70 s of EfficientNet-Lite2's first epoch on an H200
    if (kind := from_rank_zero(lambda: device.type)) != device.type:
        raise UsageError(f"--device {args.device} is {device.type} in process {rank()} and {kind} in the first; give --device cpu")
    gpus = dist.new_group(backend="nccl") if device.type == "cuda" and dist.is_initialized() else None
    seed_everything(args.seed)
    workers = worker_count(getattr(args, "workers", None), device)
    return Runtime(device, device.type == "cuda" or _cpu_has_bf16(), workers, gpus, **options)


OPTIONS = ("out", "data", "seed", "quick", "resume")  # of the command line that a Runtime holds


MOST_WORKERS = 8  # that --workers stands for: some more cores have the network's process and its thread for pinned memory


def worker_count(asked: int | None, device: torch.device) -> int:
    """`--workers`; without it none beside a network on the CPU, which needs the cores itself, and on a GPU this process's other cores."""
    if asked is not None:
        return asked
    if device.type == "cpu":
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(0, min(MOST_WORKERS, cores // int(os.environ.get("LOCAL_WORLD_SIZE", 1)) - 1))


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
        return "avx512_bf16" in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    return False


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


# ---- several processes ----

PATIENCE = timedelta(days=1)  # while rank 0 works alone; gloo notices at once if it ends
_alone = False  # whether this is rank 0 at work while the others wait


def rank() -> int:
    """This process's number, 0 without torchrun and for a process that works alone."""
    return dist.get_rank() if dist.is_initialized() and not _alone else 0


def world_size() -> int:
    """The number of processes, 1 without torchrun and for a process that works alone."""
    return dist.get_world_size() if dist.is_initialized() and not _alone else 1


def log(*words) -> None:
    """Print a line, on rank 0 only, at once."""
    if rank() == 0:
        print(*words, flush=True)


@functools.cache
def log_once(words: str) -> None:
    """`log`, for what a process need not say again."""
    log(words)


def sum_over_processes(*counts: torch.Tensor | float) -> list[float]:
    """Each count (a scalar) summed over all processes."""
    summed = torch.stack([torch.as_tensor(count, dtype=torch.float64).cpu() for count in counts])
    if world_size() > 1:
        dist.all_reduce(summed)
    return summed.tolist()


def from_rank_zero(read):
    """What `read()` returns on rank 0, or the UsageError or Incomplete that it raises, on all processes.

    Files may lie on the first machine alone. While rank 0 reads it is one process of one, so that nothing in `read` waits for the others.
    """
    global _alone
    if world_size() == 1:
        return read()
    box = [None, None]
    if rank() == 0:
        _alone = True
        try:
            box[0] = read()
        except (UsageError, Incomplete) as error:
            box[1] = error
        finally:
            _alone = False
    dist.broadcast_object_list(box, 0)
    if box[1]:
        raise box[1]
    return box[0]


def on_rank_zero(function):
    """A decorator: the function runs on rank 0, the other processes wait for it and have its result too."""
    return functools.wraps(function)(lambda *args, **kwargs: from_rank_zero(lambda: function(*args, **kwargs)))


writable_folder = on_rank_zero(files.writable_folder)


def distributed_map(function, pieces) -> list:
    """`function` of each of the pieces, in order: each process does some of them, and has what the others found, too.

    For what takes long and must not differ between processes; results lie on the CPU.
    """
    mine = [function(piece) for piece in pieces[rank() :: world_size()]]
    if world_size() == 1:
        return mine
    found = [None] * world_size()
    dist.all_gather_object(found, mine)
    return [found[i % world_size()][i // world_size()] for i in range(len(pieces))]


@contextlib.contextmanager
def one_process_first():
    """The body runs on each machine's first process, then on its others: the first fills a cache that the others read.

    If it fails on the first, the others do not try.
    """
    first = int(os.environ.get("LOCAL_RANK", 0)) == 0
    if world_size() > 1 and not first:
        dist.barrier()
    yield
    if world_size() > 1 and first:
        dist.barrier()


def parallel(model: nn.Module, runtime: Runtime) -> nn.Module:
    """The network as it trains: itself, on one GPU as CUDA graphs, or under DistributedDataParallel.

    There it has, on GPUs, synchronised batch norm (torch has none on CPUs).
    """
    if world_size() == 1:
        return speed.CudaGraphs(model) if runtime.device.type == "cuda" else model
    if runtime.device.type == "cuda":
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model, runtime.gpus)
        return nn.parallel.DistributedDataParallel(model, device_ids=[runtime.device], process_group=runtime.gpus)
    return nn.parallel.DistributedDataParallel(model)


def synchronise_buffers(model: nn.Module) -> None:
    """Give every process rank 0's buffers (batch norm's running statistics), so that all evaluate and keep the same network."""
    if world_size() > 1:
        buffers = list(model.buffers())
        values = from_rank_zero(lambda: [buffer.cpu() for buffer in buffers])
        for buffer, value in zip(buffers, values, strict=True):
            buffer.copy_(value)


# ---- where a result comes from ----


def commit() -> str:
    """The commit of this code, with '+changes' if files differ from it; 'unknown' outside its own git checkout.

    An unpacked archive may lie in another project's checkout, which is not asked: its commit does not hold this code.
    """

    def git(*words: str) -> str:
        command = ["git", f"--git-dir={ROOT / '.git'}", f"--work-tree={ROOT}", *words]
        return subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", errors="replace", check=True).stdout

    try:
        head = git("rev-parse", "HEAD", "HEAD:common/setup.py").split()[0]
        changes = git("status", "--porcelain", "-uno").strip()
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
