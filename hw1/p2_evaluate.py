"""hw1 problem 2, the course's metric: IoU of six classes over a whole folder of masks and their mean, in the course's own lines.

Masks are paired by name, with or without `_sat` and `_mask`, numbers as numbers (`2.png` is `0002_mask.png`). Where no names agree they are
paired by sorted order as in the course's script, with a warning. The course's mean divides by six; a class that is in neither folder has
no IoU (`nan`), is left out of the mean, and is named on stderr.

    python hw1/p2_evaluate.py -g data/hw1_data/p2_data/validation -p OUT_DIR [--json FILE] [--per-image]
"""

import argparse
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import cli, files
from common.cli import UsageError
from common.files import image_files, raise_if_any
from hw1.p2_masks import CLASSES, LABEL_OF_CODE, SCORED, read_codes

CODES, RED = 8, 4  # bit codes 4R + 2G + B of a mask's pixels; red is the one that no class has


def warn(words: str) -> None:
    """A line on stderr."""
    print(f"warning: {words}", file=sys.stderr)


def by_stem(folder: Path) -> dict[str, Path]:
    """The masks of a folder by their stem without `_sat` and `_mask`, numbers without leading zeros.

    Raises UsageError if the folder holds none, or names two for one stem, as when both years' names lie in one folder.
    """
    stems, problems = {}, []
    for path in image_files(folder, (".png",)):
        stem = path.stem.removesuffix("_mask").removesuffix("_sat")
        stem = str(int(stem)) if stem.isascii() and stem.isdecimal() else stem
        if (first := stems.setdefault(stem, path)) != path:
            problems.append(f"{first.name} and {path.name} are two masks of one image")
    raise_if_any(folder, problems)
    return stems


def pair(labels: Path, predictions: Path) -> list[tuple[Path, Path]]:
    """(truth, prediction) for each mask.

    Raises UsageError that names what is missing and what is too much if most names agree, or if the numbers of masks differ.
    """
    truth, predicted = by_stem(labels), by_stem(predictions)
    if truth.keys() == predicted.keys():
        return [(truth[stem], predicted[stem]) for stem in truth]
    missing = [path.name for stem, path in truth.items() if stem not in predicted]
    extra = [path.name for stem, path in predicted.items() if stem not in truth]
    if len(truth) != len(predicted) or len(missing) < len(truth) / 2:
        problems = [f"no prediction for {name}" for name in missing[:3]] + [f"no truth for {name}" for name in extra[:3]]
        counts = f"{labels} holds {len(truth)} masks, {predictions} {len(predicted)}"
        raise UsageError(f"{counts} ({', '.join(problems)}{', ...' * (max(len(missing), len(extra)) > 3)}); make the folders agree")
    paired = list(zip(truth.values(), predicted.values(), strict=True))
    doubtful = [f"{a.name} with {b.name}" for (stem, a), (other, b) in zip(truth.items(), predicted.items(), strict=True) if stem != other]
    shown = ", ".join(doubtful[:5]) + ", ..." * (len(doubtful) > 5)
    warn(f"the names differ: {len(doubtful)} of {len(paired)} pairs by sorted order alone ({shown})")
    return paired


def count_pixels(paths: tuple[Path, Path]) -> tuple[np.ndarray, list[str], str]:
    """Pixels by bit code, (8, 8), row = truth, column = prediction; what is odd about the colours; what makes the pair useless, or ''."""
    masks, odd, nothing = [], [], np.zeros((CODES, CODES), np.int64)
    for path in paths:
        try:
            codes, pure = read_codes(path)
        except ValueError as error:
            return nothing, [], f"{path.name} is {error}"
        masks.append(codes)
        if not pure:
            odd.append(f"{path} has colours of no class, thresholded at 128 as the course does")
    if masks[0].shape != masks[1].shape:
        sizes = [f"{path.name} has {mask.shape[1]}x{mask.shape[0]} pixels" for path, mask in zip(paths, masks, strict=True)]
        return nothing, [], ", ".join(sizes)
    counts = np.bincount((masks[0] * np.uint8(CODES) + masks[1]).ravel(), minlength=CODES**2).reshape(CODES, CODES)
    for path, red in zip(paths, (counts[RED].sum(), counts[:, RED].sum()), strict=True):
        odd += [f"{path} has {red} red pixels, a colour of no class, read as unknown"] * bool(red)
    return counts, odd, ""


def to_classes(counts: np.ndarray) -> np.ndarray:
    """Pixel counts by bit code (..., 8, 8) -> by class (..., 7, 7): row = truth, column = prediction."""
    onto = np.eye(len(CLASSES))[LABEL_OF_CODE]
    return onto.T @ counts @ onto


def scored_iou(confusion: np.ndarray) -> list[float]:
    """The IoU of the six scored classes from pixel counts (7, 7); nan for a class that is on neither side."""
    hits = confusion.diagonal()
    with np.errstate(invalid="ignore"):
        return (hits / (confusion.sum(0) + confusion.sum(1) - hits))[:SCORED].tolist()


def evaluate(labels: Path, predictions: Path) -> tuple[list[str], np.ndarray]:
    """The truth's names and each pair's confusion (N, 7, 7); odd colours are named on stderr.

    Raises UsageError that names what `pair` finds, and masks that cannot be read or differ in size.
    """
    pairs = pair(labels, predictions)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes, and numpy counts, without Python's lock
        counts, odd, useless = zip(*pool.map(count_pixels, pairs), strict=True)
    raise_if_any(predictions, [words for words in useless if words])
    odd = [words for some in odd for words in some]
    for words in odd[:3]:
        warn(words)
    if odd[3:]:
        warn(f"{len(odd) - 3} more masks with colours of no class")
    return [truth.name for truth, _ in pairs], to_classes(np.stack(counts))


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
    if args.json:
        files.check_writable(args.json, "--json")
    names, confusions = evaluate(args.labels, args.pred)
    iou, each = scored_iou(confusions.sum(0)), [scored_iou(confusion) for confusion in confusions]
    print_scores(iou)
    if args.per_image:
        print_table(names, each)
    found = as_json(iou) | {"images": {name: as_json(one) for name, one in zip(names, each, strict=True)}}
    if args.json:
        with files.atomic_write(args.json) as temporary:
            temporary.write_text(json.dumps(without_nan(found), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return found


def without_nan(value):
    """The same with None for each nan, which JSON has not."""
    if isinstance(value, dict):
        return {name: without_nan(inner) for name, inner in value.items()}
    return None if value != value else value


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument(
        "-g", "--labels", type=Path, required=True, metavar="GT_DIR", help="folder of true masks (other files may lie there)"
    )
    parser.add_argument("-p", "--pred", type=Path, required=True, metavar="PRED_DIR", help="folder of predicted masks")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the scores, and each image's, to a JSON file")
    parser.add_argument("--per-image", action="store_true", help="add a table of each image's scores")
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.run(main, parse_args())
