"""CUDA graphs without a GPU: which steps become one, and that making one changes nothing. What a graph computes needs a GPU."""

import pytest
import torch

from common import speed


@pytest.fixture
def made(monkeypatch):
    """The shapes for which a graph was made, and each replay; in place of a graph the step itself."""
    shapes, replays = [], []

    def make(step, sample, allow_unused_input):
        shapes.append([tuple(value.shape) for value in sample])
        for _ in range(3):  # as torch warms up
            step(*sample)

        def replay(*inputs):
            replays.append(len(inputs[0]))
            return step(*inputs)

        return replay

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", make)
    return shapes, replays


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 2))


def test_batches_of_a_steady_shape_become_a_graph_and_the_results_are_the_same(made):
    shapes, replays = made
    plain, graphed = network(), speed.CudaGraphs(network())
    sizes = [5, 5, 5, 5, 5, 2, 5, 5, 3, 3]
    for size in sizes:
        x = torch.randn(size, 4, generator=torch.Generator().manual_seed(size))
        torch.manual_seed(size)
        expected = plain(x)
        torch.manual_seed(size)
        assert torch.equal(graphed(x), expected)
        assert torch.equal(plain[1].running_mean, graphed.module[1].running_mean)
        assert plain[1].num_batches_tracked == graphed.module[1].num_batches_tracked
    assert shapes == [[(5, 4)]] and replays == [5] * 4
    assert [name.removeprefix("module.") for name in graphed.state_dict()] == list(plain.state_dict())


def test_evaluation_other_inputs_and_many_shapes_are_left_alone(made):
    shapes, replays = made
    graphed = speed.CudaGraphs(network())
    for _ in range(5):
        with torch.no_grad():
            graphed(torch.ones(3, 4))
    graphed.eval()
    for _ in range(5):
        graphed(torch.ones(3, 4))
    assert not shapes
    graphed.train()
    for size in range(2, 10):
        for _ in range(speed.STEADY + 1):
            graphed(torch.ones(size, 4))
    assert [shape for ((shape, _),) in shapes] == list(range(2, 2 + speed.MOST_GRAPHS)) and len(replays) == speed.MOST_GRAPHS

    class Optional(torch.nn.Linear):
        def forward(self, x, mask=None):
            return super().forward(x)

    optional = speed.CudaGraphs(Optional(4, 2))
    for _ in range(5):
        optional(torch.ones(3, 4), None)
    assert len(shapes) == speed.MOST_GRAPHS


def test_a_graph_that_cannot_be_made_costs_a_line_and_no_number(monkeypatch, capsys):
    def fail(*_, **__):
        raise RuntimeError("CUDA error: no graph\nmore")

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", fail)
    graphed = speed.CudaGraphs(torch.nn.Linear(4, 2))
    x = torch.ones(3, 4)
    for _ in range(6):
        assert torch.equal(graphed(x), graphed.module(x))
    assert capsys.readouterr().err == "note: steps of (3, 4) are no CUDA graph (CUDA error: no graph)\n"
