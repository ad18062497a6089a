"""The networks of hw1 problem 2, torchvision's where a report names one: images (N, 3, H, W), multiples of 32, to logits (N, 7, H, W).

In training a network may return a dict with a second entry 'aux', the auxiliary classifier's logits, as torchvision's do.
"""

import itertools
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision import models
from torchvision.models.resnet import BasicBlock
from torchvision.ops import FeaturePyramidNetwork

from common import checkpoints, setup
from common.augment import Normalise
from common.checkpoints import load_checkpoint_for_all, load_weights
from common.data import evaluation_indices
from common.metrics import confusion_matrix
from hw1.p2_classes import CLASSES, SCORED, UNKNOWN
from hw1.p2_data import Tiles

OUTPUTS, NORMALISE = len(CLASSES), Normalise()


class VGG16FCN32s(nn.Module):
    """VGG16's convolutions; two more and one transposed convolution, up to the input's size, in place of its three linear layers.

    After Long et al., 2015, in f22b's form: 512 px give 16x16 features, a 2x2 convolution 15x15, the transposed one 512 px again.
    """

    def __init__(self, outputs: int = OUTPUTS):
        super().__init__()
        self.features = models.vgg16().features
        self.head = nn.Sequential(nn.Conv2d(512, 4096, 2), nn.ReLU(inplace=True), nn.Dropout2d(0.5), nn.Conv2d(4096, outputs, 1))
        self.upsample = nn.ConvTranspose2d(outputs, outputs, 64, stride=32, bias=False)
        with torch.no_grad():
            self.upsample.weight.copy_(bilinear_kernel(outputs, 64))

    def forward(self, x: Tensor) -> Tensor:
        return self.upsample(self.head(self.features(x)))


def bilinear_kernel(channels: int, size: int) -> Tensor:
    """The weights (channels, channels, size, size) with which a transposed convolution of stride size / 2 interpolates linearly."""
    triangle = 1 - (torch.arange(size) - (size - 1) / 2).abs() / (size / 2)
    return torch.eye(channels)[:, :, None, None] * triangle[:, None] * triangle


class PointwiseFCN(nn.Module):
    """f22b's model B: torchvision's fcn_resnet101 with its 21 outputs, and a point-wise convolution from 21 to 7."""

    def __init__(self, outputs: int = OUTPUTS):
        super().__init__()
        self.fcn = models.segmentation.fcn_resnet101(weights=None, weights_backbone=None, num_classes=21)
        self.pointwise = nn.Conv2d(21, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.fcn(x)["out"])


