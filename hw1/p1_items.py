"""What a training of hw1 problem 1 leaves behind: items 1.2 (accuracy), 1.3 (model A) and 1.4 (model B against A), and our best model's.

A finished run's numbers are in `run.json` beside its checkpoints; item 1.2 is made of the two models' files.
"""

import argparse
from pathlib import Path

import torch

from common import figures, metrics, results, setup
from common.data import Labelled
from hw1 import p1_models, p1_recipes
from hw1.architecture import describe, stages
from hw1.p1_recipes import Recipe

STATED = {  # by report, what its items 1.3 and 1.4 say; names as in Recipe.settings()
    "f22a": {"optimiser": "sgd", "lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4, "schedule": "constant", "label_smoothing": 0.0},
    "f22b": {"optimiser": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 2e-5, "schedule": "cosine", "label_smoothing": 0.1}
    | {"batch_size": 128, "transforms": "AutoAugment, then random erasing"},
    "f23": {"optimiser": "adam", "lr": 1e-4, "schedule": "warm_up_then_linear", "batch_size": 32, "validation_batch": 20}
    | {"image_size": 224, "keep": "loss"}
    | {"transforms": "Resize 224, horizontal flip 0.5, rotation 10 degrees, ImageNet normalisation"},
}
STATED_LAYERS = {  # by network, the stages that its report describes layer by layer, and how
    "small_cnn": (
        ("group1", "group2", "fc"),
        "2 groups of convolution, batch norm, ReLU, max pool; 3 linear layers with 2 ReLU",
    ),
    "resnet18_mlp": (("fc",), "in place of the last layer an MLP of 3 linear layers with 2 ReLU and 2 dropout 0.2"),
}
STATED_EPOCHS = {("f22a", "A"): 90, ("f22a", "B"): 200, ("f22b", "A"): 50, ("f22b", "B"): 20, ("f23", "A"): 100, ("f23", "B"): 100}
REPORTED_OURS = {
    "scratch": "from random weights: 0.5544 (f22a A), 0.6416 (f22b A), 0.6460 (f23 A)",
    "best": "from ImageNet weights: 0.8976 (f22a B), 0.9052 (f22b B), 0.8628 (f23 B)",
}
WIDENING = "widest linear layer but the last, outputs per input"
COMPARED = {  # what each report's item 1.4 is about
    "f22a": "number of parameters and use of residuals",
    "f22b": "stage ratio, depthwise convolution, inverted bottleneck, larger kernel, GELU, layer norm",
    "f23": "as A, with ImageNet weights",
}


def write(args: argparse.Namespace, runtime: setup.Runtime, recipe: Recipe, folder: Path, run: dict, validation: Labelled) -> dict:
    """Complete `run`, its history and settings, write it as run.json, and write the model's items; returns run.json's content."""
    run = results.write_run(args, runtime, p1_recipes.recipe(args.report, args.model), recipe, folder, run)
    if args.report is None:
        write_ours(args, runtime, run, graders_accuracy(results.save_half(folder, "p1.pth", run["kept"]), runtime, validation))
    else:
        write_accuracy(args, runtime, run["settings"]["data"])
        (write_model_a if args.model == "A" else write_model_b)(args, runtime, run)
    return run


@setup.on_rank_zero
def write_ours(args: argparse.Namespace, runtime: setup.Runtime, run: dict, graders: float) -> None:
    """A network of ours; `graders` is the accuracy of p1.pth, the form in which the graders' script uses it."""
    settings = run["settings"]
    start = {"none": "random weights", "default": "ImageNet weights"}.get(settings["weights"], settings["weights"])
    title = f"{settings['network']} from {start} at {settings['image_size']} px"
    reproduced = {"accuracy": run["kept"]["validation_accuracy"], "loss": run["kept"]["validation_loss"]}
    reproduced[f"accuracy of p1.pth (half precision, mean over {settings['views']} views)"] = graders
    results.write_result(
        args,
        runtime,
        f"hw1-p1 {args.model}",
        title,
        figures={"": curves(run, title)},
        reported={"accuracy": REPORTED_OURS[args.model]},
        reproduced=reproduced,
        claims=[],
        **results.run_fields(run),
    )


def graders_accuracy(path: Path, runtime: setup.Runtime, validation: Labelled) -> float:
    """The accuracy of p1_inference.py with a checkpoint."""
    model, state = p1_models.load_trained(path, runtime, "train again")
    logits = p1_recipes.grader(model, state["settings"], runtime)(validation.images)
    return metrics.accuracy(logits.max(1).indices, validation.target)


@setup.on_rank_zero
def write_accuracy(args: argparse.Namespace, runtime: setup.Runtime, data: dict) -> None:
    """Item 1.2 from the best runs of both models, as far as they have been trained on the same data."""
    both = results.model_rows(args, f"{args.report} 1.2", p1_recipes.run_folder, data, numbers=())
    accuracy = {model: run["kept"]["validation_accuracy"] for model, run in both.items()}
    claims = [{"claim": "B beats A", "holds": accuracy["B"] > accuracy["A"], **accuracy}] if len(both) == 2 else []
    results.write_result(
        args,
        runtime,
        f"{args.report} 1.2",
        "top-1 accuracy on validation",
        reported={model: p1_recipes.RECIPES[args.report, model].reported for model in "AB"},
        reproduced=accuracy,
        claims=claims,
        data=data,
        **results.model_fields(both),
    )


def setting_rows(report: str, model: str, run: dict) -> tuple[dict, dict]:
    """What the report states of a model's training and layers and what the run did, under the same names."""
    stated = {"epochs": STATED_EPOCHS[report, model], **STATED[report], "weights": "none" if model == "A" else "ImageNet"}
    done = {name: run["settings"][name] for name in stated} | curve_notes(run["settings"])
    done |= {"weights": "ImageNet"} if done["weights"] == "default" else {}
    network = run["settings"]["network"]
    if network in STATED_LAYERS:
        stated["layers"], done["layers"] = STATED_LAYERS[network][1], layers(network)
    return stated, done


def layers(network: str) -> str:
    """The layers, in order, of those stages of a network that its report describes."""
    found = stages(p1_models.build(network), torch.zeros(1, 3, 32, 32))
    return "; ".join(stage.text for stage in found if stage.name in STATED_LAYERS[network][0])


def curve_notes(settings: dict) -> dict[str, str]:
    """In what the loss that a training minimises differs from the validation's, which is the plain cross entropy; {} if in nothing."""
    extra = [f"{name.replace('_', ' ')} {settings[name]}" for name in ("label_smoothing", "mixup") if settings.get(name)]
    return {"training loss": f"with {' and '.join(extra)}", "validation loss": "without"} if extra else {}


def curves(run: dict, title: str):
    """A run's learning curve; its legend says in what the two losses differ."""
    notes = dict(zip(("train_loss", "validation_loss"), curve_notes(run["settings"]).values(), strict=False))
    return results.curves({"": run["history"]}, ("loss", "accuracy"), title, notes)


@setup.on_rank_zero
def write_model_a(args: argparse.Namespace, runtime: setup.Runtime, run: dict) -> None:
    """Item 1.3: model A's settings beside the report's, and its learning curve."""
    reported, reproduced = setting_rows(args.report, "A", run)
    title = f"model A's implementation: {run['settings']['network']}"
    results.write_result(
        args,
        runtime,
        f"{args.report} 1.3",
        title,
        figures={"": curves(run, f"{args.report} model A")},
        reported=reported,
        reproduced=reproduced,
        claims=[],
        **results.run_fields(run),
    )


@setup.on_rank_zero
def write_model_b(args: argparse.Namespace, runtime: setup.Runtime, run: dict) -> None:
    """Item 1.4: model B's settings, its learning curve, and how its modules differ from model A's."""
    reported, reproduced = setting_rows(args.report, "B", run)
    made_of = {model: describe_model(args.report, model) for model in "AB"}
    names = [name for name in made_of["A"] if made_of["A"][name] or made_of["B"][name]]
    table = {
        "title": "Differences, computed from the modules",
        "header": ["", f"A: {p1_recipes.RECIPES[args.report, 'A'].network}", f"B: {run['settings']['network']}"],
        "rows": [[name, in_words(made_of["A"][name]), in_words(made_of["B"][name])] for name in names],
    }
    results.write_result(
        args,
        runtime,
        f"{args.report} 1.4",
        "model B's implementation, against A",
        figures={
            "": curves(run, f"{args.report} model B"),
            "-differences": figures.table(table["rows"], table["header"], [0.19, 0.36, 0.45], table["title"]),
        },
        reported=reported | {"compared": COMPARED[args.report]},
        reproduced=reproduced | {f"parameters {model}": made_of[model]["parameters"] for model in "AB"},
        claims=difference_claims(args.report, made_of["A"], made_of["B"]),
        tables=[table],
        **results.run_fields(run),
    )


def describe_model(report: str, model: str) -> dict:
    """Counts of a model's modules at the report's input size (common.architecture.describe), and how far a linear layer widens."""
    recipe = p1_recipes.RECIPES[report, model]
    network = p1_models.build(recipe.network)
    hidden = [layer for layer in network.modules() if isinstance(layer, torch.nn.Linear) and layer is not p1_models.last_linear(network)]
    widening = max((layer.out_features / layer.in_features for layer in hidden), default=0.0)
    size = recipe.image_size
    return describe(network, torch.zeros(1, 3, size, size)) | {WIDENING: round(widening, 2)}


def in_words(value) -> str:
    """A count, counts by name, or a block's rows by the block's name, as text."""
    if isinstance(value, dict):
        return (
            "; ".join(f"{name}: {', then '.join(inner) if isinstance(inner, list) else inner}" for name, inner in value.items()) or "none"
        )
    return f"{value:,}" if isinstance(value, int | float) else value or "none"


def difference_claims(report: str, a: dict, b: dict) -> list[dict]:
    """What the report says of B against A, measured on the modules."""
    if report == "f22a":
        return [
            {"claim": "B has more parameters than A", "holds": b["parameters"] > a["parameters"]},
            {"claim": "B uses residual connections, A does not", "holds": b["residual blocks"] > 0 == a["residual blocks"]},
        ]
    if report == "f23":
        return [{"claim": "A and B are the same network", "holds": a == b}]
    return [
        {"claim": "ConvNeXt's stages hold 3-3-9-3 blocks", "holds": b["blocks per stage"] == "3-3-9-3"},
        {
            "claim": "its convolutions are depthwise, DenseNet's are not",
            "holds": b["depthwise convolutions"] > 0 == a["depthwise convolutions"],
        },
        {"claim": "its kernels are larger (7x7)", "holds": b["convolution kernels"].get("7×7", 0) > a["convolution kernels"].get("7×7", 0)},
        {"claim": "inverted bottleneck: four times as wide inside a block", "holds": b[WIDENING] == 4 > a[WIDENING]},
        {"claim": "GELU in place of ReLU", "holds": set(b["activation"]) == {"GELU"} and set(a["activation"]) == {"ReLU"}},
        {
            "claim": "layer norm in place of batch norm",
            "holds": all("LayerNorm" in n for n in b["norm"]) and set(a["norm"]) == {"BatchNorm2d"},
        },
    ]
