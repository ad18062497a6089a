"""A network's training steps as CUDA graphs: a GPU is told once what a step consists of, and repeats it.

Small batches of small images (the reports' 16 to 32 of 32 px) keep a GPU busy for less time than Python needs to name a step's operations.
"""

import sys

import torch
from torch import Tensor, nn

STEADY = 3  # steps in a row with inputs of one shape before their graph is made
MOST = 4  # graphs of a network: each keeps the memory of its step


class Graphed(nn.Module):
    """The network `module`, same parameters and results; in training, batches of a shape that stays are forward and backward graphs.

    Other batches (an epoch's last one, captions of many lengths) and evaluation are as without it. The loop has to let go of a step's loss
    and outputs (`loss = loss.detach()`) before the next one: what autograd keeps for them belongs to the stream of the step before, for
    which a graph that is being made must not wait.
    """

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module
        self._graphs, self._last, self._row = {}, None, 0

    def forward(self, *inputs):
        """What `module(*inputs)` returns."""
        if not (self.training and torch.is_grad_enabled()) or not all(isinstance(value, Tensor) for value in inputs):
            return self.module(*inputs)
        shape = tuple((value.shape, value.dtype) for value in inputs)
        self._row = self._row + 1 if shape == self._last else 1
        self._last = shape
        if shape not in self._graphs and self._row > STEADY and len(self._graphs) < MOST:
            try:
                self._graphs[shape] = capture(self.module, inputs)
            except RuntimeError as error:  # slower, and the same numbers
                print(f"note: steps of {tuple(inputs[0].shape)} are no CUDA graph ({str(error).splitlines()[0]})", file=sys.stderr)
                self._graphs[shape] = self.module
        return self._graphs.get(shape, self.module)(*inputs)


class Step(nn.Module):
    """A network in a module of its own, whose `forward` may be replaced by a graph's."""

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, *inputs):
        """What `module(*inputs)` returns."""
        return self.module(*inputs)


def capture(module: nn.Module, inputs: tuple[Tensor, ...]):
    """A callable that replays `module`, in training and under the present autocast, for inputs of these shapes.

    The passes that warm it up leave neither batch norm's statistics nor the random numbers changed.
    """
    torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)  # warming up uses a stream of its own
    device, kept = inputs[0].device, [buffer.clone() for buffer in module.buffers()]
    half = torch.autocast(device.type, torch.get_autocast_dtype(device.type), torch.is_autocast_enabled(device.type), cache_enabled=False)
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), half:
            return torch.cuda.make_graphed_callables(Step(module), tuple(value.clone() for value in inputs), allow_unused_input=True)
    finally:
        with torch.no_grad():
            for buffer, value in zip(module.buffers(), kept, strict=True):
                buffer.copy_(value)
