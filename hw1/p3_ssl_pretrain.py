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

from common import checkpoints, classification, figures, results, setup, training
from common.augment import Normalise, Pipeline, beside
from common.data import Labelled, Splits, batches
from hw1 import byol, p3_data, p3_models, p3_recipes
from hw1.byol import BYOL

STATED = {
    "network": "resnet50",
    "optimiser": "adam",
    "lr": 1e-4,
    "batch_size": 100,
    "transforms": "ColorJitter(0.8, 0.8, 0.2) p 0.3, Grayscale p 0.2, Flip, GaussianBlur(3, 1-2) p 0.2, Resize, CenterCrop, Normalise",
}
PROBE = 2000  # labelled images on each side that the nearest neighbours are sought among and for
NEIGHBOURS, TEMPERATURE = 20, 0.07


# ---- BYOL ----


def train_epoch(model: nn.Module, networks: BYOL, optimiser, images: Tensor, recipe, runtime: setup.Runtime, epoch: int, seed: int) -> dict:
    """One pass over the images, `epoch` counted from 0; `model` is `networks` as it trains in parallel.

    Returns the mean loss and the share of images whose two views were identical. Raises Incomplete if all were.
    """
    model.train()
    setup.seed_everything(seed, epoch, setup.rank())
    generator = torch.Generator().manual_seed(setup.mixed_seed(seed, epoch))
    pipeline, steps = recipe.train_pipeline(epoch), -(-len(images) // recipe.batch_size)
    loss_sum, same, count = torch.zeros((), device=runtime.device), torch.zeros((), device=runtime.device), 0
    walk = batches(len(images), recipe.batch_size, generator, 2 * pipeline.draws)
    for step, (index, u, weight) in enumerate(tqdm(walk, f"epoch {epoch + 1}", steps, leave=False, disable=setup.rank() > 0 or None)):
        training.set_lr(optimiser, recipe.lr * recipe.schedule(epoch + step / steps, recipe.epochs))
        chosen = images[beside(index, images)]
        view1, view2 = (pipeline(chosen, draws) for draws in u.chunk(2, 1))
        with runtime.autocast():
            loss = model(view1, view2)
        optimiser.zero_grad(set_to_none=True)
        (loss * weight).backward()
        optimiser.step()
        networks.update_target()
        loss_sum += loss.detach() * len(index)
        same += byol.identical(view1, view2).sum()
        count += len(index)
    loss_sum, same, count = setup.total(loss_sum, same, count)
    if same == count:
        raise setup.Incomplete("both views of every image were identical: the augmentation changes nothing, and nothing can be learnt")
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


def pretrain(args: argparse.Namespace, runtime: setup.Runtime, source: p3_data.Source) -> dict:
    """Item 2.1; returns the result."""
    recipe = p3_recipes.pretraining(args, source)
    images = p3_data.load_unlabelled(source, recipe.image_size)[: p3_recipes.QUICK_UNLABELLED if args.quick else None].to(runtime.device)
    target, _ = p3_data.load_target(source, recipe.image_size)
    probe = replace(target, train=some(target.train, PROBE), validation=some(target.validation, PROBE))
    networks = runtime.place(BYOL(*p3_models.build_backbone(recipe.network, recipe.image_size), hidden=recipe.hidden))
    optimiser, parallel = training.make_optimiser(networks, recipe), setup.parallel(networks, runtime)
    folder = setup.writable_folder(p3_recipes.run_folder(args, "byol" + "-crop" * args.crop, source))
    data = {"name": source.name, "unlabelled": len(images), "probe": [len(probe.train), len(probe.validation)]}
    data |= {"digest": target.digest, "digest of the unlabelled": p3_data.unlabelled_digest(source)}
    settings = training.run_settings(recipe, "none", data, runtime, args) | {"decay": byol.DECAY}

    def one_epoch(epoch: int) -> dict:
        numbers = train_epoch(parallel, networks, optimiser, images, recipe, runtime, epoch, args.seed)
        setup.synchronise_buffers(networks)
        return numbers | observe(networks.online_encoder, probe, runtime)

    before = observe(networks.online_encoder, probe, runtime)
    history = training.walk(recipe, networks, optimiser, folder, settings, runtime, args.resume, one_epoch)
    keep_backbone(folder, networks.online_encoder, settings, history)
    return write(args, runtime, recipe, settings, before, history)


@setup.on_rank_zero
def keep_backbone(folder: Path, backbone: nn.Module, settings: dict, history: list[dict]) -> None:
    """Write backbone.pth, and backbone.json with what p3_ssl_finetune.py says of it."""
    checkpoints.save_checkpoint(folder / "backbone.pth", backbone.state_dict())
    results.write_json(folder / "backbone.json", {"settings": settings, "after the last epoch": history[-1]} | results.origin(history))


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
def write(args: argparse.Namespace, runtime: setup.Runtime, recipe, settings: dict, before: dict, history: list[dict]) -> dict:
    """The item; `before` is what was observed of the random network."""
    last = {key: history[-1][key] for key in ("train_loss", "identical_views", *before)}
    return results.write_result(
        args,
        runtime,
        "f23 2.1" + "-crop" * args.crop,
        "pre-training with BYOL" + " and random resized crops" * args.crop,
        figures={"": draw(before, history)},
        reported=STATED,
        reproduced={key: settings[key] for key in STATED} | {"before training": before, "after the last epoch": last},
        claims=[],
        data=settings["data"],
        settings=settings,
        weights="none",
        deviations=training.deviations(p3_recipes.PRETRAIN, settings),
        **results.origin(history),
    )


# ---- with labels ----


def pretrain_supervised(args: argparse.Namespace, runtime: setup.Runtime, source: p3_data.Source) -> dict:
    """The backbone of settings B and D; returns its last epoch's numbers, {} where the course's own backbone is there."""
    course = source.folder / "pretrain_model_SL.pt"
    if not args.quick and setup.from_rank_zero(course.exists):
        setup.log(f"nothing to train: p3_ssl_finetune.py takes {course}")
        return {}
    if args.quick and not p3_data.has_labels(source):
        setup.log("nothing to train: these images have no labels, and the course's supervised backbone is too large for the quick form")
        return {}
    recipe = p3_recipes.adapt(p3_recipes.SUPERVISED, args, source)
    left_out = excluded_file(args, source)
    images, digest = p3_data.load_labelled(source, recipe.image_size, p3_data.read_excluded(left_out))
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(args.seed))
    order = order[: p3_recipes.QUICK_UNLABELLED if args.quick else None]
    cut = int(0.9 * len(order))
    splits = Splits(source.name, images.take(order[:cut]), images.take(order[cut:]), digest)
    backbone, dim = p3_models.build_backbone(recipe.network, recipe.image_size)
    classifier = nn.Sequential(nn.BatchNorm1d(dim, affine=False), nn.Linear(dim, int(images.target.max()) + 1))
    model = p3_models.Transferred(backbone, classifier)
    folder = setup.writable_folder(p3_recipes.run_folder(args, "supervised", source))
    data = splits.describe() | {"digest of the unlabelled": p3_data.unlabelled_digest(source)}
    settings = training.run_settings(recipe, "none", data, runtime, args)
    settings["list of images left out"] = p3_data.digest_or_none(left_out)
    history = classification.train(model, recipe, splits, Pipeline(Normalise()), folder, settings, runtime, args)
    keep_backbone(folder, model.backbone, settings, history)
    return history[-1]


@setup.on_rank_zero
def excluded_file(args: argparse.Namespace, source: p3_data.Source) -> Path | None:
    """`--exclude`, or for the stand-ins the list of dirty images that hw2/p2_final.py --model best has left in --out; quick: no list."""
    if args.exclude or args.quick or source.name != p3_data.STAND_INS:
        return args.exclude
    found = Path(args.out) / "checkpoints/hw2-p2-best/dropped.csv"
    setup.log(f"without the images of {found}" if found.exists() else f"no {found}: dirty images are trained on too")
    return found if found.exists() else None


def main(args: argparse.Namespace) -> dict:
    """Pre-train one backbone; returns the result, or the last epoch's numbers of supervised training."""
    runtime = setup.start(args)
    return (pretrain_supervised if args.supervised else pretrain)(args, runtime, p3_data.find(args))


if __name__ == "__main__":
    cli.run(main, ARGS)
