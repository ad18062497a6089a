"""What runs inside a network in one forward pass: the tree of calls, and for each layer the layers whose results it works on.

Recorded are modules, with hooks, and what runs between them (`F.relu`, `+`), with a TorchFunctionMode.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

FUNCTIONS = {  # the functions that count as a layer, by the module that does the same
    **{"relu": "ReLU", "relu_": "ReLU", "relu6": "ReLU6", "gelu": "GELU", "silu": "SiLU", "leaky_relu": "LeakyReLU", "tanh": "Tanh"},
    **{"sigmoid": "Sigmoid", "max_pool2d": "MaxPool2d", "avg_pool2d": "AvgPool2d"},
    **{"adaptive_avg_pool2d": "AdaptiveAvgPool2d", "mean": "MeanPool", "dropout": "Dropout", "interpolate": "Upsample"},
    **{"flatten": "Flatten", "view": "Flatten", "reshape": "Flatten"},
    **{"add": "Add", "add_": "Add", "cat": "Concatenate", "concat": "Concatenate", "concatenate": "Concatenate"},
}
SETTINGS = ["in_channels", "out_channels", "in_features", "out_features", "kernel_size", "stride", "padding", "dilation", "groups", "p"]
WITHOUT_VALUES = torch.device("meta")  # a network built within, and an image made, have shapes alone: nothing is drawn or computed
FORMAL = ("Permute", "Identity", "Sequential")  # where they hold no layer, these change no value


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

    def enter(self, module, inputs, options):
        parameters = sum(parameter.numel() for parameter in module.parameters())
        settings = {key: getattr(module, key) for key in SETTINGS if isinstance(getattr(module, key, None), (int, float, str, tuple))}
        kind, shape = type(module).__name__, shapes(next(iter([*inputs, *options.values()]), ()))
        record = Record(self.names[module], kind, _family(kind, module), shape, (), parameters, settings, module)
        self.stack[-1].children.append(record)
        self.stack.append(record)

    def leave(self, module, inputs, options, output):
        record = self.stack.pop()
        record.output = shapes(output)
        if _is_layer(module):
            self.note(record, [inputs, options], output)
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
