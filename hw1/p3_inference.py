"""hw1 problem 3, the graders' interface: label the images that a csv `id,filename,label` lists, with setting C's network.

IMAGES_CSV may lack the columns id and label. Writes a csv of all three, rows in the order of IMAGES_CSV, labels as the training data wrote
them. The network is the p3.pth that p3_ssl_finetune.py leaves in results/ or, without one, the committed one, of 36 classes of
mini-ImageNet. An unreadable image is named on stderr, all others are still written, and the exit code is 1.

    bash hw1/p3_inference.sh IMAGES_CSV IN_DIR OUT_CSV
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import cli


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = cli.grading_parser(__doc__, "a p3.pth of p3_ssl_finetune.py (default: the one in results/, else hw1/checkpoints/)")
    parser.add_argument("images_csv", type=Path)
    parser.add_argument("in_dir", type=Path)
    parser.add_argument("out_csv", type=Path)
    return parser.parse_args(argv)


if __name__ == "__main__":
    ARGS = parse_args()  # before torch is imported: --help and a wrong argument answer at once

from common import checkpoints, classification, grading, setup
from common.augment import Normalise, Pipeline
from hw1 import p3_data, p3_models
from hw1.p3_data import resize_and_crop

COMMITTED = cli.ROOT / "hw1/checkpoints/p3.pth"
WEIGHTS = ("f23-2.2-C/p3.pth", "f23-2.2-C-stand-ins/p3.pth", COMMITTED)  # of the course's data, of the stand-ins
REMEDY = "make your own with p3_ssl_pretrain.py and p3_ssl_finetune.py --setting C, or name one with --weights"


def build(settings: dict) -> p3_models.Transferred:
    """The network that a checkpoint's settings name."""
    backbone, dim = p3_models.build_backbone(settings["network"], settings["image_size"])
    return p3_models.Transferred(backbone, p3_models.Classifier(dim, len(settings["classes"])))


def main(args: argparse.Namespace) -> dict[str, str]:
    """Write the csv; returns the labels by file name. Raises Incomplete if an image cannot be read."""
    grading.check_own_csv(args.out_csv, args.images_csv)
    runtime, rows = setup.start(args), p3_data.read_rows(args.images_csv, args.in_dir, ("filename",))
    weights = args.weights or checkpoints.first_existing(*WEIGHTS)
    if weights == COMMITTED:
        print(f"by {COMMITTED.relative_to(cli.ROOT)}, of 36 classes of mini-ImageNet and none of Office-Home; {REMEDY}", file=sys.stderr)
    model, state = checkpoints.load_trained(weights, build, p3_models.names(), "hw1/p3_ssl_finetune.py", runtime, REMEDY)
    size, classes = state["settings"]["image_size"], state["settings"]["classes"]
    files = [args.in_dir / row["filename"] for row in rows]

    def predict(images):
        return classification.predict(model, images, Pipeline(Normalise()), runtime, views=1)

    numbers, problems = grading.classify(files, predict, size, resize_and_crop)
    labels = {name: classes[number] for name, number in numbers.items()}
    found = [(row.get("id", number), row["filename"], labels.get(row["filename"])) for number, row in enumerate(rows)]
    grading.write_csv(args.out_csv, [p3_data.COLUMNS, *(row for row in found if row[2] is not None)])
    for problem in problems:
        print(problem, file=sys.stderr)
    grading.raise_if_unread(labels, problems, args.out_csv)
    return labels


if __name__ == "__main__":
    cli.run(main, ARGS)
