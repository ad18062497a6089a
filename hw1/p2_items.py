"""What a training of hw1 problem 2 leaves behind: the item with both models' mIoU (2.3, in f23 3.3), and our own models'."""

from common import figures, items, results, setup, training
from hw1 import architecture, p2_models, p2_recipes, reports
from hw1.p2_classes import CLASSES, SCORED
from hw1.p2_data import Tiles


def write_ours(run: training.Run, model: str, validation: Tiles) -> dict:
    """Write run.json, p2.pth, which the graders' script uses, and the item of 'best' or 'scratch'; returns run.json's content."""
    written = results.write_run(run, p2_recipes.recipe(None, model))
    half, _ = p2_models.load_trained(results.save_half(run.folder, "p2.pth", run.kept), run.runtime, "train again")
    plain, turned = (p2_models.evaluate(half, validation, run.runtime, turns) for turns in (False, True))
    item, title = items.get(f"hw1-p2 {model}"), reports.start_in_words(written["settings"])
    table = iou_table({f"epoch {run.kept['epoch']}": run.kept, "p2.pth": plain, "p2.pth, --tta": turned})
    other = "scratch" if model == "best" else "best"
    there = results.read_json(results.result_path(run.runtime.out, f"hw1-p2 {other}"))
    if there and there["quick"] == run.runtime.quick and results.same_data(there["data"], written["settings"]["data"]):
        name, *iou = there["tables"][0]["rows"][0]
        table["rows"].append([f"{other}, {name}", *iou])
    setup.from_rank_zero(
        lambda: results.write_result(
            run.runtime,
            item.name,
            title,
            figures={"": figures.learning_curves({"": run.history}, ("loss", "miou"), title)},
            reported=item.reported,
            reproduced={
                "mIoU": run.kept["validation_miou"],
                "mIoU of p2.pth (half precision)": plain["validation_miou"],
                "mIoU of p2.pth with --tta": turned["validation_miou"],
            },
            claims=[],
            tables=[table],
            **results.run_fields(written),
        )
    )
    return written


def write_reports(run: training.Run, report: str, model: str, changed: dict) -> dict:
    """Write run.json and the item of each report that has this training; returns run.json's content."""
    written = results.write_run(run, p2_recipes.recipe(report, model))
    for name, _ in p2_recipes.same_training(report, model):
        write_miou(run.runtime, name, written["settings"]["data"], changed)
    return written


@setup.on_rank_zero
def write_miou(runtime: setup.Runtime, report: str, data: dict, changed: dict) -> None:
    """A report's item from the best runs of both models, as far as they have been trained on the same data."""
    item = items.get(p2_recipes.item(report, 3))
    folders = {model: p2_recipes.run_folder(runtime, report, model, data["name"], changed) for model in "AB"}
    both = reports.model_rows(runtime, item.name, folders, data, numbers=("loss", "miou"))
    kept = {model: row["kept"] for model, row in both.items()}
    miou = {model: epoch["validation_miou"] for model, epoch in kept.items()}
    histories = {model: row["history"] for model, row in both.items()}
    notes = {f"{model} train_loss": auxiliary_note(row["settings"]) for model, row in both.items()}
    results.write_result(
        runtime,
        item.name,
        item.title,
        figures={"": figures.learning_curves(histories, ("loss", "miou"), f"{item.name}: {' and '.join(histories)}", notes)},
        reported=item.reported,
        reproduced=miou,
        claims=reports.b_beats_a(runtime, item.name, "hw1-p2 best", miou, data),
        tables=[iou_table(kept)],
        data=data,
        **reports.model_fields(both),
    )


def auxiliary_note(settings: dict) -> str:
    """In what a training's loss differs from the validation's: the auxiliary classifier's is in it, where the network has one; else ''."""
    with architecture.META:
        network = p2_models.build(settings["network"])
    return f"with {settings['aux_weight']} of the auxiliary loss" if hasattr(network, "aux_classifier") else ""


def iou_table(kept: dict[str, dict]) -> dict:
    """Each class's IoU, a row for each model's kept epoch."""
    rows = [
        [name, *(f"{epoch[f'iou_{label}']:.4f}" if f"iou_{label}" in epoch else "—" for label in CLASSES[:SCORED])]
        for name, epoch in kept.items()
    ]
    return {"title": "IoU of each class", "header": ["", *CLASSES[:SCORED]], "rows": rows}
