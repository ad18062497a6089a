"""Training a classifier on decoded images: its recipe, one epoch, and its evaluation."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchvision.transforms import v2
from tqdm import tqdm

from common import setup, training
from common.augment import NORMALISE, Pipeline, Resize
from common.data import CIFAR_SIZE, Labelled, evaluation_indices, load_batches


@dataclass(frozen=True)
class Recipe(training.Recipe):
    """One training of a classifier; a problem's own adds `train_pipeline(epoch)`.

    `clip` is the largest norm of the gradient, 0 for any; `mixup` the parameter of the Beta distribution (Zhang et al., 2018) and `average`
    the decay of the weights' moving average, 0 for none. `num_classes` is what mixup needs to know.
    """

    label_smoothing: float = 0.0
    clip: float = 0.0
    mixup: float = 0.0
    average: float = 0.0
    num_classes: int = 0
    validation_batch: int = 250

    def mixed(self, images: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """A batch as the network sees it: as it is or, with mixup, each image and its label mixed with another's."""
        return v2.MixUp(alpha=self.mixup, num_classes=self.num_classes)(images, target) if self.mixup else (images, target)


def moving_average(model: nn.Module, optimiser: torch.optim.Optimizer, decay: float) -> AveragedModel | None:
    """The exponential moving average of a network, of batch norm's statistics too, after each step of the optimiser; None for decay 0.

    It is then what is evaluated and kept.
    """
    if not decay:
        return None
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    optimiser.register_step_post_hook(lambda *_: average.update_parameters(model))
    return average


def train_epoch(model: nn.Module, optimiser, split: Labelled, recipe: Recipe, runtime: setup.Runtime, epoch: int) -> dict:
    """One pass over the training images, `epoch` counted from 0: mean loss and accuracy over all processes, and the last learning rate.

    The split, where `preload` puts it, has as target labels (N,) or, for soft labels, probabilities (N, classes).
    """
    model.train()
    setup.seed_everything(runtime.seed, epoch, setup.rank())  # dropout: each epoch can be repeated alone, which is what --resume needs
    generator = torch.Generator().manual_seed(setup.mixed_seed(runtime.seed, epoch))
    pipeline, steps, device = recipe.train_pipeline(epoch), -(-len(split) // recipe.batch_size), runtime.device
    loss_sum, correct, count = torch.zeros((), device=device), torch.zeros((), device=device), 0
    walk = split.batches(recipe.batch_size, generator, pipeline.draws)
    fed = tqdm(load_batches(split, pipeline, walk, runtime), f"epoch {epoch + 1}", steps, leave=False, disable=setup.rank() > 0 or None)
    for step, (images, target, weight) in enumerate(fed):
        lr = recipe.lr * recipe.schedule(epoch + step / steps, recipe.epochs)
        training.set_lr(optimiser, lr)
        images, target = recipe.mixed(images, target)
        with runtime.autocast():
            logits = model(images)
            loss = F.cross_entropy(logits.float(), target, label_smoothing=recipe.label_smoothing)
        optimiser.zero_grad(set_to_none=True)
        (loss * weight).backward()
        if recipe.clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        optimiser.step()
        loss, logits = loss.detach(), logits.detach()  # see speed.CudaGraphs
        loss_sum += loss * len(target)
        correct += (logits.max(1).indices == (target if target.ndim == 1 else target.max(1).indices)).sum()
        count += len(target)
    loss_sum, correct, count = setup.sum_over_processes(loss_sum, correct, count)
    return {"lr": lr, "train_loss": loss_sum / count, "train_accuracy": correct / count}


@setup.evaluation()
def evaluate(model: nn.Module, split: Labelled, pipeline: Pipeline, batch_size: int, runtime: setup.Runtime) -> dict:
    """Mean cross entropy and accuracy on a split, where `preload` puts it, over all processes."""
    model.eval()
    setup.synchronise_buffers(model)
    loss, correct, nothing = 0.0, 0.0, torch.empty(0, 0)
    steps = ((index, nothing, 1.0) for index in evaluation_indices(len(split), batch_size))
    for images, target, _ in load_batches(split, pipeline, steps, runtime):
        logits = model(images)
        loss += F.cross_entropy(logits, target, reduction="sum").double()
        correct += (logits.max(1).indices == target).sum()
    loss, correct = setup.sum_over_processes(loss, correct)
    return {"validation_loss": loss / len(split), "validation_accuracy": correct / len(split)}


@setup.evaluation()
def tta_logits(model: nn.Module, x: Tensor, count: int = 10) -> Tensor:
    """Mean logits (N, classes) over the first `count` of: the image, its mirror image, and four diagonal shifts by 2 pixels of both."""
    height, width = x.shape[2:]
    padded = F.pad(x, (2, 2, 2, 2), mode="reflect")
    shifted = [padded[:, :, top : top + height, left : left + width] for top, left in ((2, 2), (0, 0), (0, 4), (4, 0), (4, 4))]
    views = [view for one in shifted for view in (one, one.flip(-1))][:count]
    return sum(model(view) for view in views) / len(views)


AT_ONCE = 25  # images that `predict` gives a network: on a CPU more are no faster, and their activations no longer memory that malloc keeps


@setup.evaluation()
def predict(model: nn.Module, images: Tensor, pipeline: Pipeline, runtime: setup.Runtime, views: int = 10) -> Tensor:
    """Logits (N, classes), on the CPU, of images (N, 3, H, W) of 0 to 255: the mean over so many views. The processes share the work."""

    def logits(some: Tensor) -> Tensor:
        return tta_logits(model, pipeline(some.to(runtime.device), torch.empty(0, 0)), views).cpu()

    return torch.cat(setup.distributed_map(logits, images.split(AT_ONCE)))


def validation_pipeline(settings: dict) -> Pipeline:
    """Resizing and normalising alone, as a checkpoint's settings say; older ones are of 32 px, or have ImageNet's mean and deviation."""
    return Pipeline(Resize(settings.get("image_size", CIFAR_SIZE)), NORMALISE[settings.get("normalise", "imagenet")])


def make_predictor(model: nn.Module, settings: dict, runtime: setup.Runtime) -> Callable[[Tensor], Tensor]:
    """What gives logits (N, classes) of images (N, 3, 32, 32), 0 to 255, as the graders take them from a network with these settings."""
    return partial(predict, model, pipeline=validation_pipeline(settings), runtime=runtime, views=settings.get("views", 10))
