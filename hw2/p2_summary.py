"""hw2 problem 2, item 2.2 of cv22: a network layer by layer, with type, output shape and parameters, as torchinfo sees an image pass.

Reported for ResNet-50, input 3x32x32: 25,557,032 parameters, 97.7 MB, and that the first 10 of the 1000 outputs are used. So are they when
the public test images are labelled; in 2.3 to 2.5 the loss and the validation see all 1000, here as in the author's code. A layer is a
module that holds no others, as often as it is called: ResNet-50 has 158. Functions between modules are not listed: its 16 additions, and
the flattening before the last layer. Prints the table and writes results/cv22-2.2.{json,png}; other networks write
results/cv22-2.2-<network>.{json,png}.

    python hw2/p2_summary.py [--model resnet50|lenet|residual]
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import cli

# Those of p2_models.py:
NETWORKS = (
    "lenet",
    "residual",
    "resnet50",
    "whitened",
    "whitened_residual",
    "whitened_small",
    "tf_efficientnet_lite2",
    "tf_efficientnet_lite0",
    "test_efficientnet",
)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--model", choices=NETWORKS, default="resnet50")
    cli.add_common_arguments(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    ARGS = parse_args()  # before torch is imported: --help and a wrong argument answer at once

import torchinfo

from common import figures, items, results, setup
from hw2 import p2_models

SHOWN = 60  # rows of a column of the figure
HEADER = ["layer", "type", "output", "parameters"]


def dotted(layer: torchinfo.layer_info.LayerInfo) -> str:
    """A layer's name in the network, 'layer1.0.conv1'."""
    above = layer.parent_info
    return f"{dotted(above)}.{layer.var_name}" if above and above.depth else layer.var_name


def as_text(rows: list[list[str]]) -> str:
    """The rows under their header, in columns."""
    widths = [max(len(row[column]) for row in [HEADER, *rows]) for column in range(len(HEADER))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in [HEADER, *rows])


def draw(rows: list[list[str]], title: str):
    """The table in as many columns as it needs, monospaced."""
    parts = [rows[start : start + SHOWN] for start in range(0, len(rows), SHOWN)]
    size, line = (5.6, 0.103) if len(parts) > 2 else (8, 0.145)  # points, and inches a row
    figure, grid = figures.new_figure(1, len(parts), height=0.4 + line * (1 + min(len(rows), SHOWN)))
    for axes, part in zip(grid[0], parts, strict=True):
        axes.axis("off")
        axes.text(0, 1, as_text(part), family="monospace", size=size, va="top", transform=axes.transAxes)
    figure.suptitle(title)
    return figure


def main(args: argparse.Namespace) -> dict:
    """Print and draw the summary; returns the result."""
    runtime = setup.start(args)
    model = p2_models.build(args.model)
    stats = torchinfo.summary(model, (1, 3, 32, 32), device="cpu", verbose=0)
    layers = [layer for layer in stats.summary_list if layer.is_leaf_layer]
    rows = [[dotted(one), one.class_name, "x".join(map(str, one.output_size[1:])), f"{one.num_params:,}"] for one in layers]
    buffers = sum(buffer.numel() * buffer.element_size() for buffer in model.buffers())
    found = {
        "parameters": stats.total_params,
        "megabytes": round((stats.total_param_bytes + buffers) / 2**20, 1),
        "megabytes of parameters alone": round(stats.total_param_bytes / 2**20, 1),
        "layers": len(rows),
    }
    print(as_text(rows))
    print(f"{args.model}: {stats.total_params:,} parameters, with buffers {found['megabytes']} MB in fp32")
    item, is_reported = items.get("cv22 2.2"), args.model == "resnet50"
    return results.write_result(
        runtime,
        item.name if is_reported else f"{item.name}-{args.model}",
        f"layer by layer: {args.model}, input 3x32x32",
        figures={"": draw(rows, f"{args.model}: {stats.total_params:,} parameters")},
        reported=item.reported if is_reported else {},
        reproduced=found,
        claims=[],
        data={},
        settings={"network": args.model, "image_size": 32, **(p2_models.outputs(args.model) or {"outputs": "10"})},
    )


if __name__ == "__main__":
    cli.run(main, ARGS)
