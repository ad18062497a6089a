"""hw1 problem 3, item 2.2 of f23: what five settings of pre-training and fine-tuning make of the same classifier.

Reported accuracy on Office-Home's validation images: A (no pre-training, full model) 0.3251, B (supervised backbone, full model) 0.4507,
C (self-supervised backbone, full model) 0.4360, D (as B, the backbone fixed) 0.3325, E (as C, the backbone fixed) 0.2980. Ours is the mean
over three seeds of the fine-tuning, each at the epoch of the lowest validation loss. Writes results/f23-2.2.{json,png}, and p3.pth of
setting C in OUT/checkpoints/f23-2.2-C*/ for p3_inference.py; --resume skips trainings that have ended.

    python hw1/p3_ssl_finetune.py --setting all
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import cli
from hw1 import arguments

REPORTED = {"A": 0.3251, "B": 0.4507, "C": 0.4360, "D": 0.3325, "E": 0.2980}


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(description=__doc__)
    parser.add_argument("--setting", choices=(*REPORTED, "all"), default="all")
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

from common import classification, figures, results, setup, training
from common.augment import Normalise, Pipeline
from common.data import Labelled, Splits
from hw1 import p3_backbones, p3_data, p3_models, p3_recipes
from hw1.p3_recipes import CLASSIFIER, FINETUNE

RECIPES = dict.fromkeys("ABC", FINETUNE) | dict.fromkeys("DE", CLASSIFIER)
NAMES = {
    "A": "A: no pre-training, full model",
    "B": "B: supervised, full model",
    "C": "C: self-supervised, full model",
    "D": "D: supervised, classifier only",
    "E": "E: self-supervised, classifier only",
}
NORMALISED = Pipeline(Normalise())


def wanted(args: argparse.Namespace, source: p3_data.Source) -> list[str]:
    """The settings asked for; the quick form has no supervised backbone where the images have no labels."""
    names = list(REPORTED) if args.setting == "all" else [args.setting]
    if not args.quick or args.sl or p3_data.has_labels(source):
        return names
    if not (kept := [name for name in names if p3_backbones.KINDS[name] != "sl"]):
        raise setup.UsageError(f"--setting {args.setting} --quick: no labels to train a backbone with; name one with --sl")
    setup.log("settings B and D are left out: these images have no labels to train the quick form's supervised backbone with")
    return kept


# ---- trainings ----


@setup.evaluation()
def as_features(splits: Splits, backbone: torch.nn.Module, runtime: setup.Runtime) -> Splits:
    """The splits with the frozen backbone's features (N, dim) in the place of images: computed once for all epochs."""
    runtime.place(backbone)

    def feats(split: Labelled) -> Labelled:
        return Labelled(p3_models.features(backbone, split.images, runtime), split.target, split.names)

    return replace(splits, train=feats(splits.train), validation=feats(splits.validation))


def prepare(path: Path | None, recipe, splits: Splits, classes: int, runtime: setup.Runtime):
    """What is trained, on what, and the validation images' pipeline: a network on images, or the classifier on features."""
    backbone, dim = p3_backbones.load(path, recipe)
    classifier = p3_models.Classifier(dim, classes)
    if recipe.trains == p3_recipes.ON_FEATURES:
        return classifier, as_features(splits, backbone, runtime), Pipeline()
    return p3_models.Transferred(backbone, classifier, recipe.trains == p3_recipes.CLASSIFIER_ONLY), splits, NORMALISED


def run_of(setting: str, splits: Splits, classes: list[str], source, runtime: setup.Runtime, args: argparse.Namespace):
    """One setting's training with one seed: its recipe, backbone file, settings and folder."""
    recipe = p3_recipes.adapt(RECIPES[setting], args, source)
    path = p3_backbones.file_of(args, source, setting)
    settings = training.run_settings(recipe, "none", splits.describe(), runtime, args)
    settings |= {"backbone file": p3_data.digest_or_none(path), "setting": setting, "classes": classes}
    given = getattr(args, p3_backbones.KINDS[setting], None)
    name = f"2.2-{setting}" + f"-{settings['backbone file'][:6]}" * (given is not None)
    return recipe, path, settings, p3_recipes.run_folder(args, name, source)


