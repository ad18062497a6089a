"""hw1 problem 1: which of the 50 classes our own model confuses, and the twenty pairs that it confuses most.

The network is the one that `p1_train.py --model best` has trained on the same data in --out, else on the course's data the committed
hw1/checkpoints/p1.pth, else whichever --weights names; its labels are those of p1_inference.py. The classes have numbers and no names in
the course's data. Writes results/hw1-p1-confusion.{json,png}.

    python hw1/p1_confusion.py
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import cli

COMMITTED = Path(__file__).resolve().parent / "checkpoints" / "p1.pth"


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--weights", type=Path, help="a checkpoint of p1_train.py (default: see above)")
    cli.add_common_arguments(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    ARGS = parse_args()  # before torch is imported: --help and a wrong argument answer at once

from torch import Tensor

from common import classification, figures, items, metrics, results, setup, training
from common.files import name_and_digest
from hw1 import p1_models, p1_recipes
from hw1.p1_data import P1_CLASSES

PAIRS = 20


def draw(confusion: Tensor, title: str):
    """The counts (50, 50) as a map, true classes from top to bottom; the diagonal is left white, so that the errors are seen."""
    figure, grid = figures.new_figure(height=6.5)
    axes, errors = grid[0, 0], confusion - confusion.diagonal().diag()
    picture = axes.imshow(errors.numpy(), cmap="Blues")
    axes.plot([0, len(errors) - 1], [0, len(errors) - 1], color="0.8", lw=0.6)
    for (true, predicted), count in most_confused(confusion, 5):
        axes.annotate(f"{count}", (predicted, true), (5, 0), textcoords="offset points", va="center", size=8)
    ticks = range(0, len(errors), 5)
    axes.set(xlabel="predicted class", ylabel="true class", title=title, xticks=ticks, yticks=ticks)
    figure.colorbar(picture, ax=axes, label="images")
    return figure


def most_confused(confusion: Tensor, count: int) -> list[tuple[tuple[int, int], int]]:
    """The `count` cells off the diagonal with most images: ((true, predicted), images), equal ones in the order of the classes."""
    errors = (confusion - confusion.diagonal().diag()).flatten()
    cells = errors.sort(descending=True, stable=True).indices[:count].tolist()
    return [(divmod(cell, len(confusion)), int(errors[cell])) for cell in cells if errors[cell]]


def main(args: argparse.Namespace) -> dict:
    """Classify the validation images and write the item; returns the result."""
    runtime = setup.start(args)
    splits = p1_recipes.load_splits(args.data, None, "best", args.quick)
    trained = p1_recipes.run_folder(runtime, None, "best", splits.name, {}) / "p1.pth"
    committed = splits.name != "synthetic" and not trained.exists()
    path = args.weights or (COMMITTED if committed else trained)
    train = training.train_command(runtime, "hw1/p1_train.py", "--model", "best")
    remedy = "give a checkpoint of p1_train.py" if args.weights else f"make it with: {train}"
    model, state = p1_models.load_trained(path, runtime, remedy)
    settings, validation = state["settings"], splits.validation
    predicted = classification.make_predictor(model, settings, runtime)(validation.images).max(1).indices
    confusion, accuracy = metrics.confusion_matrix(predicted, validation.target, P1_CLASSES), metrics.accuracy(predicted, validation.target)
    share = confusion.diagonal() / confusion.sum(1).clamp(min=1)
    rows = [
        [f"{true}", f"{other}", f"{count}", f"{int(confusion[true].sum())}"] for (true, other), count in most_confused(confusion, PAIRS)
    ]
    item = items.get("hw1-p1 confusion")
    return results.write_result(
        runtime,
        item.name,
        item.title,
        figures={"": draw(confusion, f"{settings['network']}, accuracy {accuracy:.4f}")},
        reported=item.reported,
        reproduced={"accuracy": accuracy, "best class": float(share.max()), "worst class": float(share.min())},
        claims=[],
        tables=[{"title": f"The {len(rows)} most confused pairs", "header": ["true", "predicted", "images", "of"], "rows": rows}],
        data=splits.describe(),
        settings=settings,
        weights=name_and_digest(path),
        deviations=[],
    )


if __name__ == "__main__":
    cli.run(main, ARGS)
