"""What common/architecture.py sees in small networks whose answer is known, and in torchvision's; the script that draws them."""

import json

import pytest
import torch
from matplotlib.patches import FancyBboxPatch
from torch import nn
from torchvision import models

from common import figures
from hw1 import architecture, diagram, p1_architecture, tracing


class Residual(nn.Module):
    """Two convolutions with or without a sum, a projection on the shortcut if the width changes."""

    def __init__(self, inputs, outputs, add=True):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(inputs, outputs, 3, padding=1), nn.Conv2d(outputs, outputs, 3, padding=1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if inputs != outputs else nn.Sequential()
        self.add = add

    def forward(self, x):
        h = self.conv2(torch.relu(self.conv1(x)))
        return h + self.shortcut(x) if self.add else h


class Unusual(nn.Module):
    """A bias added by hand, a layer used twice, a layer that never runs, a dict of outputs."""

    def __init__(self):
        super().__init__()
        self.conv, self.unused = nn.Conv2d(4, 4, 3, padding=1), nn.Linear(7, 5)
        self.bias = nn.Parameter(torch.zeros(1, 4, 8, 8))

    def forward(self, x):
        h = self.conv(x + self.bias)
        return {"out": self.conv(h), "aux": h}


@pytest.fixture
def small():
    """A stem, three residual blocks in a stage, a head. Input (N, 3, 16, 16)."""
    stem = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2))
    blocks = nn.Sequential(Residual(4, 8), Residual(8, 8), Residual(8, 8))
    return nn.Sequential(stem, blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))


def image(size, channels=3):
    return torch.randn(2, channels, size, size)


def total(model):
    return sum(parameter.numel() for parameter in model.parameters())


# ---- trace ----


def test_trace_records_shapes_parameters_and_what_each_layer_works_on(small):
    root = tracing.trace(small, image(16))
    stem, blocks = root.children[:2]
    assert root.parameters == total(small) and root.output == (5,)
    assert [(layer.name, layer.output) for layer in stem.children][::3] == [("0.0", (4, 8, 8)), ("0.3", (4, 4, 4))]
    assert stem.children[0].settings["stride"] == (2, 2) and stem.children[0].parameters == 4 * 3 * 9 + 4
    conv1, relu, conv2, shortcut, add = blocks.children[0].children
    assert [layer.type for layer in (relu, add)] == ["ReLU", "Add"]
    assert shortcut.sources == conv1.sources == [stem.children[-1].number]
    assert add.sources == [conv2.number, shortcut.number]


def test_trace_leaves_the_model_as_it_was(small):
    small.train()
    small[0][1].eval()
    modes, buffers = [module.training for module in small.modules()], [buffer.clone() for buffer in small.buffers()]
    tracing.trace(small, image(16))
    assert [module.training for module in small.modules()] == modes
    assert all(torch.equal(before, after) for before, after in zip(buffers, small.buffers(), strict=True))
    with pytest.raises(RuntimeError):
        tracing.trace(small, image(16, channels=4))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in small.modules())
    assert small.training and not small[0][1].training


def test_in_place_layers_do_not_change_what_is_found(small):
    twin = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3), nn.ReLU(inplace=True))
    assert [layer.sources for layer in tracing.trace(twin, image(16)).layers()] == [[0], [1], [2], [3]]


# ---- stages ----


def test_stages_of_a_small_network(small):
    names = ["input", "stem (0)", "1", "2", "3 – 4", "output"]
    found = architecture.stages(small, image(16))
    assert [stage.name for stage in found] == names
    assert [stage.kind for stage in found] == ["input", "conv", "residual", "pool", "linear", "output"]
    assert [stage.output for stage in found] == [(3, 16, 16), (4, 4, 4), (8, 4, 4), (8, 1, 1), (5,), (5,)]
    assert [stage.sources for stage in found] == [[], [0], [1], [2], [3], [4]]
    assert sum(stage.parameters for stage in found) == total(small)
    blocks = found[2]
    assert (blocks.repeats, blocks.block, blocks.shortcut) == (3, "Residual", "conv 1×1, 8")
    assert [step.words() for step in blocks.steps] == ["conv 3×3, 8 · ReLU", "conv 3×3, 8", "add"]
    assert blocks.steps[-1].skips == [(-1, "")]


def test_resnet18_has_four_stages_of_two_blocks():
    found = architecture.stages(models.resnet18(), image(64))
    blocks = [stage for stage in found if stage.repeats]
    assert [(stage.name, stage.repeats, stage.block) for stage in blocks] == [(f"layer{i}", 2, "BasicBlock") for i in (1, 2, 3, 4)]
    assert [stage.output for stage in blocks] == [(64, 16, 16), (128, 8, 8), (256, 4, 4), (512, 2, 2)]
    assert [stage.text for stage in blocks[:2]] == ["2 × BasicBlock", "2 × BasicBlock, the first with stride 2"]
    assert found[1].text == "conv 7×7, 64, stride 2 · batch norm · ReLU · max pool 3×3, stride 2"
    assert sum(stage.parameters for stage in found) == 11689512


def test_densenet_concatenates():
    model = models.DenseNet(growth_rate=4, block_config=(2, 3), num_init_features=8, num_classes=5)
    found = architecture.stages(model, image(32))
    dense = [stage for stage in found if stage.repeats]
    assert [(stage.kind, stage.repeats, stage.output) for stage in dense] == [
        ("concatenating", 2, (16, 8, 8)),
        ("concatenating", 3, (20, 4, 4)),
    ]
    assert dense[0].steps[0].text == "concatenate all earlier results"
    described = architecture.describe(model, image(32))
    assert (described["blocks per stage"], described["residual blocks"], described["concatenating blocks"]) == ("2-3", 0, 5)


