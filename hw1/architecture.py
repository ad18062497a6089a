"""The stages of a network, and counts for comparison tables, from what runs in one forward pass.

Blocks are found by what they do, not by names: a block is a module that adds or concatenates feature maps in its own forward.
"""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from hw1.tracing import Record, trace

WORDS = {
    **{"Flatten": "flatten", "Upsample": "upsample", "Add": "add", "Concatenate": "concatenate", "Dropout": "dropout"},
    **{"BatchNorm2d": "batch norm", "GroupNorm": "group norm", "LayerNorm": "layer norm", "LayerNorm2d": "layer norm"},
    **{"MultiheadAttention": "attention", "StochasticDepth": "stochastic depth"},
}
WEIGHTED = ("conv", "linear", "attention")


# ---- the stages of a network ----


@dataclass
class Step:
    """A row of a block's inner structure: a layer with weights and what goes with it, one of several branches, or a join."""

    text: str  # '{}' stands for a width, a number of groups or a dilation
    family: str
    values: list[tuple[int, ...]] = field(default_factory=list)  # for each '{}', its value in each stage that has this block
    skips: list[tuple[int, str]] = field(default_factory=list)  # a join's shortcuts: after which step (-1: the input), through which layers

    def words(self) -> str:
        """The text with its values filled in, '64 | 128' where stages differ."""
        filled = self.text.format(*(" | ".join(map(str, slot if len(set(slot)) > 1 else slot[:1])) for slot in self.values))
        return re.sub(r", dilation 1(?![\d ]*\|)(?!\d)", "", filled)


@dataclass
class Stage:
    """A part of a network that a reader takes in at once: a run of layers, or `repeats` blocks of one type that give one shape."""

    name: str
    kind: str  # input, conv, linear, norm, pool, resize, residual, concatenating, branches, other or output
    text: str
    output: tuple | dict | list
    parameters: int = 0
    sources: list[int] = field(default_factory=list)  # indices of the stages whose results it works on
    repeats: int = 0
    block: str = ""
    steps: list[Step] = field(default_factory=list)  # the last block's inner structure
    shortcut: str = ""  # the layers on the first block's shortcut

    def structure(self) -> tuple:
        """Equal for stages whose blocks differ in widths, groups and dilations only."""
        return self.block, *((step.text, tuple(step.skips)) for step in self.steps)


Piece = tuple[Record, Record]  # a layer or a block, and the module that calls it


def stages(model: nn.Module, x: Tensor) -> list[Stage]:
    """The stages of `model` as `x` (N, ...) passes through it: from 'input' to 'output'. Their parameters sum to the model's.

    Parameters of no stage (a class token, a head that only trains) make a last one, 'other parameters'.
    """
    return _condense(trace(model, x), model)


def _condense(root: Record, model: nn.Module) -> list[Stage]:
    types, found, owner, counted = block_types(root), [Stage("input", "input", "", root.input)], {0: 0}, set()
    for group in _groups(_pieces(root, root, types)):
        layers = [layer for record, _ in group for layer in record.layers()]
        stage = _layer_stage(group, root, bool(types)) if group[0][0].number else _block_stage(group, root, types)
        stage.sources = sorted({owner[source] for layer in layers for source in layer.sources if source in owner})
        stage.parameters = _new_parameters(group, counted)
        owner |= {layer.number: len(found) for layer in layers}
        found.append(stage)
    ends = sorted({owner[source] for source in root.sources})
    found.append(Stage("output", "output", "", root.output, sources=ends))
    if rest := sum(parameter.numel() for parameter in model.parameters()) - sum(stage.parameters for stage in found):
        found.append(Stage("other parameters", "other", "outside the layers above, or not used in evaluation", (), rest))
    return found


