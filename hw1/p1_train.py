"""hw1 problem 1, items 1.2, 1.3 and 1.4 of f22a, f22b and f23: train a report's model A or B, or our own best model.

Reported top-1 accuracy on val_50: f22a A 0.5544, B 0.8976; f22b A 0.6416, B 0.9052; f23 A 0.6460, B 0.8628 (each B from ImageNet weights).
Writes OUT/checkpoints/<report>-<model>/ (the figures' epochs, best.pth, last.pth) and results/<report>-1.2.json and 1.3 (A) or 1.4 (B).

    python hw1/p1_train.py --report f22a --model A
"""

import argparse
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import setup, training
from common.augment import Pipeline
from common.data import Labelled, batches
from hw1 import p1_items, p1_models, p1_recipes
from hw1.p1_recipes import Recipe

# ---- one epoch ----


def train_epoch(model, optimiser, split: Labelled, recipe: Recipe, runtime: setup.Runtime, epoch: int, seed: int) -> dict:
    """One pass over the training images, `epoch` counted from 0: mean loss and accuracy over all processes, and the last learning rate."""
    model.train()
    setup.seed_everything(seed, epoch, setup.rank())  # dropout: each epoch can be repeated alone, which is what --resume needs
    generator = torch.Generator().manual_seed(setup.mixed_seed(seed, epoch))
    pipeline, steps, device = recipe.train_pipeline(epoch), -(-len(split) // recipe.batch_size), runtime.device
    loss_sum, correct, count = torch.zeros((), device=device), torch.zeros((), device=device), 0
    walk = batches(len(split), recipe.batch_size, generator, pipeline.draws)
    for step, (index, u, weight) in enumerate(tqdm(walk, f"epoch {epoch + 1}", steps, leave=False, disable=setup.rank() > 0 or None)):
        training.set_lr(optimiser, recipe.lr * recipe.schedule(epoch + step / steps, recipe.epochs))
        index = index.to(split.target.device)
        images, target = pipeline(split.images[index], u.to(device)), split.target[index]
        with runtime.autocast():
            logits = model(images)
            loss = F.cross_entropy(logits.float(), target, label_smoothing=recipe.label_smoothing)
        optimiser.zero_grad(set_to_none=True)
        (loss * weight).backward()
        optimiser.step()
        loss_sum += loss.detach() * len(target)
        correct += (logits.detach().max(1).indices == target).sum()
        count += len(target)
    loss_sum, correct, count = setup.total(loss_sum, correct, count)
    return {"lr": optimiser.param_groups[0]["lr"], "train_loss": loss_sum / count, "train_accuracy": correct / count}


@setup.evaluation()
def evaluate(model: nn.Module, split: Labelled, pipeline: Pipeline, batch_size: int) -> dict:
    """Mean cross entropy and accuracy on a split, over all processes."""
    model.eval()
    setup.synchronise_buffers(model)
    loss, correct, nothing = 0.0, 0.0, torch.empty(0, 0)
    for index in torch.arange(setup.rank(), len(split), setup.world_size()).split(batch_size):
        index = index.to(split.target.device)
        logits, target = model(pipeline(split.images[index], nothing)), split.target[index]
        loss += F.cross_entropy(logits, target, reduction="sum").double()
        correct += (logits.max(1).indices == target).sum()
    loss, correct = setup.total(loss, correct)
    return {"validation_loss": loss / len(split), "validation_accuracy": correct / len(split)}


# ---- all epochs ----


def train(recipe: Recipe, splits, folder: Path, settings: dict, runtime: setup.Runtime, args) -> list[dict]:
    """Train all epochs, a log line and a complete checkpoint after each; returns the history, one dict an epoch."""
    model = runtime.place(p1_models.build(recipe.network, settings["weights"]))
    optimiser, parallel = training.make_optimiser(model, recipe), setup.parallel(model, runtime)
    train_split, validation = splits.train.to(runtime.device), splits.validation.to(runtime.device)

    def one_epoch(epoch: int) -> dict:
        numbers = train_epoch(parallel, optimiser, train_split, recipe, runtime, epoch, args.seed)
        pipeline = p1_recipes.validation_pipeline(recipe.image_size)
        return numbers | evaluate(model, validation, pipeline, recipe.validation_batch)

    return training.walk(recipe, model, optimiser, folder, settings, args.resume, one_epoch)


def main(args: argparse.Namespace) -> dict:
    """Train one model and write its items; returns what run.json holds: the history, the kept epoch's numbers, settings, origin."""
    recipe = p1_recipes.recipe(args.report, args.model, args.quick, training.changes(args))
    weights = args.weights or ("default" if recipe.pretrained and not args.quick else "none")
    runtime = setup.start(args)
    if recipe.pretrained and weights == "none":
        setup.log("starting from random weights where the report starts from ImageNet's")
    splits = p1_recipes.load_splits(args)
    folder = setup.writable_folder(p1_recipes.run_folder(args, splits.name))
    settings = recipe.settings() | {"weights": weights, "seed": args.seed, "data": splits.describe(), "precision": runtime.precision()}
    history = train(recipe, splits, folder, settings, runtime, args)
    return p1_items.write(args, runtime, recipe, folder, {"history": history, "settings": settings}, splits.validation)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = setup.Parser(description=__doc__)
    parser.add_argument("--report", choices=("f22a", "f22b", "f23"))
    parser.add_argument("--model", choices=("A", "B", "best"), required=True)
    parser.add_argument("--image-size", type=setup.positive_int, help="input pixels, for smaller machines")
    setup.add_training_arguments(parser)
    setup.add_common_arguments(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    setup.run(main, parse_args())
