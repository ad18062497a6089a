"""hw1 problem 3, item 2.2 of f23: what five settings of pre-training and fine-tuning make of the same classifier.

Reported accuracy on Office-Home's validation images: A (no pre-training, full model) 0.3251, B (supervised backbone, full model) 0.4507,
C (self-supervised backbone, full model) 0.4360, D (as B, the backbone fixed) 0.3325, E (as C, the backbone fixed) 0.2980. R, as E with a
random backbone, is a control that the report lacks: what D and E have above it they learnt before. Ours is the mean over three seeds of the
fine-tuning, each at the epoch of the lowest validation loss. Writes results/f23-2.2.{json,png}, and p3.pth of setting C in
OUT/checkpoints/f23-2.2-C*/ for p3_inference.py; --resume skips trainings that have ended.

    python hw1/p3_ssl_finetune.py --setting all
"""

import argparse
import itertools
import sys
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import cli, items
from hw1 import arguments

ITEM = items.get("f23 2.2")
SETTINGS = (*ITEM.reported, "R")


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--setting", choices=(*SETTINGS, "all"), default="all")
    parser.add_argument("--ssl", type=Path, help="the self-supervised backbone (default: what p3_ssl_pretrain.py left in --out)")
    parser.add_argument("--sl", type=Path, help="the supervised one (default: the course's pretrain_model_SL.pt, or p3_ssl_pretrain.py's)")
    arguments.add_backbone_arguments(parser)
    cli.add_seeds(parser, quick=3)
    cli.add_training_arguments(parser, weights=False)
    cli.add_common_arguments(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    ARGS = parse_args()  # before torch is imported: --help and a wrong argument answer at once

import torch
from torch import nn

from common import classification, figures, results, setup, training
from common.augment import Normalise, Pipeline
from common.data import Labelled, Splits, preload
from hw1 import p3_backbones, p3_data, p3_models, p3_recipes, reports
from hw1.p3_recipes import CLASSIFIER, FINETUNE, Choice

RECIPES = dict.fromkeys("ABC", FINETUNE) | dict.fromkeys("DER", CLASSIFIER)
NORMALISED = Pipeline(Normalise())
OFFICE_HOME = 65  # classes


@dataclass(frozen=True)
class Transfer:
    """One setting's training with one seed: its recipe, backbone file, settings and folder."""

    recipe: p3_recipes.Recipe
    backbone: Path | None
    settings: dict
    folder: Path


def plan(setting: str, choice: Choice, splits: Splits, classes: list[str], runtime: setup.Runtime) -> Transfer:
    """The training of a setting with the runtime's seed."""
    recipe = p3_recipes.adapt(RECIPES[setting], choice, runtime.quick)
    path = p3_backbones.file_of(setting, choice, runtime)
    settings = training.run_settings(recipe, "none", splits.describe(), runtime)
    settings |= {"backbone file": p3_data.digest_or_none(path), "setting": setting, "classes": classes}
    given = choice.files.get(p3_backbones.KINDS[setting])
    name = f"2.2-{setting}" + f"-{settings['backbone file'][:6]}" * (given is not None)
    return Transfer(recipe, path, settings, p3_recipes.run_folder(runtime, name, choice))


def wanted(asked: str, choice: Choice, quick: bool) -> list[str]:
    """The settings asked for; the quick form has no supervised backbone where the images have no labels."""
    names = list(SETTINGS) if asked == "all" else [asked]
    if not quick or choice.files.get("sl") or p3_data.has_labels(choice.source):
        return names
    if not (kept := [name for name in names if p3_backbones.KINDS[name] != "sl"]):
        raise cli.UsageError(f"--setting {asked} --quick: no labels to train a backbone with; name one with --sl")
    setup.log("settings B and D are left out: these images have no labels to train the quick form's supervised backbone with")
    return kept


# ---- what is trained ----


@setup.evaluation()
def as_features(splits: Splits, backbone: nn.Module, runtime: setup.Runtime) -> Splits:
    """The splits with the frozen backbone's features (N, dim) in the place of images: computed once for all epochs."""
    runtime.place(backbone)

    def feats(split: Labelled) -> Labelled:
        return Labelled(p3_models.features(backbone, split.images, runtime), split.target, split.names)

    return replace(splits, train=feats(splits.train), validation=feats(splits.validation))


def prepare(path: Path | None, recipe, splits: Splits, classes: int, runtime: setup.Runtime) -> tuple[nn.Module, Splits, Pipeline]:
    """What is trained, on what, and the validation images' pipeline: a network on images, or the classifier on features."""
    backbone, dim = p3_backbones.load(path, recipe)
    classifier = p3_models.Classifier(dim, classes)
    if recipe.trains == p3_recipes.ON_FEATURES:
        return classifier, as_features(splits, backbone, runtime), Pipeline()
    return p3_models.Transferred(backbone, classifier, recipe.trains == p3_recipes.CLASSIFIER_ONLY), splits, NORMALISED


# ---- the item ----


def row(setting: str, histories: dict[int, list[dict]], classes: int, choice: Choice, runtime: setup.Runtime) -> dict:
    """What the item keeps of one setting's runs: their accuracies, where they come from, and what they do otherwise than p3_recipes has it
    for the course's data. `histories` are the runs' by seed.
    """
    full, kind = RECIPES[setting], p3_backbones.KINDS[setting]
    recipe = p3_recipes.adapt(full, choice, runtime.quick)
    settings = recipe.settings() | {"seeds": list(histories)}
    words = training.deviations(full, settings)
    if choice.source.name == "p3_data" and classes != OFFICE_HOME:
        words.append(f"{classes} other classes, not the {OFFICE_HOME} of Office-Home")
    if kind != "none":
        path = p3_backbones.file_of(setting, choice, runtime)
        settings["backbone"] = p3_backbones.origin_of(path)
        words += [f"--{kind} {path.name} ({settings['backbone']['digest']})"] * (choice.files.get(kind) is not None)
    origin = {**results.origin(*histories.values()), "command": results.command_line()}
    settings |= results.precision(*histories.values()) | origin
    accuracy = results.summary([[training.kept_epoch(history, recipe.keep)] for history in histories.values()])
    return {"accuracy": accuracy, "settings": settings, "deviations": words, "quick": runtime.quick, **origin}


def claims(rows: dict[str, dict], byol: dict) -> list[dict]:
    """What the report says of its table; one setting wins if its lead is larger than the spread over the seeds.

    `byol` is the pre-training's last epoch, {} where it is unknown: what C and E began from explains how they fare.
    """
    known = {"both views identical": "identical_views", "20 nearest neighbours before fine-tuning": "knn_accuracy"}
    start = {words: byol[key] for words, key in known.items() if key in byol}
    return [
        ITEM.claim(
            f"{better}_beats_{worse}".lower(),
            results.beats(rows[better], rows[worse]),
            lead=rows[better]["validation"] - rows[worse]["validation"],
            **start,
        )
        for better, worse in ("BC", "CA", "DE", "ER")
        if {better, worse} <= rows.keys()
    ]


def draw(rows: dict[str, dict]):
    """Validation accuracy of each setting with its spread, beside the report's."""
    figure, grid = figures.new_figure(height=3.6)
    axes, places, width = grid[0, 0], torch.arange(len(rows)), 0.38
    ours, spread = ([row.get(key, 0) for row in rows.values()] for key in ("validation", "validation sd"))
    for shift, values, look in (
        (-0.5, [ITEM.reported.get(name, float("nan")) for name in rows], {"label": "reported (Office-Home)"}),
        (0.5, ours, {"label": "ours"}),
    ):
        bars = axes.bar(places + shift * width, values, width, yerr=spread if values is ours and any(spread) else None, capsize=3, **look)
        axes.bar_label(bars, fmt="{:.3f}", padding=2, fontsize=8)
    axes.margins(y=0.12)
    axes.set(xticks=places, ylabel="validation accuracy")
    axes.set_xticklabels([ITEM.words[name].replace(": ", "\n", 1).replace(", ", ",\n") for name in rows], fontsize=8)
    axes.legend()
    return figure


@setup.on_rank_zero
def write(found: dict[str, dict], splits: Splits, classes: list[str], runtime: setup.Runtime) -> dict:
    """The item: of each setting the best run, of those in the rows `found` and those that the item has had."""
    kept = reports.best_rows(runtime, ITEM.name, splits.describe(), found)
    kept = {name: one | {"weights": p3_backbones.in_words(name, one["settings"].get("backbone", {}))} for name, one in kept.items()}
    rows = {name: one["accuracy"] for name, one in kept.items()}
    header = ["setting", "reported", "validation", "standard deviation", "training", "started from"]
    cells = []
    for name, row in rows.items():
        spread = f"{row['validation sd']:.4f}" if "validation sd" in row else "one run"
        numbers = [f"{ITEM.reported[name]:.4f}" if name in ITEM.reported else "", f"{row['validation']:.4f}", spread, f"{row['train']:.4f}"]
        cells.append([ITEM.words[name], *numbers, kept[name]["weights"]])
    title = "Accuracy, mean over the seeds of the fine-tuning; one pre-training of each kind"
    byol = next((one["settings"]["backbone"] for name, one in kept.items() if p3_backbones.KINDS[name] == "ssl"), {})
    return results.write_result(
        runtime,
        ITEM.name,
        ITEM.title,
        figures={"": draw(rows)},
        reported={name: ITEM.reported[name] for name in rows if name in ITEM.reported},
        reproduced={name: row["validation"] for name, row in rows.items()},
        claims=claims(rows, byol.get("after the last epoch", {})),
        tables=[{"title": title, "header": header, "rows": cells}],
        data=splits.describe(),
        weights="; ".join(f"{name}: {one['weights']}" for name, one in kept.items()),
        settings={name: one["settings"] for name, one in kept.items()} | {"classes": classes},
        **reports.row_fields(kept),
    )


def main(args: argparse.Namespace) -> dict:
    """Train the settings for every seed and write the item, of all settings trained so far; returns the result."""
    runtime = setup.start(args)
    choice = Choice(p3_data.find(args.data, args.data_dir), args.backbone, training.overrides(args), {"sl": args.sl, "ssl": args.ssl})
    recipe = p3_recipes.adapt(FINETUNE, choice, runtime.quick)
    splits, classes = p3_data.load_target(choice.source, recipe.image_size)
    splits = splits.first_per_class(*p3_recipes.QUICK_LABELLED) if runtime.quick else splits
    names = wanted(args.setting, choice, runtime.quick)
    for path in dict.fromkeys(p3_backbones.file_of(name, choice, runtime) for name in names):
        p3_backbones.load(path, recipe)  # a wrong file ends the script before anything is trained

    repetitions = [replace(runtime, seed=seed) for seed in training.seeds(args)]
    for once, name in itertools.product(repetitions, names):
        setup.log(f"setting {name}, seed {once.seed}:")
        transfer = plan(name, choice, splits, classes, once)
        setup.writable_folder(transfer.folder)
        if results.finished_history(transfer.folder, transfer.settings, once.resume):
            setup.log(f"  has ended: {transfer.folder}")
            continue

        setup.seed_everything(once.seed)
        recipe = transfer.recipe
        model, seen, pipeline = prepare(transfer.backbone, recipe, splits, len(classes), once)
        train_images, validation_images = preload(seen.train, recipe.train_pipeline(0), once), preload(seen.validation, pipeline, once)
        model = once.place(model)
        optimiser = training.make_optimiser(model, recipe)
        average = classification.moving_average(model, optimiser, recipe.average)
        parallel, evaluated = setup.parallel(model, once), average.module if average else model

        run = training.Run(transfer.folder, recipe, transfer.settings, once)
        for epoch in run.epochs(model, optimiser, average):
            trained = classification.train_epoch(parallel, optimiser, train_images, recipe, once, epoch.index)
            found = classification.evaluate(evaluated, validation_images, pipeline, recipe.validation_batch, once)
            epoch.record(**trained, **found)

        if name == "C":
            results.save_half(run.folder, "p3.pth", run.kept, eight_bits=True)
        results.write_history(run.folder, run.settings, run.history)

    rows = {}
    for name in filter(lambda name: p3_backbones.is_there(name, choice, runtime), SETTINGS):
        plans = {once.seed: plan(name, choice, splits, classes, once) for once in repetitions}
        histories = {seed: results.finished_history(one.folder, one.settings, resuming=True) for seed, one in plans.items()}
        if all(histories.values()):
            rows[name] = setup.from_rank_zero(lambda name=name, histories=histories: row(name, histories, len(classes), choice, runtime))
    return write(rows, splits, classes, runtime)


if __name__ == "__main__":
    cli.run(main, ARGS)
