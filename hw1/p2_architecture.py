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

from torch import nn
from torchvision.models.segmentation.deeplabv3 import ASPPConv

from common import items, results, setup
from hw1 import architecture, diagram, p2_models, p2_recipes
from hw1.p2_data import SIZE


def describe(model: nn.Module) -> dict[str, str]:
    """What the reports compare, counted on the modules as a tile passes through."""
    calls, counts = architecture.run(model, SIZE), architecture.describe(model, SIZE)
    backbone = [call for call in calls if call.is_leaf_layer and {"backbone", "features"} & set(architecture.dotted(call).split("."))]
    families = [architecture.family(call.module) for call in backbone]
    layers = ", ".join(f"{families.count(name)} {name}" for name in ("conv", "linear", "pool") if name in families)
    size = min(call.output_size[-1] for call in backbone)
    aux = sum(p.numel() for name, p in model.named_parameters() if name.startswith("aux_classifier."))
    rates = [module[0].dilation[0] for module in model.modules() if isinstance(module, ASPPConv)]
    learned = [module for module in model.modules() if isinstance(module, nn.ConvTranspose2d)]
    if learned:
        up_sampling = f"transposed convolution {architecture.size_words(learned[0].kernel_size)}, stride {learned[0].stride[0]}, learned"
    else:
        logits = next(call for call in calls if architecture.dotted(call).split(".")[-1] == "classifier")
        up_sampling = f"bilinear interpolation by {SIZE // logits.output_size[-1]}"
    return {
        "backbone": layers + f", blocks {counts['blocks per stage']}" * bool(counts["blocks per stage"]),
        "residual blocks": str(counts["residual blocks"]),
        "output stride of the backbone": str(SIZE // size),
        "ASPP rates": ", ".join(map(str, rates)) or "no ASPP",
        "auxiliary classifier": f"{aux:,} parameters, in training" if aux else "none",
        "up-sampling": up_sampling,
        "normalisation": ", ".join(f"{count} {name}" for name, count in counts["norm"].items()) or "none",
        "parameters": f"{counts['parameters']:,}",
    }


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
    added = [f"{stage.text.split(' · ')[-1]} of {stages[stage.source].output[0]}" for stage in convs]
    return {
        "head": {"holds": wanted and all(layer.startswith("conv") for layer in (first, last)), "found": head.text},
        "pointwise": {"holds": added == ["conv 1×1, 7 of 21"], "found": "; ".join(added) or "none"},
    }


def main(args: argparse.Namespace) -> dict:
    """Draw both networks; returns {"A": the result of the first item, "B": of the second}."""
    runtime, networks = setup.start(args), {model: p2_recipes.RECIPES[args.report, model].network for model in "AB"}
    with architecture.META:
        built = {model: p2_models.build(name) for model, name in networks.items()}
    made_of = {model: describe(network) for model, network in built.items()}
    stages = {model: architecture.stages(network, SIZE) for model, network in built.items()}
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
