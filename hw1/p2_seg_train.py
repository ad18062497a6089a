"""hw1 problem 2 (f23: 3), items 2.3 and 3.3: train a report's segmentation model A or B, or our own best model.

Reported mIoU on the validation tiles: f22a A 0.669958, B 0.730315; f22b A 0.6927, B 0.7475; f23 A 0.4525, B 0.7042. Every mIoU is the
course's, over the whole set at 512 px, whatever the training's --image-size. Writes OUT/checkpoints/p2-<report>-<model>/ (the early, middle
and final epoch, best.pth, last.pth) and results/<item>.json.

    python hw1/p2_seg_train.py --report f22a --model B
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import cli
from hw1 import arguments


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--report", choices=("f22a", "f22b", "f23"))
    parser.add_argument("--model", choices=("A", "B", "best"), required=True)
    parser.add_argument("--image-size", type=cli.positive_int, help="input pixels, a multiple of 32, for smaller machines (default: 512)")
    cli.add_training_arguments(parser)
    cli.add_common_arguments(parser)
    args = parser.parse_args(argv)
    arguments.check_report(parser, args)
    return args


if __name__ == "__main__":
    ARGS = parse_args()  # before torch is imported: --help and a wrong argument answer at once

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from common import setup, training
from common.augment import Symmetries
from common.data import batches
from hw1 import p2_items, p2_models, p2_recipes
from hw1.p2_classes import CLASSES, SCORED, UNKNOWN
from hw1.p2_data import Tiles, load_p2, shrink_labels
from hw1.p2_recipes import Recipe


def class_weights(labels: Tensor, power: float) -> Tensor:
    """A weight for each of the seven classes: its share of the pixels to the power of -`power`, a pixel's mean weight 1; 0 for unknown."""
    counts = torch.bincount(labels.flatten(), minlength=len(CLASSES)).double()
    share = counts[:SCORED] / counts[:SCORED].sum()
    weight = torch.where(share > 0, share.clamp(min=1e-6) ** -power, 0.0)
    return F.pad(weight / (weight * share).sum(), (0, len(CLASSES) - SCORED)).float()


def segmentation_loss(outputs: Tensor | dict, target: Tensor, weight: Tensor, aux_weight: float) -> Tensor:
    """Cross entropy per pixel, unknown pixels left out, and the auxiliary classifier's where the network has one."""
    if isinstance(outputs, dict):
        parts = [segmentation_loss(outputs[name], target, weight, 0) for name in ("out", "aux")]
        return parts[0] + aux_weight * parts[1]
    return F.cross_entropy(outputs.float(), target, weight, ignore_index=UNKNOWN, reduction="sum") / target.numel()


def train_epoch(model, optimiser, tiles: Tiles, weight: Tensor, recipe: Recipe, runtime: setup.Runtime, epoch: int, seed: int) -> dict:
    """One pass over the training tiles, `epoch` counted from 0: mean loss over all processes and the last learning rate."""
    model.train()
    setup.seed_everything(seed, epoch, setup.rank())  # dropout: each epoch can be repeated alone, which is what --resume needs
    generator = torch.Generator().manual_seed(setup.mixed_seed(seed, epoch))
    pipeline, turn, size = recipe.train_pipeline(epoch), Symmetries(), recipe.train_size(epoch)
    loss_sum, count, steps = torch.zeros((), device=runtime.device), 0, -(-len(tiles) // recipe.batch_size)
    walk = batches(len(tiles), recipe.batch_size, generator, turn.draws + pipeline.draws)
    for step, (index, u, share) in enumerate(tqdm(walk, f"epoch {epoch + 1}", steps, leave=False, disable=setup.rank() > 0 or None)):
        training.set_lr(optimiser, recipe.lr * recipe.schedule(epoch + step / steps, recipe.epochs))
        both = runtime.send(torch.cat([tiles.images[index], tiles.labels[index, None]], 1))
        both = turn(both, u[:, : turn.draws])
        images, target = pipeline(both[:, :3], u[:, turn.draws :]), shrink_labels(both[:, 3], size).long()
        with runtime.autocast():
            loss = segmentation_loss(model(images), target, weight, recipe.aux_weight)
        optimiser.zero_grad(set_to_none=True)
        (loss * share).backward()
        optimiser.step()
        loss_sum += loss.detach() * len(index)
        count += len(index)
    loss_sum, count = setup.total(loss_sum, count)
    return {"lr": optimiser.param_groups[0]["lr"], "train_loss": loss_sum / count}


def train(model, recipe: Recipe, splits, folder: Path, settings: dict, runtime: setup.Runtime, args) -> list[dict]:
    """Train all epochs, a log line and a complete checkpoint after each; returns the history, one dict an epoch."""
    model = runtime.place(model)
    optimiser, parallel = training.make_optimiser(model, recipe), setup.parallel(model, runtime)
    weight = class_weights(splits.train.labels, recipe.class_weights).to(runtime.device)

    def one_epoch(epoch: int) -> dict:
        numbers = train_epoch(parallel, optimiser, splits.train, weight, recipe, runtime, epoch, args.seed)
        return numbers | p2_models.evaluate(model, splits.validation, runtime)

    return training.walk(recipe, model, optimiser, folder, settings, runtime, args.resume, one_epoch)


def main(args: argparse.Namespace) -> dict:
    """Train one model and write its items; returns what run.json holds: the history, the kept epoch's numbers, settings, origin."""
    recipe = p2_recipes.recipe(args.report, args.model, args.quick, training.changes(args))
    runtime = setup.start(args)
    weights = training.starting_weights(args, recipe)
    splits = load_p2(args.data, recipe.image_size, *p2_recipes.tile_counts(args))
    folder = setup.writable_folder(p2_recipes.run_folder(args, splits.name))
    model = p2_models.build(recipe.network, weights)
    settings = training.run_settings(recipe, weights, splits.describe(), runtime, args)
    history = train(model, recipe, splits, folder, settings, runtime, args)
    return p2_items.write(args, runtime, recipe, folder, {"history": history, "settings": settings}, splits.validation)


if __name__ == "__main__":
    cli.run(main, ARGS)