def block_types(root: Record) -> dict[str, str]:
    """The types of module, the innermost, that join feature maps in their own forward: {'BasicBlock': 'residual'}.

    residual: adds two feature maps; branches: concatenates what it made in two or more ways; concatenating: what it made or was given.
    """
    types: dict[str, str] = {}
    for record in reversed(list(root.walk())):
        joins = [child for child in record.children if child.family == "join"]
        if joins and record is not root and not any(below.type in types for child in record.children for below in child.walk()):
            made = [source for source in joins[-1].sources if source >= record.layers()[0].number]
            kind = "residual" if joins[-1].type == "Add" else "branches" if len(made) > 1 else "concatenating"
            types.setdefault(record.type, kind)
    return types


def _pieces(record: Record, parent: Record, types: dict[str, str]) -> Iterator[Piece]:
    if record.number or (record.type in types and record.layers()):
        yield record, parent
    else:
        for child in record.children:
            yield from _pieces(child, record, types)


def _groups(pieces: Iterator[Piece]) -> list[list[Piece]]:
    groups: list[list[Piece]] = []
    for piece in pieces:
        if groups and (_more_layers if groups[-1][0][0].number else _more_blocks)(groups[-1], *piece):
            groups[-1].append(piece)
        else:
            groups.append([piece])
    return groups


def _more_blocks(group: list[Piece], record: Record, parent: Record) -> bool:
    last, its_parent = group[-1]
    return parent is its_parent and (record.type == "Concatenate" or (record.type, record.output) == (last.type, last.output))


def _more_layers(group: list[Piece], record: Record, parent: Record) -> bool:
    # A run of layers ends where the next one works on something else, after pooling, and where convolutions give way to the head.
    last, families = group[-1][0], {layer.family for layer, _ in group}
    if last.number not in record.sources or not record.number or "resize" in (last.family, record.family):
        return False
    if last.family == "pool" and (record.family not in ("norm", "activation") or _is_global(last)):
        return False
    if "conv" in families and (record.family == "linear" or (record.family == "pool" and _is_global(record))):
        return False
    apart = "pool" in families or any(layer.family == "conv" and its_parent is not parent for layer, its_parent in group)
    return record.family != "conv" or not apart


def _is_global(pool: Record) -> bool:
    return isinstance(pool.output, tuple) and torch.Size(pool.output[1:]).numel() == 1


def _new_parameters(group: list[Piece], counted: set) -> int:
    # A layer that is called again has its parameters counted once.
    new = {parameter for record, _ in group if record.module for parameter in record.module.parameters()} - counted
    counted |= new
    return sum(parameter.numel() for parameter in new)


def _layer_stage(group: list[Piece], root: Record, has_blocks: bool) -> Stage:
    layers = [layer for layer, _ in group]
    families = {layer.family for layer in layers}
    kind = next((kind for kind in ("conv", "linear", "pool", "norm", "resize") if kind in families), "other")
    text, name = _in_words(layers), _span(layers, root)
    if has_blocks and layers[0].sources == [0] and "stem" not in name:
        name = f"stem ({name})"
    return Stage(name or text, kind, text if name else "", layers[-1].output)


def _block_stage(group: list[Piece], root: Record, types: dict[str, str]) -> Stage:
    blocks = [record for record, _ in group if not record.number]
    repeats, block, stride = len(blocks), blocks[0].type.lstrip("_"), _stride(blocks[0])
    text = f"{repeats} × {block}" if repeats > 1 else block
    text += f", {'the first ' if repeats > 1 else ''}with stride {stride}" if stride > 1 else ""
    shortcut = next((words for step in _steps(blocks[0]) for _, words in step.skips if words), "")
    kind, output = types[blocks[0].type], group[-1][0].output
    return Stage(_span(blocks, root), kind, text, output, 0, [], repeats, block, _steps(blocks[-1]), shortcut)


def _span(records: list[Record], root: Record) -> str:
    """The name of the module that makes just these calls, or 'first – last'; '' for functions alone."""
    names = [record.name for record in records if record.name]
    for holder in root.walk():
        if names and holder is not root and [child.name for child in holder.children if child.name] == names:
            return holder.name
    if len(names) < 2:
        return "".join(names)
    (first, _, _), (last, _, own) = names[0].rpartition("."), names[-1].rpartition(".")
    return f"{names[0]} – {own if first == last else names[-1]}"


