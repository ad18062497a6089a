"""Peak memory of the graders' scripts above that of the network, for folders of 10, 100 and 1,000 images of mixed sizes.

One image in ten has 10,000 x 10,000 pixels (at most --large of them, as each takes a second), one is a strip of 1 x 20,000; the others have
20 to 1,500 pixels a side. The network's share is the peak of the same script over one image of 64 x 64. Networks without committed weights
have random ones.

    python benchmarks/memory.py [--counts 10,100,1000] [--large 20] [--script hw1/p2_inference.py]
"""

import argparse
import csv
import dataclasses
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import cli
from common.checkpoints import save_checkpoint
from common.cli import ROOT
from hw1 import p3_models
from hw3 import p1_models, p2_models
from hw3.p2_text import train_vocabulary

SCRIPTS = (
    "hw1/p1_inference.py",
    "hw1/p2_inference.py",
    "hw1/p3_inference.py",
    "hw2/p2_inference.py",
    "hw3/p1_inference.py",
    "hw3/p2_inference.py",
)
FOLDERS = ("hw1/p2_inference.py", "hw3/p2_inference.py")  # those that write one, not a csv
BOUND = 1.5e9  # bytes above the network


def draw(folder: Path, count: int, large: int, side: int = 10_000) -> None:
    """Write `count` pictures of mixed sizes: the first `large` of `side` x `side` pixels, one strip, the rest small."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(count)
    for i in range(count):
        size = (side, side) if i < large else (1, 2 * side) if i == large else tuple(rng.integers(20, 1500, 2).tolist())
        path = folder / f"{i:04d}_sat.jpg"
        if 0 < i < large:
            path.hardlink_to(folder / "0000_sat.jpg")
        else:
            coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
            coarse.resize(size, Image.Resampling.NEAREST).save(path)


def random_checkpoint(script: str) -> dict | None:
    """What the script's training would save, with random weights; None for the scripts whose weights are in the repository."""
    torch.manual_seed(0)
    if script == "hw1/p3_inference.py":
        settings = {"network": "small", "image_size": 128, "classes": ["a", "b"]}
        backbone, dim = p3_models.build_backbone("small", 128)
        model = p3_models.Transferred(backbone, p3_models.Classifier(dim, 2))
        return {"model": model.state_dict(), "settings": settings}
    if script == "hw3/p1_inference.py":
        settings = {"network": "tiny", "image_size": 96, "validation_batch": 74}
        return {"model": p1_models.build("tiny", 96).state_dict(), "settings": settings}
    if script == "hw3/p2_inference.py":
        pieces = train_vocabulary(["a dog on a road"])
        model = p2_models.build("small", pieces, 128)
        settings = {"weights": "none", "data": {}, "config": dataclasses.asdict(model.config)}
        return {"model": model.state_dict(), "settings": settings, "pieces": pieces.pieces}
    return None


def arguments(script: str, folder: Path, work: Path) -> list[str]:
    """The command line of a script over a folder, its outputs below `work`."""
    out = work / f"out-{folder.name}"
    words = [str(folder), str(out if script in FOLDERS else out.with_suffix(".csv"))]
    if script == "hw1/p3_inference.py":
        listed = work / f"{folder.name}.csv"
        with open(listed, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("id", "filename", "label"), *((i, path.name, "a") for i, path in enumerate(folder.iterdir()))])
        words.insert(0, str(listed))
    if state := random_checkpoint(script):
        save_checkpoint(work / "random.pth", state)
        words += ["--weights", str(work / "random.pth")]
    return words


def peak(command: list[str]) -> int:
    """The peak resident memory of a command, bytes. Raises CalledProcessError if it fails."""
    measure = "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True, stdout=2)\n"
    measure += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    done = subprocess.run([sys.executable, "-c", measure, sys.executable, *command], capture_output=True, text=True, check=True)
    return int(done.stdout) * (1 if sys.platform == "darwin" else 1024)


def main(args: argparse.Namespace) -> dict[tuple[str, int], int]:
    """Print a line for each script and count; returns the bytes above the network."""
    found = {}
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        draw(work / "one", 1, 0, 32)
        for count in args.counts:
            draw(work / str(count), count, min(count // 10, args.large))
        for script in args.script or SCRIPTS:
            network = peak([str(ROOT / script), *arguments(script, work / "one", work)])
            for count in args.counts:
                above = peak([str(ROOT / script), *arguments(script, work / str(count), work)]) - network
                found[script, count] = above
                print(f"{script} {count} images: {above / 1e9:.2f} GB above the network's {network / 1e9:.2f}", flush=True)
    return found


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--counts", type=lambda text: [int(count) for count in text.split(",")], default=[10, 100, 1000])
    parser.add_argument("--large", type=int, default=20, help="at most so many of 10,000 x 10,000")
    parser.add_argument("--script", action="append", choices=SCRIPTS)
    return parser.parse_args(argv)


if __name__ == "__main__":
    main(parse_args())
