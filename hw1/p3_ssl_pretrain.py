"""hw1 problem 3, item 2.1 of f23: pre-train a backbone with BYOL on images without labels.

The report states BYOL with its defaults on a ResNet-50, batch 100, Adam lr 1e-4, and the augmentation of p3_recipes.PRETRAIN; `--crop` puts
the original's RandomResizedCrop back. Every epoch logs the loss, the signs of a collapse, and the accuracy of nearest neighbours on the
labelled set. `--supervised` trains the other backbone of item 2.2, with labels, on the stand-in. Writes OUT/checkpoints/f23-byol*/ (or
f23-supervised*/) with last.pth, backbone.pth, a bare state dict in torchvision's names, and backbone.json, which says how it was trained,
and results/f23-2.1{,-crop}.{json,png}.

    python hw1/p3_ssl_pretrain.py
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import cli
from hw1 import arguments


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--crop", action="store_true", help="RandomResizedCrop, as the original, for Resize and CenterCrop")
    parser.add_argument("--supervised", action="store_true", help="train with the labels of the stand-in instead")
    parser.add_argument("--exclude", type=Path, help="with --supervised: a csv of images to leave out (default: hw2's dropped.csv)")
    arguments.add_backbone_arguments(parser)
    cli.add_training_arguments(parser, weights=False)
    cli.add_common_arguments(parser)
    args = parser.parse_args(argv)
    if args.exclude and not args.supervised:
        parser.error("--exclude is for labelled images; give --supervised with it")
    return args


if __name__ == "__main__":
    ARGS = parse_args()  # before torch is imported: --help and a wrong argument answer at once

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from common import checkpoints, classification, figures, items, results, setup, training
from common.augment import Normalise, Pipeline, to_device_of
from common.data import Labelled, Splits, batches, preload
from hw1 import byol, p3_data, p3_models, p3_recipes
from hw1.byol import BYOL
from hw1.p3_recipes import Choice

PROBE = 2000  # labelled images on each side that the nearest neighbours are sought among and for
NEIGHBOURS, TEMPERATURE = 20, 0.07


# ---- BYOL ----


def train_epoch(model: nn.Module, optimiser, images: Tensor, recipe, runtime: setup.Runtime, epoch: int) -> dict:
    """One pass over the images, `epoch` counted from 0, of a BYOL, which may train in parallel.

    Returns the mean loss and the share of images whose two views were identical. Raises Incomplete if all were.
    """
    model.train()
    networks = getattr(model, "module", model)  # without DistributedDataParallel
    setup.seed_everything(runtime.seed, epoch, setup.rank())
    generator = torch.Generator().manual_seed(setup.mixed_seed(runtime.seed, epoch))
    pipeline, steps = recipe.train_pipeline(epoch), -(-len(images) // recipe.batch_size)
    loss_sum, same, count = torch.zeros((), device=runtime.device), torch.zeros((), device=runtime.device), 0
    walk = batches(len(images), recipe.batch_size, generator, 2 * pipeline.draws)
    for step, (index, u, weight) in enumerate(tqdm(walk, f"epoch {epoch + 1}", steps, leave=False, disable=setup.rank() > 0 or None)):
        training.set_lr(optimiser, recipe.lr * recipe.schedule(epoch + step / steps, recipe.epochs))
        chosen = images[to_device_of(index, images)]
        view1, view2 = (pipeline(chosen, draws) for draws in u.chunk(2, 1))
        with runtime.autocast():
            loss = model(view1, view2)
        optimiser.zero_grad(set_to_none=True)
        (loss * weight).backward()
        optimiser.step()
        networks.update_target()
        loss = loss.detach()  # see speed.CudaGraphs
        loss_sum += loss * len(index)
        same += byol.identical(view1, view2).sum()
        count += len(index)
    loss_sum, same, count = setup.sum_over_processes(loss_sum, same, count)
    if same == count:
        raise cli.Incomplete("both views of every image were identical: the augmentation changes nothing, and nothing can be learnt")
    return {"train_loss": loss_sum / count, "identical_views": same / count}


@setup.evaluation()
def observe(encoder: nn.Module, probe: Splits, runtime: setup.Runtime) -> dict:
    """The signs of a collapse on the probe's training images, and the nearest neighbours' accuracy on its validation images."""
    train, validation = (p3_models.features(encoder, split.images, runtime) for split in (probe.train, probe.validation))
    accuracy = (nearest_labels(train, probe.train.target, validation) == probe.validation.target).double().mean()
    return byol.collapse(train) | {"knn_accuracy": float(accuracy)}


def nearest_labels(feats: Tensor, target: Tensor, query: Tensor) -> Tensor:
    """Labels (M,) of `query` (M, D): the 20 nearest `feats` (N, D) by cosine vote with weight exp(cosine / 0.07) (Wu et al., 2018)."""
    cosine = F.normalize(query, dim=1) @ F.normalize(feats, dim=1).T
    nearest = cosine.topk(min(NEIGHBOURS, len(feats)), 1)
    votes = torch.zeros(len(query), int(target.max()) + 1)
    return votes.scatter_add_(1, target[nearest.indices], (nearest.values / TEMPERATURE).exp()).max(1).indices


def some(split: Labelled, count: int) -> Labelled:
    """Up to `count` images, evenly over the whole split."""
    return split.take(torch.linspace(0, len(split) - 1, min(count, len(split))).long())


def pretrain(choice: Choice, crop: bool, runtime: setup.Runtime) -> dict:
    """Item 2.1; returns the result."""
    recipe = p3_recipes.adapt(p3_recipes.PRETRAIN, choice, runtime.quick)
    recipe = replace(recipe, **p3_recipes.CROP) if crop else recipe
    images = p3_data.load_unlabelled(choice.source, recipe.image_size)
    images = images[: p3_recipes.QUICK_UNLABELLED if runtime.quick else None].to(runtime.device)
    target, _ = p3_data.load_target(choice.source, recipe.image_size)
    probe = replace(target, train=some(target.train, PROBE), validation=some(target.validation, PROBE))
    data = {"name": choice.source.name, "unlabelled": len(images), "probe": [len(probe.train), len(probe.validation)]}
    data |= {"digest": target.digest, "digest of the unlabelled": p3_data.unlabelled_digest(choice.source)}

    networks = runtime.place(BYOL(*p3_models.build_backbone(recipe.network, recipe.image_size), hidden=recipe.hidden))
    optimiser, parallel = training.make_optimiser(networks, recipe), setup.parallel(networks, runtime)
    settings = training.run_settings(recipe, "none", data, runtime) | {"decay": byol.DECAY}
    run = training.Run(p3_recipes.run_folder(runtime, "byol" + "-crop" * crop, choice), recipe, settings, runtime)
    before = observe(networks.online_encoder, probe, runtime)
    for epoch in run.epochs(networks, optimiser):
        numbers = train_epoch(parallel, optimiser, images, recipe, runtime, epoch.index)
        setup.synchronise_buffers(networks)
        epoch.record(**numbers, **observe(networks.online_encoder, probe, runtime))

    keep_backbone(run, networks.online_encoder)
    return write(run, crop, before)


@setup.on_rank_zero
def keep_backbone(run: training.Run, backbone: nn.Module) -> None:
    """Write backbone.pth, and backbone.json with what p3_ssl_finetune.py says of it."""
    checkpoints.save_checkpoint(run.folder / "backbone.pth", backbone.state_dict())
    content = {"settings": run.settings, "after the last epoch": run.history[-1]} | results.origin(run.history)
    results.write_json(run.folder / "backbone.json", content)


def draw(before: dict, history: list[dict]):
    """Loss, signs of a collapse and nearest neighbours' accuracy over the epochs; what is known of the random network at epoch 0."""
    figure, grid = figures.new_figure(1, 3, height=3.6)
    panels = {"loss (0 to 8)": ("train_loss",), "representation": ("spread", "dead", "identical_views"), "20 nearest": ("knn_accuracy",)}
    for axes, (title, keys) in zip(grid[0], panels.items(), strict=True):
        for key in keys:
            points = [(epoch["epoch"], epoch[key]) for epoch in [{"epoch": 0, **before}, *history] if key in epoch]
            axes.plot(*zip(*points, strict=True), label=key.replace("_", " "))
        axes.set_title(title)
        axes.set_ylim(bottom=0)
        figures.epoch_axis(axes)
        axes.legend()
    return figure