class SemanticFPN(nn.Module):
    """The decoder of our own networks: the mean over the whole tile as context, and a feature pyramid (Lin et al., 2017).

    The four levels of the pyramid are summed at a quarter of the input's size and classified there (Kirillov et al., 2019). A network below
    this class gives them by `levels(x)`: its maps at a 4th, 8th, 16th and 32nd of the input's size.
    """

    def add_decoder(self, widths: Sequence[int], outputs: int, pyramid: int = 96) -> None:
        """Make the decoder's layers, for levels of so many channels."""
        self.context = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(widths[-1], widths[-1], 1), nn.ReLU(inplace=True))
        self.fpn = FeaturePyramidNetwork(list(widths), pyramid)
        self.classifier = nn.Sequential(nn.BatchNorm2d(pyramid), nn.ReLU(inplace=True), nn.Dropout2d(0.1), nn.Conv2d(pyramid, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        *finer, last = self.levels(x)
        levels = [*finer, last + self.context(last)]
        finest, *coarser = self.fpn(OrderedDict((str(i), level) for i, level in enumerate(levels))).values()
        for level in coarser:
            finest = finest + F.interpolate(level, finest.shape[2:], mode="bilinear", align_corners=False)
        return F.interpolate(self.classifier(finest), x.shape[2:], mode="bilinear", align_corners=False)


class ResNetFPN(SemanticFPN):
    """Our own, for random weights: a residual net with a lean last stage under the pyramid."""

    WIDTHS = (64, 128, 256, 256)

    def __init__(self, outputs: int = OUTPUTS):
        super().__init__()
        self.stem = nn.Sequential(*conv_block(3, 32, stride=2), *conv_block(32, 64, stride=2))
        inputs = (64, *self.WIDTHS)
        self.layers = nn.ModuleList(stage(inputs[i], inputs[i + 1], stride=1 if i == 0 else 2) for i in range(4))
        self.add_decoder(self.WIDTHS, outputs)

    def levels(self, x: Tensor) -> list[Tensor]:
        return list(itertools.accumulate(self.layers, lambda x, layer: layer(x), initial=self.stem(x)))[1:]


class EfficientNetFPN(SemanticFPN):
    """Our own, for ImageNet weights: an EfficientNet of timm, by its name there, without its last layers under the pyramid."""

    def __init__(self, backbone: str, outputs: int = OUTPUTS):
        super().__init__()
        self.backbone = checkpoints.timm_model(backbone, features_only=True, out_indices=(1, 2, 3, 4))
        self.add_decoder(self.backbone.feature_info.channels(), outputs)
        # All networks here get images normalised by ImageNet's mean and std; these published weights were trained on (x / 255 - 0.5) / 0.5.
        mean, std = (torch.tensor(values)[:, None, None] for values in (NORMALISE.mean, NORMALISE.std))
        self.register_buffer("scale", 2 * std, persistent=False)
        self.register_buffer("shift", 2 * mean - 1, persistent=False)

    def levels(self, x: Tensor) -> list[Tensor]:
        return self.backbone(x * self.scale + self.shift)


def conv_block(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    """3x3 convolution, batch norm, ReLU."""
    return [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]


def stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
    """Two of torchvision's basic residual blocks; the first halves the size if `stride` is 2."""
    shortcut = None
    if stride > 1 or inputs != outputs:
        shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
    return nn.Sequential(BasicBlock(inputs, outputs, stride, shortcut), BasicBlock(outputs, outputs))


# ---- by name, with weights ----

TIMM = {"efficientnet_lite2_fpn": "tf_efficientnet_lite2", "test_efficientnet_fpn": "test_efficientnet"}  # the second is the quick form's
NETWORKS = {
    "vgg16_fcn32s": VGG16FCN32s,
    "deeplabv3_resnet50": lambda: models.segmentation.deeplabv3_resnet50(
        weights=None, weights_backbone=None, num_classes=OUTPUTS, aux_loss=True
    ),
    "fcn_resnet101": PointwiseFCN,
    "resnet_fpn": ResNetFPN,
    **{name: partial(EfficientNetFPN, backbone) for name, backbone in TIMM.items()},
}
PUBLISHED = {
    "vgg16_fcn32s": models.VGG16_Weights.DEFAULT.url,
    "deeplabv3_resnet50": models.segmentation.DeepLabV3_ResNet50_Weights.DEFAULT.url,
    "fcn_resnet101": models.segmentation.FCN_ResNet101_Weights.DEFAULT.url,
}


def build(name: str, weights: str = "none") -> nn.Module:
    """A network by its name in the recipes; `weights` is 'none' (random), 'default' (torchvision's or timm's published file) or a file.

    Raises UsageError if the published file cannot be had, or a file is missing, damaged or of another network.
    """
    model = NETWORKS[name]()
    if weights == "default":
        source, url = (TIMM[name], checkpoints.timm_url(TIMM[name])) if name in TIMM else (name, PUBLISHED.get(name))
        load_start(model, name, checkpoints.published_weights(source, url), Path(name))
    elif weights != "none":
        remedy = f"--weights takes none, default or a state dict of {name}"
        load_start(model, name, load_checkpoint_for_all(Path(weights), remedy), Path(weights))
    return model


def load_start(model: nn.Module, name: str, state: dict, path: Path) -> None:
    """Copy starting weights into a network: our own checkpoint, torchvision's segmentation network, or the classifier it is built on.

    A classifier of timm may come from its package of weights.

    Layers of the head that the file has not, or has for another number of classes, stay random. Raises UsageError that names the first
    keys that do not match.
    """
    own, (rename, head, ignored), state = model.state_dict(), START[name], state.get("model", state)
    if name in TIMM:
        state = checkpoints.to_timm_names(state, checkpoints.timm_model(TIMM[name]), path)
    state = {rename(key): value for key, value in state.items() if not key.startswith(ignored)}
    fits = {
        key: value
        for key, value in state.items()
        if not key.startswith(head) or (key in own and getattr(value, "shape", None) == own[key].shape)
    }
    load_weights(model, {key: value for key, value in own.items() if key.startswith(head)} | fits, path)


BACKBONE = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "conv_stem", "blocks")  # of a ResNet, of an EfficientNet


def backbone_key(key: str) -> str:
    """A classifier's key as torchvision's segmentation networks and ours name it: 'bn1.weight' -> 'backbone.bn1.weight'."""
    return f"backbone.{key}" if key.split(".")[0] in BACKBONE else key


def fcn_key(key: str) -> str:
    """A key of torchvision's fcn_resnet101, or of a ResNet-101 classifier, in PointwiseFCN."""
    return key if key.startswith(("fcn.", "pointwise.")) else f"fcn.{backbone_key(key)}"


START = {  # a file's key in our network, what of the network may stay random, and what of the file is not used
    "vgg16_fcn32s": (str, ("head.", "upsample."), ("classifier.",)),
    "deeplabv3_resnet50": (backbone_key, ("classifier.", "aux_classifier."), ("fc.",)),
    "fcn_resnet101": (fcn_key, ("fcn.classifier.", "pointwise."), ("fc.", "aux_classifier.")),
    "resnet_fpn": (str, (), ()),
    **dict.fromkeys(TIMM, (backbone_key, ("context.", "fpn.", "classifier."), ("conv_head.", "bn2."))),
}


def load_trained(path: Path, runtime: setup.Runtime, remedy: str) -> tuple[nn.Module, dict]:
    """common.checkpoints.load_trained for the networks of hw1/p2_seg_train.py."""
    return checkpoints.load_trained(path, lambda settings: build(settings["network"]), NETWORKS, "hw1/p2_seg_train.py", runtime, remedy)


# ---- what a network sees ----


def logits_at(model: nn.Module, images: Tensor, size: tuple[int, int], turns: bool = False) -> Tensor:
    """Logits (N, 7, *size) of uint8 images (N, 3, H, W), multiples of 32; with `turns` the mean over the eight flips and quarter turns."""
    views = range(8 if turns else 1)
    total = sum(turned_back(one_view(model, turned(images, k), size if k % 2 == 0 else size[::-1]), k) for k in views)
    return total / len(views)


def turned(x: Tensor, k: int) -> Tensor:
    """The `k`-th of a square's eight symmetries: k % 4 quarter turns, and from 4 on a flip first."""
    return (x.flip(-1) if k >= 4 else x).rot90(k % 4, (2, 3))


def turned_back(x: Tensor, k: int) -> Tensor:
    """What undoes `turned`."""
    x = x.rot90(-(k % 4), (2, 3))
    return x.flip(-1) if k >= 4 else x


def one_view(model: nn.Module, images: Tensor, size: tuple[int, int]) -> Tensor:
    """Logits (N, 7, *size) of uint8 images as they are."""
    outputs = model(NORMALISE(images, None))
    logits = (outputs["out"] if isinstance(outputs, dict) else outputs).float()
    return logits if logits.shape[2:] == size else F.interpolate(logits, size, mode="bilinear", align_corners=False)


@setup.evaluation()
def evaluate(model: nn.Module, tiles: Tiles, runtime: setup.Runtime, turns: bool = False) -> dict:
    """The course's mIoU and each class's IoU over a whole split at 512 px, and the mean cross entropy, over all processes."""
    model.eval()
    setup.synchronise_buffers(model)
    loss, confusion = 0.0, torch.zeros(OUTPUTS, OUTPUTS, dtype=torch.int64, device=runtime.device)
    for index in evaluation_indices(len(tiles), 4):
        target = runtime.send(tiles.labels[index]).long()
        logits = logits_at(model, runtime.send(tiles.images[index]), tuple(target.shape[1:]), turns)
        loss += F.cross_entropy(logits, target, ignore_index=UNKNOWN, reduction="sum").double() / target[0].numel()
        confusion += confusion_matrix(logits.max(1).indices, target, OUTPUTS)
    loss, *counts = setup.sum_over_processes(loss, *confusion.flatten())
    iou = class_iou(torch.tensor(counts).view(OUTPUTS, OUTPUTS))[:SCORED]
    named = {f"iou_{name}": value for name, value in zip(CLASSES, iou.tolist(), strict=False) if value == value}
    return {"validation_loss": loss / len(tiles), "validation_miou": iou.nanmean().item(), **named}


def class_iou(confusion: Tensor) -> Tensor:
    """Intersection over union of each class, float64 (classes,), from counts (classes, classes); nan for a class absent from both sides."""
    confusion = confusion.double()
    hits = confusion.diagonal()
    return hits / (confusion.sum(0) + confusion.sum(1) - hits)
