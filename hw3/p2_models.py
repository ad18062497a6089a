"""The captioner of hw3 problem 2: networks and checkpoints, the published ones and ours."""

import dataclasses
from pathlib import Path

from torch import nn
from torchvision import models

from common import checkpoints, setup
from common.checkpoints import load_checkpoint, load_checkpoint_for_all, load_weights
from common.cli import UsageError
from common.files import name_and_digest
from hw3.catr import ARCHES, CATR, Config
from hw3.p2_text import WordPieces, read_vocabulary


def build(arch: str, pieces: WordPieces, side: int, weights: str = "none") -> CATR:
    """A network of ARCHES for a vocabulary and pictures of `side` pixels.

    `weights` is 'none', 'default' (torchvision's ImageNet file for the full network's ResNet-101, the rest random, as CATR's own training
    starts) or a checkpoint file of the same sizes. Raises UsageError if the file is missing, damaged or of another network, and for
    'none' with the full network.
    """
    if arch == "full" and weights == "none":
        raise UsageError("--weights none: the full network's batch norm is frozen and needs published statistics; give default or a file")
    model = CATR(dataclasses.replace(ARCHES[arch], side=side, vocab=len(pieces), start=pieces.start, end=pieces.end))
    if weights == "default":
        url = models.ResNet101_Weights.DEFAULT.url if arch == "full" else None
        state = checkpoints.published_weights(f"the captioner {arch}", url)
        body = {key: value for key, value in state.items() if not key.startswith("fc.") and "num_batches_tracked" not in key}
        load_weights(model.backbone[0].body, body, Path(arch))
    elif weights != "none":
        state = load_checkpoint_for_all(Path(weights), f"--weights takes none or a checkpoint of {arch}")
        load_weights(model, state.get("model", state), Path(weights))
    return model


def load_captioner(path: Path, vocab: Path | None, runtime: setup.Runtime, remedy: str) -> tuple[CATR, WordPieces, dict]:
    """A network ready for evaluation, its word pieces, and what a result says of its origin.

    Our checkpoints have their sizes and word pieces with them; a published one is the full network and needs `vocab`. Raises UsageError,
    with `remedy`, if the file is missing, damaged, of another network, or the vocabulary has another size.
    """
    state = load_checkpoint(path, remedy)
    settings = state.get("settings", {})
    if "model" not in state:
        raise UsageError(f"{path} is no checkpoint of CATR; {remedy}")
    if "pieces" in state:
        pieces, config = WordPieces(state["pieces"], str(path)), Config(**settings["config"])
        origin = {"weights": f"trained here, from {settings['weights']}", "settings": settings, "data": settings["data"]}
        origin["deviations"] = state.get("deviations", ["trained here"])
    else:
        if vocab is None:
            raise UsageError(f"{path} has no vocabulary with it; give BERT's uncased vocab.txt with --vocab")
        pieces, config = read_vocabulary(vocab), ARCHES["full"]
        origin = {"weights": name_and_digest(path), "settings": {"network": "full"}}
    if len(pieces) != config.vocab:
        raise UsageError(f"the vocabulary has {len(pieces)} pieces, {path} was trained with {config.vocab}; give its own")
    model = CATR(config)
    load_weights(model, state["model"], path)
    return runtime.place(nn.Module.eval(model)), pieces, origin
