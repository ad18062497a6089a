"""hw1 problem 3, item 2.2 of f23: what five settings of pre-training and fine-tuning make of the same classifier.

Reported accuracy on Office-Home's validation images: A (no pre-training, full model) 0.3251, B (supervised backbone, full model) 0.4507,
C (self-supervised backbone, full model) 0.4360, D (as B, the backbone fixed) 0.3325, E (as C, the backbone fixed) 0.2980. Ours is the mean
over three seeds of the fine-tuning. Writes results/f23-2.2.{json,png}, and p3.pth of setting C in OUT/checkpoints/f23-2.2-C*/ for
p3_inference.py; --resume skips trainings that have ended.

    python hw1/p3_ssl_finetune.py --setting all
"""

import argparse
import hashlib
import sys
from pathlib import Path

import torch
from torch import Tensor

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import classification, figures, results, runs, setup, training
from common.augment import Normalise, Pipeline
from common.data import Labelled, Splits
from hw1 import p3_data, p3_models, p3_recipes
from hw1.p3_recipes import CLASSIFIER, FINETUNE

REPORTED = {"A": 0.3251, "B": 0.4507, "C": 0.4360, "D": 0.3325, "E": 0.2980}
BACKBONES = {"A": "none", "B": "sl", "C": "ssl", "D": "sl", "E": "ssl"}
FROZEN = "DE"
NAMES = {
    "A": "A: no pre-training, full model",
    "B": "B: supervised, full model",
    "C": "C: self-supervised, full model",
    "D": "D: supervised, classifier only",
    "E": "E: self-supervised, classifier only",
}
NORMALISED = Pipeline(Normalise())


# ---- backbones ----


def backbone_file(args: argparse.Namespace, source: p3_data.Source, setting: str) -> Path | None:
    """The file with the setting's backbone, None for A. Raises UsageError that says how to make it if it is missing."""
    kind, quick = BACKBONES[setting], " --quick" * args.quick
    if kind == "none":
        return None
    given, course = getattr(args, kind), source.folder / "pretrain_model_SL.pt"
    own = argparse.Namespace(**vars(args) | dict.fromkeys(training.OPTIONS) | {"seed": 0, "image_size": args.image_size})
    path = p3_recipes.run_folder(own, "byol" if kind == "ssl" else "supervised", source) / "backbone.pth"
    if given or (kind == "sl" and course.exists()):
        path = given or course
    if not path.exists():
        command = f"python hw1/p3_ssl_pretrain.py{' --supervised' * (kind == 'sl')}{quick}"
        raise setup.UsageError(f"no backbone {path} for setting {setting}; make it with {command}, or name a file with --{kind}")
    return path


def load_backbone(path: Path | None, recipe) -> tuple[torch.nn.Module, int]:
    """The backbone, from a file or random, and the length of its features."""
    backbone, dim = p3_models.build_backbone(recipe.network, recipe.image_size)
    if path:
        p3_models.load_backbone(backbone, setup.load_checkpoint(path, "name another file"), path)
    return backbone, dim


def digest(path: Path | None) -> str:
    """The first digits of a file's hash, so that a run is not taken for one with another backbone."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12] if path else "none"


# ---- trainings ----


@setup.evaluation()
def as_features(splits: Splits, backbone: torch.nn.Module, runtime: setup.Runtime) -> Splits:
    """The splits with the frozen backbone's features (N, dim) in the place of images: computed once for all epochs."""
    runtime.place(backbone)

    def feats(split: Labelled) -> Tensor:
        batches = (NORMALISED(images.to(runtime.device), torch.empty(0, 0)) for images in split.images.split(250))
        return p3_models.features(backbone, batches)

    train, validation = (Labelled(feats(split), split.target, split.names) for split in (splits.train, splits.validation))
    return Splits(splits.name, train, validation)


def prepare(setting: str, path: Path | None, recipe, splits: Splits, classes: int, runtime: setup.Runtime):
    """What is trained, on what, and the validation images' pipeline: the whole network on images, or the classifier on features."""
    backbone, dim = load_backbone(path, recipe)
    if setting in FROZEN:
        return p3_models.Classifier(dim, classes), as_features(splits, backbone, runtime), Pipeline()
    return p3_models.Transferred(backbone, dim, classes), splits, NORMALISED


