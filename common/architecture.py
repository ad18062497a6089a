"""What a network is made of, seen in one forward pass: the calls, the stages they form, a block diagram, and counts for comparison tables.

Recorded are modules, with hooks, and what runs between them (`F.relu`, `+`), with a TorchFunctionMode, each with the calls whose results it
works on. So blocks are found by what they do, not by names: a block is a module that adds or concatenates feature maps in its own forward.
"""

import re
import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from common import figures

FUNCTIONS = {  # the functions that count as a layer, by the module that does the same
    **{"relu": "ReLU", "relu_": "ReLU", "relu6": "ReLU6", "gelu": "GELU", "silu": "SiLU", "leaky_relu": "LeakyReLU", "tanh": "Tanh"},
    **{"sigmoid": "Sigmoid", "max_pool2d": "MaxPool2d", "avg_pool2d": "AvgPool2d"},
    **{"adaptive_avg_pool2d": "AdaptiveAvgPool2d", "mean": "MeanPool", "dropout": "Dropout", "interpolate": "Upsample"},
    **{"flatten": "Flatten", "view": "Flatten", "reshape": "Flatten"},
    **{"add": "Add", "add_": "Add", "cat": "Concatenate", "concat": "Concatenate", "concatenate": "Concatenate"},
}
SETTINGS = ["in_channels", "out_channels", "in_features", "out_features", "kernel_size", "stride", "padding", "dilation", "groups", "p"]
WORDS = {
    **{"Flatten": "flatten", "Upsample": "upsample", "Add": "add", "Concatenate": "concatenate", "Dropout": "dropout"},
    **{"BatchNorm2d": "batch norm", "GroupNorm": "group norm", "LayerNorm": "layer norm", "LayerNorm2d": "layer norm"},
    **{"MultiheadAttention": "attention", "StochasticDepth": "stochastic depth"},
}
FORMAL = ("Permute", "Identity", "Sequential")  # where they hold no layer, these change no value
WEIGHTED = ("conv", "linear", "attention")


# ---- what ran ----


@dataclass
class Record:
    """One call in a forward pass. Shapes leave the batch out; a dict or list of tensors has a dict or list of shapes."""

    name: str  # dotted; '' for the network itself, and for a function
    type: str  # 'Conv2d'; a function has the name of the module that does the same, or 'Add' or 'Concatenate'
    family: str  # conv, linear, attention, norm, activation, pool, resize, join or other
    input: tuple | dict | list
    output: tuple | dict | list = ()
    parameters: int = 0  # children included
    settings: dict = field(default_factory=dict)
    module: nn.Module | None = None
    number: int = 0  # a layer's place in the order of calls, from 1; 0 for a module that only calls others
    sources: list[int] = field(default_factory=list)  # the layers whose results a layer works on, another module returns; 0: the input
    children: list["Record"] = field(default_factory=list)

    def layers(self) -> list["Record"]:
        """The calls below this one that call nothing further, in order."""
        return [self] if self.number else [layer for child in self.children for layer in child.layers()]

    def walk(self) -> Iterator["Record"]:
        """This call and all below it, in order."""
        yield self
        for child in self.children:
            yield from child.walk()


def trace(model: nn.Module, x: Tensor) -> Record:
    """The tree of calls as `model` runs once on `x` (N, ...), in evaluation mode and without gradients; the model is left as it was."""
    modes, tracer = {module: module.training for module in model.modules()}, _Tracer(model, x)
    handles = [module.register_forward_pre_hook(tracer.enter, with_kwargs=True) for module in modes]
    handles += [module.register_forward_hook(tracer.leave, with_kwargs=True) for module in modes]
    try:
        model.eval()
        with torch.no_grad(), tracer:
            model(x)
    finally:
        for handle in handles:
            handle.remove()
        for module, training in modes.items():
            module.training = training
    return tracer.stack[0].children[0]


