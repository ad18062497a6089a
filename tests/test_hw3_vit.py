"""hw3 problem 1: layouts of weights, attention, the figures and the graders' interface, on drawn pictures and small networks."""

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import run_script
from PIL import Image

from common import classification, training
from common.checkpoints import load_checkpoint, save_checkpoint
from common.cli import UsageError
from common.data import Labelled
from common.files import file_digest
from common.setup import Runtime
from hw3 import p1_data, p1_models, p1_pos_embed, p1_recipes, p1_synthetic, p1_train, p3_attention_map


@pytest.fixture(scope="module")
def pets(tmp_path_factory):
    """A --data folder with two training and two validation pictures of each breed."""
    folder = tmp_path_factory.mktemp("pets")
    p1_synthetic.draw_pets(folder / "hw3_data/p1_data", 2, 2)
    return folder


@pytest.fixture(scope="module")
def trained(pets, tmp_path_factory):
    """The --out folder of a quick training, and its result."""
    out = tmp_path_factory.mktemp("out")
    options = ["--data", str(pets), "--out", str(out), "--quick", "--epochs", "1"]
    result = p1_train.main(p1_train.parse_args(options))
    (out / "checkpoints/hw3-p1-b16-quick-epochs1").rename(out / "checkpoints/hw3-p1-b16-quick")
    return out, result


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    model = p1_models.build("tiny", 96).eval()
    torch.nn.init.normal_(model.heads.head.weight, std=0.1)  # torchvision starts it at 0
    return model


# ---- data ----


def test_pictures_keep_their_sizes(pets):
    splits = p1_data.load_pets(str(pets))
    assert len(splits.train) == len(splits.validation) == 74 and splits.train.target.bincount().tolist() == [2] * 37
    sizes = {tuple(image.shape) for image in splits.train.images}
    assert len(sizes) > 10 and all(channels == 3 for channels, _, _ in sizes)
    picked = splits.train.images[torch.tensor([5, 0])]
    assert len(picked) == 2 and torch.equal(picked.images[1], splits.train.images.images[0])


@pytest.mark.parametrize(
    ("name", "message"), [("cat.jpg", "cat.jpg is not named"), ("37_0.jpg", "label 37, outside 0-36"), ("0_9.png", "0_9.png unreadable")]
)
def test_wrong_files_are_named(tmp_path, name, message):
    p1_synthetic.draw_pets(tmp_path / "hw3_data/p1_data", 1, 1)
    (tmp_path / "hw3_data/p1_data/train" / name).write_text("text")
    with pytest.raises(UsageError, match=message):
        p1_data.load_pets(str(tmp_path))


# ---- weights ----


def in_pretrained_vit_layout(model) -> dict:
    """The network's weights under the names of pytorch_pretrained_vit's files."""
    renamed = {}
    for key, value in model.state_dict().items():
        block = key.split(".")[2].rpartition("_")[2] if "encoder_layer_" in key else None
        start, kind = f"transformer.blocks.{block}", key.rpartition(".")[2]
        if "in_proj" in key:
            for name, part in zip(("proj_q", "proj_k", "proj_v"), value.chunk(3), strict=True):
                renamed[f"{start}.attn.{name}.{kind.removeprefix('in_proj_')}"] = part
        elif block is not None:
            names = {"ln_1": "norm1", "ln_2": "norm2", "out_proj": "proj", "0": "pwff.fc1", "3": "pwff.fc2"}
            renamed[f"{start}.{names[key.split('.')[-2]]}.{kind}"] = value
        else:
            plain = {"class_token": "class_token", "encoder.pos_embedding": "positional_embedding.pos_embedding"}
            plain |= {"conv_proj": "patch_embedding", "encoder.ln": "norm", "heads.head": "fc"}
            renamed[plain[key] if key in plain else f"{plain[key.rpartition('.')[0]]}.{kind}"] = value
    return renamed


TIMM_NAMES = {"ln_1": "norm1", "ln_2": "norm2", "self_attention": "attn", "out_proj": "proj", "0": "fc1", "3": "fc2"}