def train_setting(setting: str, splits: Splits, classes: list[str], source, runtime: setup.Runtime, args: argparse.Namespace) -> None:
    """Train one setting with one seed and leave its history, unless --resume finds that it has ended; setting C leaves p3.pth too."""
    setup.log(f"setting {setting}, seed {args.seed}:")
    recipe = p3_recipes.adapt(CLASSIFIER if setting in FROZEN else FINETUNE, args, source)
    path = setup.from_rank_zero(lambda: backbone_file(args, source, setting))
    settings = recipe.settings() | {"backbone file": digest(path), "seed": args.seed, "data": splits.describe(), "setting": setting}
    settings |= {"classes": classes, "precision": runtime.precision()}
    folder = setup.writable_folder(p3_recipes.run_folder(args, f"2.2-{setting}", source))
    if runs.ended(folder, settings, args.resume):
        return
    setup.seed_everything(args.seed)
    model, splits, pipeline = prepare(setting, path, recipe, splits, len(classes), runtime)
    history = classification.train(model, recipe, splits, pipeline, folder, settings, runtime, args)
    if setting == "C":
        setup.on_rank_zero(runs.save_half)(folder, "p3.pth", history[-1])
    runs.keep_history(folder, settings, history, runtime)


# ---- the item ----


def claims(rows: dict[str, dict]) -> list[dict]:
    """What the report says of its table; one setting wins if its lead is larger than the spread over the seeds."""
    return [
        {"claim": f"{better} > {worse}", "holds": runs.beats(rows[better], rows[worse])}
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
    axes.set(xticks=places, ylabel="validation accuracy")
    axes.set_xticklabels([NAMES[name].replace(": ", "\n", 1).replace(", ", ",\n") for name in rows], fontsize=8)
    axes.legend()
    return figure


@setup.on_rank_zero
def write(args: argparse.Namespace, runtime: setup.Runtime, source: p3_data.Source, splits: Splits, classes: list[str]) -> dict:
    """The item."""
    histories = collected(args, source, splits.describe())
    rows = {name: runs.summary(found) for name, found in histories.items()}
    seeds = [once.seed for once in runs.repetitions(args)]
    recipes = {name: p3_recipes.adapt(recipe, args, source) for name, recipe in (("full model", FINETUNE), ("classifier only", CLASSIFIER))}
    return results.write_result(
        args,
        runtime,
        "f23 2.2",
        "five settings of pre-training and fine-tuning",
        figures={"": draw(rows)},
        reported={name: REPORTED[name] for name in rows},
        reproduced={name: row["validation"] for name, row in rows.items()},
        claims=claims(rows),
        tables=[table(rows)],
        data=splits.describe(),
        weights="none",
        settings={name: recipe.settings() for name, recipe in recipes.items()} | {"seeds": seeds, "classes": classes},
        deviations=training.deviations(FINETUNE, recipes["full model"], "none"),
        training_seconds=round(sum(epoch["seconds"] for found in histories.values() for once in found for epoch in once), 1),
    )


def table(rows: dict[str, dict]) -> dict:
    """Training and validation accuracy with the spread over the seeds."""
    header = ["setting", "reported", "validation", "standard deviation", "training"]
    cells = [
        [NAMES[name], f"{REPORTED[name]:.4f}", f"{row['validation']:.4f}", f"{row.get('validation sd', 0):.4f}", f"{row['train']:.4f}"]
        for name, row in rows.items()
    ]
    return {"title": "Accuracy, mean over the seeds", "header": header, "rows": cells}


def collected(args: argparse.Namespace, source: p3_data.Source, data: dict) -> dict[str, list[list[dict]]]:
    """The histories of every setting that has ended for all seeds on this data, by setting."""
    found = {}
    for name in REPORTED:
        folders = [p3_recipes.run_folder(once, f"2.2-{name}", source) for once in runs.repetitions(args)]
        kept = [results.read_json(folder / "history.json") for folder in folders]
        if all(run.get("settings", {}).get("data") == data for run in kept):
            found[name] = [run["history"] for run in kept]
    return found


def main(args: argparse.Namespace) -> dict:
    """Train the settings for every seed and write the item, of all settings trained so far; returns the result."""
    runtime, source = setup.start(args), p3_data.find(args)
    splits, classes = p3_data.load_target(source, p3_recipes.adapt(FINETUNE, args, source).image_size)
    splits = splits.first_per_class(*p3_recipes.QUICK_LABELLED) if args.quick else splits
    names = REPORTED if args.setting == "all" else [args.setting]
    for name in names:
        setup.from_rank_zero(lambda name=name: backbone_file(args, source, name))
    for once in runs.repetitions(args):
        for name in names:
            train_setting(name, splits, classes, source, runtime, once)
    return write(args, runtime, source, splits, classes)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = setup.Parser(description=__doc__)
    parser.add_argument("--setting", choices=(*REPORTED, "all"), default="all")
    parser.add_argument("--ssl", type=Path, help="the self-supervised backbone (default: what p3_ssl_pretrain.py left in --out)")
    parser.add_argument("--sl", type=Path, help="the supervised one (default: the course's pretrain_model_SL.pt, or p3_ssl_pretrain.py's)")
    p3_recipes.add_arguments(parser)
    runs.add_seeds(parser, quick=3)
    setup.add_training_arguments(parser, weights=False)
    setup.add_common_arguments(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    setup.run(main, parse_args())
