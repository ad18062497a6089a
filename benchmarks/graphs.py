"""A training step on a GPU with common/speed.py and without, in bf16, milliseconds in turns in one run; and whether both train alike.

python benchmarks/graphs.py [--network resnet50] [--batch-size 32] [--image-size 32] [--rounds 5]
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torchvision import models

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import cli, setup, speed

STEPS = 50  # of a round


def stepper(network: str, batch_size: int, image_size: int, graphed: bool, runtime: setup.Runtime):
    """A training step of one batch of random images, which returns its loss; the same network and images for the same arguments."""
    torch.manual_seed(0)
    model = runtime.place(models.get_model(network)).train()
    trained = speed.CudaGraphs(model) if graphed else model
    optimiser = torch.optim.SGD(model.parameters(), 0.01, momentum=0.9, fused=True)
    images = runtime.send(torch.randn(batch_size, 3, image_size, image_size).to(memory_format=torch.channels_last))
    target = runtime.send(torch.randint(10, (batch_size,)))

    def step() -> torch.Tensor:
        with runtime.autocast():
            loss = F.cross_entropy(trained(images).float(), target)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        return loss.detach()

    return step


def main(args: argparse.Namespace) -> None:
    """Print both forms' medians, their ratio, and the losses after as many steps."""
    runtime = setup.start(args)
    if runtime.device.type != "cuda":
        raise cli.UsageError("no GPU here: CUDA graphs need one")
    shape = (args.network, args.batch_size, args.image_size)
    steps = {"eager": stepper(*shape, False, runtime), "graph": stepper(*shape, True, runtime)}
    took, losses = {name: [] for name in steps}, {}
    for _ in range(args.rounds):
        for name, step in steps.items():
            for _ in range(speed.STEADY + 2):
                step()
            torch.cuda.synchronize()
            began = time.perf_counter()
            for _ in range(STEPS):
                losses[name] = step()
            torch.cuda.synchronize()
            took[name].append(1000 * (time.perf_counter() - began) / STEPS)
    eager, graph = (statistics.median(values) for values in took.values())
    print(f"{args.network}, {args.batch_size} images of {args.image_size} px, {runtime.describe()}, ms a step:")
    print(f"eager {eager:.2f}, graph {graph:.2f}: {eager / graph:.2f} times as fast")
    print("loss after as many steps: " + ", ".join(f"{name} {float(loss):.6f}" for name, loss in losses.items()))


if __name__ == "__main__":
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--network", default="resnet50", help="a classifier of torchvision")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.set_defaults(device="auto", seed=0)
    cli.run(main, parser.parse_args())
