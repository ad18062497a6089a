"""Which backbone each setting of item 2.2 starts from, and where its file is: from p3_ssl_pretrain.py, the course or the user."""

import argparse
import contextlib
import shlex
from pathlib import Path

import torch

from common import checkpoints, results, setup, training
from hw1 import p3_data, p3_models, p3_recipes

KINDS = {"A": "none", "B": "sl", "C": "ssl", "D": "sl", "E": "ssl"}  # supervised, self-supervised


@setup.on_rank_zero
def file_of(args: argparse.Namespace, source: p3_data.Source, setting: str) -> Path | None:
    """The file with the setting's backbone, None for A. Raises UsageError that says how to make it if it is missing."""
    kind = KINDS[setting]
    if kind == "none":
        return None
    given, course = getattr(args, kind), source.folder / "pretrain_model_SL.pt"
    own = argparse.Namespace(**vars(args) | dict.fromkeys(training.OPTIONS) | {"seed": 0, "image_size": args.image_size})
    path = p3_recipes.run_folder(own, "byol" if kind == "ssl" else "supervised", source) / "backbone.pth"
    if given or (kind == "sl" and course.exists() and not args.quick):
        path = given or course
    remedy = f"make it with {command_for(args, kind)}, or name a file with --{kind}"
    if not path.is_file():
        raise setup.UsageError(f"no backbone {path} for setting {setting}; {remedy}")
    made_of = results.read_json(path.with_name("backbone.json")).get("settings", {}).get("data", {}).get("digest of the unlabelled")
    if not given and made_of not in (None, p3_data.unlabelled_digest(source)):
        raise setup.UsageError(f"{path} was pre-trained on other images than {source.folder} holds; {remedy}")
    return path


@setup.on_rank_zero
def is_there(args: argparse.Namespace, source: p3_data.Source, setting: str) -> bool:
    """Whether the setting's backbone is there, or it needs none."""
    with contextlib.suppress(setup.UsageError):
        file_of(args, source, setting)
        return True
    return False


def command_for(args: argparse.Namespace, kind: str) -> str:
    """The command that makes a missing backbone for these arguments."""
    words = ["python", "hw1/p3_ssl_pretrain.py"] + ["--supervised"] * (kind == "sl") + ["--quick"] * args.quick
    for name in ("backbone", "image_size", "data", "data_dir"):
        words += [f"--{name.replace('_', '-')}", str(getattr(args, name))] * (getattr(args, name) is not None)
    return shlex.join(words + ["--out", str(args.out)] * (args.out != setup.DEFAULT_OUT))


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
    return f"{words}, {settings['network']} trained here on {data['name']} ({data.get('unlabelled') or data['train']:,} images)"
