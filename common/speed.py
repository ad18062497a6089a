"""The same numbers sooner: on the CPU memory that is used again, convolutions on small maps and narrow batch norms; CUDA graphs."""

import contextlib
import ctypes
import sys

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# ---- memory that is used again ----


def keep_freed_memory() -> None:
    """Have glibc's malloc keep freed blocks of up to 32 MiB, 2 GiB of them, rather than give them back to the system; elsewhere nothing.

    A network's activations are freed and asked for again with each batch, and the system clears every page it hands out: half the time of
    an EfficientNet on images of 160 pixels. benchmarks/kept_memory.py compares the two. Larger blocks, such as pictures of 100 megapixels,
    go back: kept, they would leave gaps that the next, a little larger one does not fit.
    """
    trim_threshold, mmap_threshold = -1, -3  # names of malloc.h
    with contextlib.suppress(OSError, AttributeError, TypeError):  # another C library, or Windows
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(mmap_threshold, 32 * 2**20)  # the most that glibc takes
        mallopt(trim_threshold, 2**31 - 1)


# ---- convolutions on feature maps of one pixel or four, as matrix products ----
#
# There oneDNN's channels-last convolution on the CPU takes up to twelve times as long as the product (torch 2.12): half the time of a
# ResNet-50 on images of 32 pixels. benchmarks/small_maps.py compares the two.

LARGEST_MAP = 2  # pixels of a map's side


class Conv2d(nn.Conv2d):
    """nn.Conv2d, the same parameters and result; a matrix product where the map is small."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, O, H', W')."""
        if max(x.shape[2:]) > LARGEST_MAP:
            return super().forward(x)
        if self.kernel_size == (1, 1) and self.padding == (0, 0):
            pixels = x[:, :, :: self.stride[0], :: self.stride[1]].permute(0, 2, 3, 1)
            return F.linear(pixels, self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)
        rows, columns = self._first_taps(x, 0), self._first_taps(x, 1)
        return self._product(x, rows, columns) if rows and columns else super().forward(x)

    def _first_taps(self, x: Tensor, axis: int) -> list[int]:
        """For each output place along an axis the tap that meets the map's first pixel; [] if the kernel does not cover the map."""
        size, kernel, padding, stride = x.shape[2 + axis], self.kernel_size[axis], self.padding[axis], self.stride[axis]
        taps = [padding - place * stride for place in range((size + 2 * padding - kernel) // stride + 1)]
        return taps if all(0 <= tap <= kernel - size for tap in taps) else []

    def _product(self, x: Tensor, rows: list[int], columns: list[int]) -> Tensor:
        """Every output pixel from all of the map's pixels."""
        height, width = x.shape[2:]
        taps = [self.weight[:, :, row : row + height, column : column + width] for row in rows for column in columns]
        matrix = torch.cat([tap.permute(0, 2, 3, 1).flatten(1) for tap in taps])
        bias = None if self.bias is None else self.bias.repeat(len(taps))
        out = F.linear(x.permute(0, 2, 3, 1).flatten(1), matrix, bias)
        return out.view(len(x), len(rows), len(columns), -1).permute(0, 3, 1, 2)


def convert_convolutions(model: nn.Module) -> nn.Module:
    """Give a model's convolutions, in place, the fast form where they can have it; names and parameters stay."""
    for module in model.modules():
        if type(module) is not nn.Conv2d or module.groups > 1 or module.dilation != (1, 1):
            continue
        if module.padding_mode == "zeros" and not isinstance(module.padding, str):
            module.__class__ = Conv2d
    return model


# ---- batch norm of few channels ----


class NarrowBatchNorm2d(nn.BatchNorm2d):
    """nn.BatchNorm2d, the same parameters and result, for fewer than eight channels.

    With channels last torch's kernel on the CPU takes up to seventeen times as long for them as with one channel after the other (torch
    2.12, three channels); from sixteen channels on it is the other way round. benchmarks/small_maps.py compares the two in cv22's LeNet.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        return super().forward(x.contiguous())


# ---- CUDA graphs: a GPU is told once what a step consists of, and repeats it ----
#
# Small batches of small images (the reports' 16 to 32 of 32 px) keep a GPU busy for less time than Python needs to name the operations.

STEADY = 3  # steps in a row with inputs of one shape before their graph is made
MOST_GRAPHS = 4  # graphs of a network: each keeps the memory of its step


class CudaGraphs(nn.Module):
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
        if shape not in self._graphs and self._row > STEADY and len(self._graphs) < MOST_GRAPHS:
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