def train_setting(setting: str, splits: Splits, classes: list[str], source, runtime: setup.Runtime, args: argparse.Namespace) -> None:
    """Train one setting with one seed and leave its history, unless --resume finds that it has ended; setting C leaves p3.pth too."""
    setup.log(f"setting {setting}, seed {args.seed}:")
    recipe, path, settings, folder = run_of(setting, splits, classes, source, runtime, args)
    setup.writable_folder(folder)
    if results.ended(folder, settings, args.resume):
        setup.log(f"  has ended: {folder}")
        return
    setup.seed_everything(args.seed)
    model, splits, pipeline = prepare(path, recipe, splits, len(classes), runtime)
    history = classification.train(model, recipe, splits, pipeline, folder, settings, runtime, args)
    if setting == "C":
        results.save_half(folder, "p3.pth", training.kept_epoch(history, recipe.keep))
    results.keep_history(folder, settings, history)


# ---- the item ----


def claims(rows: dict[str, dict], byol: dict) -> list[dict]:
    """What the report says of its table; one setting wins if its lead is larger than the spread over the seeds.

    `byol` is the pre-training's last epoch, {} where it is unknown: what C and E began from explains how they fare.
    """
    known = {"both views identical": "identical_views", "20 nearest neighbours before fine-tuning": "knn_accuracy"}
    start = {words: byol[key] for words, key in known.items() if key in byol}
    return [
        {"claim": f"{better} > {worse}", "holds": results.beats(rows[better], rows[worse])}
        | {"lead": rows[better]["validation"] - rows[worse]["validation"], **start}
        for better, worse in ("BC", "CA", "DE")
        if {better, worse} <= rows.keys()
    ]


def draw(rows: dict[str, dict]):
    """Validation accuracy of each setting with its spread, beside the report's."""
    figure, grid = figures.new_figure(height=3.6)
    axes, places, width = grid[0, 0], torch.arange(len(rows)), 0.38
    ours, spread = ([row.get(key, 0) for row in rows.values()] for key in ("validation", "validation sd"))
    for shift, values, look in (
        (-0.5, [REPORTED[name] for name in rows], {"label": "reported (Office-Home)"}),
        (0.5, ours, {"label": "ours"}),
    ):
        bars = axes.bar(places + shift * width, values, width, yerr=spread if values is ours else None, capsize=3, **look)
        axes.bar_label(bars, fmt="{:.3f}", padding=2, fontsize=8)
    axes.margins(y=0.12)
    axes.set(xticks=places, ylabel="validation accuracy")
    axes.set_xticklabels([NAMES[name].replace(": ", "\n", 1).replace(", ", ",\n") for name in rows], fontsize=8)
    axes.legend()
    return figure


@setup.on_rank_zero
def write(args: argparse.Namespace, runtime: setup.Runtime, source: p3_data.Source, histories: dict, splits: Splits, classes: list) -> dict:
    """The item: of each setting the best run, of those in `histories` and those that the item has had."""
    trained = {name: row(name, found, source, args) for name, found in histories.items()}
    kept = results.best_rows(args, "f23 2.2", splits.describe(), trained)
    kept = {name: one | {"weights": p3_backbones.in_words(name, one["settings"].get("backbone", {}))} for name, one in kept.items()}
    rows = {name: one["accuracy"] for name, one in kept.items()}
    byol = next((one["settings"]["backbone"] for name, one in kept.items() if p3_backbones.KINDS[name] == "ssl"), {})
    return results.write_result(
        args,
        runtime,
        "f23 2.2",
        "five settings of pre-training and fine-tuning",
        figures={"": draw(rows)},
        reported={name: REPORTED[name] for name in rows},
        reproduced={name: row["validation"] for name, row in rows.items()},
        claims=claims(rows, byol.get("after the last epoch", {})),
        tables=[table(rows, {name: one["weights"] for name, one in kept.items()})],
        data=splits.describe(),
        weights="; ".join(f"{name}: {one['weights']}" for name, one in kept.items()),
        settings={name: one["settings"] for name, one in kept.items()} | {"classes": classes},
        **results.row_fields(kept),
    )


