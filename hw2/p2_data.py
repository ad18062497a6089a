"""hw2's CIFAR-10 mini on disk -> decoded tensors: `p2_data/{train,public_test}/*.jpg` with `annotations/<split>_annos.json`, 32x32."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from common.augment import Normalise, Pipeline
from common.cli import UsageError
from common.data import Labelled, Splits, decode_folder, load_annotations, locate
from common.files import filesystem_name, image_files
from common.results import read_json
from hw2 import p2_synthetic

LAYOUT = "hw2_data/p2_data"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIZE = 32
NORMALISED = Pipeline(Normalise())
COURSE_SHARE = 0.9  # of the labelled images, as in the course's starter code


def load_annotated(folder: Path, split: str) -> Labelled:
    """One annotated split of a course folder, in the order of its file."""
    return load_annotations(folder / f"annotations/{split}_annos.json")


def load_cifar(data: str | None, seed: int, share: float = COURSE_SHARE) -> Splits:
    """The labelled images, shuffled by `seed`: the first `share` of them for training, the others for validation.

    Raises UsageError if fewer than two are left to train on.
    """
    folder, name = locate(data, LAYOUT, p2_synthetic.draw_cifar)
    whole = load_annotated(folder, "train")
    order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(seed))
    cut = int(share * len(whole))
    if cut < 2:
        raise UsageError(f"{folder} has {len(whole)} labelled images, too few to train on some and validate on others; add some")
    return Splits(name, whole.take(order[:cut]), whole.take(order[cut:]), whole.digest())


@dataclass(frozen=True)
class Combined(Labelled):
    """Training images in parts: `part`, int64 (N,) on the CPU, says which pipeline of `p2_transforms.ByPart` each gets."""

    part: Tensor

    def take(self, index: Tensor) -> "Combined":
        """The images of these indices, in their order."""
        return replace(super().take(index), part=self.part[index])

    def batches(self, batch_size: int, generator: torch.Generator, draws: int) -> Iterator[tuple[Tensor, Tensor, float]]:
        """The steps of an epoch; the part stands in the place of each image's first draw."""
        for index, u, weight in super().batches(batch_size, generator, draws):
            u[:, 0] = self.part[index]
            yield index, u, weight


def combined(splits: Splits) -> Splits:
    """The splits with 2.3's combined set: all training images (part 0), the first third again (1), and the second third again (2)."""
    count, third = len(splits.train), len(splits.train) // 3
    again = splits.train.take(torch.cat([torch.arange(count), torch.arange(2 * third)]))
    part = torch.arange(3).repeat_interleave(torch.tensor([count, third, third]))
    return replace(splits, train=Combined(again.images, again.target, again.names, part))


def load_public_test(data: str | None) -> Labelled:
    """The public test images."""
    return load_annotated(locate(data, LAYOUT, p2_synthetic.draw_cifar)[0], "public_test")


def load_unlabeled(data: str | None) -> torch.Tensor:
    """The unlabelled images, uint8 (N, 3, 32, 32)."""
    return decode_folder(image_files(locate(data, LAYOUT, p2_synthetic.draw_cifar)[0] / "unlabeled", (".jpg",)), SIZE)


def known_dirty(data: str | None) -> set[str]:
    """The names of the dirty training images where the data tells them, as the stand-in's does; else empty."""
    path = locate(data, LAYOUT, p2_synthetic.draw_cifar)[0] / "annotations/dirty.json"
    return {filesystem_name(str(name)) for name in read_json(path).get("images", ())}
