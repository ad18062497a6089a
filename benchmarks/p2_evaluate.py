"""Speed of p2_evaluate.py, pairs of masks per second, against a plain form of the course's method, in turns within one run.

Plain: every mask by PIL, one comparison for each colour into a float64 stack, one comparison for each class over the stack. Both read the
same folders; the numbers that they print are compared first. Without the course's data the masks are drawn.

    python benchmarks/p2_evaluate.py [--data DIR] [--rounds 5] [--masks 257]
"""

import argparse
import contextlib
import io
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import setup
from common.data import image_files, locate
from hw1 import p2_evaluate, p2_synthetic
from hw1.p2_data import LAYOUT

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


def folders(args: argparse.Namespace, root: Path) -> tuple[Path, Path]:
    """Links to true masks, and to as many others as predictions: each tile's neighbour."""
    source, _ = locate(args.data, LAYOUT, p2_synthetic.draw_p2)
    masks = image_files(source / "validation", (".png",))[: args.masks]
    for name, files in (("truth", masks), ("predicted", masks[1:] + masks[:1])):
        (root / name).mkdir()
        for path, target in zip(masks, files, strict=True):
            (root / name / path.name).symlink_to(target.resolve())
    return root / "truth", root / "predicted"


def main(args: argparse.Namespace) -> None:
    """Print the comparison."""
    with tempfile.TemporaryDirectory() as root:
        truth, predicted = folders(args, Path(root))
        files = image_files(truth, (".png",)), image_files(predicted, (".png",))

        def ours() -> float:
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                return p2_evaluate.main(p2_evaluate.parse_args(["-g", str(truth), "-p", str(predicted)]))["mean_iou"]

        rates: dict = {ours: [], plainly: []}
        assert abs(ours() - plainly(*files)) < 1e-12, "the two forms disagree"
        for _ in range(args.rounds):
            for form, arguments in ((ours, ()), (plainly, files)):
                start = time.perf_counter()
                form(*arguments)
                rates[form].append(len(files[0]) / (time.perf_counter() - start))
    ratios = sorted(a / b for a, b in zip(rates[ours], rates[plainly], strict=True))
    print(
        f"p2_evaluate.py: {statistics.median(rates[ours]):.0f} pairs/s; plain form: {statistics.median(rates[plainly]):.0f} pairs/s; ",
        end="",
    )
    print(f"ratio {statistics.median(ratios):.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f} in {args.rounds} rounds of {len(files[0])} pairs)")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = setup.Parser(description=__doc__)
    parser.add_argument("--data", help="folder with hw1_data/ (default: data/), or 'synthetic'")
    parser.add_argument("--rounds", type=setup.positive_int, default=5)
    parser.add_argument("--masks", type=setup.positive_int, default=257, help="pairs of masks of a round")
    return parser.parse_args(argv)


if __name__ == "__main__":
    setup.run(main, parse_args())
