"""hw2 problem 2, item 2.1 of cv22: learning curves of LeNet and of the residual net that differs from it only in its three blocks.

Reported: at epoch 30 44.9 % and 45.7 % training accuracy, best validation accuracy 52.4 % and 54.3 %, 40 % training accuracy at epochs 11
and 9, final loss 0.012 and 0.011 (training), 0.0108 and 0.0104 (validation). That loss is the starter's, the sum of batch means over the
number of images, so the mean per image over the batch size; both are given. The batches were of 128, not of the starter's 16: each wrong
image costs at least ln 2, so 44.9 % accuracy costs 0.38 per image or more, and 16 * 0.012 is 0.19; 128 * 0.012 is 1.54.

How the report changed its training images is not stated. Here they are cropped and flipped or, with `--combined`, 2.3's combined set. Each
form writes eight plots, results/cv22-2.1.{json,png} or results/cv22-2.1-combined.{json,png}; the one that is run later says in a table
which of them is nearer to the report's training accuracies.

    python hw2/p2_learning_curves.py [--combined]
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import cli


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--combined", action="store_true", help="train with 2.3's combined set in place of crops and flips")
    cli.add_training_arguments(parser, weights=False)
    cli.add_workers(parser)
    cli.add_common_arguments(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    ARGS = parse_args()  # before torch is imported: --help and a wrong argument answer at once

from common import figures, items, results, setup, training
from hw2 import p2_training
from hw2.p2_data import combined, load_cifar
from hw2.p2_recipes import COMBINED, COMBINED_SET, CURVES

ITEM = items.get("cv22 2.1")
NETWORKS = {"LeNet": "lenet", "residual net": "residual"}
QUICK = {"epochs": 8, "batch_size": 32, "lr": 0.02}  # of 128 the quick form's images give too few steps to learn in
QUICK_IMAGES = (180, 20)  # training and validation images of each class
FORMS = {"cv22 2.1": "crops and flips", "cv22 2.1-combined": "the combined set of 2.3"}
REACHED = "epoch of 40 % train accuracy"


def of_report(history: list[dict], batch_size: int) -> dict:
    """What the report gives of a training; the epoch is absent if 40 % is not reached."""
    last, reached = history[-1], [epoch["epoch"] for epoch in history if epoch["train_accuracy"] >= 0.4]
    found = {
        "train accuracy": last["train_accuracy"],
        "best validation accuracy": max(epoch["validation_accuracy"] for epoch in history),
    }
    if reached:
        found[REACHED] = reached[0]
    for split in ("train", "validation"):
        loss = last[f"{split}_loss"]
        found |= {f"{split} loss / batch size": loss / batch_size, f"{split} loss per image": loss}
    return found


def draw(histories: dict[str, list[dict]], batch_size: int):
    """Eight plots: a row for each network, loss and accuracy of training and validation; the loss's scale per image on the right."""
    figure, grid = figures.new_figure(len(histories), 4, height=5.2)
    for row, (name, history) in zip(grid, histories.items(), strict=True):
        epochs = [epoch["epoch"] for epoch in history]
        panels = [(split, what) for what in ("loss", "accuracy") for split in ("train", "validation")]
        for axes, (split, what) in zip(row, panels, strict=True):
            values = [epoch[f"{split}_{what}"] / (batch_size if what == "loss" else 1) for epoch in history]
            axes.plot(epochs, values, color=figures.OKABE_ITO[split == "validation"])
            axes.set_title(f"{name}\n{split} {what}")
            figures.epoch_axis(axes)
            if what == "loss":
                axes.secondary_yaxis("right", functions=(lambda y: y * batch_size, lambda y: y / batch_size)).set_ylabel("per image")
                axes.set_ylabel(f"mean / {batch_size}, the starter's scale")
    return figure