def in_timm_layout(model) -> dict:
    """The network's weights under timm's names, with a LayerScale that the layers before it undo."""
    renamed, gamma = {}, torch.linspace(0.5, 2.0, 192)
    for key, value in model.state_dict().items():
        if "encoder_layer_" in key:
            *words, kind = key.removeprefix("encoder.layers.encoder_layer_").replace("in_proj_", "qkv.").split(".")
            renamed[".".join(["blocks", words[0], *(TIMM_NAMES.get(word, word) for word in words[1:]), kind])] = value
        else:
            plain = {"class_token": "cls_token", "encoder.pos_embedding": "pos_embed", "conv_proj": "patch_embed.proj"}
            plain |= {"encoder.ln": "norm", "heads.head": "head"}
            renamed[plain[key] if key in plain else f"{plain[key.rpartition('.')[0]]}.{key.rpartition('.')[2]}"] = value
    for block in range(6):
        for scale, layer in (("ls1", "attn.proj"), ("ls2", "mlp.fc2")):
            renamed[f"blocks.{block}.{scale}.gamma"] = gamma
            renamed[f"blocks.{block}.{layer}.weight"] = renamed[f"blocks.{block}.{layer}.weight"] / gamma[:, None]
            renamed[f"blocks.{block}.{layer}.bias"] = renamed[f"blocks.{block}.{layer}.bias"] / gamma
    return renamed


def test_all_four_layouts_give_the_same_network(tiny, tmp_path):
    x = torch.randn(2, 3, 96, 96)
    torch.save(in_timm_layout(tiny) | {"mask_token": torch.zeros(1, 192)}, tmp_path / "timm.pth")
    assert torch.allclose(p1_models.build("tiny", 96, str(tmp_path / "timm.pth")).eval()(x), tiny(x), atol=1e-5)
    torch.save(in_pretrained_vit_layout(tiny), tmp_path / "vit.pth")
    torch.save(tiny.state_dict(), tmp_path / "torchvision.pth")
    save_checkpoint(tmp_path / "ours.pth", {"model": tiny.state_dict(), "settings": {"network": "tiny", "image_size": 96}})
    for name in ("vit.pth", "torchvision.pth", "ours.pth"):
        assert torch.equal(p1_models.build("tiny", 96, str(tmp_path / name)).eval()(x), tiny(x))


def test_base_network_has_the_published_files_200_tensors():
    with torch.device("meta"):
        model = p1_models.VisionTransformer(image_size=384, **p1_models.ARCHES["b16"])
    published = in_pretrained_vit_layout(model)
    assert len(published) == 200 and sum(value.numel() for value in model.parameters()) == 86_859_496
    ours = p1_models.in_torchvision_layout({k: torch.zeros(v.shape) for k, v in published.items()}, Path("a.pth"))
    assert ours.keys() == model.state_dict().keys()


@pytest.mark.parametrize("scaled", [None, 0.3])
def test_logits_are_timms_own(tmp_path, scaled):
    timm = pytest.importorskip("timm.models.vision_transformer")
    torch.manual_seed(0)
    theirs = timm.VisionTransformer(
        img_size=96, patch_size=8, embed_dim=192, depth=6, num_heads=3, num_classes=37, init_values=scaled
    ).eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    torch.save(theirs.state_dict(), tmp_path / "timm.pth")
    ours, x = p1_models.build("tiny", 96, str(tmp_path / "timm.pth")).eval(), torch.randn(2, 3, 96, 96)
    assert theirs(x).abs().max() > 0.1 and torch.allclose(ours(x), theirs(x), atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state | {"reg_token": torch.zeros(1, 4, 192)}, "register tokens, which torchvision's cannot hold"),
        (lambda state: state | {"dist_token": torch.zeros(1, 1, 192)}, "a distillation token"),
        (lambda state: {key: value for key, value in state.items() if key != "cls_token"}, "no class token"),
        (lambda state: {key: value for key, value in state.items() if key != "blocks.3.attn.qkv.bias"}, r"layer_3\..*in_proj_bias"),
        (lambda state: state | {"blocks.0.attn.q_norm.weight": torch.zeros(64)}, r"blocks\.0\.attn\.q_norm"),
        (lambda state: state | {"pos_embed": torch.zeros(1, 144, 192)}, "not a perfect square"),
    ],
)
def test_what_torchvisions_network_cannot_hold_is_refused(tiny, tmp_path, change, message):
    torch.save(change(in_timm_layout(tiny)), tmp_path / "timm.pth")
    with pytest.raises(UsageError, match=message):
        p1_models.build("tiny", 96, str(tmp_path / "timm.pth"))


