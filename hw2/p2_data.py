"""hw2's CIFAR-10 mini on disk -> decoded tensors: `p2_data/{train,public_test}/*.jpg` with `annotations/<split>_annos.json`, 32x32."""

import json
from pathlib import Path

import torch

from common.augment import IMAGENET_MEAN, IMAGENET_STD, Normalise, Pipeline
from common.data import Labelled, Splits, decode_folder, locate, refuse
from common.setup import UsageError
from hw2 import p2_synthetic

LAYOUT = "hw2_data/p2_data"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIZE = 32
NORMALISED = Pipeline(Normalise(IMAGENET_MEAN, IMAGENET_STD))


def read_annotations(path: Path, folder: Path) -> tuple[list[Path], list[int]]:
    """The files and categories that an annotation file lists.

    Raises UsageError that names lists of different lengths, names without a file, names that come twice, and categories outside 0 to 9.
    """
    try:
        content = json.loads(path.read_text())
        names, categories = content["images"], content["categories"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} has no lists 'images' and 'categories' ({type(error).__name__}); restore the course's file") from None
    if not names or len(names) != len(categories):
        raise UsageError(f"{path} lists {len(names)} images and {len(categories)} categories; restore the course's file")
    there, seen, problems = {file.name for file in folder.iterdir()} if folder.is_dir() else set(), set(), []
    for name, category in zip(names, categories, strict=True):
        problems += [f"{name} is not in {folder}"] * (name not in there) + [f"{name} is listed twice"] * (name in seen)
        if not isinstance(category, int) or not 0 <= category < len(CLASSES):
            problems.append(f"{name} has category {category}, outside 0-{len(CLASSES) - 1}")
        seen.add(name)
    refuse(path, problems)
    return [folder / name for name in names], categories


def load_annotated(folder: Path, split: str) -> Labelled:
    """One annotated split, in the order of its file."""
    files, categories = read_annotations(folder / f"annotations/{split}_annos.json", folder / split)
    return Labelled(decode_folder(files, SIZE), torch.tensor(categories), [path.name for path in files])


def take(labelled: Labelled, index: torch.Tensor) -> Labelled:
    """The images of these indices, in their order."""
    return Labelled(labelled.images[index], labelled.target[index], [labelled.names[i] for i in index.tolist()])


def load_cifar(data: str | None, seed: int, share: float = 0.9) -> Splits:
    """The training images, shuffled by `seed` and split 0.9 to 0.1 as the course's starter code does."""
    folder, name = locate(data, LAYOUT, p2_synthetic.draw_cifar)
    whole = load_annotated(folder, "train")
    order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(seed))
    cut = int(share * len(whole))
    return Splits(name, take(whole, order[:cut]), take(whole, order[cut:]))
