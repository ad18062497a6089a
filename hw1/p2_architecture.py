"""hw1 problem 2, items 2.1 and 2.2 (f23: 3.1 and 3.2): the networks of models A and B, drawn, and what sets B apart from A.

Reported: figures, and a list of differences. Each network is built, a 512-px tile passes through it, and what ran is drawn; the table of
differences is counted on the modules. Needs no data and no weights. Writes results/<item>.json and PNGs.

    python hw1/p2_architecture.py --report f22a
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import cli


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--report", required=True, choices=("f22a", "f22b", "f23"))
    cli.add_common_arguments(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    ARGS = parse_args()  # before torch is imported: --help and a wrong argument answer at once

import torch
from torch import nn
from torchvision.models.segmentation.deeplabv3 import ASPPConv

from common import items, results, setup
from hw1 import architecture, diagram, p2_models, p2_recipes, tracing
from hw1.p2_data import SIZE
from hw1.tracing import Record, trace


def layer_counts(layers: list) -> str:
    """'13 conv, 5 pool' from traced layers."""
    families = [layer.family for layer in layers]
    return ", ".join(f"{families.count(name)} {name}" for name in ("conv", "linear", "pool") if name in families)


def describe(model: nn.Module, x: torch.Tensor) -> dict[str, str]:
    """What the reports compare, counted on the modules as a tile `x` passes through."""
    root, counts = trace(model, x), architecture.describe(model, x)
    backbone = next(record for record in root.walk() if record.name.split(".")[-1] in ("backbone", "features"))
    size = min(layer.output[-1] for layer in backbone.layers() if len(layer.output) == 3)
    aux = sum(p.numel() for name, p in model.named_parameters() if name.startswith("aux_classifier."))
    rates = [module[0].dilation[0] for module in model.modules() if isinstance(module, ASPPConv)]
    blocks = f", blocks {counts['blocks per stage']}" if counts["blocks per stage"] else ""
    return {
        "backbone": layer_counts(backbone.layers()) + blocks,
        "residual blocks": str(counts["residual blocks"]),
        "output stride of the backbone": str(x.shape[-1] // size),
        "ASPP rates": ", ".join(map(str, rates)) or "no ASPP",
        "auxiliary classifier": f"{aux:,} parameters, in training" if aux else "none",
        "up-sampling": up_sampling(root, model),
        "normalisation": ", ".join(f"{count} {name}" for name, count in counts["norm"].items()) or "none",
        "parameters": f"{counts['parameters']:,}",
    }


def up_sampling(root: Record, model: nn.Module) -> str:
    """How the logits come to the input's size."""
    learned = [module for module in model.modules() if isinstance(module, nn.ConvTranspose2d)]
    if learned:
        return f"transposed convolution {architecture.size_words(learned[0].kernel_size)}, stride {learned[0].stride[0]}, learned"
    last = [layer for layer in root.layers() if layer.family == "resize"][-1]
    return f"bilinear interpolation by {last.output[-1] // last.input[-1]}"


def differences(a: dict, b: dict) -> dict[str, dict]:
    """What the reports say of B against A, by the claims' names in items.toml, measured on what `describe` found."""
    return {
        "residual_backbone": {"holds": b["residual blocks"] != "0" == a["residual blocks"]},
        "interpolates": {"holds": "bilinear" in b["up-sampling"] and "transposed" in a["up-sampling"]},
        "auxiliary_classifier": {"holds": "parameters" in b["auxiliary classifier"] and a["auxiliary classifier"] == "none"},
        "aspp": {"holds": "," in b["ASPP rates"]},
    }


def head_layers(stages: list[architecture.Stage]) -> dict[str, dict]:
    """What f22b says of its model B's head and of the layer that it adds, read from the network's stages, with what was found there."""
    head = next(stage for stage in stages if stage.name.endswith("classifier"))
    first, *between, last = head.text.split(" · ")
    wanted = len(between) == 3 and between[:2] == ["batch norm", "ReLU"] and between[2].startswith("dropout")
    convs = [stage for stage in stages[stages.index(head) + 1 :] if stage.kind == "conv"]
    added = [f"{stage.text} of {stages[stage.sources[0]].output[0]}" for stage in convs]
    return {
        "head": {"holds": wanted and all(layer.startswith("conv") for layer in (first, last)), "found": head.text},
        "pointwise": {"holds": added == ["conv 1×1, 7 of 21"], "found": "; ".join(added) or "none"},
    }


def main(args: argparse.Namespace) -> dict:
    """Draw both networks; returns {"A": the result of the first item, "B": of the second}."""
    runtime, networks = setup.start(args), {model: p2_recipes.RECIPES[args.report, model].network for model in "AB"}
    with tracing.WITHOUT_VALUES:
        built, x = {model: p2_models.build(name).eval() for model, name in networks.items()}, torch.zeros(1, 3, SIZE, SIZE)
    made_of = {model: describe(network, x) for model, network in built.items()}
    stages = {model: architecture.stages(network, x) for model, network in built.items()}
    measured = differences(made_of["A"], made_of["B"]) | (head_layers(stages["B"]) if args.report == "f22b" else {})
    rows = [[name, made_of["A"][name], made_of["B"][name]] for name in made_of["A"]]
    table = {"title": "Differences, computed from the modules", "header": ["", *(f"{m}: {networks[m]}" for m in "AB")], "rows": rows}
    written = {}
    for number, model in enumerate("AB", 1):
        item = items.get(p2_recipes.item(args.report, number))
        second = {"tables": [table]} if model == "B" else {}
        drawn = {"": diagram.draw(stages[model], f"{args.report} model {model}, {networks[model]}")}
        if second:
            drawn["-differences"] = diagram.draw_table(rows, table["header"], [0.24, 0.36, 0.40], table["title"])
        written[model] = results.write_result(
            runtime,
            item.name,
            f"architecture of model {model}, {networks[model]}" + ", and its differences from A" * bool(second),
            figures=drawn,
            reported=item.reported,
            reproduced={"parameters": sum(stage.parameters for stage in stages[model])},
            claims=[item.claim(name, **measured[name]) for name in item.claims],
            data={},
            settings={"network": networks[model], "image_size": SIZE},
            **second,
        )
    return written


if __name__ == "__main__":
    cli.run(main, ARGS)
