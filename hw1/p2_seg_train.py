"""hw1 problem 2 (f23: 3), items 2.3 and 3.3: train a report's segmentation model A or B, or one of ours: best (EfficientNet-Lite2 from
ImageNet weights under a feature pyramid) and scratch (a small residual net from random ones).

Reported mIoU on the validation tiles: f22a A 0.669958, B 0.730315; f22b A 0.6927, B 0.7475; f23 A 0.4525, B 0.7042. Every mIoU is the
course's, over the whole set at 512 px, whatever the training's --image-size. Writes OUT/checkpoints/p2-<report>-<model>/ (the early, middle
and final epoch, best.pth, last.pth) and results/<item>.json. Where reports have the same recipe, f22a and f22b for A, f22a and f23 for B,
one training is both's.

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
    parser.add_argument("--model", choices=("A", "B", "best", "scratch"), required=True)
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

from common import classification, setup, training
from common.augment import Pipeline, to_device_of
from common.data import batches
from hw1 import p2_items, p2_models, p2_recipes
from hw1.p2_classes import CLASSES, SCORED, UNKNOWN
from hw1.p2_data import Tiles, load_p2, shrink_labels
from hw1.p2_recipes import Recipe


def class_weights(pixels: Tensor, power: float) -> Tensor:
    """A weight for each of the seven classes, of which there are so many `pixels` (7,): its share to the power of -`power`; 0 for unknown.

    A pixel's mean weight is 1.
    """
    counts = pixels[:SCORED].double()
    share = counts / counts.sum()
    weight = torch.where(share > 0, share.clamp(min=1e-6) ** -power, 0.0)
    return F.pad(weight / (weight * share).sum(), (0, len(CLASSES) - SCORED)).float()


def segmentation_loss(outputs: Tensor | dict, target: Tensor, weight: Tensor, aux_weight: float) -> Tensor:
    """Cross entropy per pixel, unknown pixels left out, and the auxiliary classifier's where the network has one."""
    if isinstance(outputs, dict):
        parts = [segmentation_loss(outputs[name], target, weight, 0) for name in ("out", "aux")]
        return parts[0] + aux_weight * parts[1]
    return F.cross_entropy(outputs.float(), target, weight, ignore_index=UNKNOWN, reduction="sum") / target.numel()


def train_epoch(model, optimiser, tiles: Tiles, recipe: Recipe, runtime: setup.Runtime, epoch: int) -> dict:
    """One pass over the training tiles, on the device, `epoch` counted from 0: mean loss over all processes and the last learning rate."""
    model.train()
    setup.seed_everything(runtime.seed, epoch, setup.rank())  # dropout: each epoch can be repeated alone, which is what --resume needs
    generator = torch.Generator().manual_seed(setup.mixed_seed(runtime.seed, epoch))
    together, alone, size = Pipeline(*recipe.geometric), recipe.train_pipeline(epoch), recipe.train_size(epoch)
    weight = class_weights(tiles.pixels, recipe.class_weights)
    loss_sum, count, steps = torch.zeros((), device=runtime.device), 0, -(-len(tiles) // recipe.batch_size)
    walk = batches(len(tiles), recipe.batch_size, generator, together.draws + alone.draws)
    for step, (index, u, share) in enumerate(tqdm(walk, f"epoch {epoch + 1}", steps, leave=False, disable=setup.rank() > 0 or None)):
        lr = recipe.lr * recipe.schedule(epoch + step / steps, recipe.epochs)
        training.set_lr(optimiser, lr)
        chosen = to_device_of(index, tiles.images)
        both = torch.cat([tiles.images[chosen], tiles.labels[chosen, None]], 1)
        both = together(both, u[:, : together.draws])
        images, target = alone(both[:, :3], u[:, together.draws :]), shrink_labels(both[:, 3], size).long()
        with runtime.autocast():
            loss = segmentation_loss(model(images), target, weight, recipe.aux_weight)
        optimiser.zero_grad(set_to_none=True)
        (loss * share).backward()
        optimiser.step()
        loss = loss.detach()  # see speed.CudaGraphs
        loss_sum += loss * len(index)
        count += len(index)
    loss_sum, count = setup.sum_over_processes(loss_sum, count)
    return {"lr": lr, "train_loss": loss_sum / count}


def main(args: argparse.Namespace) -> dict:
    """Train one model and write its items; returns what run.json holds: the history, the kept epoch's numbers, settings, origin."""
    changed = training.overrides(args)
    recipe = p2_recipes.recipe(args.report, args.model, args.quick, changed)
    runtime = setup.start(args)
    weights = training.starting_weights(args.weights, recipe, args.quick)
    splits = load_p2(args.data, recipe.image_size, *p2_recipes.tile_counts(args.report, args.model, args.quick))
    folder = p2_recipes.run_folder(runtime, args.report, args.model, splits.name, changed)
    model = runtime.place(p2_models.build(recipe.network, weights))
    optimiser = training.make_optimiser(model, recipe)
    average = classification.moving_average(model, optimiser, recipe.average)
    parallel, evaluated = setup.parallel(model, runtime), average.module if average else model
    run = training.Run(folder, recipe, training.run_settings(recipe, weights, splits.describe(), runtime), runtime)
    tiles = splits.train.to(runtime.device)  # 2 GB; gathering a batch on the host took longer than the network's step on an H200
    for epoch in run.epochs(model, optimiser, average):
        numbers = train_epoch(parallel, optimiser, tiles, recipe, runtime, epoch.index)
        epoch.record(**numbers, **p2_models.evaluate(evaluated, splits.validation, runtime))
    if args.report is None:
        return p2_items.write_ours(run, args.model, splits.validation)
    return p2_items.write_reports(run, args.report, args.model, changed)


if __name__ == "__main__":
    cli.run(main, ARGS)
