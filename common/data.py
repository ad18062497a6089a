"""Course layouts on disk -> decoded uint8 tensors, and shuffled batches of them.

A folder is decoded once per machine: the tensors are kept in the user's cache folder under a key made of the files' names, sizes and times,
the decoding code and its libraries.
What the data folder lacks is drawn by `synthetic.py` in the same layout and read by the same code.
"""

import contextlib
import inspect
import json
import os
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import PIL
import torch
import torchvision
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.io import ImageReadMode, decode_image, read_file
from torchvision.transforms.functional import pil_to_tensor, resize
from tqdm import tqdm

from common import synthetic
from common.augment import Pipeline, to_device_of
from common.checkpoints import load_checkpoint, write_checkpoint
from common.cli import ROOT, UsageError
from common.files import digest, exclusive, listed_files, raise_if_any, remove_leftovers, temporary_name
from common.setup import Runtime, from_rank_zero, log, log_once, one_process_first, rank, world_size

MOST_PIXELS = 120_000_000  # of a picture that is read: 360 MB decoded
LARGE_PIXELS = 16_000_000  # above it a picture is resized colour by colour: as floats of all three it takes 12 bytes a pixel
CIFAR_CLASSES, CIFAR_SIZE = 10, 32


@dataclass(frozen=True)
class Labelled:
    """Decoded images with their labels: `images` uint8 (N, 3, H, W), `names` the N file names in order.

    `target` is int64 (N,), or for soft labels float (N, classes) whose rows sum to 1.
    """

    images: Tensor
    target: Tensor
    names: list[str]

    def __len__(self) -> int:
        return len(self.target)

    def digest(self) -> str:
        """Of the names and labels."""
        return digest(self.names, self.target.tolist())

    def first_per_class(self, count: int) -> "Labelled":
        """The first `count` images of each class, in order: what `--quick` works on."""
        kept = torch.cat([(self.target == label).nonzero().flatten()[:count] for label in self.target.unique()])
        return self.take(kept)

    def take(self, index: Tensor) -> "Labelled":
        """The images of these indices, in their order."""
        return replace(self, images=self.images[index], target=self.target[index], names=[self.names[i] for i in index.tolist()])

    def to(self, device: torch.device) -> "Labelled":
        """The same on another device."""
        return replace(self, images=self.images.to(device), target=self.target.to(device))

    def batches(self, batch_size: int, generator: torch.Generator, draws: int) -> Iterator[tuple[Tensor, Tensor, float]]:
        """The steps of an epoch, as `batches` gives them for so many images."""
        return batches(len(self), batch_size, generator, draws)


@dataclass(frozen=True)
class Splits:
    """A data set as scripts use it: `name` is the course's folder name, or 'synthetic' for the stand-in.

    `digest` is of all names and labels that were read; splits that are made of others keep it.
    """

    name: str
    train: Labelled
    validation: Labelled
    digest: str = ""

    def first_per_class(self, train: int, validation: int) -> "Splits":
        """The first images of each class of both splits."""
        return replace(self, train=self.train.first_per_class(train), validation=self.validation.first_per_class(validation))

    def describe(self) -> dict:
        """What a result says of its data."""
        return {"name": self.name, "train": len(self.train), "validation": len(self.validation), "digest": self.digest}


# ---- where data lies ----


