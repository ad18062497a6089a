"""The network that the figures of hw3 problem 1 show: the trained one, or any file's."""

from pathlib import Path

from torchvision.models.vision_transformer import VisionTransformer

from common import checkpoints, cli, setup, training
from common.data import locate
from common.files import name_and_digest
from hw3 import p1_data, p1_models, p1_recipes


def load_shown(arch: str, weights: str | None, image_size: int | None, runtime: setup.Runtime) -> tuple[VisionTransformer, dict]:
    """The network ready for evaluation, and what a result says of its origin: weights, settings, of our own training data and deviations.

    Without `weights` it is the trained one, else that of a file, or with 'default' the published one, for `image_size` pixels or as many as
    the recipe has. Raises UsageError that names the command that trains it, if it has not been trained.
    """
    path, remedy = Path(weights or ""), "give a checkpoint"
    if own := weights is None:
        folder, data = locate(runtime.data, p1_data.LAYOUT, p1_data.draw_pets)
        path = p1_recipes.run_folder(runtime, arch, data, {}) / "phase-2/p1.pth"
        remedy = f"make it with: {training.train_command(runtime, 'hw3/p1_train.py', '--arch', arch)}"
    if own or (weights != "default" and "settings" in checkpoints.load_checkpoint(path, remedy)):
        model, state = p1_models.load_trained(path, runtime, remedy)
        settings, deviations = state["settings"], state.get("deviations", ["trained here"])
        if own and settings["data"].get("digest") not in (None, p1_data.data_digest(folder)):
            raise cli.UsageError(f"{path} was trained on other data than {folder} holds; give the same --data")
        origin = {"weights": f"trained here, from {settings['weights']}", "settings": settings, "data": settings["data"]}
        return model, origin | {"deviations": deviations}
    usual = p1_recipes.PHASES[arch][0].image_size
    size = image_size or usual
    model = runtime.place(p1_models.build(arch, size, weights)).eval()
    deviations = [f"image_size {size}, not {usual}"] * (size != usual)
    if weights != "default":
        weights = name_and_digest(path)
        deviations.append(f"weights of {weights}, not published ones")
    return model, {"weights": weights, "settings": {"network": arch, "image_size": size}, "deviations": deviations}
