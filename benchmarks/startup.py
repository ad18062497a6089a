"""Seconds until each script has answered --help, and until one overlay and the results page are written: the least of some rounds.

`--root` measures another checkout, such as an older commit's, with this one's python. The overlay's image and mask are drawn.

    python benchmarks/startup.py [--root DIR] [--rounds 3]
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import cli


def seconds(command: list, rounds: int) -> float:
    """The least time of a process that must end with exit code 0."""
    spent = []
    for _ in range(rounds):
        began = time.perf_counter()
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        spent.append(time.perf_counter() - began)
    return min(spent)


def main(args: argparse.Namespace) -> None:
    """Print a line for each script, the slowest --help, the overlay and the page."""
    scripts = [path for path in sorted(args.root.glob("hw*/*.py")) if "__main__" in path.read_text(encoding="utf-8")]
    found = {str(path.relative_to(args.root)): seconds([sys.executable, path, "--help"], args.rounds) for path in scripts}
    for name, spent in found.items():
        print(f"{name:30} --help {spent:6.2f} s", flush=True)
    print(f"{'slowest':30} --help {max(found.values()):6.2f} s")
    with tempfile.TemporaryDirectory() as out:
        image, mask = Path(out, "0000_sat.jpg"), Path(out, "0000.png")
        Image.new("RGB", (512, 512), (100, 100, 100)).save(image)
        Image.new("RGB", (512, 512), (0, 255, 255)).save(mask)
        overlay = ["hw1/p2_mask_viz.py", "--image", image, "--mask", mask, "--out", out]
        for script, *options in (overlay, ["common/page.py", "--out", out]):
            print(f"{script:30} whole  {seconds([sys.executable, args.root / script, *options], args.rounds):6.2f} s")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--root", type=Path, default=cli.ROOT, help="the checkout to measure (default: this one)")
    parser.add_argument("--rounds", type=cli.positive_int, default=3)
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.run(main, parse_args())