def test_mean_and_deviation_belong_to_the_weights(tiny, tmp_path):
    ours = {"model": tiny.state_dict(), "settings": {"network": "tiny", "image_size": 96}}
    for state, expected in (
        (in_timm_layout(tiny), "imagenet"),
        (tiny.state_dict(), "imagenet"),
        (in_pretrained_vit_layout(tiny), "half"),
        (ours, "half"),  # before checkpoints said it
        (ours | {"settings": ours["settings"] | {"normalise": "imagenet"}}, "imagenet"),
    ):
        torch.save(state, tmp_path / "a.pth")
        assert p1_models.build("tiny", 96, str(tmp_path / "a.pth")).normalise == expected
    assert p1_models.load_trained(tmp_path / "a.pth", Runtime(torch.device("cpu"), False), "")[0].normalise == "imagenet"
    assert tiny.normalise == "half"


def test_other_sizes_resample_positions_and_other_classes_get_a_new_head(tiny, tmp_path):
    torch.save({"model": p1_models.build("tiny", 64, classes=10).state_dict()}, tmp_path / "small.pth")
    model = p1_models.build("tiny", 96, str(tmp_path / "small.pth"))
    state = torch.load(tmp_path / "small.pth", weights_only=True)["model"]
    assert model.encoder.pos_embedding.shape == (1, 145, 192) and model.heads.head.weight.shape == (37, 192)
    assert torch.equal(model.encoder.pos_embedding[:, 0], state["encoder.pos_embedding"][:, 0])
    assert torch.equal(model.conv_proj.weight, state["conv_proj.weight"])


def test_other_files_are_refused_with_their_keys(tiny, tmp_path):
    state = in_pretrained_vit_layout(tiny)
    del state["transformer.blocks.2.attn.proj_k.weight"]
    torch.save(state, tmp_path / "damaged.pth")
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "linear.pth")
    torch.save({"model": 3}, tmp_path / "number.pth")
    torch.save(tiny.state_dict() | {"heads.head.weight": 3}, tmp_path / "mixed.pth")
    for name, message in (
        ("damaged.pth", r"encoder_layer_2\.self_attention\.in_proj_weight"),
        ("linear.pth", "class_token"),
        ("number.pth", "no state dict"),
        ("mixed.pth", "no state dict"),
    ):
        with pytest.raises(UsageError, match=message):
            p1_models.build("tiny", 96, str(tmp_path / name))
    with pytest.raises(UsageError, match="no multiple"):
        p1_models.build("tiny", 97)


# ---- attention ----


def test_attention_pass_gives_the_networks_own_logits(tiny):
    x = torch.randn(3, 3, 96, 96)
    logits, attention = p1_models.forward_with_attention(tiny, x)
    assert torch.allclose(logits, tiny(x), atol=1e-5) and attention.shape == (6, 3, 3, 145, 145)
    assert torch.allclose(attention.sum(-1), torch.ones(6, 3, 3, 145), atol=1e-5)
    block = tiny.encoder.layers[0]
    tokens = torch.cat([tiny.class_token.expand(3, -1, -1), tiny._process_input(x)], 1) + tiny.encoder.pos_embedding
    own = block.self_attention
    q, k, _ = torch.nn.functional.linear(block.ln_1(tokens), own.in_proj_weight, own.in_proj_bias).chunk(3, -1)
    q, k = (part.view(3, 145, 3, 64).transpose(1, 2) for part in (q, k))
    assert torch.allclose(attention[0], (q @ k.transpose(-1, -2) / 8).softmax(-1), atol=1e-5)


def test_similarity_leaves_the_class_token_out():
    model = p1_models.build("tiny", 16)  # 2 x 2 patches
    tokens = torch.tensor([[9.0, -9.0], [1.0, 0.0], [1.0, 1.0], [0.0, 2.0], [-1.0, 0.0]])
    with torch.no_grad():
        model.encoder.pos_embedding.zero_()[0, :, :2] = tokens
    half = 0.5**0.5
    expected = torch.tensor([[1, half, 0, -1], [half, 1, half, -half], [0, half, 1, 0], [-1, -half, 0, 1]])
    assert torch.allclose(p1_models.position_similarity(model), expected, atol=1e-6)


def test_class_attention_is_what_the_class_token_attends_to():
    attention = torch.arange(25.0).view(1, 5, 5)
    assert p1_models.class_attention(attention, (2, 2)).tolist() == [[[1, 2], [3, 4]]]