def claims(found: dict[str, dict]) -> list[dict]:
    """What the report says of the two networks, measured here."""
    best = {name: one["best validation accuracy"] for name, one in found.items()}
    reached = {name: one.get(REACHED) for name, one in found.items()}
    loss, accuracy = ({name: one[what] for name, one in found.items()} for what in ("train loss per image", "train accuracy"))
    held_out = {f"{name}, validation": one["validation loss per image"] for name, one in found.items()}
    plain, residual = NETWORKS
    lower = loss[residual] < loss[plain] and held_out[f"{residual}, validation"] < held_out[f"{plain}, validation"]
    sooner = None if None in reached.values() else reached[residual] < reached[plain]
    return [
        ITEM.claim("residual_wins", best[residual] > best[plain], **best),
        ITEM.claim("sooner_at_40", sooner, **{name: epoch for name, epoch in reached.items() if epoch}),
        ITEM.claim("lower_losses", lower, **loss, **held_out),
        ITEM.claim("higher_training_accuracy", accuracy[residual] > accuracy[plain], **accuracy),
    ]


def forms(item: str, found: dict[str, dict], other: dict) -> list[dict]:
    """Both forms' training curves beside the report's, as a table, if `other`, the other form's result or {}, is of the same images."""
    if not other:
        return []
    rows = {FORMS[item]: found, FORMS[other["item"]]: other["reproduced"]}
    columns = [(name, what) for what in ("train accuracy", REACHED) for name in NETWORKS]
    away = {
        form: sum(abs(one[name]["train accuracy"] - ITEM.reported[name]["train accuracy"]) for name in NETWORKS) / 2
        for form, one in rows.items()
    }
    sides = {"reported": ITEM.reported, **rows}
    lines = [[form, *(one[name].get(what) for name, what in columns), away.get(form)] for form, one in sides.items()]
    title = f"Which training images the report had; nearer to its final training accuracies: {min(away, key=away.get)}"
    return [
        {"title": title, "header": ["", *(f"{name}, {what}" for name, what in columns), "mean distance of the accuracies"], "rows": lines}
    ]


def main(args: argparse.Namespace) -> dict:
    """Train both networks and draw their curves; returns the result."""
    runtime, changed = setup.start(args), training.overrides(args)
    recipe = replace(CURVES, **(QUICK if args.quick else {}) | changed)
    recipe = replace(recipe, augment=(COMBINED,)) if args.combined else recipe
    splits = load_cifar(args.data, args.seed)
    if args.quick:
        splits = splits.first_per_class(*QUICK_IMAGES)
    data = splits.describe()
    splits = combined(splits) if args.combined else splits

    histories = {}
    for name, network in NETWORKS.items():
        setup.log(f"{name}:")
        own = replace(recipe, network=network)
        folder = training.run_folder(runtime, f"cv22-{network}" + "-combined" * args.combined, splits.name, changed)
        run = training.Run(folder, own, training.run_settings(own, "none", data, runtime), runtime)
        p2_training.fit(run, splits)
        histories[name] = run.history

    found = {name: of_report(history, recipe.batch_size) for name, history in histories.items()}
    item, other = sorted(FORMS, reverse=args.combined)
    there = setup.from_rank_zero(lambda: results.read_json(results.result_path(args.out, other)))
    comparable = there.get("data") == data and there.get("quick") == args.quick
    settings = training.run_settings(recipe, "none", data, runtime) | results.precision(*histories.values())
    return results.write_result(
        runtime,
        item,
        f"learning curves of LeNet and the residual net, trained with {FORMS[item]}",
        figures={"": draw(histories, recipe.batch_size)},
        reported=ITEM.reported,
        reproduced=found,
        claims=claims(found),
        tables=forms(item, found, there if comparable else {}),
        data=data,
        weights="none",
        **results.origin(*histories.values()),
        deviations=training.deviations(CURVES, settings),
        settings=settings | {"network": list(NETWORKS.values())} | ({"combined set": COMBINED_SET} if args.combined else {}),
    )


if __name__ == "__main__":
    cli.run(main, ARGS)