def _stride(record: Record) -> int:
    before, after = record.input, record.output
    return round(before[-1] / after[-1]) if isinstance(before, tuple) and len(before) == len(after) == 3 else 1


# ---- the inside of a block, and layers in words ----


def _steps(block: Record) -> list[Step]:
    layers = {layer.number: layer for layer in block.layers()}
    path = _main_path(layers)
    sides = {layer.number: _sides(layer, layers, path) for layer in path if layer.family == "join"}
    steps, at = [], {}
    for row in _rows(path, {origin for side in sides.values() for origin, _ in side}):
        side = sides.get(row[0].number, [])
        if row[0].type == "Concatenate" and any(chain for _, chain in side):
            branches = [*(chain for _, chain in side), [layer for layer in path if layer.number < row[0].number]]
            steps, side = [Step(_in_words(chain) or "the input itself", "branch") for chain in branches], []
        at |= {layer.number: len(steps) for layer in row}
        texts, values = zip(*map(_word, row), strict=True)
        if row[0].type == "Concatenate" and not any(source in layers for source in row[0].sources):
            texts = ("concatenate all earlier results",)
        family = next((layer.family for layer in row if layer.family in WEIGHTED), row[0].family)
        skips = [(at.get(origin, -1), _in_words(chain)) for origin, chain in side]
        steps.append(Step(" · ".join(texts), family, [(value,) for slots in values for value in slots], skips))
    return steps


def _main_path(layers: dict[int, Record]) -> list[Record]:
    """The longest chain of layers that leads to the block's result."""
    depth: dict[int, int] = {}
    for number, layer in layers.items():
        depth[number] = 1 + max((depth.get(source, 0) for source in layer.sources), default=0)
    path, number = [], max(layers)
    while number in layers:
        path.append(layers[number])
        number = max(layers[number].sources, key=lambda source: depth.get(source, 0), default=0)
    return path[::-1]


def _sides(join: Record, layers: dict[int, Record], path: list[Record]) -> list[tuple[int, list[Record]]]:
    """For each further way into a join, the layer on the main path (or outside) that it leaves from, and the layers on it."""
    main, sides = {layer.number for layer in path}, []
    before = max((number for number in main if number < join.number), default=0)
    for source in sorted(set(join.sources) - {before}) if before else ():
        chain: list[Record] = []
        while source in layers and source not in main:
            chain.insert(0, layers[source])
            source = max(layers[source].sources, default=0)
        sides.append((source, chain))
    return sides


def _rows(path: list[Record], origins: set[int]) -> list[list[Record]]:
    """One layer with weights per row, with what comes before it where a block begins with normalisation, else with what follows it."""
    rows: list[list[Record]] = []
    before = path[0].family in ("norm", "activation") or path[0].type == "Concatenate"
    for layer in path:
        row = rows[-1] if rows else []
        weighted = any(other.family in WEIGHTED for other in row)
        full = weighted and (before or layer.family in WEIGHTED)
        if not row or full or "join" in (layer.family, row[-1].family) or row[-1].number in origins:
            rows.append([])
        rows[-1].append(layer)
    return rows


def _in_words(layers: list[Record]) -> str:
    return " · ".join(Step(text, "", [(value,) for value in values]).words() for text, values in map(_word, layers))


def _word(layer: Record) -> tuple[str, tuple[int, ...]]:
    """A layer as text, '{}' for its width, groups and dilation, and their values."""
    settings = layer.settings
    if layer.family == "conv":
        return _conv_word(layer)
    if layer.family == "linear":
        return "linear {}", (settings["out_features"],)
    if layer.family == "pool" and (_is_global(layer) or layer.type == "MeanPool"):
        return f"global {'max' if 'Max' in layer.type else 'average'} pool", ()
    if layer.family == "pool":
        fixed = "kernel_size" in settings
        kernel = size_words(settings["kernel_size"]) + _stride_words(settings) if fixed else f"to {size_words(layer.output[1:])}"
        return f"{'max' if 'Max' in layer.type else 'average'} pool {kernel}", ()
    return f"dropout {settings['p']}" if layer.type == "Dropout" and settings else WORDS.get(layer.type, layer.type), ()


