"""hw1 problem 2, the course's metric: IoU of six classes over a whole folder of masks and their mean, in the course's own lines.

Masks are paired by name where the stems agree, with or without `_sat` and `_mask`, else by sorted order, with a warning. The course's mean
divides by six; a class that is in neither folder has no IoU (`nan`), is left out of the mean, and is named on stderr.

    python hw1/p2_evaluate.py -g data/hw1_data/p2_data/validation -p OUT_DIR [--json FILE] [--per-image]
"""

import argparse
import sys
from pathlib import Path

import torch
from torch import Tensor

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import results, setup
from common.data import image_files, refuse
from common.metrics import class_iou
from common.setup import UsageError
from hw1.p2_classes import CLASSES, LABEL_OF_CODE, SCORED
from hw1.p2_data import in_threads, read_mask_codes

CODES, RED = 8, 4  # bit codes 4R + 2G + B of a mask's pixels; red is the one that no class has


def warn(words: str) -> None:
    """A line on stderr."""
    print(f"warning: {words}", file=sys.stderr)


def by_stem(files: list[Path]) -> dict[str, Path]:
    """The files by their stem without `_sat` and `_mask`; {} where two have the same."""
    stems = {path.stem.removesuffix("_mask").removesuffix("_sat"): path for path in files}
    return stems if len(stems) == len(files) else {}


def pair(labels: Path, predictions: Path) -> list[tuple[Path, Path]]:
    """(truth, prediction) for each mask. Raises UsageError if a folder holds no masks or the numbers of masks differ."""
    truth, predicted = image_files(labels, (".png",)), image_files(predictions, (".png",))
    stems = by_stem(truth), by_stem(predicted)
    if len(truth) != len(predicted):
        words = [f"no prediction for {stem}" for stem in sorted(stems[0].keys() - stems[1].keys())[:1]]
        words += [f"no truth for {stem}" for stem in sorted(stems[1].keys() - stems[0].keys())[:1]]
        raise UsageError(f"{labels} holds {len(truth)} masks, {predictions} {len(predicted)} ({', '.join(words)}); complete the folder")
    if stems[0] and stems[0].keys() == stems[1].keys():
        return [(stems[0][stem], stems[1][stem]) for stem in sorted(stems[0])]
    warn(f"the names differ: pairing by sorted order ({truth[0].name} with {predicted[0].name}, ...)")
    return list(zip(truth, predicted, strict=True))


def count_pixels(paths: tuple[Path, Path]) -> tuple[Tensor, list[str], str]:
    """Pixels by bit code, (8, 8), row = truth, column = prediction; what is odd about the colours; what makes the pair useless, or ''."""
    masks, odd = [], []
    for path in paths:
        try:
            codes, pure = read_mask_codes(path)
        except ValueError as error:
            return torch.zeros(CODES, CODES), [], f"{path.name} is {error}"
        masks.append(codes)
        if not pure:
            odd.append(f"{path} has colours of no class, thresholded at 128 as the course does")
    if masks[0].shape != masks[1].shape:
        sizes = [f"{path.name} has {mask.shape[1]}x{mask.shape[0]} pixels" for path, mask in zip(paths, masks, strict=True)]
        return torch.zeros(CODES, CODES), [], ", ".join(sizes)
    counts = torch.bincount((masks[0] * CODES + masks[1]).flatten(), minlength=CODES**2).view(CODES, CODES)
    for path, red in zip(paths, (counts[RED].sum(), counts[:, RED].sum()), strict=True):
        odd += [f"{path} has {red} red pixels, a colour of no class, read as unknown"] * bool(red)
    return counts, odd, ""


def to_classes(counts: Tensor) -> Tensor:
    """Pixel counts by bit code (..., 8, 8) -> by class (..., 7, 7): row = truth, column = prediction."""
    onto = torch.nn.functional.one_hot(LABEL_OF_CODE.long(), len(CLASSES)).double()
    return onto.T @ counts.double() @ onto


def evaluate(labels: Path, predictions: Path) -> tuple[list[str], Tensor]:
    """The truth's names and each pair's confusion (N, 7, 7); odd colours are named on stderr.

    Raises UsageError that names what `pair` finds, and masks that cannot be read or differ in size.
    """
    pairs = pair(labels, predictions)
    counts, odd, useless = zip(*in_threads(count_pixels, pairs, "comparing"), strict=True)
    refuse(predictions, [words for words in useless if words])
    odd = [words for some in odd for words in some]
    for words in odd[:3]:
        warn(words)
    if odd[3:]:
        warn(f"{len(odd) - 3} more masks with colours of no class")
    return [truth.name for truth, _ in pairs], to_classes(torch.stack(counts))


def mean_iou(iou: list[float]) -> float:
    """The course's mean over the six classes; over those that occur, if some do not."""
    known = [value for value in iou if value == value]
    return sum(value / len(known) for value in known) if known else float("nan")


def print_scores(iou: list[float]) -> None:
    """The course's lines, to the digit, and a note on stderr of classes that are in neither folder."""
    for label, value in enumerate(iou):
        print(f"class #{label} : {value:1.5f}")
    print(f"\nmean_iou: {mean_iou(iou):f}\n")
    if absent := [f"#{label} ({CLASSES[label]})" for label, value in enumerate(iou) if value != value]:
        warn(f"class {', '.join(absent)} is in neither folder and left out of the mean, which the course's script would show as nan")


def as_json(iou: list[float]) -> dict:
    """IoU by class name, null for an absent class, and their mean."""
    return {"mean_iou": mean_iou(iou), "iou": {name: value for name, value in zip(CLASSES, iou, strict=False)}}


def print_table(names: list[str], ious: list[list[float]]) -> None:
    """A line for each image: its mean and its classes, '-' where one is in neither mask."""
    width = max(map(len, names))
    print(f"{'':{width}}   mean  " + " ".join(f"{name[:6]:>6}" for name in CLASSES[:SCORED]))
    for name, iou in zip(names, ious, strict=True):
        cells = " ".join(f"{value:6.3f}" if value == value else "     -" for value in iou)
        print(f"{name:{width}} {mean_iou(iou):6.3f}  {cells}")


def main(args: argparse.Namespace) -> dict:
    """Print the scores; returns {"mean_iou", "iou": {class: IoU or nan}, "images": {name: the same for one image}}."""
    names, confusions = evaluate(args.labels, args.pred)
    iou = class_iou(confusions.sum(0))[:SCORED].tolist()
    each = [class_iou(confusion)[:SCORED].tolist() for confusion in confusions]
    print_scores(iou)
    if args.per_image:
        print_table(names, each)
    found = as_json(iou) | {"images": {name: as_json(one) for name, one in zip(names, each, strict=True)}}
    if args.json:
        results.write_json(args.json, without_nan(found))
    return found


def without_nan(value):
    """The same with None for each nan, which JSON has not."""
    if isinstance(value, dict):
        return {name: without_nan(inner) for name, inner in value.items()}
    return None if value != value else value


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = setup.Parser(description=__doc__)
    parser.add_argument(
        "-g", "--labels", type=Path, required=True, metavar="GT_DIR", help="folder of true masks (other files may lie there)"
    )
    parser.add_argument("-p", "--pred", type=Path, required=True, metavar="PRED_DIR", help="folder of predicted masks")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the scores, and each image's, to a JSON file")
    parser.add_argument("--per-image", action="store_true", help="add a table of each image's scores")
    return parser.parse_args(argv)


if __name__ == "__main__":
    setup.run(main, parse_args())