@setup.on_rank_zero
def write(run: training.Run, crop: bool, before: dict) -> dict:
    """The item; `before` is what was observed of the random network."""
    item, reported = items.get("f23 2.1" + "-crop" * crop), items.get("f23 2.1").reported
    last = {key: run.history[-1][key] for key in ("train_loss", "identical_views", *before)}
    return results.write_result(
        run.runtime,
        item.name,
        item.title,
        figures={"": draw(before, run.history)},
        reported=reported,
        reproduced={key: run.settings[key] for key in reported} | {"before training": before, "after the last epoch": last},
        claims=[],
        data=run.settings["data"],
        settings=run.settings,
        weights="none",
        deviations=training.deviations(p3_recipes.PRETRAIN, run.settings),
        **results.origin(run.history),
    )


# ---- with labels ----


def pretrain_supervised(choice: Choice, excluded: Path | None, runtime: setup.Runtime) -> dict:
    """The backbone of settings B and D; returns its last epoch's numbers, {} where the course's own backbone is there."""
    source, course = choice.source, choice.source.folder / "pretrain_model_SL.pt"
    if not runtime.quick and setup.from_rank_zero(course.exists):
        setup.log(f"nothing to train: p3_ssl_finetune.py takes {course}")
        return {}
    if runtime.quick and not p3_data.has_labels(source):
        setup.log("nothing to train: these images have no labels, and the course's supervised backbone is too large for the quick form")
        return {}
    recipe = p3_recipes.adapt(p3_recipes.SUPERVISED, choice, runtime.quick)
    left_out = excluded_file(excluded, source, runtime)
    images, digest = p3_data.load_labelled(source, recipe.image_size, p3_data.read_excluded(left_out))
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(runtime.seed))
    order = order[: p3_recipes.QUICK_UNLABELLED if runtime.quick else None]
    cut, pipeline = int(0.9 * len(order)), Pipeline(Normalise())
    splits = Splits(source.name, images.take(order[:cut]), images.take(order[cut:]), digest)
    train_images = preload(splits.train, recipe.train_pipeline(0), runtime)
    validation_images = preload(splits.validation, pipeline, runtime)

    backbone, dim = p3_models.build_backbone(recipe.network, recipe.image_size)
    classifier = nn.Sequential(nn.BatchNorm1d(dim, affine=False), nn.Linear(dim, int(images.target.max()) + 1))
    model = runtime.place(p3_models.Transferred(backbone, classifier))
    optimiser = training.make_optimiser(model, recipe)
    average = classification.moving_average(model, optimiser, recipe.average)
    parallel, evaluated = setup.parallel(model, runtime), average.module if average else model
    settings = training.run_settings(
        recipe, "none", splits.describe() | {"digest of the unlabelled": p3_data.unlabelled_digest(source)}, runtime
    )
    settings["list of images left out"] = p3_data.digest_or_none(left_out)
    run = training.Run(p3_recipes.run_folder(runtime, "supervised", choice), recipe, settings, runtime)
    for epoch in run.epochs(model, optimiser, average):
        trained = classification.train_epoch(parallel, optimiser, train_images, recipe, runtime, epoch.index)
        found = classification.evaluate(evaluated, validation_images, pipeline, recipe.validation_batch, runtime)
        epoch.record(**trained, **found)

    keep_backbone(run, evaluated.backbone)
    return run.history[-1]


@setup.on_rank_zero
def excluded_file(asked: Path | None, source: p3_data.Source, runtime: setup.Runtime) -> Path | None:
    """`--exclude`, or for the stand-ins the list of dirty images that hw2/p2_final.py --model scratch has left in --out; quick: no list."""
    if asked or runtime.quick or source.name != p3_data.STAND_INS:
        return asked
    found = Path(runtime.out) / "checkpoints/hw2-p2-scratch/dropped.csv"
    setup.log(f"without the images of {found}" if found.exists() else f"no {found}: dirty images are trained on too")
    return found if found.exists() else None


def main(args: argparse.Namespace) -> dict:
    """Pre-train one backbone; returns the result, or the last epoch's numbers of supervised training."""
    runtime = setup.start(args)
    choice = Choice(p3_data.find(args.data, args.data_dir), args.backbone, training.overrides(args))
    if args.supervised:
        return pretrain_supervised(choice, args.exclude, runtime)
    return pretrain(choice, args.crop, runtime)


if __name__ == "__main__":
    cli.run(main, ARGS)