def test_rollout_multiplies_from_the_last_block_to_the_first():
    first = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]])  # two heads, whose mean is even
    last = torch.tensor([[1.0, 0.0], [1.0, 0.0]]).expand(2, 2, 2)
    found = p1_models.attention_rollout(torch.stack([first, last])[:, None])
    assert found.tolist() == [[[0.75, 0.25], [0.5, 0.5]]]  # [[1, 0], [1/2, 1/2]] @ [[3/4, 1/4], [1/4, 3/4]]


def test_rollout_of_one_block_and_of_even_attention():
    even = torch.full((1, 1, 2, 4, 4), 0.25)
    assert torch.allclose(p1_models.attention_rollout(even)[0], (even[0, 0, 0] + torch.eye(4)) / 2)
    two = p1_models.attention_rollout(torch.cat([even, even]))[0]
    assert torch.allclose(two, torch.full((4, 4), 0.1875) + torch.eye(4) * 0.25) and torch.allclose(two.sum(1), torch.ones(4))


# ---- figures ----


def test_grid_of_grids_puts_each_patch_in_its_place():
    similarity = torch.arange(36.0).view(6, 6)
    picture = p1_pos_embed.grid_of_grids(similarity, 2, 3)
    assert picture.shape == (2 * 3 - 1, 3 * 4 - 1) and picture[2].isnan().all() and picture[:, 3].isnan().all()
    assert torch.equal(picture[3:5, 4:7], similarity[4].view(2, 3))


def test_a_smooth_embedding_recovers_the_grid_and_a_random_one_does_not():
    place = torch.cartesian_prod(torch.arange(8), torch.arange(8)).float()
    smooth = torch.exp(-torch.cdist(place, place) / 3)
    found = p1_pos_embed.measures(smooth, 8, 8)
    assert found["rank correlation"] == pytest.approx(-1, abs=1e-3) and p1_pos_embed.claims(found, {})[0]["holds"]
    alike = p1_pos_embed.measures(torch.ones(64, 64), 8, 8)
    assert alike["rank correlation"] is None and alike["neighbours"] == 1
    assert [claim["holds"] for claim in p1_pos_embed.claims(alike, {})] == [None, None]
    random = torch.rand(64, 64, generator=torch.Generator().manual_seed(0))
    assert [claim["holds"] for claim in p1_pos_embed.claims(p1_pos_embed.measures(random, 8, 8), {})] == [False, None]
    with pytest.raises(UsageError, match="2 x 2 patches are too few"):
        p1_pos_embed.measures(random[:4, :4], 2, 2)


def test_edge_shares_of_squares():
    images = torch.zeros(2, 3, 40, 40, dtype=torch.uint8)
    images[0, :, :20], images[1, :, :, :10] = 255, 255
    steep = torch.zeros(4, 4)
    steep[1:3] = 1  # the rows on either side of the first one's edge hold all of it
    shares = p3_attention_map.edge_shares(images, torch.stack([steep, torch.ones(4, 4)]).expand(2, 2, 4, 4))
    assert shares[0].tolist() == [0.5, 0.25]  # a quarter of the patches: four of these eight
    turned = p3_attention_map.edge_shares(images.transpose(2, 3), torch.stack([steep, steep.T]).expand(2, 2, 4, 4))
    assert turned[0, 1] == 0.5


def test_edges_attract_when_the_share_is_surely_above_chance_and_other_images():
    noise = 0.02 * torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    for own, other, expected in ((0.4, 0.3, True), (0.4, 0.4, None), (0.3, 0.4, False), (0.25, 0.1, None)):
        found, attract = p3_attention_map.measures(own + noise, torch.full((200, 4), other))
        assert attract is expected and found["share of attention on edges"] == pytest.approx(own, abs=0.01)
    assert found["images"] == 200 and found["heads"]["head 3"]["sd"] == pytest.approx(0.02, abs=0.004)
    assert p3_attention_map.measures(torch.full((1, 4), 0.3), torch.full((1, 4), 0.3))[1] is True


