"""What a training of hw1 problem 2 leaves behind: the item with both models' mIoU (2.3, in f23 3.3), and our best model's."""

import argparse
from pathlib import Path

from common import results, setup
from hw1 import p2_models, p2_recipes
from hw1.p2_classes import CLASSES, SCORED
from hw1.p2_data import Tiles
from hw1.p2_recipes import Recipe


def write(args: argparse.Namespace, runtime: setup.Runtime, recipe: Recipe, folder: Path, run: dict, validation: Tiles) -> dict:
    """Complete `run`, its history and settings, write it as run.json, and write the model's item; returns run.json's content."""
    run = results.write_run(args, runtime, p2_recipes.recipe(args.report, args.model), recipe, folder, run)
    if args.model == "best":
        model, _ = p2_models.load_trained(results.save_half(folder, "p2.pth", run["kept"]), runtime, "train again")
        plain, turned = (p2_models.evaluate(model, validation, runtime, turns) for turns in (False, True))
        write_best(args, runtime, run, plain, turned)
    else:
        write_miou(args, runtime, run["settings"]["data"])
    return run


def iou_table(kept: dict[str, dict]) -> dict:
    """Each class's IoU, a row for each model's kept epoch."""
    rows = [
        [name, *(f"{epoch[f'iou_{label}']:.4f}" if f"iou_{label}" in epoch else "—" for label in CLASSES[:SCORED])]
        for name, epoch in kept.items()
    ]
    return {"title": "IoU of each class", "header": ["", *CLASSES[:SCORED]], "rows": rows}


@setup.on_rank_zero
def write_best(args: argparse.Namespace, runtime: setup.Runtime, run: dict, plain: dict, turned: dict) -> None:
    """Our own model; `plain` and `turned` are of p2.pth, the form in which the graders' script uses it, without and with --tta."""
    title = "our own segmentation model from random weights"
    results.write_result(
        args,
        runtime,
        p2_recipes.item(None, 3),
        title,
        figures={"": results.curves({"": run["history"]}, ("loss", "miou"), title)},
        reported={"mIoU": "with published weights: 0.669958, 0.6927 (A of f22a, f22b), 0.730315, 0.7475, 0.7042 (B of f22a, f22b, f23)"},
        reproduced={
            "mIoU": run["kept"]["validation_miou"],
            "mIoU of p2.pth (half precision)": plain["validation_miou"],
            "mIoU of p2.pth with --tta": turned["validation_miou"],
        },
        claims=[],
        tables=[iou_table({f"epoch {run['kept']['epoch']}": run["kept"], "p2.pth": plain, "p2.pth, --tta": turned})],
        **results.run_fields(run),
    )


@setup.on_rank_zero
def write_miou(args: argparse.Namespace, runtime: setup.Runtime, data: dict) -> None:
    """The item from the best runs of both models, as far as they have been trained on the same data."""
    item = p2_recipes.item(args.report, 3)
    both = results.model_rows(args, item, p2_recipes.run_folder, data, numbers=("loss", "miou"))
    kept = {model: run["kept"] for model, run in both.items()}
    miou = {model: epoch["validation_miou"] for model, epoch in kept.items()}
    results.write_result(
        args,
        runtime,
        item,
        "mIoU on validation",
        figures={"": results.curves({model: run["history"] for model, run in both.items()}, ("loss", "miou"), f"{item}: models A and B")},
        reported={model: p2_recipes.RECIPES[args.report, model].reported for model in "AB"},
        reproduced=miou,
        claims=[{"claim": "B beats A", "holds": miou["B"] > miou["A"], **miou}] if len(both) == 2 else [],
        tables=[iou_table(kept)],
        data=data,
        **results.model_fields(both),
    )
