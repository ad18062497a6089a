"""The network that the figures of hw3 problem 1 show: the trained one, or any file's."""

import argparse
from pathlib import Path

from torchvision.models.vision_transformer import VisionTransformer

from common import checkpoints, setup
from common.data import locate
from common.files import named
from hw3 import p1_data, p1_models, p1_recipes


def load_shown(args: argparse.Namespace, runtime: setup.Runtime) -> tuple[VisionTransformer, dict]:
    """The network ready for evaluation, and what a result says of its origin: weights, settings, of our own training data and deviations.

    Raises UsageError that names the command that trains it, if it has not been trained and no --weights are given.
    """
    path, remedy = Path(args.weights or ""), "give a checkpoint"
    if own := args.weights is None:
        folder, data = locate(args.data, p1_data.LAYOUT, p1_data.draw_pets)
        trained = argparse.Namespace(**vars(args) | {"image_size": None})
        path, remedy = p1_recipes.run_folder(trained, data) / "phase-2/p1.pth", f"make it with: {p1_recipes.train_command(args)}"
    if own or (args.weights != "default" and "settings" in checkpoints.load_checkpoint(path, remedy)):
        model, state = p1_models.load_trained(path, runtime, remedy)
        settings, deviations = state["settings"], state.get("deviations", ["trained here"])
        if own and settings["data"].get("digest") not in (None, p1_data.data_digest(folder)):
            raise setup.UsageError(f"{path} was trained on other data than {folder} holds; give the same --data")
        origin = {"weights": f"trained here, from {settings['weights']}", "settings": settings, "data": settings["data"]}
        return model, origin | {"deviations": deviations}
    usual = p1_recipes.PHASES[args.arch][0].image_size
    size = args.image_size or usual
    model = runtime.place(p1_models.build(args.arch, size, args.weights)).eval()
    deviations = [f"image_size {size}, not {usual}"] * (size != usual)
    weights = args.weights
    if weights != "default":
        weights = named(path)
        deviations.append(f"weights of {weights}, not published ones")
    return model, {"weights": weights, "settings": {"network": args.arch, "image_size": size}, "deviations": deviations}