def test_training_and_its_figures(pets, trained, tmp_path):
    out, result = trained
    assert result["item"] == "f21 1.1" and "network tiny, not b16" in result["deviations"]
    first = next(out.glob("checkpoints/*/phase-1/best.pth"))
    assert result["settings"]["phase 2"]["started from"] == file_digest(first)
    options = ["--data", str(pets), "--out", str(out), "--quick"]
    found = p1_pos_embed.main(p1_pos_embed.parse_args(options))
    assert set(found["reproduced"]) >= {"neighbours", "rank correlation"} and (out / "f21-1.2.png").exists()
    assert found["deviations"] == result["deviations"] and "74 training pictures, not 3680" in found["deviations"]
    shown = p3_attention_map.main(p3_attention_map.parse_args([*options, "--heads", "--save", str(tmp_path / "new/a.npz")]))
    kept = np.load(tmp_path / "new/a.npz")
    assert kept["logits"].shape == (3, 37) and kept["attention"].shape == (3, 8, 8) and kept["similarity"].shape == (64, 64)
    labels = [value["label"] for value in shown["reproduced"].values() if isinstance(value, dict) and "label" in value]
    assert shown["reproduced"]["images"] == 74 and labels == kept["logits"].argmax(1).tolist()
    assert (kept["attention"].sum((1, 2)) < 1).all() and (out / "f21-1.3.png").exists()


@pytest.mark.parametrize("mode", ["LA", "P", "CMYK", "I;16", "RGB"])
def test_any_picture_is_looked_at(pets, trained, tmp_path, mode):
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.new(mode, (1, 1) if mode == "RGB" else (50, 30)).save(path)
    options = ["--data", str(pets), "--out", str(trained[0]), "--quick", "--image", str(path), "--save", str(tmp_path / "a.npz")]
    found = p3_attention_map.main(p3_attention_map.parse_args([*options, "--rollout"]))
    assert found["item"] == "f21 1.3-a" and np.load(tmp_path / "a.npz")["attention"].shape == (8, 8)


def test_positions_before_fine_tuning_and_without_crops(pets, trained, tiny, tmp_path):
    start, uncropped = tmp_path / "start.pth", trained[0] / "checkpoints/hw3-p1-b16-quick/phase-2/p1.pth"
    torch.save(tiny.state_dict(), start)
    options = ["--data", str(pets), "--out", str(tmp_path), "--arch", "tiny", "--weights", str(uncropped), "--before", str(start)]
    found = p1_pos_embed.main(p1_pos_embed.parse_args([*options, "--uncropped", str(uncropped)]))
    numbers = found["reproduced"]
    before = p1_models.position_similarity(p1_models.build("tiny", 64, str(start)))  # resampled to the quick form's size
    assert numbers["before"] == p1_pos_embed.measures(before, 8, 8) != numbers["uncropped"]
    assert numbers["uncropped"].items() <= numbers.items()
    assert found["claims"][3] | {"claim": ""} == {"claim": "", "holds": False, "growth": 0}  # the same network twice


@pytest.mark.parametrize("name", p1_pos_embed.OTHERS)
def test_the_borders_cause_is_what_makes_its_difference_grow(name):
    found = {"neighbours": 0.9, "far patches": -0.2, "rank correlation": -0.6, "rank correlation elsewhere": -0.7}
    assert p1_pos_embed.ITEM.claims[name].endswith(f"at least {p1_pos_embed.CHANGED}")
    found["rank correlation at the border"] = -0.46
    for border, holds in ((-0.56, True), (-0.45, False), (-0.461, False), (None, None)):
        other = found | {"rank correlation at the border": border}
        claim = p1_pos_embed.claims(found, {name: other})[2]
        assert claim["holds"] is holds and "RandomResizedCrop" in claim["claim"]
        assert claim["growth"] == (None if border is None else pytest.approx(-0.46 - border))


def test_weights_from_elsewhere_need_no_data(tiny, tmp_path):
    torch.save(tiny.state_dict(), tmp_path / "a.pth")
    options = ["--data", str(tmp_path), "--out", str(tmp_path), "--arch", "tiny", "--weights", str(tmp_path / "a.pth")]
    found = p1_pos_embed.main(p1_pos_embed.parse_args(options))
    digest = file_digest(tmp_path / "a.pth")
    assert found["data"] == {} and found["weights"] == f"a.pth ({digest})"
    assert found["deviations"] == [f"weights of a.pth ({digest}), not published ones"]


