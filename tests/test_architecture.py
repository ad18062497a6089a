"""hw1/architecture.py on torchvision's networks, whose layers are known; the script that draws them."""

import json

import pytest
from matplotlib.patches import FancyBboxPatch
from torch import nn
from torchvision import models

from common import figures
from hw1 import architecture, diagram, p1_architecture, p1_models


def build(name):
    with architecture.META:
        return models.get_model(name)


def total(model):
    return sum(parameter.numel() for parameter in model.parameters())


# ---- stages ----


def test_stages_of_a_plain_network():
    model = p1_models.build("small_cnn")
    found = architecture.stages(model, 32)
    assert [stage.name for stage in found] == ["input", "group1", "group2", "fc", "output"]
    assert [stage.kind for stage in found] == ["input", "conv", "conv", "linear", "output"]
    assert [stage.output for stage in found] == [(3, 32, 32), (32, 16, 16), (64, 8, 8), (50,), (50,)]
    assert [stage.source for stage in found] == [-1, 0, 1, 2, 3] and sum(stage.parameters for stage in found) == total(model)
    assert found[1].text == "conv 3×3, 32 · batch norm · ReLU · max pool 2×2, stride 2"


def test_the_model_is_left_as_it_was():
    model = p1_models.build("small_cnn").train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    architecture.describe(model, 32)
    assert all(module.training for module in model.modules())
    assert all(value.equal(before[key]) for key, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_resnet18_has_four_stages_of_two_blocks():
    found = architecture.stages(build("resnet18"), 64)
    blocks = [stage for stage in found if stage.blocks]
    assert [(stage.name, len(stage.blocks), stage.block) for stage in blocks] == [(f"layer{i}", 2, "BasicBlock") for i in (1, 2, 3, 4)]
    assert [stage.output for stage in blocks] == [(64, 16, 16), (128, 8, 8), (256, 4, 4), (512, 2, 2)]
    assert [stage.text for stage in blocks[:2]] == ["2 × BasicBlock", "2 × BasicBlock, the first with stride 2"]
    assert found[1].text == "conv 7×7, 64, stride 2 · batch norm · ReLU · max pool 3×3, stride 2"
    assert sum(stage.parameters for stage in found) == 11689512


@pytest.mark.parametrize("network", ["resnext101_64x4d", "densenet121", "convnext_tiny", "vgg16"])
def test_parameters_sum_to_the_networks(network):
    model = build(network)
    assert sum(stage.parameters for stage in architecture.stages(model, 64)) == total(model)


def test_densenet_concatenates():
    with architecture.META:
        model = models.DenseNet(growth_rate=4, block_config=(2, 3), num_init_features=8, num_classes=5)
    found = architecture.stages(model, 32)
    dense = [(stage.kind, len(stage.blocks), stage.output) for stage in found if stage.blocks]
    assert dense == [("concatenating", 2, (16, 8, 8)), ("concatenating", 3, (20, 4, 4))]
    assert architecture.insides(found)[0].rows[0][0] == "concatenate all earlier results"
    described = architecture.describe(model, 32)
    assert (described["blocks per stage"], described["residual blocks"], described["concatenating blocks"]) == ("2-3", 0, 5)


def test_what_only_trains_stands_aside():
    with architecture.META:
        model = models.segmentation.deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=7, aux_loss=True)
    found = {stage.name: stage for stage in architecture.stages(model, 64)}
    names, output = list(found), found["output"]
    assert found["aux_classifier"].source == names.index("backbone.layer3") and output.source == names.index("classifier.1 – 4")
    assert (output.text, output.output) == ("bilinear interpolation", (7, 64, 64))
    dilations = ["1×1, 256", *(f"3×3, 256, dilation {rate}" for rate in (12, 24, 36))]
    aspp = next(inside for inside in architecture.insides(list(found.values())) if inside.block == "ASPP")
    assert aspp.rows[:4] == [(f"conv {words} · batch norm · ReLU", "branch") for words in dilations]


# ---- describe ----


def test_convolutions_by_kernel_and_grouping():
    layers = [nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, (1, 3), groups=2), nn.GroupNorm(2, 8), nn.GELU()]
    described = architecture.describe(nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 6 * 4, 2)), 8)
    assert described["convolution kernels"] == {"1×1": 1, "3×3": 1, "1×3": 1}
    assert (described["depthwise convolutions"], described["grouped convolutions"]) == (1, 1)
    assert (described["weighted layers"], described["norm"], described["activation"]) == (4, {"GroupNorm": 1}, {"GELU": 1})
    assert json.loads(json.dumps(described)) == described


def test_stages_that_differ_in_width_share_one_block():
    described = architecture.describe(build("resnet18"), 64)
    assert described["blocks per stage"] == "2-2-2-2" and described["residual blocks"] == 8
    assert described["inside a block"]["BasicBlock"][1] == "conv 3×3, 64 | 128 | 256 | 512 · batch norm"


# ---- drawing ----


@pytest.mark.parametrize("network", ["resnet50", "densenet121", "convnext_tiny", "vgg11"])
def test_no_text_is_cut_or_leaves_its_box_or_overlaps_another(network):
    figure = diagram.draw(architecture.stages(build(network), 64), network)
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
    texts = [text.get_text() for text in diagram.draw(architecture.stages(build("resnet18"), 64), "").axes[0].texts]
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
