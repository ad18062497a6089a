"""Seconds of a network's passes on the CPU, and the most memory they take, with and without speed.keep_freed_memory, in turns.

The network is hw2's committed one on random images; each form has processes of its own, as malloc's options cannot be taken back.

    python benchmarks/kept_memory.py [--images 500] [--rounds 3] [--train]
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import classification, cli, setup, speed
from hw2 import p2_models


def passes(images: int, train: bool) -> float:
    """Seconds of the graders' predictions of so many images, or of as many in training steps of 50."""
    runtime = setup.Runtime(torch.device("cpu"), False)
    model, state = p2_models.load_trained(cli.ROOT / "hw2/checkpoints/p2.pth", runtime, "check it out again")
    predictor = classification.make_predictor(model, state["settings"], runtime)
    some = torch.randint(0, 256, (images, 3, 32, 32), dtype=torch.uint8)
    began = time.perf_counter()
    if not train:
        predictor(some)
        return time.perf_counter() - began
    pipeline = classification.validation_pipeline(state["settings"])
    model.train()
    for part in some.split(50):
        F.cross_entropy(model(pipeline(part, torch.empty(0, 0))), torch.zeros(len(part), dtype=torch.long)).backward()
    return time.perf_counter() - began


def main(args: argparse.Namespace) -> None:
    """Compare, or with --form be one of the compared."""
    if args.form:
        if args.form == "kept":
            speed.keep_freed_memory()
        print(passes(args.images, args.train), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
        return
    found = {"plain": [], "kept": []}
    for _ in range(args.rounds):
        for form, runs in found.items():
            command = [sys.executable, __file__, "--form", form, "--images", str(args.images), *["--train"] * args.train]
            runs.append([float(word) for word in subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()])
    (plain, before), (kept, after) = ([statistics.median(column) for column in zip(*runs, strict=True)] for runs in found.values())
    print(f"{args.images} images: {plain:.1f} s plain, {kept:.1f} s with kept memory ({plain / kept:.2f} times as fast)")
    print(f"most memory: {before:.2f} and {after:.2f} GiB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--form", choices=("plain", "kept"), help=argparse.SUPPRESS)
    main(parser.parse_args())
