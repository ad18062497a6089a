"""Speed of greedy captions with cached keys and values against recomputing all 128 positions for each word, as the published code does.

The full network with random weights, images encoded once in both, twenty words, in turns within one run, for one image and for several at
once; the tokens of both are compared first.

    python benchmarks/captions.py [--rounds 3] [--words 20] [--images 8]
"""

import argparse
import statistics
import sys
import time
from pathlib import Path

import torch

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import cli, setup
from hw3 import catr


@torch.no_grad()
def recomputed(model: catr.CATR, images: list[torch.Tensor], words: int) -> list[list[int]]:
    """Greedy tokens by the whole decoder over all positions in every step."""
    memory, config = model.encode(images), model.config
    tokens = torch.full((len(images), config.positions), catr.PAD, device=images[0].device)
    tokens[:, 0] = config.start
    for step in range(words):
        tokens[:, step + 1] = model.decode(tokens, memory)[0][:, step].max(1).indices
    return tokens[:, : words + 1].tolist()


def compare(model: catr.CATR, images: list[torch.Tensor], args: argparse.Namespace) -> str:
    """Milliseconds of a word by both forms, without the image's encoding, and their ratio."""
    forms = {
        "cached": lambda: [caption.tokens for caption in catr.greedy(model, images, args.words)],
        "recomputed": lambda: recomputed(model, images, args.words),
        "encoder": lambda: model.encode(images),
    }
    assert forms["cached"]() == forms["recomputed"](), "the two forms disagree"
    seconds: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(args.rounds):
        for name, form in forms.items():
            start = time.perf_counter()
            with torch.no_grad():
                form()
            seconds[name].append(time.perf_counter() - start)
    encoder = statistics.median(seconds.pop("encoder"))
    words = {name: (statistics.median(found) - encoder) / args.words / len(images) * 1000 for name, found in seconds.items()}
    told = ", ".join(f"{name} {value:.1f} ms" for name, value in words.items())
    return f"{len(images)} image(s): a word {told}; ratio {words['recomputed'] / words['cached']:.1f}; encoding {encoder:.2f} s"


def main(args: argparse.Namespace) -> None:
    """Print the comparison."""
    runtime = setup.start(args)
    model = runtime.place(catr.CATR(catr.ARCHES["full"])).eval()
    model.mlp.layers[2].bias.data[model.config.end] = -1e9  # random weights: no caption ends before its last word
    images = torch.randn(args.images, 3, 224, 299, generator=torch.Generator().manual_seed(0)).to(runtime.device)
    print(f"{runtime.describe()}, {args.words} words, {args.rounds} rounds")
    for count in sorted({1, args.images}):
        print(compare(model, list(images[:count]), args))


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--rounds", type=cli.positive_int, default=3)
    parser.add_argument("--words", type=cli.positive_int, default=20)
    parser.add_argument("--images", type=cli.positive_int, default=8, help="captioned at once")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.set_defaults(seed=0, quick=False)
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.run(main, parse_args())
