"""hw1 problem 1, through the scripts' own main: training, resuming, figures, and the graders' interface."""

import csv
import json
import re
import shutil
from dataclasses import replace

import pytest
import torch
from conftest import run_script
from PIL import Image
from torchvision import models

from common import classification, items, setup, training
from common.checkpoints import load_checkpoint, save_checkpoint
from common.cli import UsageError
from hw1 import p1_confusion, p1_embedding, p1_inference, p1_items, p1_models, p1_pca, p1_recipes, p1_train, p1_tsne, reports
from hw1.p1_data import load_p1

REPORTS = [("f22a", "A"), ("f22a", "B"), ("f22b", "A"), ("f22b", "B"), ("f23", "A"), ("f23", "B")]


def train(data, out, *options) -> dict:
    return p1_train.main(p1_train.parse_args(["--data", str(data), "--out", str(out), *map(str, options)]))


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """An --out folder with f22a's model A after three quick epochs."""
    out = tmp_path_factory.mktemp("out")
    run = train(data, out, "--report", "f22a", "--model", "A", "--quick", "--batch-size", 50)
    (out / "checkpoints/f22a-A-quick-batch_size50").rename(out / "checkpoints/f22a-A-quick")
    return out, run


def test_training_learns_and_keeps_what_figures_need(trained):
    out, run = trained
    folder, history = out / "checkpoints/f22a-A-quick", run["history"]
    assert sorted(path.name for path in folder.glob("[!.]*")) == [
        *("best.pth", "epoch-001.pth", "epoch-004.pth", "epoch-008.pth", "last.pth", "run.json")
    ]
    assert history[-1]["train_loss"] < history[0]["train_loss"] and len(history) == 8
    assert run["kept"]["validation_accuracy"] == max(epoch["validation_accuracy"] for epoch in history)
    item = json.loads((out / "f22a-1.2.json").read_text())
    assert item["reproduced"] == {"A": run["kept"]["validation_accuracy"]} and item["reported"] == {"A": 0.5544, "B": 0.8976}
    assert item["quick"] is True and item["data"].items() > {"name": "p1_data", "train": 400, "validation": 200}.items()
    assert "epochs 8, not 90" in " ".join(item["deviations"])


def test_b_beats_a_is_also_tried_with_our_own_model_from_published_weights(tmp_path):
    data = {"name": "p1_data", "train": 2, "validation": 2, "digest": "one"}
    runtime = setup.Runtime(torch.device("cpu"), False, out=tmp_path)

    def write(weights, digest, quick=False):
        fields = {"title": "best", "data": data | {"digest": digest}, "weights": weights, "quick": quick}
        (tmp_path / "hw1-p1-best.json").write_text(json.dumps(fields | {"reproduced": {"accuracy": 0.7}}))

    def holds(**measured):
        claims = reports.b_beats_a(runtime, "f22a 1.2", "hw1-p1 best", measured, data)
        return {claim["claim"]: claim["holds"] for claim in claims}

    trained, published = items.get("f22a 1.2").claims.values()
    assert holds(A=0.6, B=0.5) == {trained: False} and holds(A=0.6) == {}
    write("default", "one")
    assert holds(A=0.6, B=0.5) == {trained: False, published: True} and holds(A=0.8) == {published: False} and holds(B=0.8) == {}
    for other in (("none", "one"), ("default", "two"), ("default", "one", True)):
        write(*other)
        assert holds(A=0.6) == {}