def cache_folder() -> Path:
    """Where decoded sets and drawn stand-ins are kept: `$XDG_CACHE_HOME/course-reports`, by default below ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "course-reports"


def locate(data: str | None, layout: str, draw) -> tuple[Path, str]:
    """Find a course folder such as 'hw1_data/p1_data' below `--data`, or have `draw(folder)` make its stand-in.

    Returns the folder and the data's name ('p1_data' or 'synthetic'). The first process's choice is that of all. Raises UsageError if a
    folder the user named is missing or empty, or if what the first process has found is not on another's machine.
    """
    folder = Path(data or ROOT / "data")

    def is_there() -> bool:
        if data not in (None, "synthetic") and not (folder.is_dir() and any(folder.iterdir())):
            state = "is empty" if folder.is_dir() else "is not a folder"
            raise UsageError(f"--data {data} {state}; name the folder that holds {layout}, or 'synthetic'")
        found = data != "synthetic" and (folder / layout).exists()
        if data != "synthetic" and not found:
            log_once(f"data: no {layout} in {folder}: using the synthetic stand-in")
        return found

    if from_rank_zero(is_there):
        if not (folder / layout).exists():
            raise UsageError(f"no {layout} in {folder} of process {rank()}, but in the first's; copy it there, or give --data synthetic")
        return folder / layout, Path(layout).name
    version = cache_folder() / "synthetic" / synthetic.version(draw)
    stand_in = version / layout
    with contextlib.suppress(OSError):
        os.utime(version)  # in use: see drop_oldest
    with one_process_first():
        if not stand_in.exists():
            with exclusive(stand_in, f"drawing the stand-in for {layout}"):
                if not stand_in.exists():
                    log(f"data: drawing the stand-in for {layout}")
                    draw(stand_in)
    return stand_in, "synthetic"


# ---- one image, one folder ----


def read_image(path: Path) -> Tensor:
    """Decode any PNG or JPEG (grey, palette, alpha, 16 bits, CMYK), of a GIF the first frame, to uint8 (3, H, W).

    Raises ValueError if it is damaged or too large.
    """
    if (pixels := pixel_count(path)) > MOST_PIXELS:
        raise ValueError(f"too large ({pixels / 1e6:.0f} million pixels, {MOST_PIXELS / 1e6:.0f} at most)")
    try:
        image = decode_image(read_file(str(path)), ImageReadMode.RGB)
        image = image[0] if image.ndim == 4 else image  # an animated GIF, whatever its suffix
    except RuntimeError:
        try:
            with Image.open(path) as picture:
                image = pil_to_tensor(picture.convert("RGB"))
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise ValueError(f"unreadable ({type(error).__name__})") from None
    if image.dtype == torch.uint8:
        return image
    pixels = image.permute(1, 2, 0).contiguous()  # as libpng leaves them
    return pixels.view(torch.uint8)[..., 1::2].permute(2, 0, 1).contiguous()  # the high bytes


def pixel_count(path: Path) -> int:
    """The pixels of a picture by its header, without decoding it; 0 if it cannot be read, or for files of under 4 KB, which hold few."""
    try:
        if path.stat().st_size < 4096:  # the header costs 0.2 ms, more than decoding 32x32 pixels
            return 0
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as picture:
                return picture.width * picture.height
    except Image.DecompressionBombError:
        return sys.maxsize
    except (OSError, SyntaxError, ValueError):
        return 0


def per_channel(image: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """`change` of an image (3, H, W); of a large one it sees one colour after the other, (1, H, W), so that its floats stay few."""
    if image[0].numel() <= LARGE_PIXELS:
        return change(image)
    return torch.cat([change(colour[None]) for colour in image])


def resize_square(image: Tensor, size: int) -> Tensor:
    """Both sides resized to `size`: uint8 (3, H, W) to (3, size, size)."""
    return per_channel(image, lambda part: resize(part, [size] * 2, antialias=True))


def decode_folder(files: list[Path], size: int, resize_to: Callable[[Tensor, int], Tensor] | None = None) -> Tensor:
    """All files as one uint8 tensor (N, 3, size, size), from the cache when names, sizes, times and the decoding are unchanged.

    `resize_to(image, size)` gives images of any size theirs. Raises UsageError that names the files that cannot be read or,
    without it, have another size.
    """
    folder = files[0].parent.resolve()
    raise_if_any(folder, [f"{path.name} is a link to nowhere" for path in files if not path.exists()])
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]

    def decode() -> dict:
        images, problems = torch.empty(len(files), 3, size, size, dtype=torch.uint8), []
        for i, path in enumerate(tqdm(files, desc=f"decoding {folder.name}", disable=None, leave=False)):
            try:
                image = resize_to(read_image(path), size) if resize_to else read_image(path)
                if image.shape[1:] != (size, size):
                    raise ValueError(f"{image.shape[2]}x{image.shape[1]} pixels, not {size}x{size}")
                images[i] = image
            except ValueError as error:
                problems.append(f"{path.name} {error}")
        raise_if_any(folder, problems)
        return {"images": images}

    form = f"{size}-{resize_to.__name__}" if resize_to else str(size)
    name = f"{folder.name}-{form}-{digest(str(folder))}.pt"
    key = digest(stats, decoder_version(), inspect.getsource(resize_to) if resize_to else "")
    return cached(cache_folder() / name, key, f"decoding {folder.name}", decode)["images"]


def decoder_version() -> tuple[str, ...]:
    """What decoded pixels depend on besides the files: this code and the libraries."""
    return digest(Path(__file__).read_text(encoding="utf-8")), torch.__version__, torchvision.__version__, PIL.__version__


# ---- the cache folder ----

MOST_CACHED = 5e9  # bytes of the cache folder, above which what was not used for the longest time is dropped
DAY = 86400


def cached(path: Path, key: str, doing: str, make: Callable[[], dict]) -> dict:
    """What `make()` returned when it was called with this key: from `path`, or called now and kept there if that can be written.

    Another run that is `doing` the same is waited for.
    """
    if state := read_cache(path, key):
        return state
    with exclusive(path, doing):
        if state := read_cache(path, key):
            return state
        state = make()
        with contextlib.suppress(UsageError):  # a cache that cannot be written costs time only
            write_checkpoint(path, state | {"key": key})
            drop_oldest()
        return state


def read_cache(path: Path, key: str) -> dict:
    """The content of a cache file that was made for `key`, else {}."""
    with contextlib.suppress(UsageError):
        state = load_checkpoint(path, "it is made again")
        if state.get("key") == key:
            with contextlib.suppress(OSError):
                os.utime(path)
            return state
    return {}


def drop_oldest() -> None:
    """Keep the cache folder below MOST_CACHED bytes: remove what was last used longest ago, not the newest, nor today's stand-ins."""
    drawn = cache_folder() / "synthetic"
    remove_leftovers(drawn)
    with contextlib.suppress(OSError):  # another run drops the same
        files = {path: path.stat() for path in cache_folder().rglob("[!.]*") if path.is_file()}
        entries: dict[Path, int] = {}
        for path, stat in files.items():
            entry = drawn / path.relative_to(drawn).parts[0] if path.is_relative_to(drawn) else path
            entries[entry] = entries.get(entry, 0) + stat.st_size
        newest, *others = sorted(entries, key=lambda entry: entry.stat().st_mtime, reverse=True)
        room = MOST_CACHED - entries[newest]
        for entry in others:
            room -= entries[entry]
            if room < 0 and entry.is_file():
                entry.unlink()
            elif room < 0 and entry.stat().st_mtime < time.time() - DAY:  # a run may be about to read a younger one
                gone = temporary_name(entry)
                os.replace(entry, gone)
                shutil.rmtree(gone)


