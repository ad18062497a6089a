"""What a training of hw1 problem 1 leaves behind: items 1.2 (accuracy), 1.3 (model A) and 1.4 (model B against A), and our best model's.

A finished run's numbers are in `run.json` beside its checkpoints; item 1.2 is made of the two models' files.
"""

import torch

from common import classification, figures, items, metrics, results, setup, training
from common.data import Labelled
from hw1 import architecture, diagram, p1_models, p1_recipes, reports

LAYERS = {"small_cnn": ("group1", "group2", "fc"), "resnet18_mlp": ("fc",)}  # by network, the stages that its report states layer by layer
WIDENING = "widest linear layer but the last, outputs per input"


def write_ours(run: training.Run, model: str, validation: Labelled) -> dict:
    """Write run.json, p1.pth and the item of a network of ours, 'best' or 'scratch'; returns run.json's content."""
    content = results.write_run(run, p1_recipes.recipe(None, model))
    half, state = p1_models.load_trained(results.save_half(run.folder, "p1.pth", run.kept), run.runtime, "train again")
    logits = classification.make_predictor(half, state["settings"], run.runtime)(validation.images)
    graders = metrics.accuracy(logits.max(1).indices, validation.target)
    settings = content["settings"]
    item, title = items.get(f"hw1-p1 {model}"), reports.start_in_words(settings)
    reproduced = {"accuracy": run.kept["validation_accuracy"], "loss": run.kept["validation_loss"]}
    reproduced[f"accuracy of p1.pth (half precision, mean over {settings['views']} views)"] = graders
    results.write_result(
        run.runtime,
        item.name,
        title,
        figures={"": curves(content, title)},
        reported=item.reported,
        reproduced=reproduced,
        claims=[],
        **results.run_fields(content),
    )
    return content


def write_report(run: training.Run, report: str, model: str, changes: dict) -> dict:
    """Write run.json and the items of a report's model, 'A' or 'B'; returns run.json's content. `changes` are the user's in the recipe."""
    content = results.write_run(run, p1_recipes.recipe(report, model))
    write_accuracy(run.runtime, report, content["settings"]["data"], changes)
    (write_model_a if model == "A" else write_model_b)(run.runtime, report, content)
    return content


@setup.on_rank_zero
def write_accuracy(runtime: setup.Runtime, report: str, data: dict, changes: dict) -> None:
    """Item 1.2 from the best runs of both models, as far as they have been trained on the same data."""
    item = items.get(f"{report} 1.2")
    folders = {model: p1_recipes.run_folder(runtime, report, model, data["name"], changes) for model in "AB"}
    rows = reports.model_rows(runtime, item.name, folders, data, numbers=())
    accuracy = {model: run["kept"]["validation_accuracy"] for model, run in rows.items()}
    results.write_result(
        runtime,
        item.name,
        item.title,
        reported=item.reported,
        reproduced=accuracy,
        claims=reports.b_beats_a(runtime, item.name, "hw1-p1 best", accuracy, data),
        data=data,
        **reports.model_fields(rows),
    )


def setting_rows(stated: dict, run: dict) -> dict:
    """What a run did, under the names of what its report states of the training and of the layers."""
    settings = run["settings"]
    done = {name: settings[name] for name in stated if name in settings} | curve_notes(settings)
    done |= {"weights": "ImageNet"} if done["weights"] == "default" else {}
    if settings["network"] in LAYERS:
        with architecture.META:
            network = p1_models.build(settings["network"])
        found = architecture.stages(network, 32)
        done["layers"] = "; ".join(stage.text for stage in found if stage.name in LAYERS[settings["network"]])
    return done


def curve_notes(settings: dict) -> dict[str, str]:
    """In what the loss that a training minimises differs from the validation's, which is the plain cross entropy; {} if in nothing."""
    extra = [f"{name.replace('_', ' ')} {settings[name]}" for name in ("label_smoothing", "mixup") if settings.get(name)]
    return {"training loss": f"with {' and '.join(extra)}", "validation loss": "without"} if extra else {}