@pytest.mark.parametrize(("report", "model"), [("f22a", "A"), ("f23", "A")])
def test_resume_gives_the_same_network(data, tmp_path, report, model):
    options = ["--report", report, "--model", model, "--quick", "--image-size", 32, "--epochs", 2, "--batch-size", 80]
    whole = train(data, tmp_path / "whole", *options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(classification, "evaluate", interrupt_after(1))
        with pytest.raises(KeyboardInterrupt):
            train(data, tmp_path / "parts", *options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setup, "commit", lambda: "another commit")
        parts = train(data, tmp_path / "parts", *options, "--resume")
    assert parts["commit"] == f"{whole['commit']}, another commit" and parts["device"] == whole["device"]
    for name in ("train_loss", "validation_loss", "validation_accuracy"):
        assert [epoch[name] for epoch in parts["history"]] == [epoch[name] for epoch in whole["history"]]
    last = [load_checkpoint(next((tmp_path / run).glob("checkpoints/*/last.pth")), "")["model"] for run in ("whole", "parts")]
    assert all(torch.equal(last[0][key], last[1][key]) for key in last[0])


def interrupt_after(epochs: int):
    done, evaluate = [], classification.evaluate

    def interrupted(*arguments):
        if len(done) == epochs:
            raise KeyboardInterrupt
        done.append(1)
        return evaluate(*arguments)

    return interrupted


def test_resume_with_other_settings_is_refused(data, trained):
    with pytest.raises(UsageError, match=r"batch_size"):
        train(data, trained[0], "--report", "f22a", "--model", "A", "--quick", "--resume")


@pytest.mark.parametrize(("report", "model"), [*REPORTS, (None, "best"), (None, "scratch")])
def test_recipes_build_and_differ_as_stated(report, model):
    recipe = p1_recipes.recipe(report, model)
    assert recipe.train_pipeline(0)(torch.zeros(2, 3, 32, 32, dtype=torch.uint8), torch.rand(2, 8)).shape[2:] == (
        *[recipe.small_size or recipe.image_size] * 2,
    )
    assert isinstance(json.dumps(recipe.settings()), str)
    assert recipe.pretrained == (model in ("B", "best"))


def test_a_result_of_ours_says_what_it_started_from(data, tmp_path):
    torch.save(p1_models.build("test_efficientnet").state_dict(), tmp_path / "mine.pth")
    train(data, tmp_path, "--model", "best", "--quick", "--epochs", 1, "--weights", tmp_path / "mine.pth")
    item = json.loads((tmp_path / "hw1-p1-best.json").read_text())
    assert re.fullmatch(r"test_efficientnet from mine\.pth \(\w{12}\) at 32 px", item["title"])
    assert any("weights of mine.pth" in word and "not published ones" in word for word in item["deviations"])


@pytest.mark.parametrize("model", ["best", "scratch"])
def test_ours_leave_the_graders_checkpoint(data, tmp_path, model):
    run = train(data, tmp_path, "--model", model, "--quick", "--epochs", 1, "--batch-size", 50)
    folder = tmp_path / f"checkpoints/{model}-quick-epochs1-batch_size50"
    half, full = (load_checkpoint(folder / name, "")["model"] for name in ("p1.pth", "best.pth"))
    assert all(torch.equal(half[key], full[key].half() if full[key].is_floating_point() else full[key]) for key in full)
    item = json.loads((tmp_path / f"hw1-p1-{model}.json").read_text())["reproduced"]
    assert item["accuracy"] == run["kept"]["validation_accuracy"] and any("p1.pth" in name for name in item)


def test_schedules():
    assert [p1_recipes.warm_up_then_linear(epoch, 100) for epoch in (0, 15, 30, 65, 99)] == pytest.approx([0, 0.5, 1, 0.5, 1 / 70])
    assert [training.cosine(epoch, 50) for epoch in (0, 0.9, 25, 25.9, 49)] == pytest.approx([1, 1, 0.5, 0.5, 0.000987], rel=1e-3)
    assert [training.one_cycle(epoch, 10) for epoch in (0, 1, 2, 6, 10)] == pytest.approx([0.1, 0.55, 1, 0.5, 0])


def test_first_epoch_of_f23_learns_nothing_as_in_its_report(data, tmp_path):
    run = train(data, tmp_path, "--report", "f23", "--model", "A", "--quick", "--epochs", 1, "--batch-size", 100)
    assert run["history"][0]["lr"] == 0
    first = load_checkpoint(tmp_path / "checkpoints/f23-A-quick-epochs1-batch_size100/epoch-001.pth", "")["model"]
    torch.manual_seed(0)
    setup.seed_everything(0)
    assert torch.equal(first["fc.6.weight"], p1_models.build("resnet18_mlp").state_dict()["fc.6.weight"])


def test_kept_epochs_and_best_by_loss():
    assert p1_recipes.recipe("f22a", "A").kept_epochs() == (1, 36, 90) and p1_recipes.recipe("f23", "B").kept_epochs() == (1, 50, 100)
    history = [{"validation_loss": loss, "validation_accuracy": hit} for loss, hit in [(2.0, 0.3), (1.5, 0.4), (1.6, 0.5)]]
    kept = [training.kept_epoch(history, keep)["validation_loss"] for keep in ("loss", "accuracy", "last")]
    assert kept == [1.5, 1.6, 1.6]


def test_f23s_network_is_the_one_that_its_author_published():
    assert sum(parameter.numel() for parameter in p1_models.build("resnet18_mlp").parameters()) == 11_347_186


@pytest.mark.parametrize(("report", "model"), REPORTS)
def test_implementation_is_set_beside_what_the_report_states(report, model):
    settings = p1_recipes.recipe(report, model).settings() | {"weights": "default" if model == "B" else "none"}
    stated = {
        name: value for name, value in items.get(f"{report} {'1.3' if model == 'A' else '1.4'}").reported.items() if name != "compared"
    }
    done = p1_items.setting_rows(stated, {"settings": settings})
    in_words = {"transforms", "layers"} & stated.keys()
    assert {name: value for name, value in stated.items() if name not in in_words} == {
        name: value for name, value in done.items() if name in stated.keys() - in_words
    }
    assert ("layers" in done) == (report == "f23" or (report, model) == ("f22a", "A"))
    if report == "f23":
        assert done["layers"] == "linear 256 · ReLU · dropout 0.2 · linear 128 · ReLU · dropout 0.2 · linear 50"
        assert re.match(r"Resize\(size=224\), Flip\(p=0\.5\), Rotate\(degrees=10\), Normalise\(mean=\(0\.485", done["transforms"])
    if report == "f22b":
        before, after = done["transforms"].split("Normalise")
        assert before.startswith("PerImage(transform=AutoAugment(policy=AutoAugmentPolicy.IMAGENET") and "RandomErasing(" in after
        assert done["training loss"] == "with label smoothing 0.1" and done["validation loss"] == "without"
    assert ("training loss" in done) == (report == "f22b")


@pytest.mark.parametrize(
    ("smoothing", "names"), [(0.1, ["train with label smoothing 0.1", "validation without"]), (0.0, ["train", "validation"])]
)
def test_the_curves_legend_says_in_what_the_losses_differ(smoothing, names):
    history = [{"epoch": 1, "train_loss": 1.0, "validation_loss": 1.0, "train_accuracy": 0.5, "validation_accuracy": 0.5}]
    figure = p1_items.curves({"history": history, "settings": {"label_smoothing": smoothing, "mixup": 0.0}}, "title")
    legends = [[entry.get_text() for entry in axes.get_legend().get_texts()] for axes in figure.axes]
    assert legends == [names, ["train", "validation"]]


# ---- weights ----


@pytest.mark.parametrize("network", ["densenet121", "resnet18_mlp"])
def test_torchvision_files_are_read(tmp_path, network):
    torch.manual_seed(1)
    published = models.get_model(p1_models.TORCHVISION[network][0]).state_dict()
    old = {
        key.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2.") if "denselayer" in key else key: v for key, v in published.items()
    }
    torch.save(old, tmp_path / "file.pth")
    state = p1_models.build(network, str(tmp_path / "file.pth")).state_dict()
    same = [key for key in state if key in published and torch.equal(state[key], published[key])]
    assert len(same) == len([key for key in published if not key.startswith(("classifier.", "fc."))])


def test_file_of_another_network_is_named(tmp_path):
    torch.save(p1_models.build("small_cnn").state_dict(), tmp_path / "small.pth")
    with pytest.raises(UsageError, match=r"small\.pth belongs to another model"):
        p1_models.build("resnet18_mlp", str(tmp_path / "small.pth"))


def test_published_weights_are_found_or_asked_for(monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def no_network(*arguments, **options):
        raise OSError("no network")

    kept = tmp_path / "hub/checkpoints/resnet18-f37072fd.pth"
    kept.parent.mkdir(parents=True)
    torch.save(models.resnet18().state_dict(), kept)
    assert torch.equal(p1_models.build("resnet18_mlp", "default").conv1.weight, load_checkpoint(kept, "")["conv1.weight"])
    kept.unlink()
    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    with pytest.raises(UsageError, match=r"put https://.*resnet18-.*\.pth at .*checkpoints/resnet18-.* or use --weights none"):
        p1_models.build("resnet18_mlp", "default")
    with pytest.raises(UsageError, match="nobody publishes"):
        p1_models.build("resnet9", "default")


# ---- figures ----


def figure_args(script, data, out, *options):
    return script.parse_args(["--report", "f22a", "--quick", "--data", str(data), "--out", str(out), *options])


def test_pca_and_tsne(data, trained):
    out, run = trained
    flat = p1_pca.main(figure_args(p1_pca, data, out))
    assert flat["reproduced"]["accuracy"] == pytest.approx(run["history"][-1]["validation_accuracy"])
    assert 0 < flat["reproduced"]["explained variance"][1] <= flat["reproduced"]["explained variance"][0] < 1
    found = p1_tsne.main(figure_args(p1_tsne, data, out))["reproduced"]
    for stage, epoch in zip(("first", "middle", "last"), (1, 4, 8), strict=True):
        assert found[stage]["epoch"] == epoch
        assert found[stage]["accuracy"] == pytest.approx(run["history"][epoch - 1]["validation_accuracy"])
        assert found[stage]["loss"] == pytest.approx(run["history"][epoch - 1]["validation_loss"], abs=1e-3)
    assert (out / "f22a-1.5.png").exists() and (out / "f22a-1.6.png").exists()


def test_f23s_pca_is_the_kept_models_and_its_t_sne_the_last_epochs(data, tmp_path):
    run = train(data, tmp_path, "--report", "f22a", "--model", "A", "--quick", "--batch-size", 50, "--lr", 0.1)  # over-fits
    folder = next((tmp_path / "checkpoints").iterdir())
    first = load_checkpoint(folder / "epoch-001.pth", "")
    save_checkpoint(folder / "best.pth", first)
    args = ["--report", "f23", "--run", str(folder), "--quick", "--data", str(data), "--out", str(tmp_path)]
    flat = p1_pca.main(p1_pca.parse_args(args))
    assert flat["reproduced"]["epoch"] == 1 and flat["reproduced"]["accuracy"] == pytest.approx(run["history"][0]["validation_accuracy"])
    assert flat["settings"]["checkpoints"] == ["best.pth"]
    last = p1_tsne.main(p1_tsne.parse_args(args))
    less, lower = flat["claims"]
    assert less["t-SNE"] == {name: last["reproduced"]["last"][name] for name in ("10-NN accuracy", "silhouette")}
    losses = [run["history"][epoch]["validation_loss"] for epoch in (0, -1)]
    assert lower["holds"] == (losses[0] < losses[1])
    assert [lower["epoch 1, kept"], lower["epoch 8, last"]] == pytest.approx(losses, abs=1e-3)
    assert last["reproduced"]["last"]["epoch"] == 8


def test_mixed_asks_for_both_numbers():
    generator = torch.Generator().manual_seed(0)
    target = torch.arange(200) % 4
    blobs = torch.randn(200, 2, generator=generator)
    apart = blobs + 20 * torch.stack([target // 2, target % 2], 1)
    side, place = torch.arange(200) // 4 % 2, torch.where(torch.arange(200) // 4 % 2 == 0, target, 3 - target)
    halves = blobs + (1000 * side + 20 * place)[:, None] * torch.tensor([1.0, 0.0])  # each class in two clusters of its own, far apart
    found = {name: p1_embedding.separation(points, target) for name, points in (("mixed", blobs), ("apart", apart), ("halves", halves))}
    assert found["halves"]["silhouette"] < 0 and {name: p1_embedding.mixed(each) for name, each in found.items()} == {
        **{"mixed": True, "apart": False, "halves": False}
    }


@pytest.mark.parametrize(("report", "count"), [("f22a", 0), ("f22b", 1), ("f23", 1)])
def test_mixed_at_the_first_epoch_is_a_claim_of_its_own(report, count):
    item, target = items.get(p1_tsne.ITEMS[report]), torch.arange(60) % 3
    embeddings = [p1_embedding.Embedding(torch.randn(60, 4), target, epoch, 0.1 * epoch, 1.0) for epoch in (1, 2, 3)]
    planes = [torch.randn(60, 2) + spread * target[:, None] for spread in (0, 5, 50)]
    apart = [p1_embedding.separation(points, target) for points in planes]
    found = [claim for claim in p1_tsne.claims(item, planes, embeddings, apart) if "mixed" in claim["claim"]]
    assert len(found) == count
    assert all(claim["holds"] is True and claim["silhouette"] == apart[0]["silhouette"] for claim in found)
    turned = p1_tsne.claims(item, planes[::-1], embeddings, apart[::-1])
    assert not any(claim["holds"] for claim in turned if "mixed" in claim["claim"])


def test_figure_without_training_names_the_command(data, tmp_path):
    with pytest.raises(UsageError, match=r"first run: python hw1/p1_train\.py --report f22a --model A --quick"):
        p1_pca.main(figure_args(p1_pca, data, tmp_path))


def test_pca_against_the_eigenvalues():
    feats = torch.randn(200, 5, generator=torch.Generator().manual_seed(0)) * torch.tensor([5.0, 3, 1, 1, 1])
    points, shares = p1_pca.pca(feats)
    values = torch.linalg.eigvalsh(torch.cov(feats.T.double())).flip(0)
    assert shares == pytest.approx((values[:2] / values.sum()).tolist()) and points.var(0).tolist() == pytest.approx(values[:2].tolist())


# ---- the graders' interface ----


@pytest.fixture(scope="module")
def folder(data, tmp_path_factory):
    """A folder with a space in its name: images of several kinds and sizes, names out of order."""
    folder = tmp_path_factory.mktemp("in") / "some images"
    folder.mkdir()
    sources = sorted((data / "hw1_data/p1_data/val_50").glob("*.png"))[:4]
    shutil.copy(sources[0], folder / "zz.png")
    with Image.open(sources[1]) as picture:
        picture.convert("L").save(folder / "grey.PNG")
        picture.resize((100, 60)).save(folder / "big.jpg")
        picture.convert("RGBA").save(folder / "a, b.png")
    return folder


@pytest.fixture(scope="module")
def weights(trained):
    return trained[0] / "checkpoints/f22a-A-quick/best.pth"


def classify(folder, out_csv, weights):
    return p1_inference.main(p1_inference.parse_args([str(folder), str(out_csv), "--weights", str(weights)]))


def test_ten_views():
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    pixel = torch.nn.Sequential(torch.nn.Conv2d(3, 1, 1), torch.nn.Flatten()).requires_grad_(False)
    mean = classification.tta_logits(pixel, x).view(2, 8, 8)
    near = pixel(x).view(2, 8, 8)
    views = [near.roll((dy, dx), (1, 2)) for dy, dx in ((0, 0), (2, 2), (2, -2), (-2, 2), (-2, -2))]
    expected = torch.stack([view for each in views for view in (each, each.flip(-1))]).mean(0)
    assert torch.allclose(mean[:, 2:-2, 2:-2], expected[:, 2:-2, 2:-2], atol=1e-5)  # away from the border, where rolling wraps around


def test_csv(folder, weights, tmp_path):
    labels = classify(folder, tmp_path / "new folder" / "out.csv", weights)["labels"]
    with open(tmp_path / "new folder" / "out.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["filename", "label"] and [name for name, _ in rows[1:]] == ["a, b.png", "big.jpg", "grey.PNG", "zz.png"]
    assert all(int(label) == labels[name] and 0 <= int(label) < 50 for name, label in rows[1:])


def test_labels_are_the_networks(data, weights, tmp_path):
    source = data / "hw1_data/p1_data"
    args = [str(source / "val_50"), str(tmp_path / "o.csv"), "--weights", str(weights), "--answers", str(source / "val_gt.csv")]
    found = p1_inference.main(p1_inference.parse_args(args))
    state = load_checkpoint(weights, "")
    model = p1_models.build("small_cnn").eval()
    model.load_state_dict(state["model"])
    split = load_p1(str(data)).validation
    logits = classification.tta_logits(model, classification.validation_pipeline({"image_size": 32})(split.images, torch.empty(0, 0)))
    expected = dict(zip(split.names, logits.argmax(1).tolist(), strict=True))
    assert found["labels"] == expected
    assert found["accuracy"] == pytest.approx(sum(expected[n] == t for n, t in zip(split.names, split.target, strict=True)) / len(split))


def test_confusion_is_of_the_graders_labels(data, weights, tmp_path):
    source = data / "hw1_data/p1_data"
    args = [str(source / "val_50"), str(tmp_path / "o.csv"), "--weights", str(weights), "--answers", str(source / "val_gt.csv")]
    graded = p1_inference.main(p1_inference.parse_args(args))
    found = p1_confusion.main(p1_confusion.parse_args(["--data", str(data), "--weights", str(weights), "--out", str(tmp_path)]))
    assert found["reproduced"]["accuracy"] == graded["accuracy"]
    rows = [list(map(int, row)) for row in found["tables"][0]["rows"]]
    wrong = {(true, label): 0 for true in range(50) for label in range(50) if true != label}
    for name, label in graded["labels"].items():
        if (cell := (int(name.split("_")[0]), label)) in wrong:
            wrong[cell] += 1
    assert [row[2] for row in rows] == [count for count in sorted(wrong.values(), reverse=True)[:20] if count]
    assert all(wrong[true, label] == count and of == 4 for true, label, count, of in rows)
    with pytest.raises(UsageError, match=r"make it with: python hw1/p1_train\.py --model best --quick"):
        p1_confusion.main(p1_confusion.parse_args(["--data", "synthetic", "--quick", "--out", str(tmp_path / "none")]))


def test_unreadable_images_do_not_stop_the_others(folder, weights, tmp_path):
    broken = tmp_path / "in"
    shutil.copytree(folder, broken)
    (broken / "bad.png").write_text("text")
    done = run_script("hw1/p1_inference.py", broken, tmp_path / "out.csv", "--weights", weights)
    assert done.returncode == 1 and "bad.png" in done.stderr and "Traceback" not in done.stderr
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 5


@pytest.mark.parametrize("kind", ["other", "cut", "settings", "missing"])
def test_bad_weights(folder, weights, tmp_path, kind):
    path = tmp_path / "w.pth"
    state = load_checkpoint(weights, "")
    if kind == "other":
        save_checkpoint(path, state | {"model": p1_models.build("resnet9").state_dict()})
    elif kind == "settings":
        save_checkpoint(path, state["model"])
    elif kind == "cut":
        path.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(UsageError, match=r"w\.pth"):
        classify(folder, tmp_path / "out.csv", path)
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("make", ["empty", "missing"])
def test_no_images(weights, tmp_path, make):
    if make == "empty":
        (tmp_path / "in").mkdir()
    words = r"holds no \.\S+ files" if make == "empty" else "is not a folder"
    with pytest.raises(UsageError, match=rf"{re.escape(str(tmp_path))}/in {words}"):
        classify(tmp_path / "in", tmp_path / "out.csv", weights)


@pytest.mark.parametrize("key", p1_recipes.RECIPES)
def test_training_and_inference_resize_and_normalise_alike(key):
    plain = replace(p1_recipes.RECIPES[key], augment=(), after_resize=(), after_normalise=(), small_share=0.0)
    images, none = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8), torch.empty(2, 0)
    seen = classification.validation_pipeline(plain.settings())(images, none)
    assert torch.equal(plain.train_pipeline(0)(images, none), seen) and seen.shape[2] == plain.image_size


def test_parse_args_refuses_nonsense():
    report = ["--report", "f22a", "--model"]
    for options in (["--model", "C"], [*report, "A", "--epochs", "0"], [*report, "A", "--lr", "nan"], ["--model", "A"], [*report, "best"]):
        with pytest.raises(SystemExit) as stop:
            p1_train.parse_args(options)
        assert stop.value.code == 2