# ---- CIFAR-10 mini: hw2's, and the stand-in for hw1's unlabelled images ----


def read_annotations(path: Path, folder: Path) -> tuple[list[Path], list[int]]:
    """The files and categories that an annotation file lists.

    Raises UsageError that names lists of different lengths, names without a file, names that come twice, and categories outside 0 to 9.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        names, categories = list(content["images"]), list(content["categories"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{path} has no lists 'images' and 'categories' ({type(error).__name__}); restore the course's file") from None
    if not names or len(names) != len(categories):
        raise UsageError(f"{path} lists {len(names)} images and {len(categories)} categories; restore the course's file")
    files = listed_files(path, names, folder)
    wrong = [i for i, category in enumerate(categories) if type(category) is not int or not 0 <= category < CIFAR_CLASSES]
    raise_if_any(path, [f"{names[i]} has category {categories[i]}, outside 0-{CIFAR_CLASSES - 1}" for i in wrong])
    return files, categories


def load_annotations(path: Path, images: Path | None = None) -> Labelled:
    """The images that an annotation file lists, from the folder `images` or the course's. Raises what `read_annotations` raises."""
    files, categories = read_annotations(path, images or path.resolve().parent.parent / path.name.removesuffix("_annos.json"))
    return Labelled(decode_folder(files, CIFAR_SIZE), torch.tensor(categories), [path.name for path in files])


