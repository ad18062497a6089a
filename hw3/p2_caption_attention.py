"""hw3 problem 2, item 2.1 of f21: a caption, and for each of its tokens the map of where the decoder looked in the image.

Reported: figures of five images ("sheep standing in a sheep field of grass", "a man in a red jacket is on a snowboard"); most maps are
sensible. A map is the last decoder layer's cross-attention, mean over heads (--layer, --head), of the step that predicted the token. Writes
results/f21-2.1-<image>.png for each and results/f21-2.1.json; `--save FILE.npz` keeps one image's tokens and maps.

    python hw3/p2_caption_attention.py --arch small
    python hw3/p2_caption_attention.py --weights weight493084032.pth --vocab vocab.txt --image bike.jpg --gif
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import results, setup
from common.data import locate
from common.results import read_json
from hw3 import catr, p2_maps, p2_models, p2_recipes
from hw3.p2_data import LAYOUT, draw_captions, load_split, prepared
from hw3.pictures import read_one

SHOWN = 5


def pictures(args: argparse.Namespace) -> tuple[str, list[Path], list]:
    """The data's name, and the files and pictures shown: the user's, or the first five of the validation set."""
    folder, name = locate(args.data, LAYOUT, draw_captions)
    if args.image:
        return name, [args.image], [read_one(args.image)]
    split = load_split(folder, "val").first(SHOWN)
    return name, split.files, list(split.images)


def save(path: Path, caption: catr.Caption, maps: np.ndarray) -> None:
    """Write tokens (with the start token) and attention (a map for each of the others) to an npz, whole or not at all."""
    with setup.replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, tokens=np.array(caption.tokens), attention=maps)


def main(args: argparse.Namespace) -> dict:
    """Caption the pictures, draw their maps and measure them; returns the result."""
    runtime = setup.start(args)
    name, files, images = pictures(args)
    own = p2_recipes.run_folder(args, name) / "p2.pth"
    remedy = "give a checkpoint of CATR" if args.weights else f"make it with: {p2_recipes.train_command(args)}"
    model, pieces, origin = p2_models.load_captioner(args.weights or own, args.vocab, runtime, remedy)
    captions = catr.greedy(model, [prepared(image, model.config.side).to(runtime.device) for image in images], args.max_tokens)
    maps = [p2_maps.chosen(caption.attention, args.layer, args.head) for caption in captions]
    if args.save and len(files) == 1:
        save(args.save, captions[0], maps[0].numpy())
    words = [pieces.words(caption.tokens) for caption in captions]
    drawn = {f"-{path.stem}": p2_maps.draw(*parts) for path, *parts in zip(files, images, words, maps, strict=True)}
    moving = {f"-{path.stem}": p2_maps.frames(*parts) for path, *parts in zip(files, images, words, maps, strict=True)}
    boxes = read_json(locate(args.data, LAYOUT, draw_captions)[0] / "shapes.json")
    measured = p2_maps.measures(words, maps)
    known = p2_maps.on_shapes(words, maps, [boxes.get(path.name, {}) for path in files])
    return results.write_result(
        args,
        runtime,
        f"f21 2.1-{args.image.stem}" if args.image else "f21 2.1",
        "captions with a map for each word",
        figures={key: figure for key, figure in drawn.items()} if not args.image else {"": next(iter(drawn.values()))},
        animations=({"": next(iter(moving.values()))} if args.image else moving) if args.gif else None,
        reported={"captions": "sheep standing in a sheep field of grass; a man in a red jacket is on a snowboard"},
        reproduced={path.stem: pieces.text(caption.tokens) for path, caption in zip(files, captions, strict=True)} | measured | known,
        claims=p2_maps.claims(measured, known),
        **({"data": {"name": name, "images": len(files)}} | origin),
    )


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = setup.Parser(description=__doc__)
    parser.add_argument("--arch", choices=tuple(catr.ARCHES), default="full")
    parser.add_argument("--weights", type=Path, help="a published checkpoint or one of ours (default: the trained network's)")
    parser.add_argument("--vocab", type=Path, help="BERT's uncased vocab.txt, for a published checkpoint")
    parser.add_argument("--image", type=Path, help="any picture in place of the first five of the validation set")
    parser.add_argument("--layer", type=int, default=-1, help="decoder layer, from 0; -1 is the last")
    parser.add_argument("--head", type=int, help="one head, from 0 (default: mean over all)")
    parser.add_argument("--max-tokens", type=setup.positive_int, help="at most so many tokens after the start")
    parser.add_argument("--save", type=Path, metavar="FILE.npz", help="with --image: keep tokens and attention")
    parser.add_argument("--gif", action="store_true", help="an animation for each image, a word a second")
    setup.add_common_arguments(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    setup.run(main, parse_args())
