"""hw3 problem 2, item 2.1 of f21: a caption, and for each of its tokens the map of where the decoder looked in the image.

Reported: figures of five images ("sheep standing in a sheep field of grass", "a man in a red jacket is on a snowboard"); most maps are
sensible. The five are images/{bike,girl,sheep,ski,umbrella}.jpg of the course's p2_data; where they are missing, or with --split, the first
five of a split are shown, and its first 1,000 are measured: whether the maps of words that name something are more concentrated than those
of function words, and whether captions of two subjects score lower. A map is the last decoder layer's cross-attention, mean over heads
(--layer, --head), of the step that predicted the token. Writes results/f21-2.1-<image>.png for each and results/f21-2.1.json;
`--save FILE.npz` keeps one image's tokens and maps.

    python hw3/p2_caption_attention.py --arch lite0
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
from tqdm import tqdm

from common import figures, items, results, setup, training
from common.data import locate
from common.files import atomic_write, digest
from common.page import TRAINED_ON
from common.results import read_json
from hw3 import catr, p2_maps, p2_models, p2_recipes, p2_scores
from hw3.p2_data import LAYOUT, data_digest, draw_captions, load_split, preprocess
from hw3.pictures import read_one

REPORTED = ("bike", "girl", "sheep", "ski", "umbrella")  # the report's pictures
SHOWN, MEASURED = 5, 1000  # pictures of the split


def main(args: argparse.Namespace) -> dict:
    """Caption the pictures, draw their maps and measure them; returns the result."""
    runtime, item = setup.start(args), items.get("f21 2.1")
    folder, name = locate(args.data, LAYOUT, draw_captions)
    theirs, deviations, references = [folder / "images" / f"{stem}.jpg" for stem in REPORTED], [], []
    if args.image or (not args.split and all(path.exists() for path in theirs)):
        files = [args.image] if args.image else theirs
        images = [read_one(path) for path in files]
    else:
        split = load_split(folder, args.split or "val").first(MEASURED)
        files, images, references = split.files, list(split.images), split.captions
        deviations.append(TRAINED_ON if args.split == "train" else "pictures of val, not the report's")

    own = p2_recipes.run_folder(runtime, args.arch, name, {}) / "p2.pth"
    command = training.train_command(runtime, "hw3/p2_caption_train.py", "--arch", args.arch)
    remedy = "give a checkpoint of CATR" if args.weights else f"make it with: {command}"
    model, pieces, origin = p2_models.load_captioner(args.weights or own, args.vocab, runtime, remedy)
    if not args.weights and origin["data"].get("digest") not in (None, data_digest(folder)):
        raise cli.UsageError(f"{own} was trained on other data than {folder} holds; give the same --data")
    deviations += [f"decoder layer {args.layer}, not the last"] * (args.layer != -1)
    deviations += [f"head {args.head}, not the mean of all"] * (args.head is not None)
    deviations += [f"at most {args.max_tokens} tokens"] * (args.max_tokens is not None)
    deviations += [f"{args.beams} beams, not greedy"] * (args.beams > 1)

    tokens, maps = [], []
    for start in tqdm(range(0, len(images), 10), "captions", disable=None, leave=False):
        seen = [preprocess(image, model.config.side).to(runtime.device) for image in images[start : start + 10]]
        for caption in catr.generate(model, seen, args.max_tokens, args.beams):
            tokens.append(caption.tokens)
            maps.append(p2_maps.chosen(caption.attention, args.layer, args.head))
    words, captions = [pieces.words(own) for own in tokens], [pieces.text(own) for own in tokens]
    if args.save:
        with atomic_write(args.save) as temporary, open(temporary, "wb") as file:
            np.savez(file, tokens=np.array(tokens[0]), attention=maps[0].numpy())

    measured = p2_maps.measures(words, maps) | {"pictures measured": len(files)}
    boxes = read_json(folder / "shapes.json")
    on_shapes = p2_maps.on_shapes(words, maps, [boxes.get(path.name, {}) for path in files])
    claims = [item.claim("apart", measured["difference between maps"] > 0.1)]
    if on_shapes:
        on_its_own, on_the_other, by_chance = on_shapes.values()
        claims.append(item.claim("on_shape", on_its_own > max(on_the_other, by_chance)))
    measured |= {"entropy": (entropy := p2_maps.entropy_by_kind(words, maps))}
    if "difference" in entropy:
        claims.append(item.claim("concentrated", p2_scores.above(entropy["difference"])))
    subjects, missing = {}, {}
    if references and not (missing := p2_scores.missing()):
        subjects = p2_scores.by_subjects(captions, references)
        measured |= {"scores": p2_scores.scores(captions, references), "CIDEr by subjects": subjects}
    if "difference" in subjects:
        claims.append(item.claim("two_subjects", p2_scores.above(subjects["difference"])))
    shown = {"" if args.image else f"-{path.stem}": parts for path, *parts in list(zip(files, images, words, maps, strict=True))[:SHOWN]}
    moving = {f"{suffix}.gif": figures.gif(p2_maps.frames(*parts)) for suffix, parts in shown.items() if args.gif}
    spelt = {path.stem: caption for path, caption in zip(files[:SHOWN], captions, strict=False)}
    data = {"name": name, "digest of the pictures": digest([path.name for path in files])}
    return results.write_result(
        runtime,
        f"{item.name}-{args.image.stem}" if args.image else item.name,
        item.title + ", training pictures" * (args.split == "train" and not args.image),
        figures={suffix: p2_maps.draw(*parts) for suffix, parts in shown.items()} | moving,
        reported=item.reported,
        reproduced={"captions": spelt} | on_shapes | measured,
        claims=claims,
        missing=missing,
        tables=[p2_maps.word_table(words, maps)],
        **({"data": data} | origin | {"deviations": origin.get("deviations", []) + deviations}),
    )


if __name__ == "__main__":
    cli.run(main, ARGS)
