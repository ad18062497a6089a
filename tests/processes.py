"""Two processes of one training as torchrun starts them, but forked from a warm one, and with nobody who ends one when the other fails."""

import multiprocessing
import os
import sys

import pytest
import torch
import torch.distributed as dist

from common import cli

HANGING = 200  # seconds after which a process is taken to wait for ever


def pair(main, folder, args=None) -> list[tuple[int | None, str, str]]:
    """`cli.run(main, args)` in two processes: what each exits with, None if it had to be killed, and what it printed to stdout and stderr.

    `main` belongs to test_distributed.py, and `args` can be pickled.
    """
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["test_distributed"])
    processes = [context.Process(target=work, args=(rank, store.port, folder, main, args)) for rank in range(2)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))  # of the process that they are forked from, which the first start starts
        for process in processes:
            process.start()
    for process in processes:
        process.join(HANGING)
    codes = [process.exitcode for process in processes]
    for process in processes:
        process.kill()
    printed = [[(folder / f"{rank}.{stream}").read_text() for stream in ("out", "err")] for rank in range(2)]
    return [(code, *streams) for code, streams in zip(codes, printed, strict=True)]


def work(rank: int, port: int, folder, main, args) -> None:
    """One of the two."""
    for number, stream in enumerate(("out", "err"), start=1):
        os.dup2(os.open(folder / f"{rank}.{stream}", os.O_CREAT | os.O_TRUNC | os.O_WRONLY), number)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
    cli.GRACE = 0.5
    torch.set_num_threads(1)
    cli.run(main, args)
