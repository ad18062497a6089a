"""hw3 problem 2: train the captioner of f21's item 2.1 (CATR) on images with captions.

f21 uses CATR's published weights; this trains the same network, or `--arch small` for machines without a GPU: teacher forcing, padding left
out of the loss. Quarter turns, which CATR's own training draws, contradict "left" and "above" and are off unless --turns is given. Word
pieces come from --vocab, or are learnt from the training captions. Writes OUT/checkpoints/hw3-p2-<arch>/ (best.pth, last.pth, and p2.pth,
the file that the figures and the graders' script use) and results/f21-2.1-training.{json,png}.

    python hw3/p2_caption_train.py --arch small
"""

import argparse
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

from common import checkpoints, figures, items, results, setup, training
from common.data import batches, evaluation_indices
from common.files import name_and_digest
from hw3 import catr, p2_models, p2_recipes
from hw3.p2_data import Captioned, load_captions, preprocess
from hw3.p2_recipes import Recipe
from hw3.p2_text import WordPieces, read_vocabulary, train_vocabulary


@setup.on_rank_zero
def word_pieces(vocab: Path | None, train: Captioned) -> WordPieces:
    """Those of --vocab, or learnt from the training captions."""
    return read_vocabulary(vocab) if vocab else train_vocabulary(text for own in train.captions for text in own)


