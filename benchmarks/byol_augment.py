"""Speed of BYOL's augmentation (f23 2.1: colours, greyscale, flip, blur, resize, normalise), images per second on one thread, in turns.

Ours, a batch at a time with an own draw for each image, against torchvision's transforms called for each image, on tensors and on PIL
images, and against kornia's batched ones where kornia is installed (kornia 0.8 draws the order of the colour changes once a batch).

    python benchmarks/byol_augment.py [--rounds 5] [--crop]
"""

import argparse
import statistics
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision import transforms
from torchvision.transforms.functional import to_pil_image

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import cli
from common.augment import IMAGENET_MEAN, IMAGENET_STD
from hw1.p3_recipes import PRETRAIN

BATCH, SECONDS = 100, 2.0
SIZES = ((32, 32), (84, 128))  # of the images, and of what the network sees: the stand-ins' and the course's


def per_image(size: int, crop: bool, to_tensor: list) -> transforms.Compose:
    """torchvision's form of the same; `crop` for random resized crops."""
    jitter = transforms.RandomApply([transforms.ColorJitter(0.8, 0.8, 0.2)], 0.3)
    blur = transforms.RandomApply([transforms.GaussianBlur(3, (1.0, 2.0))], 0.2)
    place = transforms.RandomResizedCrop(size) if crop else transforms.Resize(size)
    normalise = [*to_tensor, transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD)]
    return transforms.Compose([jitter, transforms.RandomGrayscale(0.2), transforms.RandomHorizontalFlip(), blur, place, *normalise])


def kornia_form(size: int, crop: bool) -> nn.Module | None:
    """kornia's form of the same, None if it is not installed."""
    try:
        import kornia.augmentation as kornia
    except ImportError:
        return None
    place = kornia.RandomResizedCrop((size, size)) if crop else kornia.Resize((size, size))
    return nn.Sequential(
        kornia.ColorJitter(0.8, 0.8, 0.2, p=0.3),
        kornia.RandomGrayscale(p=0.2),
        kornia.RandomHorizontalFlip(),
        kornia.RandomGaussianBlur((3, 3), (1.0, 2.0), p=0.2),
        place,
        kornia.Normalize(torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)),
    )


def competitors(images: Tensor, size: int, crop: bool) -> dict:
    """Each form as a function that augments the whole batch once."""
    ours = replace(PRETRAIN, image_size=size, resized_crop=crop).train_pipeline(0)
    tensors, pil = (per_image(size, crop, [one]) for one in (transforms.ConvertImageDtype(torch.float), transforms.ToTensor()))
    pictures, scaled, batched = [*map(to_pil_image, images)], images / 255, kornia_form(size, crop)
    forms = {
        "ours": lambda: ours(images, torch.rand(len(images), ours.draws)),
        "torchvision, tensors": lambda: torch.stack([tensors(image) for image in images]),
        "torchvision, PIL": lambda: torch.stack([pil(picture) for picture in pictures]),
    }
    return forms | ({"kornia": lambda: batched(scaled)} if batched else {})


def rate(form) -> float:
    """Images per second, over at least SECONDS."""
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS:
        form()
        count += BATCH
    return count / (time.perf_counter() - start)


def main(args: argparse.Namespace) -> None:
    """Print the medians and our ratio to each other form, round by round."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")  # kornia's deprecations
    for side, size in SIZES:
        images = torch.randint(0, 256, (BATCH, 3, side, side), dtype=torch.uint8)
        forms = competitors(images, size, args.crop)
        for form in forms.values():
            form()
        rounds = [{name: rate(form) for name, form in forms.items()} for _ in range(args.rounds)]
        for name in forms:
            speed = statistics.median(once[name] for once in rounds)
            ratios = sorted(once["ours"] / once[name] for once in rounds)
            times = f"{statistics.median(ratios):.1f} ({ratios[0]:.1f}-{ratios[-1]:.1f})"
            print(f"{side} to {size} px, {name}: {speed:,.0f} images/s; ours is {times} times as fast")


if __name__ == "__main__":
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--crop", action="store_true", help="with random resized crops")
    main(parser.parse_args())
