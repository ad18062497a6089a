"""hw3 problem 2, the graders' interface: for each image of a folder (jpg, png) one PNG of the same stem with its caption and maps.

Uses hw3/checkpoints/p2.pth, without it the p2.pth that p2_caption_train.py leaves in results/, or with --weights and --vocab a published
checkpoint of CATR. `--captions FILE` also writes the captions as a csv `filename,caption`. An unreadable image is named on stderr, all
others are still drawn, exit code 1.

    bash hw3/p2_inference.sh IN_DIR OUT_DIR [--captions captions.csv] [--weights weight493084032.pth --vocab vocab.txt]
"""

import argparse
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import cli
from hw3 import arguments


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = cli.grading_parser(__doc__, "a checkpoint of CATR (default: hw3/checkpoints/p2.pth, or the p2.pth in results/)")
    parser.add_argument("in_dir", type=Path)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--vocab", type=Path, help="BERT's uncased vocab.txt, for a published checkpoint")
    parser.add_argument("--captions", type=Path, metavar="FILE", help="also write a csv filename,caption")
    arguments.add_map_arguments(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    ARGS = parse_args()  # before torch is imported: --help and a wrong argument answer at once

from tqdm import tqdm

from common import checkpoints, figures, grading, setup
from common.data import LARGE_PIXELS, read_image
from common.files import image_files, refuse
from hw3 import catr, p2_maps, p2_models
from hw3.p2_data import preprocess
from hw3.pictures import SUFFIXES, shrunk

WEIGHTS = (Path(__file__).resolve().parent / "checkpoints/p2.pth", *(f"hw3-p2-{arch}/p2.pth" for arch in arguments.CAPTION_ARCHES))
REMEDY = "make it with p2_caption_train.py, on a machine without a GPU with --arch lite0, or name a checkpoint of CATR with --weights"


def main(args: argparse.Namespace) -> dict[str, str]:
    """Draw all images; returns the captions by file name. Raises Incomplete if an image cannot be read."""
    runtime = setup.start(args)
    model, pieces, _ = p2_models.load_captioner(args.weights or checkpoints.first_trained(*WEIGHTS), args.vocab, runtime, REMEDY)
    grading.refuse_same_folder(args.in_dir, args.out_dir)
    files = image_files(args.in_dir, SUFFIXES)
    stems = [path.stem for path in files]
    refuse(args.in_dir, [f"{path.name} shares its stem with another image" for path in files if stems.count(path.stem) > 1])
    grading.refuse_others_pictures(args.out_dir, [args.out_dir / f"{path.stem}.png" for path in files])
    if args.captions:
        grading.refuse_other_file(args.captions, name="--captions")
    out, captions, problems = setup.writable_folder(args.out_dir), {}, []
    for path in tqdm(files, "captions", disable=None, leave=False):
        try:
            image = read_image(path)
        except ValueError as error:
            problems.append(f"{path} is {error}")
            print(problems[-1], file=sys.stderr)
            continue
        caption = catr.generate(model, [preprocess(image, model.config.side).to(runtime.device)], args.max_tokens, args.beams)[0]
        maps = p2_maps.chosen(caption.attention, args.layer, args.head)
        shown = shrunk(image) if image[0].numel() > LARGE_PIXELS else image
        figures.save(p2_maps.draw(shown, pieces.words(caption.tokens), maps), out / f"{path.stem}.png")
        captions[path.name] = pieces.text(caption.tokens)
        print(f"{path.name}: {captions[path.name]}", flush=True)
    if args.captions:
        grading.write_csv(args.captions, [("filename", "caption"), *captions.items()])
    if problems:
        raise setup.Incomplete(f"{len(problems)} of {len(files)} images could not be read; the other figures are in {out}")
    return captions


if __name__ == "__main__":
    cli.run(main, ARGS)