def curves(run: dict, title: str):
    """A run's learning curve; its legend says in what the two losses differ."""
    notes = dict(zip(("train_loss", "validation_loss"), curve_notes(run["settings"]).values(), strict=False))
    return figures.learning_curves({"": run["history"]}, ("loss", "accuracy"), title, notes)


def write_model_a(runtime: setup.Runtime, report: str, run: dict) -> None:
    """Item 1.3: model A's settings beside the report's, and its learning curve."""
    item = items.get(f"{report} 1.3")
    results.write_result(
        runtime,
        item.name,
        f"{item.title}: {run['settings']['network']}",
        figures={"": curves(run, f"{report} model A")},
        reported=item.reported,
        reproduced=setting_rows(item.reported, run),
        claims=[],
        **results.run_fields(run),
    )


def write_model_b(runtime: setup.Runtime, report: str, run: dict) -> None:
    """Item 1.4: model B's settings, its learning curve, and how its modules differ from model A's."""
    item = items.get(f"{report} 1.4")
    made_of = {model: describe_model(report, model) for model in "AB"}
    names = [name for name in made_of["A"] if made_of["A"][name] or made_of["B"][name]]
    header = ["", f"A: {p1_recipes.RECIPES[report, 'A'].network}", f"B: {run['settings']['network']}"]
    rows = [[name, in_words(made_of["A"][name]), in_words(made_of["B"][name])] for name in names]
    table = {"title": "Differences, computed from the modules", "header": header, "rows": rows}
    results.write_result(
        runtime,
        item.name,
        item.title,
        figures={
            "": curves(run, f"{report} model B"),
            "-differences": diagram.draw_table(rows, header, [0.19, 0.36, 0.45], table["title"]),
        },
        reported=item.reported,
        reproduced=setting_rows(item.reported, run) | {f"parameters {model}": made_of[model]["parameters"] for model in "AB"},
        claims=difference_claims(item, made_of["A"], made_of["B"]),
        tables=[table],
        **results.run_fields(run),
    )


def describe_model(report: str, model: str) -> dict:
    """Counts of a model's modules at the report's input size (architecture.describe), and how far a linear layer widens."""
    recipe = p1_recipes.RECIPES[report, model]
    with architecture.META:
        network = p1_models.build(recipe.network)
    hidden = [layer for layer in network.modules() if isinstance(layer, torch.nn.Linear) and layer is not p1_models.last_linear(network)]
    widening = max((layer.out_features / layer.in_features for layer in hidden), default=0.0)
    return architecture.describe(network, recipe.image_size) | {WIDENING: round(widening, 2)}


def in_words(value) -> str:
    """A count, counts by name, or a block's rows by the block's name, as text."""
    if isinstance(value, dict):
        return (
            "; ".join(f"{name}: {', then '.join(inner) if isinstance(inner, list) else inner}" for name, inner in value.items()) or "none"
        )
    return f"{value:,}" if isinstance(value, int | float) else value or "none"


def difference_claims(item: items.Item, a: dict, b: dict) -> list[dict]:
    """What the report says of B against A, measured on the modules."""
    holds = {
        "more_parameters": b["parameters"] > a["parameters"],
        "residual": b["residual blocks"] > 0 == a["residual blocks"],
        "same_network": a == b,
        "stages": b["blocks per stage"] == "3-3-9-3",
        "depthwise": b["depthwise convolutions"] > 0 == a["depthwise convolutions"],
        "kernels": b["convolution kernels"].get("7×7", 0) > a["convolution kernels"].get("7×7", 0),
        "inverted": b[WIDENING] == 4 > a[WIDENING],
        "gelu": set(b["activation"]) == {"GELU"} and set(a["activation"]) == {"ReLU"},
        "layer_norm": all("LayerNorm" in name for name in b["norm"]) and set(a["norm"]) == {"BatchNorm2d"},
    }
    return [item.claim(name, holds[name]) for name in item.claims]
