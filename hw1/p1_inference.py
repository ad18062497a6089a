"""hw1 problem 1, the graders' interface: classify a folder of images of any name, size and kind (png, jpg) into a csv `filename,label`.

Uses hw1/checkpoints/p1.pth of this repository, which `p1_train.py --model best` trained on the real p1_data: no training is needed. An
unreadable image is named on stderr, all others are still written, and the exit code is 1.

    bash hw1/p1_inference.sh IN_DIR OUT_CSV
    python hw1/p1_inference.py data/hw1_data/p1_data/val_50 /tmp/val.csv --answers data/hw1_data/p1_data/val_gt.csv
"""

import argparse
import csv
import sys
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import setup
from common.augment import Resize
from common.data import image_files, read_answers, read_image
from hw1 import p1_models, p1_recipes

WEIGHTS = Path(__file__).resolve().parent / "checkpoints" / "p1.pth"
SUFFIXES = (".png", ".jpg", ".jpeg")
BATCH = 250


def read_batch(paths: list[Path], size: int) -> tuple[Tensor, list[str], list[str]]:
    """Decode and resize: images (N, 3, size, size) of 0 to 255, their names, and a message for each that cannot be read."""
    images, names, problems = [], [], []
    for path in paths:
        try:
            images.append(Resize(size)(read_image(path)[None], torch.empty(1, 0))[0].float())
            names.append(path.name)
        except ValueError as error:
            problems.append(f"{path}: {error}")
    return torch.stack(images) if images else torch.empty(0, 3, size, size), names, problems


def classify(files: list[Path], model: torch.nn.Module, size: int, runtime: setup.Runtime) -> tuple[dict[str, int], list[str]]:
    """The label of each readable file by name, and the messages for the others."""
    labels, problems, pipeline = {}, [], p1_recipes.validation_pipeline(size)
    for start in tqdm(range(0, len(files), BATCH), "classifying", disable=None, leave=False):
        images, names, unreadable = read_batch(files[start : start + BATCH], size)
        problems += unreadable
        if names:
            logits = p1_models.predict(model, pipeline(images.to(runtime.device), images.new_empty(len(images), 0)))
            labels |= dict(zip(names, logits.max(1).indices.tolist(), strict=True))
    return labels, problems


def write_csv(path: Path, labels: dict[str, int]) -> None:
    """The graders' csv, whole or not at all; its folder is made."""
    with setup.replacing(path) as temporary, open(temporary, "w", newline="", errors="surrogateescape") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["filename", "label"])
        writer.writerows(labels.items())


def main(args: argparse.Namespace) -> dict:
    """Write the csv; returns {"labels", "problems", "accuracy" if --answers are given}. Raises Incomplete if an image cannot be read."""
    runtime = setup.start(args)
    answers = read_answers(args.answers) if args.answers else {}
    files = image_files(args.in_dir, SUFFIXES)
    model, state = p1_models.load_trained(args.weights, runtime, "give a checkpoint of p1_train.py with --weights")
    labels, problems = classify(files, model, state["settings"]["image_size"], runtime)
    write_csv(args.out_csv, labels)
    for problem in problems:
        print(problem, file=sys.stderr)
    found = {"labels": labels, "problems": problems}
    if answers:
        found["accuracy"] = sum(answers.get(name) == str(label) for name, label in labels.items()) / len(answers)
        missing = len(answers.keys() - labels.keys())
        print(f"accuracy {found['accuracy']:.4f} on {len(answers)} images" + f", {missing} of them without a label" * (missing > 0))
    if problems:
        raise setup.Incomplete(f"{len(problems)} of {len(files)} images could not be read; the other labels are in {args.out_csv}")
    return found


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = setup.Parser(description=__doc__)
    parser.add_argument("in_dir", type=Path)
    parser.add_argument("out_csv", type=Path)
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="a checkpoint of p1_train.py (default: hw1/checkpoints/p1.pth)")
    parser.add_argument("--answers", type=Path, help="a csv `filename,label` to grade the labels with")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.set_defaults(seed=0)
    return parser.parse_args(argv)


if __name__ == "__main__":
    setup.run(main, parse_args())
