"""hw2 problem 1, item 1 of cv22: 15 scenes by nearest neighbours of tiny images and of bags of SIFT, as two confusion matrices.

Reported accuracy: bag of SIFT 0.628, tiny image 0.231. Prints the grader's line `Accuracy =  <fraction>` for each feature and writes
results/cv22-1.{json,png}. The defaults were chosen on a split of the training images, never on the test images.

    python hw2/p1_scenes.py --feature both
    python hw2/p1_scenes.py --feature bag_of_sift --classifier nearest_neighbor --dataset_path hw2_data/p1_data/p1/
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import cli


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--feature", choices=("tiny_image", "bag_of_sift", "both"), default="both")
    parser.add_argument("--classifier", choices=("nearest_neighbor", "linear_svm"), default="nearest_neighbor")
    parser.add_argument("--dataset_path", "--dataset-path", type=Path, help="folder with train/ and test/, in place of --data")
    metrics_known = ("euclidean", "l1", "cosine", "hellinger")
    parser.add_argument("--metric", choices=metrics_known, default="l1", help="between bags of SIFT")
    parser.add_argument("--k", type=cli.positive_int, default=7, help="neighbours of a bag of SIFT")
    parser.add_argument("--step", type=cli.positive_int, default=4, help="pixels between descriptors")
    parser.add_argument("--bin-size", type=cli.positive_int, default=6, help="pixels of one of a descriptor's 4 x 4 bins")
    parser.add_argument("--vocab-size", type=cli.positive_int, default=1000, help="visual words")
    parser.add_argument("--assign", type=cli.positive_int, default=1, help="words that a descriptor counts for, the nearest")
    parser.add_argument("--tiny-metric", choices=metrics_known[:3], default="l1", help="between tiny images")
    parser.add_argument("--tiny-k", type=cli.positive_int, default=5, help="neighbours of a tiny image")
    cli.add_common_arguments(parser)
    args = parser.parse_args(argv)
    if args.assign > args.vocab_size:
        parser.error(f"--assign {args.assign} is more than the {args.vocab_size} words; give a smaller one")
    return args


if __name__ == "__main__":
    ARGS = parse_args()  # before torch is imported: --help and a wrong argument answer at once

import torch
from sklearn.svm import LinearSVC
from torch import Tensor

from common import figures, files, items, metrics, results, setup
from hw2 import p1_features
from hw2.p1_classes import ABBREVIATIONS, CLASSES, INDOOR
from hw2.p1_data import load_scenes

ITEM = items.get("cv22 1")
QUICK = {"train": 20, "test": 20}  # images of each class
QUICK_WORDS = 250  # where the user asks for no other number
SETTINGS = ("classifier", "metric", "k", "step", "bin_size", "vocab_size", "assign", "tiny_metric", "tiny_k")
TITLES = {"bag_of_sift": "bag of SIFT", "tiny_image": "tiny image"}


def draw(confusions: dict[str, Tensor], accuracy: dict[str, float]):
    """The row-normalised confusion matrices side by side, values in the cells."""
    figure, grid = figures.new_figure(1, len(confusions), height=5.6 if len(confusions) > 1 else 9.0)
    short = list(ABBREVIATIONS.values())
    for axes, (name, confusion) in zip(grid[0], confusions.items(), strict=True):
        share = confusion / confusion.sum(1, keepdim=True)
        axes.imshow(share.numpy(), cmap="Blues", vmin=0, vmax=1)
        for (row, column), value in zip(torch.cartesian_prod(*[torch.arange(len(short))] * 2).tolist(), share.flatten(), strict=True):
            look = {"color": "white" if value > 0.5 else "black", "size": 5.5 if len(confusions) > 1 else 9}
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", **look)
        axes.set_xticks(range(len(short)), short, rotation=90)
        axes.set_yticks(range(len(short)), short)
        axes.spines[["top", "right"]].set_visible(True)
        axes.set(xlabel="predicted", ylabel="true", title=f"{TITLES[name]}, accuracy {accuracy[name]:.3f}")
    figure.suptitle("Normalized confusion matrix")
    return figure


def error_shares(confusion: Tensor) -> dict[str, float]:
    """How rooms and outdoor scenes are confused.

    Of the errors of indoor rooms, and of outdoor scenes, the share that stays there; of the outdoor images the shares not recognised and
    called indoor.
    """
    indoor = torch.tensor([name in INDOOR for name in CLASSES])
    errors = confusion.double() - torch.diag(confusion.diagonal()).double()
    rooms, scenes, outdoor = errors[indoor], errors[~indoor], confusion[~indoor].sum()
    return {
        "rooms stay": (rooms[:, indoor].sum() / rooms.sum().clamp(min=1)).item(),
        "outdoors stay": (scenes[:, ~indoor].sum() / scenes.sum().clamp(min=1)).item(),
        "not recognised": (scenes.sum() / outdoor).item(),
        "called indoor": (scenes[:, indoor].sum() / outdoor).item(),
    }


def darkest(confusion: Tensor) -> tuple[str, str, float]:
    """The true and the predicted class of the largest share of a row off the diagonal, and that share."""
    share = confusion / confusion.sum(1, keepdim=True)
    share.fill_diagonal_(0)
    row, column = divmod(int(share.argmax()), len(CLASSES))
    return CLASSES[row], CLASSES[column], share[row, column].item()


def claims(confusions: dict[str, Tensor], accuracy: dict[str, float]) -> list[dict]:
    """What the report says of its matrices, measured on ours."""
    found, chance = [], (len(INDOOR) - 1) / (len(CLASSES) - 1)
    shares = {name: error_shares(confusion) for name, confusion in confusions.items()}
    if "bag_of_sift" in confusions:
        rooms = shares["bag_of_sift"]["rooms stay"]
        found.append(ITEM.claim("rooms", rooms > chance, share=rooms, **{"by chance": chance}))
        true, predicted, share = darkest(confusions["bag_of_sift"])
        holds = {true, predicted} == {"Bedroom", "LivingRoom"}
        found.append(ITEM.claim("darkest", holds, darkest=f"{true} called {predicted}", share=share))
    outdoors = len(CLASSES) - len(INDOOR)
    stay, indoor = (outdoors - 1) / (len(CLASSES) - 1), len(INDOOR) / len(CLASSES)
    for name, one in shares.items():
        measured = {
            "share of their errors that stays outdoors": one["outdoors stay"],
            "by chance": stay,
            "share of outdoor images called indoor": one["called indoor"],
            "of images by chance": indoor,
        }
        found.append(ITEM.claim(f"{name}_outdoors", one["outdoors stay"] > stay and one["called indoor"] < indoor, **measured))
    if len(confusions) == 2:
        outdoor = {TITLES[name]: one["not recognised"] for name, one in shares.items()}
        wins = accuracy["bag_of_sift"] > accuracy["tiny_image"]
        found.insert(0, ITEM.claim("bag_of_sift_wins", wins, **{TITLES[name]: value for name, value in accuracy.items()}))
        found.append(ITEM.claim("tiny_image_worse_outdoors", outdoor["tiny image"] > outdoor["bag of SIFT"], **outdoor))
    return found


def main(args: argparse.Namespace) -> dict:
    """Classify the test images by each feature and write the item; returns the result."""
    runtime, usual = setup.start(args), parse_args([])
    name, train, test = load_scenes(args.data, args.dataset_path)
    digest = files.digest(train.digest(), test.digest())
    if args.quick:
        train, test = train.first_per_class(QUICK["train"]), test.first_per_class(QUICK["test"])
        if args.vocab_size == usual.vocab_size:
            args.vocab_size = max(QUICK_WORDS, args.assign)
    confusions, accuracy = {}, {}
    for feature in TITLES if args.feature == "both" else [args.feature]:
        if feature == "tiny_image":
            points, queries, k, metric = p1_features.tiny_images(train), p1_features.tiny_images(test), args.tiny_k, args.tiny_metric
        else:
            found, counts = p1_features.descriptors(train, args.step, args.bin_size)
            words = p1_features.vocabulary(found, args.vocab_size, args.seed)  # of the training images
            points = p1_features.bags(found, counts, words, args.assign)
            queries = p1_features.bags(*p1_features.descriptors(test, args.step, args.bin_size), words, args.assign)
            k, metric = args.k, args.metric
        if args.classifier == "linear_svm":
            if feature == "bag_of_sift":
                points, queries = points.sqrt(), queries.sqrt()
            machine = LinearSVC(random_state=args.seed % 2**32).fit(points, train.target)
            predicted = torch.from_numpy(machine.predict(queries))
        else:
            predicted = p1_features.nearest_neighbours(queries, points, train.target, k, metric, len(CLASSES))
        confusions[feature] = metrics.confusion_matrix(predicted, test.target, len(CLASSES))
        accuracy[feature] = metrics.accuracy(predicted, test.target)
        setup.log(f"{TITLES[feature]}, {args.classifier}, {len(train)} training and {len(test)} test images:")
        setup.log(f"Accuracy =  {accuracy[feature]}")
    changed = [option for option in ("feature", *SETTINGS, "seed") if getattr(args, option) != getattr(usual, option)]
    return results.write_result(
        runtime,
        ITEM.name,
        f"confusion matrices of 15 scenes, {args.classifier.replace('_', ' ')}",
        figures={"": draw(confusions, accuracy)},
        reported=ITEM.reported,
        reproduced=accuracy,
        claims=claims(confusions, accuracy),
        data={"name": name, "train": len(train), "test": len(test), "digest": digest},
        deviations=[f"{option} {getattr(args, option)}, not {getattr(usual, option)}" for option in changed],
        settings={option: getattr(args, option) for option in SETTINGS} | {"tiny image": "16x16, mean 0, length 1"},
    )


if __name__ == "__main__":
    cli.run(main, ARGS)
