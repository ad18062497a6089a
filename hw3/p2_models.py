"""The captioner of hw3 problem 2: networks and checkpoints, the published ones and ours."""

import dataclasses
from pathlib import Path

import timm
from torch import Tensor, nn
from torchvision import models
from tqdm import tqdm

from common import checkpoints, setup
from common.checkpoints import load_checkpoint, load_checkpoint_for_all, load_weights
from common.data import cache_folder, decoder, from_cache
from common.files import digest, named
from common.setup import UsageError
from hw3 import catr, p2_data
from hw3.catr import ARCHES, CATR, Config
from hw3.p2_data import Captioned, preprocess
from hw3.p2_text import WordPieces, read_vocabulary


def build(arch: str, pieces: WordPieces, side: int, weights: str = "none") -> CATR:
    """A network of ARCHES for a vocabulary and pictures of `side` pixels.

    `weights` is 'none', 'default' (the published ImageNet file for the full network's ResNet-101 or lite0's EfficientNet, the rest random,
    as CATR's own training starts) or a checkpoint file of the same sizes. Raises UsageError if the file is missing, damaged or of another
    network, and for 'none' where the body needs published statistics.
    """
    if arch == "full" and weights == "none":
        raise UsageError("--weights none: the full network's batch norm is frozen and needs published statistics; give default or a file")
    if arch == "lite0" and weights == "none":
        raise UsageError("--weights none: lite0's body is never trained and needs published weights; give default or a file")
    model = CATR(dataclasses.replace(ARCHES[arch], side=side, vocab=len(pieces), start=pieces.start, end=pieces.end))
    if weights == "default":
        load_weights(model.backbone[0].body, published_body(arch), Path(arch))
    elif weights != "none":
        state = load_checkpoint_for_all(Path(weights), f"--weights takes none or a checkpoint of {arch}")
        load_weights(model, state.get("model", state), Path(weights))
    return model


def published_body(arch: str) -> dict[str, Tensor]:
    """The published ImageNet weights of a network's body, without their head. Raises UsageError if there are none."""
    if arch == "lite0":
        name = "tf_efficientnet_lite0"
        whole, url = checkpoints.create(name), timm.get_pretrained_cfg(name).url
        state = checkpoints.in_timm_names(checkpoints.published_weights(name, url), whole, Path(name))
        return {key: value for key, value in state.items() if not key.startswith("classifier.")}
    url = models.ResNet101_Weights.DEFAULT.url if arch == "full" else None
    state = checkpoints.published_weights(f"the captioner {arch}", url)
    return {key: value for key, value in state.items() if not key.startswith("fc.") and "num_batches_tracked" not in key}


@setup.evaluation()
def seen(model: CATR, split: Captioned, runtime: setup.Runtime) -> list[Tensor]:
    """A split's pictures as `model.remember` takes them, on the CPU.

    A frozen body's features are in half precision. They are computed once and kept in the cache folder while the files, the weights and
    the code are the same: 125 KB for a picture of 224 pixels.
    """
    side, body = model.config.side, model.backbone[0]
    if not model.frozen:
        return [preprocess(image, side) for image in split.images]
    place = split.files[0].parent.resolve()
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in split.files]
    weights = [(key, value.double().sum().item()) for key, value in body.state_dict().items()]
    code = [Path(module.__file__).read_text(encoding="utf-8") for module in (catr, p2_data)]

    def look() -> dict:
        model.eval()
        found = []
        for start in tqdm(range(0, len(split), 50), f"features of {place.name}", disable=None, leave=False):
            images = [preprocess(image, side).to(runtime.device) for image in split.images.images[start : start + 50]]
            found += [feature.half().cpu() for feature in model.features(images)]
        return {"features": found}

    path = cache_folder() / f"{place.name}-{model.config.body}-{side}-{digest(str(place))}.pt"
    with setup.one_process_first():
        return from_cache(path, digest(stats, weights, code, decoder()), f"computing the features of {place.name}", look)["features"]


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
        origin = {"weights": named(path), "settings": {"network": "full"}}
    if len(pieces) != config.vocab:
        raise UsageError(f"the vocabulary has {len(pieces)} pieces, {path} was trained with {config.vocab}; give its own")
    model = CATR(config)
    load_weights(model, state["model"], path)
    return runtime.place(nn.Module.eval(model)), pieces, origin