def test_other_starting_weights_do_not_replace_a_training(pets, trained, tiny, tmp_path):
    shutil.copytree(trained[0] / "checkpoints/hw3-p1-b16-quick", tmp_path / "checkpoints/hw3-p1-b16-quick")
    torch.save(tiny.state_dict(), tmp_path / "a.pth")
    options = ["--data", str(pets), "--out", str(tmp_path), "--quick", "--weights", str(tmp_path / "a.pth")]
    with pytest.raises(UsageError, match=r"phase-1 holds a training with weights none, not .*a\.pth"):
        p1_train.main(p1_train.parse_args(options))


@pytest.mark.parametrize("content", ["", "[1]"])
def test_damaged_breed_names_are_one_line(pets, tmp_path, content):
    shutil.copytree(pets, tmp_path / "data")
    (tmp_path / "data/hw3_data/p1_data/id2label.json").write_text(content)
    with pytest.raises(UsageError, match=r"id2label\.json holds no names"):
        p1_data.breed_names(str(tmp_path / "data"))


def test_missing_checkpoint_names_the_command(pets, tmp_path):
    done = run_script("hw3/p1_pos_embed.py", "--data", pets, "--out", tmp_path, "--arch", "tiny")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "python hw3/p1_train.py --arch tiny" in done.stderr


def test_recipes_state_f21s_settings():
    first, second = p1_recipes.PHASES["b16"]
    assert (first.optimiser, first.lr, second.optimiser, second.lr, first.image_size) == ("adam", 1e-4, "sgd", 0.01, 384)
    assert all(words in first.settings()["transforms"] for words in ("scale=(0.7, 1.0)", "brightness=(0.7, 1.3)", "p=0.5", "[-15.0, 15.0]"))
    first, second = p1_recipes.PHASES["deit_tiny"]
    assert (first.image_size, second.image_size, second.optimiser, second.lr) == (224, 224, "sgd", 0.01)
    assert first.squares() == (288, 224) and all(word in first.settings()["transforms"] for word in ("(0.7, 1.0)", "=0.3", "=15"))


@pytest.mark.parametrize("arch", p1_models.ARCHES)
def test_a_training_without_crops_is_kept_apart(arch, tmp_path, monkeypatch):
    for recipe in p1_recipes.phases(arch, False, {}, crop=False):
        pictures = torch.arange(3 * 40 * 40).view(1, 3, 40, 40) % 256
        pipeline = replace(recipe, image_size=32).train_pipeline(0)
        assert "ResizedCrop" not in recipe.settings()["transforms"]
        assert pipeline(pictures.to(torch.uint8), torch.rand(1, pipeline.draws)).shape == (1, 3, 32, 32)
    cpu = Runtime(torch.device("cpu"), False)
    assert p1_recipes.run_folder(cpu, arch, "p1_data", {}, crop=False).name == f"hw3-p1-{arch}-uncropped"
    assert all("ResizedCrop" in recipe.settings()["transforms"] for recipe in p1_recipes.phases(arch, False, {}))

    def asked(*words):
        raise LookupError(*words)

    monkeypatch.setattr(p1_recipes, "phases", asked)
    for option, crop in (([], True), (["--no-crop"], False)):
        with pytest.raises(LookupError) as found:
            p1_train.main(p1_train.parse_args(["--arch", arch, "--out", str(tmp_path), *option]))
        assert found.value.args == (arch, False, {}, crop)


