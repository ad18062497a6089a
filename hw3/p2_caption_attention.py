"""hw3 problem 2, item 2.1 of f21: a caption, and for each of its tokens the map of where the decoder looked in the image.

Reported: figures of five images ("sheep standing in a sheep field of grass", "a man in a red jacket is on a snowboard"); most maps are
sensible. The five are images/{bike,girl,sheep,ski,umbrella}.jpg of the course's p2_data; where they are missing, or with --split, the first
five of a split are shown. A map is the last decoder layer's cross-attention, mean over heads (--layer, --head), of the step that predicted
the token. Writes results/f21-2.1-<image>.png for each and results/f21-2.1.json; `--save FILE.npz` keeps one image's tokens and maps.

    python hw3/p2_caption_attention.py --arch small
    python hw3/p2_caption_attention.py --weights weight493084032.pth --vocab vocab.txt --image bike.jpg --gif
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import cli
from hw3 import arguments


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--arch", choices=arguments.CAPTION_ARCHES, default="full")
    parser.add_argument("--weights", type=Path, help="a published checkpoint or one of ours (default: the trained network's)")
    parser.add_argument("--vocab", type=Path, help="BERT's uncased vocab.txt, for a published checkpoint")
    parser.add_argument("--image", type=Path, help="any picture in place of the five")
    parser.add_argument(
        "--split", choices=("val", "train"), help="its first five pictures in place of the report's; a small network knows train by heart"
    )
    arguments.add_map_arguments(parser)
    parser.add_argument("--save", type=Path, metavar="FILE.npz", help="keep the first picture's tokens and attention")
    parser.add_argument("--gif", action="store_true", help="an animation for each image, a word a second")
    cli.add_common_arguments(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    ARGS = parse_args()  # before torch is imported: --help and a wrong argument answer at once

import numpy as np

from common import results, setup
from common.data import locate
from common.files import digest
from common.page import TRAINED_ON
from common.results import read_json
from hw3 import catr, p2_maps, p2_models, p2_recipes
from hw3.p2_data import LAYOUT, data_digest, draw_captions, load_split, prepared
from hw3.pictures import read_one

REPORTED = ("bike", "girl", "sheep", "ski", "umbrella")  # the report's pictures
SHOWN, MEASURED = 5, 100  # pictures of the split


def pictures(args: argparse.Namespace, folder: Path) -> tuple[list[Path], list]:
    """The files and pictures: the user's, the report's where all are there and no --split is given, or the split's first."""
    theirs = [folder / "images" / f"{name}.jpg" for name in REPORTED]
    if args.image or (not args.split and all(path.exists() for path in theirs)):
        files = [args.image] if args.image else theirs
        return files, [read_one(path) for path in files]
    split = load_split(folder, args.split or "val").first(MEASURED)
    return split.files, list(split.images)


def caption_all(model: catr.CATR, images: list, args: argparse.Namespace, runtime: setup.Runtime) -> list[catr.Caption]:
    """Captions of all pictures, a few at a time."""
    seen = [prepared(image, model.config.side).to(runtime.device) for image in images]
    return [caption for i in range(0, len(seen), 10) for caption in catr.greedy(model, seen[i : i + 10], args.max_tokens)]


def save(path: Path, caption: catr.Caption, maps: np.ndarray) -> None:
    """Write tokens (with the start token) and attention (a map for each of the others) to an npz, whole or not at all."""
    with setup.replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez(file, tokens=np.array(caption.tokens), attention=maps)


def deviations(args: argparse.Namespace, origin: dict, files: list[Path]) -> list[str]:
    """In words, what the captions are otherwise than by the published network on the report's pictures, which it has not seen."""
    words = list(origin.get("deviations", []))
    if not args.image and files[0].stem not in REPORTED:
        words.append(TRAINED_ON if args.split == "train" else "pictures of val, not the report's")
    words += [f"decoder layer {args.layer}, not the last"] * (args.layer != -1)
    words += [f"head {args.head}, not the mean of all"] * (args.head is not None)
    return words + [f"at most {args.max_tokens} tokens"] * (args.max_tokens is not None)


def main(args: argparse.Namespace) -> dict:
    """Caption the pictures, draw their maps and measure them; returns the result."""
    runtime = setup.start(args)
    folder, name = locate(args.data, LAYOUT, draw_captions)
    files, images = pictures(args, folder)
    own = p2_recipes.run_folder(args, name) / "p2.pth"
    remedy = "give a checkpoint of CATR" if args.weights else f"make it with: {p2_recipes.train_command(args)}"
    model, pieces, origin = p2_models.load_captioner(args.weights or own, args.vocab, runtime, remedy)
    if not args.weights and origin["data"].get("digest") not in (None, data_digest(folder)):
        raise setup.UsageError(f"{own} was trained on other data than {folder} holds; give the same --data")
    captions = caption_all(model, images, args, runtime)
    maps = [p2_maps.chosen(caption.attention, args.layer, args.head) for caption in captions]
    words = [pieces.words(caption.tokens) for caption in captions]
    if args.save:
        save(args.save, captions[0], maps[0].numpy())
    shown = list(zip(files, images, words, maps, strict=True))[:SHOWN]
    suffixes = ["" if args.image else f"-{path.stem}" for path, *_ in shown]
    boxes = read_json(folder / "shapes.json")
    measured = p2_maps.measures(words, maps) | {"pictures measured": len(files)}
    shown_data = {"name": name, "digest of the pictures": digest([path.name for path in files])}
    known = p2_maps.on_shapes(words, maps, [boxes.get(path.name, {}) for path in files])
    return results.write_result(
        args,
        runtime,
        f"f21 2.1-{args.image.stem}" if args.image else "f21 2.1",
        "captions with a map for each word" + ", training pictures" * (args.split == "train" and not args.image),
        figures={suffix: p2_maps.draw(*parts) for suffix, (_, *parts) in zip(suffixes, shown, strict=True)},
        animations={suffix: p2_maps.frames(*parts) for suffix, (_, *parts) in zip(suffixes, shown, strict=True)} if args.gif else None,
        reported={"captions": "sheep standing in a sheep field of grass; a man in a red jacket is on a snowboard"},
        reproduced={"captions": {path.stem: pieces.text(c.tokens) for path, c in zip(files[:SHOWN], captions, strict=False)}}
        | known
        | measured,
        claims=p2_maps.claims(measured, known),
        tables=[p2_maps.word_table(words, maps)],
        **({"data": shown_data} | origin | {"deviations": deviations(args, origin, files)}),
    )


if __name__ == "__main__":
    cli.run(main, ARGS)
