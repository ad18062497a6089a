"""The stages of the reports' networks, and counts for tables that compare two of them, from torchinfo's list of the layers that run.

torchinfo sees modules; what runs between them (`+`, `torch.cat`, `F.interpolate`) is known here for the blocks of BLOCKS. Networks may be
built on META: shapes and numbers are the same there, and nothing is computed.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torchinfo
from torch import nn
from torchinfo.layer_info import LayerInfo

META = torch.device("meta")


@dataclass(frozen=True)
class Block:
    """A module that a network repeats: its rows, each of submodules' names or what happens to the row before, and its shortcut's layers."""

    kind: str  # residual, concatenating or branches
    rows: tuple[str, ...]
    shortcut: str = ""


ADD, EARLIER, BESIDE = "add", "concatenate all earlier results", "concatenate"  # rows that are no submodules
BLOCKS = {  # torchvision's, by class
    "BasicBlock": Block("residual", ("conv1 bn1 relu", "conv2 bn2", ADD, "relu"), "downsample"),
    "Bottleneck": Block("residual", ("conv1 bn1 relu", "conv2 bn2 relu", "conv3 bn3", ADD, "relu"), "downsample"),
    "CNBlock": Block("residual", ("block.0", "block.2 block.3 block.4", "block.5 stochastic_depth", ADD)),
    "_DenseLayer": Block("concatenating", (EARLIER, "norm1 relu1 conv1", "norm2 relu2 conv2")),
    "ASPP": Block("branches", ("convs.0", "convs.1", "convs.2", "convs.3", "convs.4", BESIDE, "project")),
}
ASIDE = {"aux_classifier": "backbone.layer3"}  # stages that only train, and what they work on
WORDS = {
    **{"BatchNorm2d": "batch norm", "LayerNorm": "layer norm", "LayerNorm2d": "layer norm"},
    **{"Flatten": "flatten", "StochasticDepth": "stochastic depth"},
}
FAMILIES = {"Conv": "conv", "Linear": "linear", "Norm": "norm", "Pool": "pool", "LU": "activation"}  # by a part of the class's name


@dataclass
class Stage:
    """A part of a network that a reader takes in at once: a run of layers, or `repeats` blocks of one class that give one shape."""

    name: str
    kind: str  # input, conv, linear, norm, pool, residual, concatenating, branches, other or output
    text: str
    output: tuple[int, ...]  # without the batch
    parameters: int
    source: int  # index of the stage whose result it works on, -1 for none
    blocks: tuple[nn.Module, ...] = ()

    @property
    def block(self) -> str:
        """The class of its blocks, '' for a run of layers."""
        return type(self.blocks[0]).__name__ if self.blocks else ""


@dataclass
class Inside:
    """What a class of blocks is made of: rows as (text, family), widths as '64 | 128' where stages differ, and lines of notes."""

    block: str
    kind: str
    rows: list[tuple[str, str]]
    notes: list[str]


def run(model: nn.Module, size: int) -> list[LayerInfo]:
    """The calls of modules as an image of `size` pixels passes through, in order; parents before their children."""
    device = next(model.parameters()).device
    return torchinfo.summary(model, (1, 3, size, size), depth=99, device=device, mode="eval", verbose=0).summary_list


def dotted(layer: LayerInfo) -> str:
    """A layer's name in the network, 'layer1.0.conv1'; '' for the network itself."""
    above = layer.parent_info
    return "" if above is None else f"{dotted(above)}.{layer.var_name}".lstrip(".")


def family(module: nn.Module) -> str:
    """conv, linear, norm, pool, activation or other."""
    return next((found for part, found in FAMILIES.items() if part in type(module).__name__), "other")


def pieces(calls: list[LayerInfo]) -> Iterator[LayerInfo]:
    """The blocks that ran, and the layers that are in none."""
    inside = None
    for call in calls:
        if inside is not None and call.depth > inside:
            continue
        inside = call.depth if call.class_name in BLOCKS else None
        if inside is not None or (call.is_leaf_layer and not isinstance(call.module, nn.Identity)):
            yield call


def belong_together(last: LayerInfo, piece: LayerInfo) -> bool:
    """Whether a piece goes on with the stage that ends in `last`: blocks of one class, or layers up to a pooling, of one parent."""
    if last.parent_info is not piece.parent_info or {last.class_name, piece.class_name} & BLOCKS.keys():
        return last.parent_info is piece.parent_info and last.class_name == piece.class_name
    return family(last.module) != "pool" and not is_global(piece.module)


