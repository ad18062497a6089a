"""Speed of p2_evaluate.py against a plain form of the course's method, each as a whole process with its imports, in turns within one run.

Plain: every mask by Pillow, one comparison for each colour into a float64 stack, one comparison for each class over the stack. Both read
the same folders, true masks and each tile's neighbour as its prediction; the means that they print are compared. Without the course's data
the masks are drawn.

    python benchmarks/p2_evaluate.py [--data DIR] [--rounds 5] [--masks 257]
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import cli
from common.files import image_files

CODES = ((3, 0), (6, 1), (5, 2), (2, 3), (1, 4), (7, 5), (0, 6), (4, 6))  # 4R + 2G + B, label


def read_plainly(files: list[Path]) -> np.ndarray:
    """Labels of a folder of masks as one float64 stack (N, H, W)."""
    stack = np.empty((len(files), 512, 512))
    for i, path in enumerate(files):
        mask = (np.array(Image.open(path).convert("RGB")) >= 128).astype(int)
        mask = 4 * mask[:, :, 0] + 2 * mask[:, :, 1] + mask[:, :, 2]
        for code, label in CODES:
            stack[i, mask == code] = label
    return stack


def plainly(truth_files: list[Path], predicted_files: list[Path]) -> float:
    """The course's mean IoU, class by class over the whole stack."""
    truth, predicted, mean = read_plainly(truth_files), read_plainly(predicted_files), 0.0
    for label in range(6):
        hits = np.sum((predicted == label) * (truth == label))
        mean += hits / (np.sum(predicted == label) + np.sum(truth == label) - hits) / 6
    return mean


def link_masks(source: Path, count: int, root: Path) -> tuple[Path, Path]:
    """Links to `count` true masks, and to as many others as predictions: each tile's neighbour."""
    masks = image_files(source / "validation", (".png",))[:count]
    for name, files in (("truth", masks), ("predicted", masks[1:] + masks[:1])):
        (root / name).mkdir()
        for path, target in zip(masks, files, strict=True):
            (root / name / path.name).symlink_to(target.resolve())
    return root / "truth", root / "predicted"


def timed(*command) -> tuple[float, str]:
    """A process's seconds, and the last word of what it printed."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, check=True)
    return time.perf_counter() - start, done.stdout.split()[-1]


def main(args: argparse.Namespace) -> None:
    """Print the comparison."""
    if args.plain:
        print(f"{plainly(*(image_files(folder, ('.png',)) for folder in args.plain)):f}")
        return
    from common.data import locate  # the timed processes need no torch
    from hw1 import p2_synthetic

    with tempfile.TemporaryDirectory() as root:
        source, name = locate(args.data, "hw1_data/p2_data", p2_synthetic.draw_p2)
        truth, predicted = link_masks(source, args.masks, Path(root))
        seconds: dict[str, list[float]] = {"ours": [], "plain": []}
        for _ in range(args.rounds):
            ours, mean = timed(cli.ROOT / "hw1/p2_evaluate.py", "-g", truth, "-p", predicted)
            plain, other = timed(__file__, "--plain", truth, predicted)
            assert mean == other, f"the two forms disagree: {mean}, {other}"
            seconds["ours"].append(ours)
            seconds["plain"].append(plain)
        pairs = len(list(truth.iterdir()))
    ratios = sorted(b / a for a, b in zip(*seconds.values(), strict=True))
    ours, plain = (statistics.median(values) for values in seconds.values())
    print(f"{pairs} pairs of {name}: p2_evaluate.py {ours:.2f} s, plain form {plain:.2f} s; ", end="")
    print(f"ratio {statistics.median(ratios):.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f} in {args.rounds} rounds)")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--data", help="folder with hw1_data/ (default: data/), or 'synthetic'")
    parser.add_argument("--rounds", type=cli.positive_int, default=5)
    parser.add_argument("--masks", type=cli.positive_int, default=257, help="pairs of masks of a round")
    parser.add_argument("--plain", type=Path, nargs=2, metavar="DIR", help="print the plain form's mean of two folders and end")
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.run(main, parse_args())
