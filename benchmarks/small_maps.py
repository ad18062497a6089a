"""Speed of a training step on the CPU with common/speed.py and without, and in bf16, images per second, in turns in one run.

python benchmarks/small_maps.py [--network resnet50] [--batch-size 256] [--rounds 5]
"""

import argparse
import statistics
import sys
import time
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torchvision import models

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import cli, speed
from hw2 import p2_models

LENETS = {"lenet": p2_models.LeNet, "residual": partial(p2_models.LeNet, residual=True)}  # cv22's


def stepper(model: nn.Module, batch_size: int, bf16: bool = False):
    """A training step of random images of 32 pixels."""
    model.to(memory_format=torch.channels_last)
    optimiser = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, fused=True)
    images = torch.randn(batch_size, 3, 32, 32).to(memory_format=torch.channels_last)
    target = torch.randint(10, (batch_size,))

    def step() -> None:
        optimiser.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = F.cross_entropy(model(images), target)
        loss.backward()
        optimiser.step()

    return step


def with_torchs_norms(model: nn.Module) -> nn.Module:
    """The model with nn.BatchNorm2d for ours, in place."""
    for module in model.modules():
        if type(module) is speed.NarrowBatchNorm2d:
            module.__class__ = nn.BatchNorm2d
    return model


def rate(step, images: int) -> float:
    """Images per second over one round of at least 1,000 images, after a step that is not counted."""
    step()
    steps, began = -(-1000 // images), time.perf_counter()
    for _ in range(steps):
        step()
    return steps * images / (time.perf_counter() - began)


def main(args: argparse.Namespace) -> None:
    """Print each form's median and its ratio to that of torch's own fp32 convolutions."""
    torch.manual_seed(0)
    build = LENETS.get(args.network) or models.get_model_builder(args.network)
    steps = {"torch": stepper(with_torchs_norms(build()), args.batch_size)}
    for name, bf16 in (("ours", False), ("ours in bf16", True)):
        steps[name] = stepper(speed.convert_convolutions(build()), args.batch_size, bf16)
    rates = {name: [] for name in steps}
    for _ in range(args.rounds):
        for name, step in steps.items():
            rates[name].append(rate(step, args.batch_size))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print(f"{args.network}, batches of {args.batch_size}, {torch.get_num_threads()} threads, images/s:")
    for name, value in medians.items():
        print(f"{name}: {value:.0f}, {value / medians['torch']:.2f} times torch")


if __name__ == "__main__":
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--network", default="resnet50", help="a classifier of torchvision, lenet or residual")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    main(parser.parse_args())