def stages(model: nn.Module, size: int) -> list[Stage]:
    """The stages of `model` for images of `size` pixels, from 'input' to 'output'. Their parameters sum to the model's."""
    calls = run(model, size)
    groups: list[list[LayerInfo]] = []
    for piece in pieces(calls):
        if groups and belong_together(groups[-1][-1], piece):
            groups[-1].append(piece)
        else:
            groups.append([piece])
    found, shapes = [Stage("input", "input", "", (3, size, size), 0, -1)], {call.module: tuple(call.output_size[1:]) for call in calls}
    has_blocks = any(group[0].class_name in BLOCKS for group in groups)
    for group in groups:
        modules, above, names = [piece.module for piece in group], group[0].parent_info, [dotted(piece) for piece in group]
        whole = above.depth > 0 and len(group) == len(list(above.module.children()))
        name = dotted(above) if whole else names[0] + f" – {group[-1].var_name}" * (len(names) > 1)
        output = shapes[above.module if whole else modules[-1]]
        if group[0].class_name in BLOCKS:
            kind, stride, several = BLOCKS[group[0].class_name].kind, found[-1].output[-1] // output[-1], len(modules) > 1
            text = f"{len(modules)} × " * several + group[0].class_name.lstrip("_")
            text += f", {'the first ' * several}with stride {stride}" * (stride > 1)
            blocks = tuple(modules)
        else:
            families, text, blocks = [family(module) for module in modules], in_words(modules), ()
            kind = next((kind for kind in ("conv", "linear", "pool", "norm") if kind in families), "other")
            name = f"stem ({name})" if has_blocks and len(found) == 1 and "stem" not in name else name
        source = next((i for i, stage in enumerate(found) if stage.name == ASIDE.get(name)), len(found) - 1)
        text = " · ".join(filter(None, (enlarged(found[source].output, output, modules), text)))
        found.append(Stage(name, kind, text, output, sum(piece.num_params for piece in group), source, blocks))
    last = max(i for i, stage in enumerate(found) if stage.name not in ASIDE)
    return [*found, Stage("output", "output", enlarged(found[last].output, shapes[model]), shapes[model], 0, last)]


def enlarged(before: tuple[int, ...], after: tuple[int, ...], modules: list[nn.Module] = ()) -> str:
    """'bilinear interpolation' where a map has become larger without a layer that enlarges it, else ''; so do torchvision's networks."""
    learned = any(isinstance(layer, nn.ConvTranspose2d) for layer in modules)
    return "bilinear interpolation" * (len(before) == len(after) == 3 and after[-1] > before[-1] and not learned)


def insides(found: list[Stage]) -> list[Inside]:
    """What each class of blocks among the stages is made of: the last block of each stage, and the shortcuts of first ones."""
    opened = []
    for name in dict.fromkeys(stage.block for stage in found if stage.block):
        group, block = [stage for stage in found if stage.block == name], BLOCKS[name]
        rows = []
        for row in block.rows:
            if row in (ADD, EARLIER, BESIDE):
                rows.append((row, "join"))
                continue
            layers = [[stage.blocks[-1].get_submodule(part) for part in row.split()] for stage in group]
            dilated = any(max(layer.dilation) > 1 for some in layers for layer in some if isinstance(layer, nn.Conv2d))
            weighted = [family(layer) for layer in leaves(layers[0]) if family(layer) in ("conv", "linear")]
            branch = block.kind == "branches" and row.startswith("convs")
            rows.append((side_by_side([in_words(some, dilated) for some in layers]), "branch" if branch else [*weighted, "activation"][0]))
        notes, shortcuts = ["in " + " | ".join(stage.name for stage in group)], {}
        for stage in group:
            if block.shortcut and (first := getattr(stage.blocks[0], block.shortcut)) is not None:
                words = re.sub(r"conv (\S+), \d+", "conv\u00a0\\1", in_words([first]))
                shortcuts.setdefault(words, []).append(stage.name)
        notes += [f"first block of {', '.join(names)}: shortcut through {words}" for words, names in shortcuts.items()]
        opened.append(Inside(name.lstrip("_"), block.kind, rows, notes))
    return opened