# ---- batches ----


def batches(
    size: int, batch_size: int, generator: torch.Generator, draws: int = 0, amounts: Tensor | None = None
) -> Iterator[tuple[Tensor, Tensor, float]]:
    """Walk once over `size` examples in the generator's random order, `batch_size` at a time over all processes.

    Yields (index, u, weight): this process's share of the batch's indices, as many rows of `draws` uniform numbers in [0, 1) for the
    augmentation, and the factor for the mean loss of the share, so that the average over processes is the mean over the batch. `amounts`
    (size,) is how much of what the loss is a mean over each example has, such as tokens, if not one each. Order and numbers do not depend
    on the number of processes. A last batch of fewer than two images per process is left out (batch norm).
    """
    if batch_size < 2 * world_size():
        raise UsageError(f"--batch-size {batch_size} is fewer than two images for each of {world_size()} processes; give a larger one")
    if size < 2 * world_size():
        raise UsageError(f"{size} training images: fewer than two for each process; add some")
    order = torch.randperm(size, generator=generator)
    for index in order.split(batch_size):
        u = torch.rand(len(index), draws, generator=generator)
        if len(index) >= 2 * world_size():
            mine = index[rank() :: world_size()]
            part, whole = (len(mine), len(index)) if amounts is None else (int(amounts[mine].sum()), int(amounts[index].sum()))
            yield mine, u[rank() :: world_size()], part * world_size() / whole


def evaluation_indices(size: int, batch_size: int) -> tuple[Tensor, ...]:
    """This process's part of the indices of `size` examples, `batch_size` at a time: what it evaluates; empty if others have them all."""
    mine = torch.arange(size)[rank() :: world_size()]
    return mine.split(batch_size) if len(mine) else ()


# ---- from there to the network's device, without the host and a GPU waiting for each other ----
#
# Decoded images lie on the device and are augmented there. Where the augmentation begins with what belongs on the CPU (`Pipeline.split`),
# they stay there, and worker processes do that part; `setup.start` decides how many. Each image has its own draws, so their number changes
# no result.


def preload(split: Labelled, pipeline: Pipeline, runtime: Runtime) -> Labelled:
    """The split on the device, or as it is if the pipeline begins on the CPU."""
    return split if pipeline.split()[0].operations else split.to(runtime.device)


def load_batches(
    split: Labelled, pipeline: Pipeline, steps: Iterable[tuple[Tensor, Tensor, float]], runtime: Runtime
) -> Iterator[tuple[Tensor, Tensor, float]]:
    """For each step (index, u, weight), as `data.batches` gives them, the images (N, 3, H, W) by the pipeline, their target and the weight.

    Images and target are on the device; the split is where `preload` puts it.
    """
    first, then = pipeline.split()

    def begin(step: tuple[Tensor, Tensor, float]) -> tuple[Tensor, Tensor, Tensor, float]:
        index, u, weight = step
        index = to_device_of(index, split.target)
        return first(split.images[index], u[:, : first.draws]), split.target[index], u[:, first.draws :], weight

    prepared = map(begin, steps)
    if first.operations and runtime.workers:
        prepared = DataLoader(
            Steps(begin),
            batch_size=None,
            sampler=steps,
            num_workers=runtime.workers,
            pin_memory=runtime.device.type == "cuda",
            generator=torch.Generator(),  # of its own: the global one's numbers are the network's dropout
            multiprocessing_context="fork",  # shares the decoded images
        )
    for images, target, u, weight in prepared:
        yield then(runtime.send(images), u), runtime.send(target), weight


class Steps(Dataset):
    """`prepare` as what a DataLoader asks for its items; the steps take the place of their numbers."""

    def __init__(self, prepare: Callable):
        self.prepare = prepare

    def __getitem__(self, step):
        return self.prepare(step)