def row(name: str, histories: list[list[dict]], source: p3_data.Source, args: argparse.Namespace) -> dict:
    """What the item keeps of one setting's runs: their accuracies, where they come from, and what they do otherwise than p3_recipes has it
    for the course's data.
    """
    full, kind = RECIPES[name], p3_backbones.KINDS[name]
    recipe = p3_recipes.adapt(full, args, source)
    settings = recipe.settings() | {"seeds": [once.seed for once in training.seeds(args)]}
    words = training.deviations(full, settings)
    if kind != "none":
        path, given = p3_backbones.file_of(args, source, name), getattr(args, kind)
        settings["backbone"] = p3_backbones.origin_of(path)
        words += [f"--{kind} {path.name} ({settings['backbone']['digest']})"] * (given is not None)
    origin = {**results.origin(*histories), "command": results.command_line()}
    settings |= results.precision(*histories) | origin
    accuracy = results.summary([[training.kept_epoch(history, recipe.keep)] for history in histories])
    return {"accuracy": accuracy, "settings": settings, "deviations": words, "quick": args.quick, **origin}


def table(rows: dict[str, dict], weights: dict[str, str]) -> dict:
    """Training and validation accuracy with the spread over the seeds, and the weights that a setting began from."""
    header = ["setting", "reported", "validation", "standard deviation", "training", "started from"]
    cells = [
        [NAMES[name], f"{REPORTED[name]:.4f}", f"{row['validation']:.4f}", spread(row), f"{row['train']:.4f}", weights[name]]
        for name, row in rows.items()
    ]
    title = "Accuracy, mean over the seeds of the fine-tuning; one pre-training of each kind"
    return {"title": title, "header": header, "rows": cells}


def spread(row: dict[str, float]) -> str:
    """The standard deviation in words; a single run has none."""
    return f"{row['validation sd']:.4f}" if "validation sd" in row else "one run"


def collected(splits: Splits, classes: list[str], source, runtime: setup.Runtime, args: argparse.Namespace) -> dict[str, list[list[dict]]]:
    """The histories of every setting that has ended for all seeds with today's settings and backbones, by setting."""
    found = {}
    for name in filter(lambda name: p3_backbones.is_there(args, source, name), REPORTED):
        planned = [run_of(name, splits, classes, source, runtime, once) for once in training.seeds(args)]
        histories = [results.ended(folder, settings, resuming=True) for _, _, settings, folder in planned]
        if all(histories):
            found[name] = histories
    return found


def main(args: argparse.Namespace) -> dict:
    """Train the settings for every seed and write the item, of all settings trained so far; returns the result."""
    runtime, source = setup.start(args), p3_data.find(args)
    splits, classes = p3_data.load_target(source, p3_recipes.adapt(FINETUNE, args, source).image_size)
    splits = splits.first_per_class(*p3_recipes.QUICK_LABELLED) if args.quick else splits
    names = wanted(args, source)
    for path in dict.fromkeys(p3_backbones.file_of(args, source, name) for name in names):
        p3_backbones.load(path, p3_recipes.adapt(FINETUNE, args, source))  # a wrong file ends the script before anything is trained
    for once in training.seeds(args):
        for name in names:
            train_setting(name, splits, classes, source, runtime, once)
    return write(args, runtime, source, collected(splits, classes, source, runtime, args), splits, classes)


if __name__ == "__main__":
    cli.run(main, ARGS)
