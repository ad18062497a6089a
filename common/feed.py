"""How the images of a training step reach the network's device, without the host and a GPU waiting for each other.

Decoded images lie on the device and are augmented there. Where the augmentation begins with what belongs on the CPU (`Pipeline.split`),
they stay there, and worker processes do that part; `setup.start` decides how many. Each image has its own draws, so their number changes
no result.
"""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from common.augment import Pipeline, beside
from common.data import Labelled
from common.setup import Runtime


def resident(split: Labelled, pipeline: Pipeline, runtime: Runtime) -> Labelled:
    """The split on the device, or as it is if the pipeline begins on the CPU."""
    return split if pipeline.split()[0].operations else split.to(runtime.device)


def feed(
    split: Labelled, pipeline: Pipeline, steps: Iterable[tuple[Tensor, Tensor, float]], runtime: Runtime
) -> Iterator[tuple[Tensor, Tensor, float]]:
    """For each step (index, u, weight), as `data.batches` gives them, the images (N, 3, H, W) by the pipeline, their target and the weight.

    Images and target are on the device; the split is where `resident` puts it.
    """
    first, then = pipeline.split()

    def begin(step: tuple[Tensor, Tensor, float]) -> tuple[Tensor, Tensor, Tensor, float]:
        index, u, weight = step
        index = beside(index, split.target)
        return first(split.images[index], u[:, : first.draws]), split.target[index], u[:, first.draws :], weight

    for images, target, u, weight in prepared(begin, steps, runtime.workers if first.operations else 0, runtime):
        yield then(runtime.send(images), u), runtime.send(target), weight


class Steps(Dataset):
    """`prepare` as what a DataLoader asks for its items; the steps take the place of their numbers."""

    def __init__(self, prepare: Callable):
        self.prepare = prepare

    def __getitem__(self, step):
        return self.prepare(step)


def prepared(prepare: Callable, steps: Iterable, workers: int, runtime: Runtime) -> Iterable:
    """`prepare` of each step, in order, in so many processes ahead of their use; for 0 in this one."""
    if workers == 0:
        return map(prepare, steps)
    return DataLoader(
        Steps(prepare),
        batch_size=None,
        sampler=steps,
        num_workers=workers,
        pin_memory=runtime.device.type == "cuda",
        generator=torch.Generator(),  # of its own: the global one's numbers are the network's dropout
        multiprocessing_context="fork",  # shares the decoded images
    )