class _Tracer(TorchFunctionMode):
    """Keeps the stack of running modules, and for each living tensor the number of the layer that made it."""

    def __init__(self, model: nn.Module, x: Tensor):
        super().__init__()
        self.names = {module: name for name, module in model.named_modules()}
        self.stack, self.made_by, self.calls = [Record("", "", "other", ())], WeakTensorKeyDictionary(), 0
        self.made_by[x] = 0

    def enter(self, module, args, kwargs):
        parameters = sum(parameter.numel() for parameter in module.parameters())
        settings = {key: getattr(module, key) for key in SETTINGS if isinstance(getattr(module, key, None), (int, float, str, tuple))}
        kind, shape = type(module).__name__, shapes(next(iter([*args, *kwargs.values()]), ()))
        record = Record(self.names[module], kind, _family(kind, module), shape, (), parameters, settings, module)
        self.stack[-1].children.append(record)
        self.stack.append(record)

    def leave(self, module, args, kwargs, output):
        record = self.stack.pop()
        record.output = shapes(output)
        if _is_layer(module):
            self.note(record, [args, kwargs], output)
        else:
            record.sources = self.makers(output)

    def __torch_function__(self, function, types, args=(), kwargs=None):
        output = function(*args, **(kwargs or {}))
        if not _is_layer(self.stack[-1].module) and (made := list(tensors(output))):
            inputs = [tensor for tensor in tensors([args, kwargs]) if tensor in self.made_by]
            kind = FUNCTIONS.get(getattr(function, "__name__", ""), "")
            if inputs and _counts(kind, inputs, made[0]):
                record = Record("", kind, _family(kind), shapes(inputs[0]), shapes(output))
                self.stack[-1].children.append(record)
                self.note(record, inputs, output)
            elif inputs:  # a mere change of form: the result counts as made by the same layer
                self.made_by.update(dict.fromkeys(made, max(self.makers(inputs))))
        return output

    def note(self, record, inputs, output):
        record.sources = self.makers(inputs)
        record.number = self.calls = self.calls + 1
        for tensor in tensors(output):
            self.made_by[tensor] = record.number

    def makers(self, value) -> list[int]:
        return sorted({self.made_by[tensor] for tensor in tensors(value) if tensor in self.made_by})


def tensors(value) -> Iterator[Tensor]:
    """The tensors in nested lists, tuples and dicts."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple, dict)):
        for part in value.values() if isinstance(value, dict) else value:
            yield from tensors(part)


def shapes(value) -> tuple | dict | list:
    """The shape of a tensor without its batch, or the shapes of a dict's or list's tensors."""
    if isinstance(value, dict):
        return {key: shapes(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [shapes(part) for part in value]
    return tuple(value.shape[1:]) if isinstance(value, Tensor) else ()


def _is_layer(module: nn.Module | None) -> bool:
    childless = module is not None and not any(True for _ in module.children())
    return isinstance(module, nn.MultiheadAttention) or (childless and type(module).__name__ not in FORMAL)


def _counts(kind: str, inputs: list[Tensor], output: Tensor) -> bool:
    # Adding a bias or a position embedding joins nothing, and most reshapes only reorder.
    if kind == "Add":
        return len(inputs) == 2 and inputs[0].shape == inputs[1].shape and output.dim() > 2
    if kind in ("Flatten", "MeanPool"):
        return output.dim() == 2 < inputs[0].dim()
    return bool(kind)


def _family(kind: str, module: nn.Module | None = None) -> str:
    if isinstance(module, nn.modules.conv._ConvNd):
        return "conv"
    if isinstance(module, nn.Linear):
        return "linear"
    if kind != "MultiheadAttention" and hasattr(nn.modules.activation, kind):
        return "activation"
    named = {"MultiheadAttention": "attention", "Norm": "norm", "Pool": "pool", "Upsample": "resize", "Add": "join", "Concatenate": "join"}
    return next((family for word, family in named.items() if word in kind), "other")


# ---- the stages of a network ----


@dataclass
class Step:
    """A row of a block's inner structure: a layer with weights and what goes with it, one of several branches, or a join."""

    text: str  # '{}' stands for a width or a dilation
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
        """Equal for stages whose blocks differ in widths and dilations only."""
        return self.block, *((step.text, tuple(step.skips)) for step in self.steps)


Piece = tuple[Record, Record]  # a layer or a block, and the module that calls it


