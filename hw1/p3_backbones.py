"""Which backbone each setting of item 2.2 starts from, and where its file is: from p3_ssl_pretrain.py, the course or the user."""

import contextlib
from dataclasses import replace
from pathlib import Path

import torch

from common import checkpoints, cli, results, setup, training
from hw1 import p3_data, p3_models, p3_recipes
from hw1.p3_recipes import Choice

KINDS = {"A": "none", "B": "sl", "C": "ssl", "D": "sl", "E": "ssl", "R": "none"}  # supervised, self-supervised


@setup.on_rank_zero
def file_of(setting: str, choice: Choice, runtime: setup.Runtime) -> Path | None:
    """The file with the setting's backbone, None for A and R. Raises UsageError that says how to make it if it is missing."""
    kind, source = KINDS[setting], choice.source
    if kind == "none":
        return None
    given, course = choice.files.get(kind), source.folder / "pretrain_model_SL.pt"
    first = replace(runtime, seed=0)  # one pre-training, whatever the fine-tuning's seeds, and by its recipe's values
    size = {name: value for name, value in choice.changes.items() if name == "image_size"}
    path = p3_recipes.run_folder(first, "byol" if kind == "ssl" else "supervised", replace(choice, changes=size)) / "backbone.pth"
    if given or (kind == "sl" and course.exists() and not runtime.quick):
        path = given or course
    words = ["hw1/p3_ssl_pretrain.py"] + ["--supervised"] * (kind == "sl")
    options = {"--backbone": choice.backbone, "--image-size": size.get("image_size")}
    options["--data-dir"] = source.folder if source.by_data_dir else None
    words += [word for name, value in options.items() if value is not None for word in (name, str(value))]
    remedy = f"make it with {training.train_command(first, *words)}, or name a file with --{kind}"
    if not path.is_file():
        raise cli.UsageError(f"no backbone {path} for setting {setting}; {remedy}")
    made_of = results.read_json(path.with_name("backbone.json")).get("settings", {}).get("data", {}).get("digest of the unlabelled")
    if not given and made_of not in (None, p3_data.unlabelled_digest(source)):
        raise cli.UsageError(f"{path} was pre-trained on other images than {source.folder} holds; {remedy}")
    return path


@setup.on_rank_zero
def is_there(setting: str, choice: Choice, runtime: setup.Runtime) -> bool:
    """Whether the setting's backbone is there, or it needs none."""
    with contextlib.suppress(cli.UsageError):
        file_of(setting, choice, runtime)
        return True
    return False


def load(path: Path | None, recipe) -> tuple[torch.nn.Module, int]:
    """The backbone, from a file or random, and the length of its features."""
    backbone, dim = p3_models.build_backbone(recipe.network, recipe.image_size)
    if path:
        p3_models.load_backbone(backbone, checkpoints.load_checkpoint_for_all(path, "name another file"), path)
    return backbone, dim


def origin_of(path: Path) -> dict:
    """What is known of how a backbone was made: its digest, and the backbone.json that p3_ssl_pretrain.py leaves beside it."""
    return {"file": path.name, "digest": p3_data.digest_or_none(path)} | results.read_json(path.with_name("backbone.json"))


def in_words(setting: str, origin: dict) -> str:
    """The weights that a setting starts from, `origin` as `origin_of` tells it: 'none', or of what kind, file, network and data."""
    kind = KINDS[setting]
    if kind == "none":
        return "none"
    words = f"{'self-supervised' if kind == 'ssl' else 'supervised'}, {origin['file']} ({origin['digest']})"
    if not (settings := origin.get("settings")):
        return words
    data = settings["data"]
    crops = " with random resized crops" * bool(settings.get("resized_crop"))
    return f"{words}, {settings['network']} trained here on {data['name']} ({data.get('unlabelled') or data['train']:,} images){crops}"
