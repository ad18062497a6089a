"""Speed of hw1 problem 1's input path and training loop, images per second, each pair in turns within one run.

1. Decoded tensors with batched augmentation (crop, flip, normalise) against a DataLoader that decodes and augments with PIL.
2. p1_train.py's loop against a bare forward and backward pass over one batch that stays in memory.

    python benchmarks/p1_input.py [--data DIR] [--rounds 5]
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import classification, cli, setup, training
from common.augment import IMAGENET_MEAN, IMAGENET_STD, Crop, Flip, Normalise, Pipeline
from common.data import batches, locate
from hw1 import p1_models, p1_recipes, p1_synthetic
from hw1.p1_data import load_p1


class PilImages(Dataset):
    """The usual way: open, crop, flip, to tensor, normalise, one image a call."""

    def __init__(self, files: list[Path]):
        self.files = files
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, 4, padding_mode="reflect"),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int):
        with Image.open(self.files[i]) as picture:
            return self.transform(picture.convert("RGB")), int(self.files[i].name.split("_")[0])


def rate(count: int, work) -> float:
    """Images per second of `work()`, which handles `count` images."""
    start = time.perf_counter()
    work()
    return count / (time.perf_counter() - start)


def report(name: str, ours: list[float], others: list[float], other_name: str) -> None:
    """Medians, and the ratio round by round."""
    ratios = sorted(a / b for a, b in zip(ours, others, strict=True))
    print(f"{name}: {statistics.median(ours):,.0f} images/s; {other_name}: {statistics.median(others):,.0f} images/s; ", end="")
    print(f"ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f} in {len(ratios)} rounds)")


def input_path(args: argparse.Namespace, splits, files: list[Path], workers: int) -> None:
    """One pass over the images by our batches and by the DataLoader."""
    pipeline, count = Pipeline(Crop(4), Flip(), Normalise()), len(files)

    def ours():
        for index, u, _ in batches(count, 128, torch.Generator().manual_seed(0), pipeline.draws):
            pipeline(splits.train.images[index], u)

    def usual():
        for _ in DataLoader(PilImages(files), 128, shuffle=True, num_workers=workers):
            pass

    ours()
    pairs = [(rate(count, ours), rate(count, usual)) for _ in range(args.rounds)]
    report("input path", *zip(*pairs, strict=True), f"DataLoader with PIL, {workers} workers")


def training_loop(args: argparse.Namespace, splits, model_key: tuple[str, str], runtime: setup.Runtime) -> None:
    """One epoch of p1_train.py on 20 batches against as many bare steps on one batch."""
    recipe = p1_recipes.recipe(*model_key)
    split = splits.first_per_class(max(1, 20 * recipe.batch_size // 50), 1).train
    model = runtime.place(p1_models.build(recipe.network))
    optimiser = training.make_optimiser(model, recipe)
    images = recipe.train_pipeline(recipe.epochs - 1)(split.images[: recipe.batch_size], torch.rand(recipe.batch_size, 8)).to(
        runtime.device
    )
    target = split.target[: recipe.batch_size].to(runtime.device)
    split = split.to(runtime.device)

    def bare():
        model.train()
        for _ in range(len(split) // recipe.batch_size):
            with runtime.autocast():
                loss = torch.nn.functional.cross_entropy(model(images).float(), target)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        loss.item()

    def ours():
        classification.train_epoch(model, optimiser, split, recipe, runtime, recipe.epochs - 1, seed=0)

    bare()
    pairs = [(rate(len(split), ours), rate(len(split) // recipe.batch_size * recipe.batch_size, bare)) for _ in range(args.rounds)]
    report(f"training loop, {recipe.network}", *zip(*pairs, strict=True), "bare steps on a resident batch")


def main(args: argparse.Namespace) -> None:
    """Print the comparisons."""
    runtime = setup.start(args)
    splits, (folder, _) = load_p1(args.data), locate(args.data, "hw1_data/p1_data", p1_synthetic.draw_p1)
    files = [folder / "train_50" / name for name in splits.train.names[: args.images]]
    print(f"{runtime.describe()}, {runtime.precision()}, torch {torch.__version__}, data {splits.name}")
    for workers in (0, torch.get_num_threads()):
        input_path(args, splits, files, workers)
    for model_key in (("f22a", "A"), ("ours", "best")):
        training_loop(args, splits, model_key, runtime)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--data", help="folder with hw1_data/ (default: data/), or 'synthetic'")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--rounds", type=cli.positive_int, default=5)
    parser.add_argument("--images", type=cli.positive_int, default=5000, help="images of a pass through the input path")
    parser.set_defaults(seed=0)
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.run(main, parse_args())
