"""hw1 problem 3: BYOL against its definition, the two scripts and the graders' script on drawn images, bad input."""

import csv
import math
import shutil
from dataclasses import replace

import pytest
import torch
from conftest import run_script
from torch import nn
from torchvision import models
from torchvision.io import write_png

from common import classification, results, setup, training
from common.augment import Flip, Pipeline
from common.checkpoints import load_checkpoint
from common.cli import Incomplete, UsageError
from hw1 import byol, p1_synthetic, p3_data, p3_inference, p3_models, p3_recipes, p3_ssl_finetune, p3_ssl_pretrain, p3_synthetic
from hw1.byol import BYOL

CPU = setup.Runtime(torch.device("cpu"), False)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A --data folder with a small p3_data. Read only: tests that break something copy it."""
    folder = tmp_path_factory.mktemp("p3")
    p3_synthetic.draw_p3(folder / "hw1_data/p3_data", 60, 50, 50)
    return folder


def call(script, data, out, *options):
    return script.main(script.parse_args(["--data", str(data), "--out", str(out), "--quick", "--batch-size", "20", *options]))


@pytest.fixture(scope="module")
def trained(drawn, tmp_path_factory):
    """The folder of both backbones and of all five settings, and the item 2.2."""
    out = tmp_path_factory.mktemp("trained")
    for options in ([], ["--supervised"]):
        call(p3_ssl_pretrain, drawn, out, "--epochs", "1", *options)
    return out, call(p3_ssl_finetune, drawn, out, *again(out))


def read(path) -> list[dict]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def again(out) -> list[str]:
    """The options of the settings trained once."""
    ssl, sl = (next(out.glob(f"checkpoints/f23-{name}-*/backbone.pth")) for name in ("byol", "supervised"))
    return ["--epochs", "2", "--seeds", "2", "--ssl", str(ssl), "--sl", str(sl)]


def small() -> BYOL:
    torch.manual_seed(0)
    return BYOL(nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.BatchNorm1d(5)), 5, projection=3, hidden=7)


def views() -> tuple[torch.Tensor, torch.Tensor]:
    return tuple(torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))


# ---- BYOL ----


def test_loss_by_hand():
    prediction = torch.tensor([[2.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 1.0]])
    projection = torch.tensor([[5.0, 0.0], [0.0, 1.0], [-3.0, 0.0], [1.0, 0.0]])
    assert byol.regression_loss(prediction, projection).tolist() == pytest.approx([0, 2, 4, 2 - math.sqrt(2)])


def test_loss_is_symmetric_and_compares_prediction_with_the_other_view():
    networks, (one, two) = small(), views()
    expected = sum(byol.regression_loss(networks.predict(a), networks.project(b)) for a, b in ((one, two), (two, one))).mean()
    assert networks(one, two).item() == pytest.approx(expected.item()) == pytest.approx(networks(two, one).item())


def test_target_has_no_gradient_and_the_online_network_has():
    networks = small()
    networks(*views()).backward()
    for name, parameter in networks.named_parameters():
        assert (parameter.grad is None) == (not parameter.requires_grad) == name.startswith("target"), name


def test_moving_average_after_the_optimiser_step():
    networks = small()
    before = [parameter.clone() for parameter in networks.target_encoder.parameters()]
    optimiser = torch.optim.Adam(networks.parameters(), 0.1)
    images = torch.randint(0, 256, (4, 3, 2, 2), dtype=torch.uint8)
    recipe = p3_recipes.Recipe(epochs=1, batch_size=4, optimiser="adam", lr=0.1, augment=(Flip(),), image_size=2)
    p3_ssl_pretrain.train_epoch(networks, optimiser, images, recipe, CPU, 0)
    online = list(networks.online_encoder.parameters())
    assert not torch.equal(online[0], before[0])
    for old, now, new in zip(before, networks.target_encoder.parameters(), online, strict=True):
        torch.testing.assert_close(now, 0.99 * old + 0.01 * new)


def test_identical_views_are_counted_and_refused_if_all_are():
    one, two = views()
    two[1] = one[1]
    assert byol.identical(one, two).tolist() == [False, True, False, False]
    networks, images = small(), torch.randint(0, 256, (40, 3, 2, 2), dtype=torch.uint8)
    optimiser = torch.optim.Adam(networks.parameters())
    recipe = p3_recipes.Recipe(epochs=1, batch_size=8, optimiser="adam", lr=0.1, augment=(Flip(),), image_size=2)
    found = p3_ssl_pretrain.train_epoch(networks, optimiser, images, recipe, CPU, 0)
    assert 0.3 < found["identical_views"] < 0.7
    recipe = p3_recipes.Recipe(epochs=1, batch_size=8, optimiser="adam", lr=0.1, image_size=2)
    with pytest.raises(Incomplete, match="identical"):
        p3_ssl_pretrain.train_epoch(networks, optimiser, images, recipe, CPU, 0)


def test_signs_of_a_collapse():
    feats = torch.randn(500, 40, generator=torch.Generator().manual_seed(0))
    assert byol.collapse(feats)["spread"] == pytest.approx(1, abs=0.05) and byol.collapse(feats)["dead"] == 0
    feats[:, :10] = 0
    assert byol.collapse(feats)["dead"] == 0.25
    assert byol.collapse(feats[:1].expand(500, -1)) == {"spread": pytest.approx(0, abs=1e-5), "dead": 1}


def test_nearest_labels_weigh_their_votes():
    feats, target = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.1, 1.0]]), torch.tensor([0, 1, 1])
    assert p3_ssl_pretrain.nearest_labels(feats, target, torch.tensor([[3.0, 0.1], [0.1, 2.0]])).tolist() == [0, 1]


# ---- backbones ----


@pytest.mark.parametrize("name, size, dim", [("resnet18", 32, 512), ("resnet50", 128, 2048), ("mobilenet_v3_small", 64, 1024)])
def test_any_torchvision_backbone(name, size, dim):
    backbone, found = p3_models.build_backbone(name, size)
    assert found == dim and backbone.eval()(torch.zeros(1, 3, size, size)).shape == (1, dim)


def test_published_layout_loads_and_another_network_is_refused(tmp_path):
    state = models.resnet18().state_dict()
    backbone, _ = p3_models.build_backbone("resnet18", 128)
    p3_models.load_backbone(backbone, state, tmp_path)
    assert torch.equal(backbone.layer1[0].conv1.weight, state["layer1.0.conv1.weight"])
    with pytest.raises(UsageError, match=r"another model.*layer"):
        p3_models.load_backbone(p3_models.build_backbone("resnet50", 128)[0], state, tmp_path)
    with pytest.raises(UsageError, match="no such classifier"):
        p3_models.build_backbone("resnet19", 32)
    for name in ("squeezenet1_0", "vit_b_32", "googlenet"):  # no linear layer, fixed input size, a tuple in training
        with pytest.raises(UsageError, match=f"{name} gives no features of 96 px"):
            p3_models.build_backbone(name, 96)


# ---- the scripts ----


def test_pretraining_resumes_to_the_same_result(drawn, tmp_path):
    whole = call(p3_ssl_pretrain, drawn, tmp_path / "whole", "--epochs", "2")
    folder = tmp_path / "parts/checkpoints"
    call(p3_ssl_pretrain, drawn, tmp_path / "parts", "--epochs", "1")
    (folder / "f23-byol-quick-epochs1-batch_size20").rename(folder / "f23-byol-quick-epochs2-batch_size20")
    last = next(folder.glob("*/last.pth"))
    state = load_checkpoint(last, "")
    state["settings"]["epochs"] = 2
    torch.save(state, last)
    parts = call(p3_ssl_pretrain, drawn, tmp_path / "parts", "--epochs", "2", "--resume")
    assert parts["reproduced"] == whole["reproduced"]
    backbones = [load_checkpoint(next((tmp_path / name).glob("checkpoints/*/backbone.pth")), "") for name in ("whole", "parts")]
    assert all(torch.equal(backbones[0][key], backbones[1][key]) for key in backbones[0])


def test_the_blur_sees_images_of_their_own_size(drawn, tmp_path):
    def loaded(size: int) -> torch.Tensor:
        return p3_data.load_unlabelled(p3_data.Source("p3_data", tmp_path), size)

    folder = tmp_path / "mini/train"
    folder.mkdir(parents=True)
    pixels = torch.randint(0, 256, (12, 3, 84, 84), dtype=torch.uint8)
    for i, image in enumerate(pixels):
        write_png(image, str(folder / f"{i:02d}.png"))
    assert torch.equal(loaded(128), pixels) and loaded(64).shape == (12, 3, 64, 64)
    recipe = p3_recipes.PRETRAIN
    kinds = [type(getattr(one, "operation", one)).__name__ for one in recipe.train_pipeline(0).operations]
    assert kinds == ["ColorJitter", "Grayscale", "Flip", "GaussianBlur", "Resize", "Normalise"]
    u = torch.ones(12, recipe.train_pipeline(0).draws) - 1e-6
    u[:, -2] = 0  # blurred, and nothing else
    by_hand = Pipeline(recipe.augment[3].operation, *recipe.train_pipeline(0).operations[4:])
    torch.testing.assert_close(recipe.train_pipeline(0)(pixels, u), by_hand(pixels, u[:, -1:]))
    cropped = replace(recipe, resized_crop=True).train_pipeline(0)
    assert cropped(pixels, torch.rand(12, cropped.draws)).shape == (12, 3, 128, 128)
    write_png(pixels[0, :, :50], str(folder / "99.png"))  # one of another size
    assert loaded(128).shape == (13, 3, 128, 128)


def test_fine_tuning_is_the_reports(tmp_path):
    for recipe in (p3_recipes.FINETUNE, p3_recipes.CLASSIFIER):
        settings = recipe.settings()
        assert [settings[key] for key in ("optimiser", "lr", "epochs", "batch_size", "keep")] == ["adam", 1e-4, 100, 20, "loss"]
        assert [recipe.schedule(epoch, 100) for epoch in (0, 15, 30, 65)] == [0, 0.5, 1, 0.5]
        assert settings["transforms"].startswith("Resize(size=128), Flip(p=0.5), Rotate(degrees=10), Normalise(")


def test_a_fixed_backbone_learns_nothing_and_the_epoch_of_the_lowest_loss_is_kept(drawn, tmp_path):
    source = p3_data.Source("synthetic", drawn / "hw1_data/p3_data")
    splits, _ = p3_data.load_target(source, 32)
    recipe = replace(p3_recipes.CLASSIFIER, network="small", image_size=32, epochs=4, lr=0.01)
    model, seen, pipeline = p3_ssl_finetune.prepare(None, recipe, splits, 10, CPU)
    assert seen is splits
    before = {key: value.clone() for key, value in model.state_dict().items()}
    optimiser, run = training.make_optimiser(model, recipe), training.Run(tmp_path, recipe, {"precision": "fp32"}, CPU)
    for epoch in run.epochs(model, optimiser):
        trained = classification.train_epoch(model, optimiser, seen.train, recipe, CPU, epoch.index)
        epoch.record(**trained, **classification.evaluate(model, seen.validation, pipeline, 250, CPU))
    kept = load_checkpoint(tmp_path / "best.pth", "")
    assert kept["epoch"] == min(run.history, key=lambda epoch: epoch["validation_loss"])["epoch"]
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed and all(key.startswith("classifier.") for key in changed)


def test_crop_and_backbone_make_another_run(drawn, tmp_path):
    found = call(p3_ssl_pretrain, drawn, tmp_path, "--epochs", "1", "--crop", "--backbone", "resnet18")
    backbone = load_checkpoint(next(tmp_path.glob("checkpoints/*/backbone.pth")), "")
    assert backbone.keys() == {key for key in models.resnet18().state_dict() if not key.startswith("fc.")}
    assert found["item"] == "f23 2.1-crop" and "resized_crop True, not False" in found["deviations"]
    assert "ResizedCrop" in found["settings"]["transforms"] and next(tmp_path.glob("checkpoints/f23-byol-crop*"))
    assert found["reproduced"]["after the last epoch"]["identical_views"] < 0.05


def test_all_five_settings(trained):
    out, found = trained
    assert list(found["reproduced"]) == list("ABCDER") and list(found["reported"]) == list("ABCDE")
    assert [claim["claim"][:5] for claim in found["claims"]] == ["B > C", "C > A", "D > E", "E > R"]
    assert all(claim["holds"] in (True, False) for claim in found["claims"]) and (out / "f23-2.2.png").exists()
    share = results.read_json(out / "f23-2.1.json")["reproduced"]["after the last epoch"]["identical_views"]
    assert [claim["both views identical"] for claim in found["claims"]] == [share] * 4
    assert len(found["tables"][0]["rows"]) == 6 and found["settings"]["A"]["seeds"] == [0, 1]
    assert [path.name for path in out.glob("checkpoints/*2.2*/*.pth")] == ["p3.pth"] * 2  # setting C, once a seed


def test_a_frozen_backbone_stays_and_settings_share_the_classifier(drawn, tmp_path):
    source = p3_data.Source("synthetic", drawn / "hw1_data/p3_data")
    splits, _ = p3_data.load_target(source, 32)
    backbone, dim = p3_models.build_backbone("resnet18", 32)
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    feats = p3_ssl_finetune.as_features(splits, backbone, CPU)
    assert feats.train.images.shape == (50, dim) and all(torch.equal(before[key], value) for key, value in backbone.state_dict().items())

    recipe = p3_recipes.Recipe("resnet18", image_size=32)
    torch.save(backbone.state_dict(), tmp_path / "a.pth")
    for setting in "ABCDER":
        path, once = None if setting in "AR" else tmp_path / "a.pth", p3_recipes.ON_FEATURES if setting in "DER" else p3_recipes.FULL
        model, seen, _ = p3_ssl_finetune.prepare(path, replace(recipe, trains=once), splits, 10, CPU)
        head = model if setting in "DER" else model.classifier
        widths = [(one.in_features, one.out_features) for one in head if isinstance(one, nn.Linear)]
        assert type(head) is p3_models.Classifier and widths == [(512, 1000), (1000, 500), (500, 10)]
        assert [type(one).__name__ for one in list(head)[:4]] == ["Linear", "BatchNorm1d", "ReLU", "Dropout"] and head[3].p == 0.2
        assert (seen.train.images.ndim == 2) == (setting in "DER")


def test_one_setting_resumes_and_keeps_the_others(drawn, trained, capsys):
    out, found = trained
    resumed = call(p3_ssl_finetune, drawn, out, *again(out), "--setting", "D", "--resume")
    assert resumed["reproduced"] == found["reproduced"] and capsys.readouterr().out.count("has ended") == 2


def test_the_table_says_where_its_backbones_come_from(drawn, trained):
    _, found = trained
    backbones = {"sl": found["settings"]["B"]["backbone"], "ssl": found["settings"]["C"]["backbone"]}
    assert (
        backbones["ssl"]["settings"]["hidden"] == p3_recipes.QUICK[p3_recipes.PRETRAIN]["hidden"]
        and backbones["sl"]["settings"]["list of images left out"] == "none"
    )
    assert backbones["ssl"]["after the last epoch"]["epoch"] == 1 and backbones["ssl"]["digest"] != backbones["sl"]["digest"]
    origins = [row["weights"] for row in found["rows"].values()]
    assert origins[0] == "none" and found["weights"].startswith("A: none; B: supervised, backbone.pth (")
    assert origins[1] == origins[3] == f"supervised, backbone.pth ({backbones['sl']['digest']}), small trained here on p3_data (54 images)"
    assert origins[2] == f"self-supervised, backbone.pth ({backbones['ssl']['digest']}), small trained here on p3_data (60 images)"
    assert "network small, not resnet50" in found["deviations"]
    assert f"D, E, R: trains {p3_recipes.ON_FEATURES}, not {p3_recipes.CLASSIFIER_ONLY}" in found["deviations"]
    assert f"C, E: --ssl backbone.pth ({backbones['ssl']['digest']})" in found["deviations"]
    assert "10 other classes, not the 65 of Office-Home" in found["deviations"]


def test_settings_of_another_backbone_say_so(drawn, trained, tmp_path):
    shutil.copytree(trained[0], tmp_path / "out")
    options = [*again(tmp_path / "out"), "--setting", "A", "--resume"]
    assert list(call(p3_ssl_finetune, drawn, tmp_path / "out", *options)["reproduced"]) == list("ABCDER")
    state = load_checkpoint(options[5], "")
    torch.save({key: value + 1 for key, value in state.items()}, options[5])
    found = call(p3_ssl_finetune, drawn, tmp_path / "out", *options)
    assert found["rows"]["C"] == trained[1]["rows"]["C"] and found["tables"][0]["rows"][2][-1] == found["rows"]["C"]["weights"]
    (tmp_path / "out/f23-2.2.json").unlink()
    assert list(call(p3_ssl_finetune, drawn, tmp_path / "out", *options)["reproduced"]) == list("ABDR")


def test_courses_supervised_backbone(drawn, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(drawn, data)
    (data / "hw1_data/p3_data/mini/train.csv").unlink()  # the course's images have no labels
    torch.save(models.resnet18().state_dict(), data / "hw1_data/p3_data/pretrain_model_SL.pt")
    options = ["--data", str(data), "--out", str(tmp_path), "--backbone", "resnet18", "--image-size", "96", "--epochs", "1"]
    assert p3_ssl_pretrain.main(p3_ssl_pretrain.parse_args([*options, "--supervised"])) == {}
    found = p3_ssl_finetune.main(p3_ssl_finetune.parse_args([*options, "--setting", "D", "--seeds", "1"]))
    assert found["weights"].startswith("D: supervised, pretrain_model_SL.pt (") and found["settings"]["D"]["trains"] == "classifier only"
    assert found["settings"]["D"]["backbone"]["file"] == "pretrain_model_SL.pt" and found["tables"][0]["rows"][0][3] == "one run"


def test_quick_form_on_the_courses_layout(drawn, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(drawn, data)
    (data / "hw1_data/p3_data/mini/train.csv").unlink()
    torch.save(models.resnet50().state_dict(), data / "hw1_data/p3_data/pretrain_model_SL.pt")
    assert call(p3_ssl_pretrain, data, tmp_path, "--supervised") == {}
    call(p3_ssl_pretrain, data, tmp_path, "--epochs", "1")
    ssl = next(tmp_path.glob("checkpoints/f23-byol-*/backbone.pth"))
    assert list(call(p3_ssl_finetune, data, tmp_path, "--epochs", "1", "--seeds", "1", "--ssl", str(ssl))["reproduced"]) == list("ACER")
    assert "B and D are left out" in capsys.readouterr().out
    with pytest.raises(UsageError, match="no labels to train a backbone with"):
        call(p3_ssl_finetune, data, tmp_path, "--setting", "B")


def test_missing_backbone_names_the_command(drawn, tmp_path):
    with pytest.raises(UsageError, match=r"p3_ssl_pretrain\.py --quick --data .* --out "):
        call(p3_ssl_finetune, drawn, tmp_path, "--setting", "E")
    with pytest.raises(UsageError, match=r"p3_ssl_pretrain\.py --supervised --quick"):
        call(p3_ssl_finetune, drawn, tmp_path, "--setting", "B")


def test_real_layouts_stand_in(tmp_path, monkeypatch):
    from hw2 import p2_synthetic

    p1_synthetic.draw_p1(tmp_path / "hw1_data/p1_data", 2, 1)
    p2_synthetic.draw_cifar(tmp_path / "hw2_data/p2_data", 40, 10, 10)
    monkeypatch.setattr(p3_data, "OFFICE_TRAIN", 60)
    source = p3_data.find(str(tmp_path), None)
    splits, classes = p3_data.load_target(source, 32)
    assert source.name == p3_data.STAND_INS and len(splits.train) == 60 and len(splits.validation) == 50 and len(classes) == 50
    assert p3_data.load_unlabelled(source, 32).shape == (10, 3, 32, 32)
    assert len(p3_data.load_labelled(source, 32, {"00000.jpg", "00001.jpg"})[0]) == 38
    for excluded, message in (({"zebra.jpg"}, r"not there \(zebra\.jpg\)"), ({f"{i:05d}.jpg" for i in range(40)}, "all labelled images")):
        with pytest.raises(UsageError, match=message):
            p3_data.load_labelled(source, 32, excluded)


# ---- the graders' script ----


def test_graders_script(drawn, trained, tmp_path):
    weights = sorted(trained[0].glob("checkpoints/*/p3.pth"))[0]
    office = drawn / "hw1_data/p3_data/office"
    done = run_script("hw1/p3_inference.sh", office / "val.csv", office / "val", tmp_path / "new/out.csv", "--weights", weights)
    assert done.returncode == 0, done.stderr
    rows, asked = (read(path) for path in (tmp_path / "new/out.csv", office / "val.csv"))
    assert list(rows[0]) == ["id", "filename", "label"]
    assert [(row["id"], row["filename"]) for row in rows] == [(row["id"], row["filename"]) for row in asked]
    assert {row["label"] for row in rows} <= {str(i) for i in range(10)}


def test_unreadable_image_costs_only_itself(drawn, trained, tmp_path):
    shutil.copytree(drawn / "hw1_data/p3_data/office/val", tmp_path / "in")
    (tmp_path / "in/0_0.jpg").write_text("no image")
    weights = sorted(trained[0].glob("checkpoints/*/p3.pth"))[0]
    csv_file = drawn / "hw1_data/p3_data/office/val.csv"
    done = run_script("hw1/p3_inference.py", csv_file, tmp_path / "in", tmp_path / "out.csv", "--weights", weights)
    assert done.returncode == 1 and "0_0.jpg" in done.stderr and len((tmp_path / "out.csv").read_text().splitlines()) == 50


# ---- labels and bad input ----


@pytest.fixture
def broken(drawn, tmp_path):
    shutil.copytree(drawn, tmp_path / "data")
    return tmp_path / "data"


def rewrite(path, change):
    rows = change(read(path))
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def target(data):
    return p3_data.load_target(p3_data.find(str(data), None), 32)


def test_text_labels_are_numbered_in_sorted_order(broken, drawn):
    for split in ("train", "val"):
        rewrite(broken / f"hw1_data/p3_data/office/{split}.csv", lambda rows: [row | {"label": f"kind {row['label']}"} for row in rows])
    splits, classes = target(broken)
    assert classes == [f"kind {i}" for i in range(10)] and torch.equal(splits.train.target, target(drawn)[0].train.target)


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda rows: [{"id": row["id"], "name": row["filename"]} for row in rows], "no rows under the header"),
        (lambda rows: [row | {"filename": f"no{row['filename']}"} for row in rows], "no0_0.jpg is not in"),
        (lambda rows: [rows[0] | {"filename": "../train/0_0.jpg"}, *rows[1:]], "../train/0_0.jpg is not in"),
        (lambda rows: [*rows, rows[0] | {"id": "new"}], "0_0.jpg is listed twice"),
        (lambda rows: [rows[0] | {"id": "1"}, *rows[1:]], "id 1 comes 2 times"),
        (lambda rows: [rows[0] | {"label": "tiger"}, *rows[1:]], "0_0.jpg has label tiger, no whole number"),
        (lambda rows: [row | {"label": "None"} for row in rows], "one label, 'None'"),
        (lambda rows: [row for row in rows if row["label"] != "3"], "has label 3, unknown"),
    ],
)
def test_bad_csv(broken, change, message):
    rewrite(broken / "hw1_data/p3_data/office/train.csv", change)
    with pytest.raises(UsageError, match=message):
        target(broken)


def test_short_rows_are_named(drawn, tmp_path):
    (tmp_path / "short.csv").write_text("id,filename,label\n0,0_0.jpg,1\n1,0_0.jpg\n")
    with pytest.raises(UsageError, match="row 2 lacks one of the columns filename,label"):
        p3_data.read_rows(tmp_path / "short.csv", drawn / "hw1_data/p3_data/office/val")


def test_bad_folder_and_files(drawn, trained, tmp_path):
    with pytest.raises(UsageError, match="no folder office"):
        p3_data.find(None, tmp_path)
    found = p3_data.find(None, drawn / "hw1_data/p3_data")
    assert found.name == "p3_data"
    (tmp_path / "short.csv").write_text("id,filename\n1,a.jpg\n2\n")
    assert p3_data.read_excluded(tmp_path / "short.csv") == {"a.jpg"}
    for content in ("name\na\n", "name\n", ""):
        (tmp_path / "wrong.csv").write_text(content)
        with pytest.raises(UsageError, match="column filename"):
            p3_data.read_excluded(tmp_path / "wrong.csv")
    with pytest.raises(SystemExit):
        p3_ssl_pretrain.parse_args(["--exclude", str(tmp_path / "wrong.csv")])
    with pytest.raises(UsageError, match="no backbone"):
        call(p3_ssl_finetune, drawn, tmp_path, "--setting", "E", "--ssl", str(tmp_path))
    other = tmp_path / "other.pth"
    torch.save(models.mobilenet_v3_small().state_dict(), other)
    with pytest.raises(UsageError, match="another model"):
        call(p3_ssl_finetune, drawn, tmp_path, "--setting", "E", "--ssl", str(other))
    office = drawn / "hw1_data/p3_data/office"
    other = next(trained[0].glob("*/f23-byol*/last.pth"))
    for weights, message in ((tmp_path / "none.pth", "no checkpoint"), (other, r"no checkpoint of hw1/p3_ssl_finetune\.py")):
        words = [office / "val.csv", office / "val", tmp_path / "o.csv", "--weights", weights]
        with pytest.raises(UsageError, match=message):
            p3_inference.main(p3_inference.parse_args(list(map(str, words))))