class Pairs:
    """Each caption with its picture: `images` as the network sees them, `place` (M,) of each caption's, `tokens` (M, longest), padded.

    `counts` (M,) is how many tokens of each caption are predicted: all but the first. With `turns` training turns the pictures.
    """

    def __init__(self, split: Captioned, pieces: WordPieces, config: catr.Config, turns: bool = False):
        self.turns = turns
        self.images = [preprocess(image, config.side) for image in split.images]
        self.place = torch.tensor([i for i, captions in enumerate(split.captions) for _ in captions])
        coded = [torch.tensor(pieces.encode(caption)) for captions in split.captions for caption in captions]
        longest = max(range(len(coded)), key=lambda i: len(coded[i]))
        if len(coded[longest]) > config.positions:
            what = f"a caption of {split.files[self.place[longest]]} has {len(coded[longest])} tokens"
            raise cli.UsageError(f"{what}, the network {config.positions} positions; shorten it")
        self.tokens = torch.nn.utils.rnn.pad_sequence(coded, batch_first=True, padding_value=catr.PAD)
        self.counts = (self.tokens[:, 1:] != catr.PAD).sum(1)

    def __len__(self) -> int:
        return len(self.place)

    def batch(self, index: Tensor, runtime: setup.Runtime, u: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
        """Pictures and tokens of these captions on the device; a draw `u` (N,) in [0, 1) turns each by a multiple of 90 degrees."""
        quarters = [0] * len(index) if u is None else (u * 4).long().tolist()
        images = [self.images[i].rot90(turn, (1, 2)) for i, turn in zip(self.place[index].tolist(), quarters, strict=True)]
        return [runtime.send(image) for image in images], runtime.send(self.tokens[index])


def caption_loss(model, images: list[Tensor], tokens: Tensor, reduction: str = "mean") -> Tensor:
    """Cross entropy of each token after the start token, given the true ones before it; padding counts for nothing."""
    logits = model(images, tokens[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten(), ignore_index=catr.PAD, reduction=reduction)


def train_epoch(model, optimiser, pairs: Pairs, recipe: Recipe, runtime: setup.Runtime, epoch: int) -> dict:
    """One pass over all captions, `epoch` counted from 0: mean loss of a token over all processes and the last learning rate."""
    model.train()
    setup.seed_everything(runtime.seed, epoch, setup.rank())
    generator = torch.Generator().manual_seed(setup.mixed_seed(runtime.seed, epoch))
    loss_sum, count, steps = torch.zeros((), device=runtime.device), 0, -(-len(pairs) // recipe.batch_size)
    walk = batches(len(pairs), recipe.batch_size, generator, 1, pairs.counts)
    for step, (index, u, share) in enumerate(tqdm(walk, f"epoch {epoch + 1}", steps, leave=False, disable=setup.rank() > 0 or None)):
        training.set_lr(optimiser, recipe.lr * recipe.schedule(epoch + step / steps, recipe.epochs))
        loss = caption_loss(model, *pairs.batch(index, runtime, u[:, 0] if pairs.turns else None))
        optimiser.zero_grad(set_to_none=True)
        (loss * share).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimiser.step()
        tokens = int(pairs.counts[index].sum())
        loss = loss.detach()  # see speed.CudaGraphs
        loss_sum += loss * tokens
        count += tokens
    loss_sum, count = setup.sum_over_processes(loss_sum, count)
    return {"lr": optimiser.param_groups[0]["lr"], "train_loss": loss_sum / count}


@setup.evaluation()
def evaluate(model, pairs: Pairs, batch_size: int, runtime: setup.Runtime) -> dict:
    """Mean cross entropy of a token on a split."""
    model.eval()
    setup.synchronise_buffers(model)
    loss, count = 0.0, 0.0
    for index in evaluation_indices(len(pairs), batch_size):
        loss += caption_loss(model, *pairs.batch(index, runtime), "sum").double()
        count += pairs.counts[index].sum()
    loss, count = setup.sum_over_processes(loss, count)
    return {"validation_loss": loss / count}


def exact_match(model: catr.CATR, split: Captioned, images: list[Tensor], pieces: WordPieces, runtime: setup.Runtime) -> float:
    """The share of pictures whose greedy caption is, piece by piece, one of their own captions; the processes share the work."""

    def right(places: Tensor) -> int:
        found = catr.greedy(model, [images[i].to(runtime.device) for i in places.tolist()])
        own = [[pieces.encode(text) for text in split.captions[i]] for i in places.tolist()]
        return sum(caption.tokens in captions for caption, captions in zip(found, own, strict=True))

    return sum(setup.distributed_map(right, torch.arange(len(images)).split(50))) / len(images)


@setup.on_rank_zero
def write(run: training.Run, written: dict, found: dict[str, float]) -> dict:
    """The item, from a training and its run.json; `found` is the share of exact captions by p2.pth."""
    item, network = items.get("f21 2.1-training"), run.recipe.network
    return results.write_result(
        run.runtime,
        item.name,
        f"{item.title}, {network}",
        figures={"": figures.learning_curves({"": run.history}, ("loss",), f"captioner, {network}")},
        reported=item.reported,
        reproduced=found | {"validation loss": run.kept["validation_loss"]},
        claims=[],
        **results.run_fields(written),
    )


def main(args: argparse.Namespace) -> dict:
    """Train and write the item; returns the result."""
    runtime, changes = setup.start(args), training.overrides(args)
    recipe = p2_recipes.recipe(args.arch, args.quick, changes)
    data, *splits = load_captions(args.data)
    if args.quick:
        splits = [split.first(count) for split, count in zip(splits, p2_recipes.QUICK_IMAGES, strict=True)]
    weights = training.starting_weights(args.weights, recipe, args.quick)
    pieces = word_pieces(args.vocab, splits[0])
    model = runtime.place(p2_models.build(recipe.network, pieces, recipe.side, weights))
    train, validation = (Pairs(split, pieces, model.config, args.turns) for split in splits)
    folder = p2_recipes.run_folder(runtime, args.arch, data["name"], changes)
    data |= {"train": len(splits[0]), "validation": len(splits[1]), "captions": len(train)}
    settings = training.run_settings(recipe, weights, data, runtime) | {"precision": runtime.precision(mixed=False)}
    vocabulary = setup.from_rank_zero(lambda: name_and_digest(args.vocab)) if args.vocab else "learnt from the captions"
    settings |= {"config": asdict(model.config), "quarter turns": args.turns, "word pieces": vocabulary}

    run = training.Run(folder, recipe, settings, runtime)
    optimiser, parallel = training.make_optimiser(model, recipe), setup.parallel(model, runtime)
    for epoch in run.epochs(model, optimiser):
        numbers = train_epoch(parallel, optimiser, train, recipe, runtime, epoch.index)
        epoch.record(**numbers, **evaluate(model, validation, recipe.batch_size, runtime))

    written = results.write_run(run, p2_recipes.FULL)
    path = results.save_half(folder, "p2.pth", run.kept, pieces=pieces.pieces, deviations=written["deviations"])
    checkpoints.load_weights(model, checkpoints.load_checkpoint_for_all(path, "train again")["model"], path)
    found = {
        f"exact captions, {name}": exact_match(model, split, pairs.images, pieces, runtime)
        for name, split, pairs in zip(("training", "validation"), splits, (train, validation), strict=True)
    }
    return write(run, written, found)


if __name__ == "__main__":
    cli.run(main, ARGS)
