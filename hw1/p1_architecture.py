"""hw1 problem 1, item 1.1 of f22a (model B), f22b (models A and B) and f23 (model A): the network architectures, drawn.

Reported: a figure. Each network is built, an image of the recipe's size passes through it, and what ran is drawn: stages, output shapes,
parameters and the inside of a block. Needs no data and no weights. Writes results/<report>-1.1.json and a PNG for each network.

    python hw1/p1_architecture.py --report f22a
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import cli

MODELS = {"f22a": "B", "f22b": "AB", "f23": "A"}  # what each report draws


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--report", required=True, choices=sorted(MODELS))
    cli.add_common_arguments(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    ARGS = parse_args()  # before torch is imported: --help and a wrong argument answer at once

from common import items, results, setup
from hw1 import architecture, diagram, p1_models
from hw1.p1_recipes import RECIPES


def draw_model(report: str, model: str):
    """The diagram of a report's model, and its number of parameters."""
    recipe = RECIPES[report, model]
    with architecture.META:
        network = p1_models.build(recipe.network)
    stages = architecture.stages(network, recipe.image_size)
    return diagram.draw(stages, f"{report} model {model}, {recipe.network}"), sum(stage.parameters for stage in stages)


def main(args: argparse.Namespace) -> dict:
    """Draw the report's networks; returns the result, whose numbers are their parameters: {'parameters B': 81508722}."""
    runtime, item, models = setup.start(args), items.get(f"{args.report} 1.1"), MODELS[args.report]
    drawn = {model: draw_model(args.report, model) for model in models}
    recipes = {model: RECIPES[args.report, model] for model in models}
    return results.write_result(
        runtime,
        item.name,
        item.title,
        figures={f"-{model}" * (len(models) > 1): figure for model, (figure, _) in drawn.items()},
        reported=item.reported,
        reproduced={f"parameters {model}": parameters for model, (_, parameters) in drawn.items()},
        claims=[],
        data={},
        settings={model: {"network": recipe.network, "image_size": recipe.image_size} for model, recipe in recipes.items()},
    )


if __name__ == "__main__":
    cli.run(main, ARGS)
