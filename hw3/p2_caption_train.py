"""hw3 problem 2: train the captioner of f21's item 2.1 (CATR) on images with captions.

f21 uses CATR's published weights; this trains the same network, or for machines without a GPU `--arch lite0` for photographs, on
features of EfficientNet-Lite0 that are computed once, and `--arch small` for drawn pictures. Teacher forcing, padding left out of the
loss. Quarter turns, which CATR's own training draws, contradict "left" and "above" and are off unless --turns is given. Word pieces come
from --vocab, or are learnt from the training captions. pycocoevalcap (requirements-captions.txt) scores the validation pictures' captions.
Writes OUT/checkpoints/hw3-p2-<arch>/ (best.pth, last.pth, and p2.pth, the file that the figures and the graders' script use) and
results/f21-2.1-training.{json,png}.

    python hw3/p2_caption_train.py --arch lite0
"""

import argparse
import itertools
import sys
from dataclasses import asdict
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import cli
from hw3 import arguments


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--arch", choices=arguments.CAPTION_ARCHES, default="full")
    parser.add_argument("--vocab", type=Path, help="BERT's uncased vocab.txt (default: word pieces learnt from the captions)")
    parser.add_argument("--turns", action="store_true", help="turn each picture by a random multiple of 90 degrees, as CATR's own training")
    cli.add_training_arguments(parser)
    cli.add_common_arguments(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    ARGS = parse_args()  # before torch is imported: --help and a wrong argument answer at once

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from common import checkpoints, items, results, setup, training
from common.data import batches, shares
from common.files import named
from hw3 import catr, p2_models, p2_recipes, p2_scores
from hw3.p2_data import Captioned, load_captions
from hw3.p2_recipes import Recipe
from hw3.p2_text import WordPieces, read_vocabulary, train_vocabulary


@setup.on_rank_zero
def word_pieces(vocab: Path | None, train: Captioned, most: int) -> WordPieces:
    """Those of --vocab, or at most so many learnt from the training captions."""
    return read_vocabulary(vocab) if vocab else train_vocabulary((text for own in train.captions for text in own), most)


BEAMS = 3  # of the captions that are scored beside the greedy ones
PART = 32  # captions that go through the decoder together, sorted by length: padding would be half of a hundred's tokens


class Pairs:
    """Captions with their pictures: `images` as `remember` takes them, `place` (M,) of each caption's, `tokens` (M, longest), padded.

    `counts` (M,) is how many tokens of each caption are predicted: all but the first. `units` are the captions that stay together: each
    alone, or `together` those of each picture. With `turns` training turns the pictures.
    """

    def __init__(self, split: Captioned, images: list[Tensor], pieces: WordPieces, positions: int, together: bool, turns: bool):
        self.turns, self.images = turns, images
        self.place = torch.tensor([i for i, captions in enumerate(split.captions) for _ in captions])
        coded = [torch.tensor(pieces.encode(caption)) for captions in split.captions for caption in captions]
        longest = max(range(len(coded)), key=lambda i: len(coded[i]))
        if len(coded[longest]) > positions:
            what = f"a caption of {split.files[self.place[longest]]} has {len(coded[longest])} tokens"
            raise setup.UsageError(f"{what}, the network {positions} positions; shorten it")
        self.tokens = torch.nn.utils.rnn.pad_sequence(coded, batch_first=True, padding_value=catr.PAD)
        self.counts = (self.tokens[:, 1:] != catr.PAD).sum(1)
        order = torch.arange(len(coded))
        self.units = order.split([len(captions) for captions in split.captions] if together else 1)
        self.amounts = torch.stack([self.counts[unit].sum() for unit in self.units])

    def batch(self, index: Tensor, runtime: setup.Runtime, u: Tensor | None = None) -> tuple[list[Tensor], list[tuple[Tensor, Tensor]]]:
        """These units' pictures, one each, and their captions in parts of like length, as CATR.forward takes them, on the device.

        A draw `u` (N,) in [0, 1) turns each picture by a multiple of 90 degrees.
        """
        units = [self.units[i] for i in index.tolist()]
        quarters = [0] * len(units) if u is None else (u * 4).long().tolist()
        images = [self.images[self.place[unit[0]]].rot90(turn, (1, 2)) for unit, turn in zip(units, quarters, strict=True)]
        captions, which = torch.cat(units), torch.arange(len(units)).repeat_interleave(torch.tensor([len(unit) for unit in units]))
        parts = []
        for part in self.counts[captions].argsort(stable=True).split(PART):
            own = captions[part]
            parts.append((runtime.send(which[part]), runtime.send(self.tokens[own, : int(self.counts[own].max()) + 1])))
        return [runtime.send(image).float() for image in images], parts


def caption_loss(model, images: list[Tensor], parts: list, smoothing: float = 0.0, reduction: str = "mean") -> Tensor:
    """Cross entropy of each token after the start token, given the true ones before it; padding counts for nothing."""
    logits = torch.cat([found.flatten(0, 1) for found in model(images, [(which, tokens[:, :-1]) for which, tokens in parts])])
    target = torch.cat([tokens[:, 1:].flatten() for _, tokens in parts])
    return F.cross_entropy(logits, target, ignore_index=catr.PAD, reduction=reduction, label_smoothing=smoothing)


def train_epoch(model, optimiser, pairs: Pairs, recipe: Recipe, runtime: setup.Runtime, epoch: int) -> dict:
    """One pass over all captions, `epoch` counted from 0: mean loss of a token over all processes and the last learning rate."""
    model.train()
    setup.seed_everything(runtime.seed, epoch, setup.rank())
    generator = torch.Generator().manual_seed(setup.mixed_seed(runtime.seed, epoch))
    loss_sum, count, steps = torch.zeros((), device=runtime.device), 0, -(-len(pairs.units) // recipe.batch_size)
    walk = batches(len(pairs.units), recipe.batch_size, generator, 1, pairs.amounts)
    for step, (index, u, share) in enumerate(tqdm(walk, f"epoch {epoch + 1}", steps, leave=False, disable=setup.rank() > 0 or None)):
        training.set_lr(optimiser, recipe.lr * recipe.schedule(epoch + step / steps, recipe.epochs))
        loss = caption_loss(model, *pairs.batch(index, runtime, u[:, 0] if pairs.turns else None), recipe.label_smoothing)
        optimiser.zero_grad(set_to_none=True)
        (loss * share).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimiser.step()
        tokens = int(pairs.amounts[index].sum())
        loss_sum += loss.detach() * tokens
        count += tokens
    loss_sum, count = setup.total(loss_sum, count)
    return {"lr": optimiser.param_groups[0]["lr"], "train_loss": loss_sum / count}


@setup.evaluation()
def evaluate(model, pairs: Pairs, batch_size: int, runtime: setup.Runtime) -> dict:
    """Mean cross entropy of a token on a split."""
    model.eval()
    setup.synchronise_buffers(model)
    loss, count = 0.0, 0.0
    for index in shares(len(pairs.units), batch_size):
        loss += caption_loss(model, *pairs.batch(index, runtime), reduction="sum").double()
        count += pairs.amounts[index].sum()
    loss, count = setup.total(loss, count)
    return {"validation_loss": loss / count}


@setup.evaluation()
def spelt(model: catr.CATR, images: list[Tensor], pieces: WordPieces, beams: int, runtime: setup.Runtime) -> list[str]:
    """The captions of pictures as `remember` takes them; the processes share the work."""
    model.eval()

    def some(places: Tensor) -> list[str]:
        memory = model.remember([runtime.send(images[i]).float() for i in places.tolist()])
        return [pieces.text(caption.tokens) for caption in catr.generate(model, memory, beams=beams)]

    return [*itertools.chain(*setup.shared(some, torch.arange(len(images)).split(50)))]


@setup.on_rank_zero
def write(run: training.Run, written: dict, captions: dict[str, list[str]], references: list[list[str]]) -> dict:
    """The item, from a training and its run.json; `captions` are p2.pth's of the validation pictures, by how they were searched."""
    item, network = items.get("f21 2.1-training"), run.recipe.network
    return results.write_result(
        run.runtime,
        item.name,
        f"{item.title}, {network}",
        figures={"": results.curves({"": run.history}, ("loss",), f"captioner, {network}")},
        reported=item.reported,
        reproduced={way: p2_scores.scores(own, references) for way, own in captions.items() if not p2_scores.missing()}
        | {"validation loss": run.kept["validation_loss"]},
        missing=p2_scores.missing(),
        claims=[],
        **results.run_fields(written) | {"settings": written["settings"] | {"captions scored": p2_scores.METHOD}},
    )


def main(args: argparse.Namespace) -> dict:
    """Train and write the item; returns the result."""
    runtime, changes = setup.start(args), training.changes(args)
    recipe = p2_recipes.recipe(args.arch, args.quick, changes)
    data, *splits = load_captions(args.data)
    if args.quick:
        splits = [split.first(count) for split, count in zip(splits, p2_recipes.QUICK_IMAGES, strict=True)]
    weights = training.starting_weights(args.weights, recipe, args.quick)
    pieces = word_pieces(args.vocab, splits[0], recipe.pieces)
    model = runtime.place(p2_models.build(recipe.network, pieces, recipe.side, weights))
    if model.frozen and args.turns:
        raise setup.UsageError(f"--turns: {args.arch} sees features that were computed once; leave it out")
    train, validation = (
        Pairs(split, p2_models.seen(model, split, runtime), pieces, model.config.positions, recipe.together, args.turns) for split in splits
    )
    folder = p2_recipes.run_folder(runtime, args.arch, data["name"], changes)
    data |= {"train": len(splits[0]), "validation": len(splits[1]), "captions": len(train.place)}
    settings = training.run_settings(recipe, weights, data, runtime) | {"precision": runtime.precision(mixed=False)}
    vocabulary = setup.from_rank_zero(lambda: named(args.vocab)) if args.vocab else "learnt from the captions"
    settings |= {"config": asdict(model.config), "quarter turns": args.turns, "word pieces": vocabulary}

    run = training.Run(folder, recipe, settings, runtime)
    optimiser, parallel = training.make_optimiser(model, recipe), setup.parallel(model, runtime)
    for epoch in run.epochs(model, optimiser):
        numbers = train_epoch(parallel, optimiser, train, recipe, runtime, epoch.index)
        epoch.record(**numbers, **evaluate(model, validation, recipe.batch_size, runtime))

    written = results.write_run(run, p2_recipes.FULL)
    path = results.save_half(folder, "p2.pth", run.kept, pieces=pieces.pieces, deviations=written["deviations"])
    checkpoints.load_weights(model, checkpoints.load_checkpoint_for_all(path, "train again")["model"], path)
    captions = {
        "greedy" if beams == 1 else f"{beams} beams": spelt(model, validation.images, pieces, beams, runtime) for beams in (1, BEAMS)
    }
    return write(run, written, captions, splits[1].captions)


if __name__ == "__main__":
    cli.run(main, ARGS)
