"""Our own trainings for hw2 problem 2: chains of networks, after the noisy student of Xie et al., 2020.

1. Two networks, each trained on half of the training images, give every image of the other half a probability; the 13 % whose own label
   is least probable are dropped (the course says that about that many are dirty).
2. A teacher is trained on the others and gives each unlabelled image its probabilities as a soft label.
3. A student is trained on both.

`best` ends there; its networks are EfficientNet-Lite2, each from ImageNet weights. `scratch` begins with random weights and goes one step
further: a larger student with the first one's soft labels. A third, of the larger one's, does not get better. That it ends there was chosen
by looking at the public test images, so that its accuracy on them is not of images used for no choice. Of such, 5,000 further ones, its
p2.pth labels 0.8890 rightly, and 0.8792 of the public test images. The chains are data, in p2_recipes.py.
"""

from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common import setup, training
from common.data import Labelled, Splits
from common.files import atomic_write
from hw2 import p2_models, p2_training
from hw2.p2_data import CLASSES, load_cifar, load_unlabeled
from hw2.p2_recipes import Chain, Recipe

TRAIN_SHARE = 0.98  # of the labelled images: the last epoch is kept, so validation chooses nothing
DIRTY_SHARE = 0.13
QUICK_IMAGES = (60, 10)  # training and validation images of each class
QUICK_UNLABELED = 200


def load_splits(runtime: setup.Runtime) -> Splits:
    """The labelled images, split by the runtime's seed, in the quick form cut to its size."""
    splits = load_cifar(runtime.data, runtime.seed, TRAIN_SHARE)
    return splits.first_per_class(*QUICK_IMAGES) if runtime.quick else splits


def train(chain: Chain, splits: Splits, recipe: Recipe, weights: str, runtime: setup.Runtime, changed: dict) -> tuple[training.Run, dict]:
    """The whole chain; `recipe` is the last network's, `weights` what all start from, `changed` what the user changed in the recipe.

    Returns its run, and what a result says of those before.
    """
    unlabeled = load_unlabeled(runtime.data)[: QUICK_UNLABELED if runtime.quick else None]
    probability, of_folds = label_probabilities(chain, splits, recipe, weights, runtime, changed)
    cleaned = clean(splits, probability, training.run_folder(runtime, f"hw2-p2-{chain.name}", splits.name, changed) / "dropped.csv")
    steps = {
        "share of the labelled images that is not for validation": TRAIN_SHARE,
        "labelled images kept": len(cleaned.train),
        "label smoothing of the teacher and of the labelled images": recipe.label_smoothing,
        **({"mixup before the soft labels": recipe.mixup} if recipe.mixup else {}),
        "unlabelled images, softly labelled by the network before": len(unlabeled),
        "views of each for its soft label": recipe.views,
        "how the length of the chain was chosen": chain.choice,
        "fold networks": of_folds,
    }
    training_set = cleaned
    for stage in chain.stages:
        own = chain.recipe(stage, recipe)
        model, run = train_stage(f"{chain.name}-{stage.name}", own, training_set, weights, runtime, changed)
        labels = probabilities(model, unlabeled, run, run.folder / "unlabelled.pth")
        training_set = with_soft_labels(cleaned, unlabeled, labels, recipe.label_smoothing)
        accuracy = run.history[-1]["validation_accuracy"]
        steps[stage.name] = {"network": own.network, "epochs": own.epochs, "validation accuracy": accuracy, "seconds": seconds(run.history)}
    _, run = train_stage(chain.name, recipe, training_set, weights, runtime, changed)
    return run, steps


def label_probabilities(
    chain: Chain, splits: Splits, recipe: Recipe, weights: str, runtime: setup.Runtime, changed: dict
) -> tuple[Tensor, dict]:
    """Of each image the probability of its own label (N,), by the network trained on the other half; what a result says of them."""
    own, spent = chain.recipe(chain.fold, recipe), 0.0
    order = torch.randperm(len(splits.train), generator=torch.Generator().manual_seed(runtime.seed))
    halves, found = order.chunk(2), torch.empty(len(order))
    for number, (seen, unseen) in enumerate((halves, halves[::-1])):
        half, held = replace(splits, train=splits.train.take(seen)), splits.train.take(unseen)
        model, run = train_stage(f"{chain.name}-{chain.fold.name}{number + 1}", own, half, weights, runtime, changed)
        of_classes = probabilities(model, held.images, run, run.folder / "held-out.pth")
        found[unseen] = of_classes.gather(1, held.target[:, None])[:, 0]
        spent += seconds(run.history)
    return found, {"network": own.network, "epochs of each": own.epochs, "seconds of both": round(spent, 1)}


def train_stage(
    name: str, recipe: Recipe, splits: Splits, weights: str, runtime: setup.Runtime, changed: dict
) -> tuple[nn.Module, training.Run]:
    """Train one network; `changed` is what the user changed in the last one's recipe."""
    if splits.train.target.ndim == 2:
        recipe = for_soft_labels(recipe)
    setup.log(f"{name}, {len(splits.train)} training images:")
    settings = p2_training.run_settings(recipe, weights, splits, runtime)
    run = training.Run(training.run_folder(runtime, f"hw2-p2-{name}", splits.name, changed), recipe, settings, runtime)
    return p2_training.fit(run, splits, weights), run


def for_soft_labels(recipe: Recipe) -> Recipe:
    """The recipe without smoothing and mixup: soft labels are smooth, those beside them are smoothed already, and mixup takes hard ones."""
    return replace(recipe, label_smoothing=0.0, mixup=0.0)


def probabilities(model: nn.Module, images: Tensor, run: training.Run, path: Path) -> Tensor:
    """Class probabilities (N, 10) of the images by a run's network, by the views of its settings, made once for a training."""

    def make() -> Tensor:
        with run.runtime.autocast():  # several views of 30,000 images take minutes, and soft labels need no fp32
            return p2_models.logits(model.eval(), images, run.settings, run.runtime).float().softmax(1)

    return p2_training.load_or_compute(path, run.history, len(images), make)


def clean(splits: Splits, probability: Tensor, path: Path) -> Splits:
    """The splits without the training images whose own label is least probable; the names of those go to `path`."""
    order, count = setup.from_rank_zero(probability.argsort), round(DIRTY_SHARE * len(splits.train))
    write_dropped(path, splits.train.take(order[:count]).names)
    return replace(splits, train=splits.train.take(order[count:].sort().values))


@setup.on_rank_zero
def write_dropped(path: Path, names: list[str]) -> None:
    """The names of the images dropped, a csv that hw1/p3_ssl_pretrain.py leaves out too."""
    setup.writable_folder(path.parent)
    with atomic_write(path) as temporary:
        temporary.write_text("\n".join(["filename", *sorted(names)]) + "\n", encoding="utf-8", errors="surrogateescape")


def with_soft_labels(splits: Splits, images: Tensor, labels: Tensor, smoothing: float) -> Splits:
    """The splits with unlabelled images and their soft labels (N, 10) added to the training images, all with probabilities as target."""
    sure = F.one_hot(splits.train.target, len(CLASSES)) * (1 - smoothing) + smoothing / len(CLASSES)
    both = Labelled(torch.cat([splits.train.images, images]), torch.cat([sure, labels]), splits.train.names + [""] * len(images))
    return replace(splits, train=both)


def seconds(history: list[dict]) -> float:
    """The time of a training's epochs."""
    return round(sum(epoch["seconds"] for epoch in history), 1)