def test_inference_writes_the_graders_csv(pets, trained, tmp_path):
    weights = trained[0] / "checkpoints/hw3-p1-b16-quick/phase-2/p1.pth"
    done = run_script("hw3/p1_inference.sh", pets / "hw3_data/p1_data/val", tmp_path / "new/o.csv", "--weights", weights)
    assert done.returncode == 0, done.stderr
    with open(tmp_path / "new/o.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["filename", "label"] and len(rows) == 75 and rows[1:] == sorted(rows[1:])


# ---- DeiT-tiny's training ----


def test_learning_rates_fall_from_layer_to_layer(tiny):
    recipe = replace(p1_recipes.PHASES["deit_tiny"][0], layer_decay=0.5, weight_decay=0.1)
    groups, found = recipe.parameters(tiny), {}
    for name, parameter in tiny.named_parameters():
        (found[name],) = [(group["scale"], group["weight_decay"]) for group in groups if any(parameter is one for one in group["params"])]
    assert found["heads.head.weight"] == (1, 0.1) and found["heads.head.bias"] == (1, 0.0) and found["encoder.ln.weight"] == (1, 0.0)
    assert found["encoder.layers.encoder_layer_5.mlp.0.weight"] == (0.5, 0.1)
    assert found["encoder.layers.encoder_layer_0.self_attention.in_proj_weight"] == (0.5**6, 0.1)
    assert found["conv_proj.weight"] == (0.5**7, 0.1) and found["class_token"] == found["encoder.pos_embedding"] == (0.5**7, 0.0)
    optimiser = training.make_optimiser(tiny, recipe)
    training.set_lr(optimiser, 0.3)
    assert sorted({group["lr"] for group in optimiser.param_groups}) == pytest.approx([0.3 * 0.5**depth for depth in range(7, -1, -1)])


@pytest.fixture
def square_training(pets, tmp_path):
    """Trains the tiny network as DeiT-tiny is: (folder, epochs, resuming) to the history."""
    splits = p1_data.load_pets(str(pets), (124, 96))
    recipe = replace(
        p1_recipes.PHASES["deit_tiny"][0], network="tiny", image_size=96, epochs=2, batch_size=37, validation_batch=74, average=0.9
    )

    def train(folder: str, epochs: int, resuming: bool = False):
        torch.manual_seed(0)
        some = replace(recipe, epochs=epochs, schedule=training.constant)
        runtime, pipeline = Runtime(torch.device("cpu"), False, resume=resuming), p1_data.validation_pipeline(96, "imagenet")
        model = runtime.place(p1_models.build("tiny", 96))
        optimiser = training.make_optimiser(model, some)
        average = classification.moving_average(model, optimiser, some.average)
        run = training.Run(tmp_path / folder, some, {"weights": "none", "precision": "fp32"}, runtime)
        for epoch in run.epochs(model, optimiser, average):
            numbers = classification.train_epoch(model, optimiser, splits.train, some, runtime, epoch.index)
            epoch.record(**numbers, **classification.evaluate(average.module, splits.validation, pipeline, some.validation_batch, runtime))
        return run.history

    assert splits.train.images.shape == (74, 3, 124, 124) and splits.validation.images.shape == (74, 3, 96, 96)
    return tmp_path, train


def test_the_average_is_kept_and_resumed(square_training):
    folder, train = square_training
    whole = train("whole", 2)
    train("parts", 1)
    parts = train("parts", 2, True)
    numbers = ("train_loss", "train_accuracy", "validation_loss")
    assert [[epoch[key] for key in numbers] for epoch in parts] == [[epoch[key] for key in numbers] for epoch in whole]
    best, last = (load_checkpoint(folder / "parts" / name, "")["model"] for name in ("best.pth", "last.pth"))
    average = load_checkpoint(folder / "parts/last.pth", "")["average"]
    assert average["n_averaged"] == 4 and torch.equal(average["module.conv_proj.weight"], best["conv_proj.weight"])
    assert not torch.equal(best["conv_proj.weight"], last["conv_proj.weight"])


def test_mixup_mixes_labels_as_pictures():
    images, target = torch.eye(37)[:6].view(6, 1, 1, 37).expand(-1, 3, 2, -1), torch.arange(6)
    torch.manual_seed(1)
    mixed, soft = p1_recipes.PHASES["deit_tiny"][0].mixed(images, target)
    assert torch.allclose(mixed[:, 0, 0], soft) and (soft.sum(1) - 1).abs().max() < 1e-6 and ((soft > 0).sum(1) == 2).all()
    assert p1_recipes.PHASES["tiny"][0].mixed(images, target) == (images, target)


def test_the_head_starts_as_a_linear_classifier():
    model, target = p1_models.build("tiny", 32), torch.arange(3).repeat(8)
    images = (target * 60)[:, None, None, None] + torch.randint(0, 30, (24, 3, 32, 32))
    split = Labelled(images.to(torch.uint8), target, [""] * 24)
    head, before = model.heads.head, model.heads.head.weight.detach().clone()
    pipeline = p1_data.validation_pipeline(32, "half")
    p1_models.linear_probe(model, split, pipeline, Runtime(torch.device("cpu"), False))
    assert (model(pipeline(split.images, torch.empty(0, 0)))[:, :3].max(1).indices == target).all()
    assert torch.equal(head.weight[3:], before[3:]) and head.weight.requires_grad
