"""hw2's CIFAR-10 mini on disk -> decoded tensors: `p2_data/{train,public_test}/*.jpg` with `annotations/<split>_annos.json`, 32x32."""

import json
from pathlib import Path

import torch

from common.augment import Normalise, Pipeline
from common.data import Labelled, Splits, decode_folder, image_files, locate, refuse
from common.results import read_json
from common.setup import UsageError
from hw2 import p2_synthetic

LAYOUT = "hw2_data/p2_data"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIZE = 32
NORMALISED = Pipeline(Normalise())


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
    """One annotated split of a course folder, in the order of its file."""
    return load_annotations(folder / f"annotations/{split}_annos.json")


def load_annotations(path: Path, images: Path | None = None) -> Labelled:
    """The images that an annotation file lists, from the folder `images` or the course's. Raises what `read_annotations` raises."""
    files, categories = read_annotations(path, images or path.resolve().parent.parent / path.name.removesuffix("_annos.json"))
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


def enlarged(splits: Splits, share: float, seed: int) -> Splits:
    """The splits with `share` (1 to 3) times the training images, chosen by `seed`: all once, and two parts alike in size again."""
    count = len(splits.train)
    generator = torch.Generator().manual_seed(seed)
    again = [torch.randperm(count, generator=generator)[: round(count * (share - 1) / 2)] for _ in range(2)]
    return Splits(splits.name, take(splits.train, torch.cat([torch.arange(count), *again])), splits.validation)


def load_public_test(data: str | None) -> Labelled:
    """The public test images."""
    return load_annotated(locate(data, LAYOUT, p2_synthetic.draw_cifar)[0], "public_test")


def load_unlabeled(data: str | None) -> torch.Tensor:
    """The unlabelled images, uint8 (N, 3, 32, 32)."""
    return decode_folder(image_files(locate(data, LAYOUT, p2_synthetic.draw_cifar)[0] / "unlabeled", (".jpg",)), SIZE)


def known_dirty(data: str | None) -> set[str]:
    """The names of the dirty training images where the data tells them, as the stand-in's does; else empty."""
    path = locate(data, LAYOUT, p2_synthetic.draw_cifar)[0] / "annotations/dirty.json"
    return set(read_json(path).get("images", ()))