def test_dicts_of_outputs_and_branches():
    model = models.segmentation.deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=7, aux_loss=True)
    found = {stage.name: stage for stage in architecture.stages(model, image(32))}
    names = list(found)
    assert found["output"].output == {"out": (7, 32, 32), "aux": (7, 32, 32)}
    assert found["aux_classifier"].sources == [names.index("backbone.layer3")]
    dilations = ["1×1, 256", *(f"3×3, 256, dilation {rate}" for rate in (12, 24, 36))]
    assert [step.text for step in found["classifier.0"].steps[:4]] == [f"conv {words} · batch norm · ReLU" for words in dilations]


def test_what_belongs_to_no_layer_is_counted_apart():
    found = architecture.stages(model := Unusual(), image(8, channels=4))
    assert [(stage.kind, stage.parameters) for stage in found] == [
        ("input", 0),
        ("conv", 4 * 4 * 9 + 4),
        ("output", 0),
        ("other", 4 * 8 * 8 + 7 * 5 + 5),
    ]
    assert architecture.describe(model, image(8, channels=4))["weighted layers"] == 2


def test_a_sum_with_a_parameter_is_no_join():
    assert [layer.type for layer in tracing.trace(Unusual(), image(8, channels=4)).layers()] == ["Conv2d", "Conv2d"]


def test_blocks_of_different_stages_stay_apart_even_if_their_shapes_agree():
    model = nn.Sequential(nn.Sequential(Residual(3, 3), Residual(3, 3)), nn.Sequential(Residual(3, 3)))
    assert [(stage.name, stage.repeats) for stage in architecture.stages(model, image(8))[1:-1]] == [("0", 2), ("1", 1)]


def test_a_layer_in_two_stages_is_counted_once():
    conv = nn.Conv2d(3, 3, 3, padding=1)
    found = architecture.stages(nn.Sequential(conv, nn.MaxPool2d(2), conv), image(8))
    assert [stage.parameters for stage in found] == [0, 84, 0, 0]


# ---- describe ----


@pytest.mark.parametrize("add, blocks", [(True, 2), (False, 0)])
def test_residual_blocks_are_those_that_add(add, blocks):
    model = nn.Sequential(Residual(3, 8, add), Residual(8, 8, add))
    assert architecture.describe(model, image(8))["residual blocks"] == blocks


def test_convolutions_by_kernel_and_grouping():
    layers = [nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, (1, 3), groups=2), nn.GroupNorm(2, 8), nn.GELU()]
    described = architecture.describe(nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 6 * 4, 2)), image(8))
    assert described["convolution kernels"] == {"1×1": 1, "3×3": 1, "1×3": 1}
    assert (described["depthwise convolutions"], described["grouped convolutions"]) == (1, 1)
    assert (described["weighted layers"], described["norm"], described["activation"]) == (4, {"GroupNorm": 1}, {"GELU": 1})
    assert json.loads(json.dumps(described)) == described


def test_stages_that_differ_in_width_share_one_block():
    described = architecture.describe(models.resnet18(), image(64))
    assert described["blocks per stage"] == "2-2-2-2" and described["residual blocks"] == 8
    assert described["inside a block"]["BasicBlock"][1] == "conv 3×3, 64 | 128 | 256 | 512 · batch norm"


# ---- drawing ----


@pytest.mark.parametrize("network", ["resnet50", "densenet121", "convnext_tiny", "googlenet", "vgg11"])
def test_no_text_is_cut_or_leaves_its_box_or_overlaps_another(network):
    options = {"init_weights": False} if network == "googlenet" else {}
    figure = diagram.draw(architecture.stages(models.get_model(network, **options), image(64)), network)
    renderer = figure.canvas.get_renderer()
    texts = [text for text in figure.axes[0].texts if text.get_text()]
    boxes = [text.get_window_extent(renderer) for text in texts]
    assert figure.get_figwidth() == figures.PAGE_WIDTH and min(text.get_size() for text in texts) >= 8
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 and figure.bbox.y0 <= box.y0 for box in boxes)
    frames = [patch.get_window_extent(renderer) for patch in figure.axes[0].patches if isinstance(patch, FancyBboxPatch)]
    for box in boxes:
        around = [frame for frame in frames if frame.contains(*(box.get_points().mean(0)))]
        assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1 for frame in around)
    lines = [box.shrunk(0.98, 0.7) for box in boxes]  # neighbouring lines may touch, not cross
    assert not any(one.overlaps(other) for i, one in enumerate(lines) for other in lines[:i])


def test_the_first_blocks_shortcut_is_told():
    texts = [text.get_text() for text in diagram.draw(architecture.stages(models.resnet18(), image(64)), "").axes[0].texts]
    assert any(text.startswith("first block of layer2, layer3, layer4: shortcut") for text in texts)
    assert "conv 1×1, stride 2 · batch norm" in texts


def test_the_script_writes_a_figure_for_each_network(tmp_path):
    result = p1_architecture.main(p1_architecture.parse_args(["--report", "f22b", "--device", "cpu", "--out", str(tmp_path)]))
    assert result["reproduced"] == {"parameters A": 7005106, "parameters B": 27858578}
    assert {path.name for path in tmp_path.iterdir()} == {"f22b-1.1.json", "f22b-1.1-A.png", "f22b-1.1-B.png"}
    written = json.loads((tmp_path / "f22b-1.1.json").read_text())
    assert written["files"] == ["f22b-1.1-A.png", "f22b-1.1-B.png"] and written["settings"]["B"]["network"] == "convnext_tiny"


def test_a_report_without_the_item_is_wrong_use(capsys):
    with pytest.raises(SystemExit) as stopped:
        p1_architecture.parse_args(["--report", "f21"])
    assert stopped.value.code == 2 and "f22a" in capsys.readouterr().err