def stages(model: nn.Module, x: Tensor) -> list[Stage]:
    """The stages of `model` as `x` (N, ...) passes through it: the input first, the output last. Their parameters sum to the model's.

    Parameters of no stage (a class token, a head that only trains) make a stage 'other parameters' before the output.
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
    if rest := sum(parameter.numel() for parameter in model.parameters()) - sum(stage.parameters for stage in found):
        found.append(Stage("other parameters", "other", "outside the layers above, or not used in evaluation", (), rest))
    return [*found, Stage("output", "output", "", root.output, sources=ends)]


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
    """A layer as text, '{}' for its width and its dilation, and their values."""
    settings = layer.settings
    if layer.family == "conv":
        return _conv_word(layer), (settings["out_channels"], max(settings["dilation"]))
    if layer.family == "linear":
        return "linear {}", (settings["out_features"],)
    if layer.family == "pool" and (_is_global(layer) or layer.type == "MeanPool"):
        return f"global {'max' if 'Max' in layer.type else 'average'} pool", ()
    if layer.family == "pool":
        kernel = _size(settings["kernel_size"]) + _stride_words(settings) if "kernel_size" in settings else f"to {_size(layer.output[1:])}"
        return f"{'max' if 'Max' in layer.type else 'average'} pool {kernel}", ()
    return f"dropout {settings['p']}" if layer.type == "Dropout" and settings else WORDS.get(layer.type, layer.type), ()


def _conv_word(layer: Record) -> str:
    settings, groups = layer.settings, layer.settings["groups"]
    text = "depthwise " * _is_depthwise(layer) + "transposed " * ("Transpose" in layer.type)
    text += f"conv {_size(settings['kernel_size'])}, {{}}" + f", {groups} groups" * (groups > 1 and not _is_depthwise(layer))
    return text + _stride_words(settings) + ", dilation {}"


def _is_depthwise(conv: Record) -> bool:
    return conv.settings["groups"] == conv.settings["in_channels"] > 1


def _stride_words(settings: dict) -> str:
    stride = settings.get("stride", 1)
    stride = max(stride) if isinstance(stride, tuple) else stride
    return f", stride {stride}" if stride > 1 else ""


def _size(value) -> str:
    """(3, 3) -> '3×3'; 2, which means a square, -> '2×2'."""
    return "×".join(map(str, value if isinstance(value, (tuple, list)) else (value, value)))


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
        "convolution kernels": dict(Counter(_size(conv.settings["kernel_size"]) for conv in convs)),
        "grouped convolutions": sum(conv.settings["groups"] > 1 and not _is_depthwise(conv) for conv in convs),
        "depthwise convolutions": sum(map(_is_depthwise, convs)),
        "blocks per stage": "-".join(str(stage.repeats) for stage in found if stage.kind in ("residual", "concatenating")),
        "residual blocks": sum("Add" in joins for joins in owners),
        "concatenating blocks": sum("Concatenate" in joins for joins in owners),
        "inside a block": {stage.block: [step.words() for step in steps] for stage, steps, _ in reversed(_merged(found))},
    }


# ---- the diagram ----

TOP, LINE, GAP, PAD = 0.62, 0.17, 0.22, 0.12  # in inches: where the boxes begin, the height of a line, between boxes, inside them
HUES = {  # indices into the palette
    **{"conv": 0, "linear": 1, "residual": 2, "concatenating": 2, "resize": 3, "norm": 4, "activation": 4, "pool": 4, "branches": 5},
    **{"branch": 5, "attention": 3},
}
SAYS = {
    "residual": "residual block: what it computes is added to its input",
    "concatenating": "concatenating block: what it computes is put beside its input",
    "branches": "parallel block: branches from one input, put side by side",
}


def draw(stages: list[Stage], title: str) -> Figure:
    """A page-wide block diagram: stages from top to bottom with output shapes and parameters, and each kind of block opened beside them."""
    figure, grid = figures.new_figure()
    axes, blocks = grid[0, 0], _merged(stages)
    x = 0.25 + 0.17 * len(_detours(stages)) if blocks else 1.5
    right, edge = 5.5 if blocks else 8.5, figures.PAGE_WIDTH - 0.25
    tops, bottom = _draw_column(axes, stages, x, right - x)
    top = tops[[bool(stage.steps) for stage in stages].index(True)] if len(blocks) == 1 else TOP
    for stage, steps, notes in blocks:
        top = _draw_block(axes, stage, steps, notes, right + 0.3, top, edge - right - 0.3) + GAP
    total = sum(stage.parameters for stage in stages)
    axes.text(figures.PAGE_WIDTH / 2, 0.3, f"{title}: {total:,} parameters", size=12, weight="bold", ha="center", va="center")
    height = max(bottom, top - GAP) + 0.2
    figure.set_layout_engine("none")
    figure.set_size_inches(figures.PAGE_WIDTH, height)
    axes.set(position=(0, 0, 1, 1), xlim=(0, figures.PAGE_WIDTH), ylim=(height, 0))
    axes.axis("off")
    return figure


def _detours(stages: list[Stage]) -> list[tuple[int, int]]:
    return [(source, i) for i, stage in enumerate(stages) for source in stage.sources if source != i - 1]


def _draw_column(axes: Axes, stages: list[Stage], x: float, width: float) -> tuple[list[float], float]:
    """All stages, with arrows on the left where one works on another than that above; returns the upper edges and the last lower one."""
    tops, bottom = [], TOP - GAP
    for i, stage in enumerate(stages):
        tops.append(bottom + GAP)
        if i - 1 in stage.sources:
            _arrow(axes, (x + width / 2, bottom), (x + width / 2, tops[-1]))
        bottom = _draw_stage(axes, stage, x, tops[-1], width)
    for lane, (source, target) in enumerate(_detours(stages), 1):
        start, end, left = tops[source] + 0.3, tops[target] + 0.15, x - 0.17 * lane
        _arrow(axes, (x, start), (left, start), (left, end), (x, end))
    return tops, bottom


def _merged(stages: list[Stage]) -> list[tuple[Stage, list[Step], list[str]]]:
    """The blocks to show, one for stages that differ in widths and dilations only: (first stage, steps with all values, lines of notes)."""
    shared: dict[tuple, list[Stage]] = {}
    for stage in stages:
        if stage.steps:
            shared.setdefault(stage.structure(), []).append(stage)
    merged = []
    for group in shared.values():
        rows = zip(*(stage.steps for stage in group), strict=True)
        steps = [replace(row[0], values=[sum(slot, ()) for slot in zip(*(step.values for step in row), strict=True)]) for row in rows]
        merged.append((group[0], steps, _notes(group)))
    return merged


def _notes(group: list[Stage]) -> list[str]:
    shortcuts: dict[str, list[str]] = {}
    for stage in group:
        if stage.shortcut and not any(words for step in stage.steps for _, words in step.skips):
            shortcuts.setdefault(re.sub(r"(conv \S+), \d+", r"\1", stage.shortcut.replace("conv ", "conv\u00a0")), []).append(stage.name)
    where = "in " + " | ".join(stage.name for stage in group)
    return [where, *(f"first block of {', '.join(names)}: shortcut through {words}" for words, names in shortcuts.items())]


def _draw_stage(axes: Axes, stage: Stage, x: float, top: float, width: float) -> float:
    """A box with name and contents on the left, output shape and parameters on the right; returns its lower edge."""
    outputs = stage.output.items() if isinstance(stage.output, dict) else [("", stage.output)]
    parameters = f"{stage.parameters:,} parameters" if stage.parameters else ""
    right = [words for words in (*(_size_words(shape, key) for key, shape in outputs), parameters) if words]
    left = [stage.name, *_wrap(stage.text, width - 1.6)]
    bottom = top + 2 * PAD + LINE * max(len(left), len(right)) - 0.03
    _box(axes, x, top, width, bottom - top, stage.kind)
    _write(axes, left, x + PAD, top + PAD, bold=1)
    _write(axes, right, x + width - PAD, top + PAD, ha="right")
    return bottom


def _draw_block(axes: Axes, stage: Stage, steps: list[Step], notes: list[str], x: float, top: float, width: float) -> float:
    """A frame with the rows of a block, its shortcuts on the right; returns its lower edge."""
    later = " (the last of a stage)" * any("first block" in note for note in notes)
    lines = [f"Inside {stage.block}{later}", *(line for note in [SAYS[stage.kind], *notes] for line in _wrap(note, width - 0.2))]
    _write(axes, lines, x + PAD, top + PAD, bold=1)
    skips = [words for step in steps for _, words in step.skips]
    dense = stage.kind == "concatenating" and not skips
    beside = 1.35 if dense or any(skips) else 0.6 if skips else PAD
    start, middle, lane = top + PAD + LINE * len(lines) + 0.08, x + (PAD + width - beside) / 2, x + width - beside / 2
    end = _draw_rows(axes, steps, x + PAD, start, width - PAD - beside, lane)
    if dense:
        _arrow(axes, (middle, start + GAP / 2), (lane, start + GAP / 2), (lane, end), dashed=True)
        _beside(axes, ["earlier results", "go on to", "later layers"], lane, (start + end) / 2)
    _box(axes, x, top, width, end + PAD - top, stage.kind, fill=False)
    return end + PAD


def _draw_rows(axes: Axes, steps: list[Step], x: float, top: float, width: float, lane: float) -> float:
    """The rows of a block with arrows from the first to below the last, whose end is returned; `lane` is where shortcuts run down."""
    middle, y, leaves = x + width / 2, top, {-1: top + GAP / 2}
    for i, step in enumerate(steps):
        gap = 0.05 if i and step.family == "branch" else GAP
        if gap == GAP:
            _arrow(axes, (middle, y), (middle, y + gap))
        bottom = _draw_step(axes, step, x, y + gap, width)
        edge, height = middle + 0.12 if step.text == "add" else x + width, (y + gap + bottom) / 2
        for origin, words in step.skips:
            _arrow(axes, (middle, leaves[origin]), (lane, leaves[origin]), (lane, height), (edge, height))
            if words:
                _beside(axes, textwrap.wrap(words, 15), lane, (leaves[origin] + height) / 2, "conv")
        y, leaves[i] = bottom, bottom + GAP / 2
    _arrow(axes, (middle, y), (middle, y + GAP))
    return y + GAP


def _draw_step(axes: Axes, step: Step, x: float, top: float, width: float) -> float:
    if step.text == "add":
        ring = {"boxstyle": "circle,pad=0.1", "fc": "white", "ec": "#444444"}
        axes.text(x + width / 2, top + 0.12, "+", size=11, ha="center", va="center", bbox=ring)
        return top + 0.24
    lines = _wrap(step.words(), width - 0.16)
    bottom = top + 0.1 + LINE * len(lines)
    _box(axes, x, top, width, bottom - top, step.family)
    _write(axes, lines, x + width / 2, top + 0.05, ha="center")
    return bottom


def _beside(axes: Axes, lines: list[str], lane: float, middle: float, kind: str = "") -> None:
    """Text on a line beside the main way, in a box if it names layers."""
    height = LINE * len(lines) + 0.1
    if kind:
        _box(axes, lane - 0.56, middle - height / 2, 1.12, height, kind)
    else:
        axes.add_patch(Rectangle((lane - 0.5, middle - height / 2), 1.0, height, fc="white", ec="none", zorder=2))
    _write(axes, lines, lane, middle - height / 2 + 0.05, ha="center")


def _box(axes: Axes, x: float, top: float, width: float, height: float, kind: str, fill: bool = True) -> None:
    hue = to_rgb(figures.OKABE_ITO[HUES[kind]] if kind in HUES else "#777777")
    tint = [1 - 0.2 * (1 - part) for part in hue] if fill else "none"
    style = "round,pad=0,rounding_size=0.06"
    look = {"fc": tint, "ec": hue, "lw": 1, "ls": "-" if fill else "--", "zorder": 2 if fill else 1}
    axes.add_patch(FancyBboxPatch((x, top), width, height, boxstyle=style, **look))


def _arrow(axes: Axes, *points: tuple[float, float], dashed: bool = False) -> None:
    look = {"color": "#444444", "lw": 1, "ls": "--" if dashed else "-"}
    axes.plot(*zip(*points[:-1], strict=True), zorder=1, **look)
    head = {"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, "mutation_scale": 9}
    axes.annotate("", points[-1], points[-2], arrowprops=head | look, zorder=1)


def _write(axes: Axes, lines: list[str], x: float, top: float, ha: str = "left", bold: int = 0) -> None:
    for i, line in enumerate(lines):
        look = {"size": 9.5, "weight": "bold"} if i < bold else {"size": 8.5}
        axes.text(x, top + LINE * (i + 0.45), line, ha=ha, va="center", zorder=3, **look)


def _wrap(text: str, width: float) -> list[str]:
    """Lines of at most `width` inches at 8.5 points, broken between layers rather than inside one."""
    most = int(width / 0.062)
    layers = [layer.replace(" ", "\u00a0") if len(layer) < most else layer for layer in text.split(" · ")]
    return textwrap.wrap("\u00a0· ".join(layers), most, break_long_words=False)


def _size_words(shape, key: str = "") -> str:
    words = _size(shape).replace("×", " × ") if isinstance(shape, tuple) else ""
    return f"{key}: {words}" if key else words
