"""Which labelled images of hw2 problem 2 show no class: the score that cv22's cleaning (2.4, 2.5) sorts them by, and what it drops.

In the code that the report's author published all 23,000 labelled images are scored, the lowest N dropped and the others split, so that the
validation images are cleaned too. Here the split comes first, and the lowest N of all 23,000 are dropped from both parts: as many images,
about nine tenths of N, are missing in training. Validation accuracy is given for all validation images, which is the sounder number, as the
same images judge every row; and the report's way, of the same training on those validation images alone that were not dropped. The network
that scores has seen the training images and not the validation images; which images the author's had seen is not stated.
"""

import statistics
from dataclasses import replace

import torch
from torch import Tensor

from common import setup, training
from common.data import Labelled, Splits
from hw2 import p2_tables, p2_training
from hw2.p2_data import NORMALISED
from hw2.p2_recipes import SCORER

ALL = 23_000  # the course's labelled images
WAY = "validation, the report's way"  # accuracy on the validation images that are not dropped


@setup.evaluation()
def largest_probability(model: torch.nn.Module, split: Labelled, runtime: setup.Runtime) -> Tensor:
    """The largest of each image's class probabilities, (N,) in 0 to 1, in evaluation mode; the processes share the work."""
    model.eval()

    def largest(images: Tensor) -> Tensor:
        return model(NORMALISED(images.to(runtime.device), torch.empty(0, 0))).softmax(1).amax(1).cpu()

    return torch.cat(setup.distributed_map(largest, split.images.split(250)))


def score(splits: Splits, runtime: setup.Runtime) -> tuple[Tensor, list[dict]]:
    """cv22's score of each training and, after them, each validation image (N,), and the history of the network that scores.

    The score is the largest probability that a ResNet-50, trained on the training images from random weights, gives the image.
    What the user changes in a recipe is for the trainings after it.
    """
    recipe = replace(SCORER, **p2_tables.QUICK) if runtime.quick else SCORER
    setup.log(f"network that scores, seed {runtime.seed}, {len(splits.train)} training images:")
    settings = p2_training.run_settings(recipe, "none", splits, runtime)
    run = training.Run(training.run_folder(runtime, "cv22-scorer", splits.name, {}), recipe, settings, runtime)
    model = p2_training.fit(run, splits)

    def both() -> Tensor:
        return torch.cat([largest_probability(model, split, runtime) for split in (splits.train, splits.validation)])

    scores = p2_training.load_or_compute(run.folder / "scores.pth", run.history, len(splits.train) + len(splits.validation), both)
    return scores, run.history


def about(*scorers: list[dict]) -> dict:
    """What a result says of the networks that score, by their histories."""
    train = statistics.fmean(history[-1]["train_accuracy"] for history in scorers)
    seconds = sum(epoch["seconds"] for history in scorers for epoch in history)
    found = {"training accuracy": train, **p2_tables.learning(train), "seconds, besides": round(seconds, 1)}
    return {f"network that scores: {name}": value for name, value in found.items()}


def share(count: int, images: int) -> int:
    """How many of `images` labelled images are dropped where the report drops `count` of its own: the same share."""
    return round(count * images / ALL)


def lowest(scores: Tensor, count: int) -> Tensor:
    """Which of the images (N,) have the `count` lowest scores, bool (N,); the first process decides for all."""
    dropped = torch.zeros(len(scores), dtype=torch.bool)
    dropped[setup.from_rank_zero(scores.argsort)[:count]] = True
    return dropped


def without(splits: Splits, dropped: Tensor) -> Splits:
    """The splits without what is dropped (N,), of the training and then the validation images, in both."""
    kept = [(~part).nonzero()[:, 0] for part in dropped.split([len(splits.train), len(splits.validation)])]
    return replace(splits, train=splits.train.take(kept[0]), validation=splits.validation.take(kept[1]))


def precision_recall(names: list[str], dropped: Tensor, dirty: set[str]) -> tuple[float, float]:
    """Of what is dropped (N,) the share that is dirty, and of the dirty images among `names` the share that is dropped."""
    gone = {name for name, is_gone in zip(names, dropped.tolist(), strict=True) if is_gone}
    found = len(gone & dirty)
    return found / max(1, len(gone)), found / max(1, len(dirty & set(names)))