def side_by_side(texts: list[str]) -> str:
    """Texts that differ in some words as one: ['conv 3×3, 64', 'conv 3×3, 128'] -> 'conv 3×3, 64 | 128'."""
    columns = zip(*(re.findall(r"\d+(?!×)|\D+|\d+", text) for text in texts), strict=True)
    return "".join(column[0] if len(set(column)) == 1 else " | ".join(column) for column in columns)


# ---- layers in words ----


def leaves(modules: list[nn.Module]) -> list[nn.Module]:
    """The layers in modules, in the order of their definition."""
    inner = [module for one in modules for module in one.modules() if not any(True for _ in module.children())]
    return [module for module in inner if not isinstance(module, nn.Identity)]


def in_words(modules: list[nn.Module], dilated: bool = False) -> str:
    """Layers as 'conv 3×3, 64, stride 2 · batch norm · ReLU'; a convolution's dilation where it has one, or with `dilated`."""
    return " · ".join(word(layer, dilated) for layer in leaves(modules))


def word(layer: nn.Module, dilated: bool = False) -> str:
    """One layer as `in_words` says it."""
    kind = type(layer).__name__
    if isinstance(layer, nn.modules.conv._ConvNd):
        text = "depthwise " * is_depthwise(layer) + "transposed " * layer.transposed
        text += f"conv {size_words(layer.kernel_size)}, {layer.out_channels}"
        text += f", {layer.groups} groups" * (layer.groups > 1 and not is_depthwise(layer))
        text += f", stride {max(layer.stride)}" * (max(layer.stride) > 1)
        return text + f", dilation {max(layer.dilation)}" * (dilated or max(layer.dilation) > 1)
    if isinstance(layer, nn.Linear):
        return f"linear {layer.out_features}"
    if is_global(layer):
        return "global average pool"
    if family(layer) == "pool":
        to = getattr(layer, "output_size", None)
        words = f"to {size_words(to)}" if to else size_words(layer.kernel_size) + f", stride {layer.stride}" * (layer.stride != 1)
        return f"{'max' if 'Max' in kind else 'average'} pool {words}"
    return f"dropout {layer.p}" if isinstance(layer, (nn.Dropout, nn.Dropout2d)) else WORDS.get(kind, kind)


def is_global(layer: nn.Module) -> bool:
    """Whether it is a pooling over the whole map."""
    return isinstance(layer, nn.AdaptiveAvgPool2d) and layer.output_size in (1, (1, 1))


def is_depthwise(conv: nn.Module) -> bool:
    """Whether each of a convolution's channels is by itself."""
    return conv.groups == conv.in_channels > 1


def size_words(value) -> str:
    """(3, 3) -> '3×3'; 2, which means a square, -> '2×2'."""
    return "×".join(map(str, value if isinstance(value, (tuple, list)) else (value, value)))


# ---- counts for comparison tables ----


def describe(model: nn.Module, size: int) -> dict:
    """What `model` is made of for images of `size` pixels, as plain JSON values.

    Layers are counted as often as they run. 'weighted layers' are all convolutions and linear layers, not the longest path. 'inside a
    block' gives each class's rows, '|' between stages that differ in width.
    """
    layers, found = [call.module for call in run(model, size) if call.is_leaf_layer], stages(model, size)
    convs = [layer for layer in layers if family(layer) == "conv"]
    kinds = [stage.kind for stage in found for _ in stage.blocks]
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "weighted layers": sum(family(layer) in ("conv", "linear") for layer in layers),
        **{name: dict(Counter(type(layer).__name__ for layer in layers if family(layer) == name)) for name in ("norm", "activation")},
        "convolution kernels": dict(Counter(size_words(conv.kernel_size) for conv in convs)),
        "grouped convolutions": sum(conv.groups > 1 and not is_depthwise(conv) for conv in convs),
        "depthwise convolutions": sum(map(is_depthwise, convs)),
        "blocks per stage": "-".join(str(len(stage.blocks)) for stage in found if stage.kind in ("residual", "concatenating")),
        "residual blocks": kinds.count("residual"),
        "concatenating blocks": kinds.count("concatenating"),
        "inside a block": {inside.block: [text for text, _ in inside.rows] for inside in insides(found)},
    }