def _conv_word(conv: Record) -> tuple[str, tuple[int, ...]]:
    settings = conv.settings
    groups = (settings["groups"],) if settings["groups"] > 1 and not _is_depthwise(conv) else ()
    text = "depthwise " * _is_depthwise(conv) + "transposed " * ("Transpose" in conv.type)
    text += f"conv {size_words(settings['kernel_size'])}, {{}}" + ", {} groups" * len(groups) + _stride_words(settings) + ", dilation {}"
    return text, (settings["out_channels"], *groups, max(settings["dilation"]))


def _is_depthwise(conv: Record) -> bool:
    return conv.settings["groups"] == conv.settings["in_channels"] > 1


def _stride_words(settings: dict) -> str:
    stride = settings.get("stride", 1)
    stride = max(stride) if isinstance(stride, tuple) else stride
    return f", stride {stride}" if stride > 1 else ""


def size_words(value) -> str:
    """(3, 3) -> '3×3'; 2, which means a square, -> '2×2'."""
    return "×".join(map(str, value if isinstance(value, (tuple, list)) else (value, value)))


def merged(stages: list[Stage]) -> list[tuple[Stage, list[Step], list[str]]]:
    """The blocks to show, one for stages that differ in such numbers only: (first stage, steps with all values, lines of notes)."""
    shared: dict[tuple, list[Stage]] = {}
    for stage in stages:
        if stage.steps:
            shared.setdefault(stage.structure(), []).append(stage)
    shown = []
    for group in shared.values():
        rows = zip(*(stage.steps for stage in group), strict=True)
        steps = [replace(row[0], values=[sum(slot, ()) for slot in zip(*(step.values for step in row), strict=True)]) for row in rows]
        shown.append((group[0], steps, _notes(group)))
    return shown


def _notes(group: list[Stage]) -> list[str]:
    shortcuts: dict[str, list[str]] = {}
    for stage in group:
        if stage.shortcut and not any(words for step in stage.steps for _, words in step.skips):
            shortcuts.setdefault(re.sub(r"conv (\S+), \d+", "conv\u00a0\\1", stage.shortcut), []).append(stage.name)
    where = "in " + " | ".join(stage.name for stage in group)
    return [where, *(f"first block of {', '.join(names)}: shortcut through {words}" for words, names in shortcuts.items())]


# ---- counts for comparison tables ----


def describe(model: nn.Module, x: Tensor) -> dict:
    """What `model` is made of as `x` (N, ...) passes through it, as plain JSON values.

    Layers are counted as often as they run. 'weighted layers' are all convolutions and linear layers, not the longest path. A residual
    block is a module that adds two feature maps of one shape, both computed from the input, in its own forward; a concatenating block
    concatenates (DenseNet). 'inside a block' gives each type's rows, '|' between stages that differ in width.
    """
    root = trace(model, x)
    layers, found, types = root.layers(), _condense(root, model), block_types(root)
    convs = [layer for layer in layers if layer.family == "conv"]
    owners = [{child.type for child in record.children if child.family == "join"} for record in root.walk() if record.type in types]
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "weighted layers": sum(layer.family in ("conv", "linear") for layer in layers),
        **{name: dict(Counter(layer.type for layer in layers if layer.family == name)) for name in ("norm", "activation")},
        "convolution kernels": dict(Counter(size_words(conv.settings["kernel_size"]) for conv in convs)),
        "grouped convolutions": sum(conv.settings["groups"] > 1 and not _is_depthwise(conv) for conv in convs),
        "depthwise convolutions": sum(map(_is_depthwise, convs)),
        "blocks per stage": "-".join(str(stage.repeats) for stage in found if stage.kind in ("residual", "concatenating")),
        "residual blocks": sum("Add" in joins for joins in owners),
        "concatenating blocks": sum("Concatenate" in joins for joins in owners),
        "inside a block": {stage.block: [step.words() for step in steps] for stage, steps, _ in reversed(merged(found))},
    }
