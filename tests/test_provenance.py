"""What a result says it is: deviations, data, weights, earlier stages, precision, rows of a table, missing numbers."""

import json
import math
import shutil
from dataclasses import replace

import pytest
import torch
from conftest import draw_small

from common import checkpoints, page, results, training
from common.cli import Incomplete, UsageError
from common.files import file_digest
from common.setup import Runtime
from hw1 import p1_items, p1_pca, p1_recipes, p1_train, p2_data, p2_recipes, p2_synthetic, p3_data, p3_ssl_pretrain, p3_synthetic, reports
from hw1.p1_data import load_p1
from hw2 import p1_data as scenes
from hw2 import p1_scenes, p1_synthetic, p2_training
from hw2 import p2_data as cifar
from hw2 import p2_recipes as cifar_recipes
from hw2 import p2_synthetic as cifar_synthetic
from hw3 import catr, p1_models
from hw3 import p1_data as pets
from hw3 import p1_synthetic as pets_synthetic
from hw3 import p2_data as captions
from hw3 import p2_synthetic as captions_synthetic

CPU, CPU_BF16 = (Runtime(torch.device("cpu"), bf16=bf16) for bf16 in (False, True))


# ---- deviations ----

SCRATCH, PRETRAINED, TABLE = p1_recipes.RECIPES["f22a", "A"], p2_recipes.RECIPES["f22a", "A"], cifar_recipes.TABLE


@pytest.mark.parametrize(
    ("full", "changed", "words"),
    [
        (SCRATCH, {}, []),
        (SCRATCH, {"epochs": 3}, ["epochs 3, not 90"]),
        (SCRATCH, {"lr": 1e-2 / 810}, ["lr 1.235e-05, not 0.01"]),
        (SCRATCH, {"lr": 0.010001}, ["lr 0.010001, not 0.01"]),
        (SCRATCH, {"weights": "a.pth (0123)"}, ["weights of a.pth (0123), not random ones"]),
        (SCRATCH, {"weights": "default"}, ["published weights, not random ones"]),
        (SCRATCH, {"seed": 4}, ["seed 4, not 0"]),
        (PRETRAINED, {"weights": "default"}, []),
        (PRETRAINED, {"weights": "none"}, ["random weights, not published ones"]),
        (PRETRAINED, {"weights": "a.pth (0123)"}, ["weights of a.pth (0123), not published ones"]),
        (TABLE, {"weights": "default", "seeds": [0, 1, 2, 3]}, []),
        (TABLE, {"weights": "default", "seeds": [0, 1]}, ["seed 0, 1, not 0, 1, 2"]),
        (TABLE, {"weights": "default", "seeds": [3, 4, 5]}, ["seed 3, 4, 5, not 0, 1, 2"]),
    ],
)
def test_all_that_differs_from_the_recipe_is_said(full, changed, words):
    assert training.deviations(full, full.settings() | changed) == words


def test_a_seed_without_a_training_counts_too(tmp_path, monkeypatch):
    p1_synthetic.draw_scenes(tmp_path / "hw2_data/p1_data", 2, 2)
    said = []
    for options in ([], ["--seed", "1"]):
        words = ["--data", str(tmp_path), "--out", str(tmp_path / "out"), "--feature", "tiny_image", "--tiny-k", "1", *options]
        said.append(p1_scenes.main(p1_scenes.parse_args(words))["deviations"])
    usual = ["feature tiny_image, not both", "tiny_k 1, not 5"]
    assert [set(words) - set(usual) for words in said] == [set(), {"seed 1, not 0"}]


def test_a_file_of_weights_is_known_by_its_content(tmp_path):
    path = tmp_path / "a.pth"
    said = []
    for content in (b"one", b"two"):
        path.write_bytes(content)
        said.append(training.run_settings(SCRATCH, str(path), {}, CPU)["weights"])
    assert said[0] != said[1] and said[1] == f"a.pth ({file_digest(path)})"
    with pytest.raises(UsageError, match="holds a training with weights"):
        training.check_same_start(tmp_path, {"weights": said[0]}, {"weights": said[1]})


# ---- data ----


def rename_one(folder, old: str, new: str) -> None:
    (folder / old).rename(folder / new)


def change_json(path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def swap_categories(content: dict) -> None:
    content["categories"][0] = (content["categories"][0] + 1) % 10


def relabel(path) -> None:
    lines = path.read_text().splitlines()
    lines[1] = lines[1].rsplit(",", 1)[0] + "," + lines[-1].rsplit(",", 1)[1]
    path.write_text("\n".join(lines) + "\n")


DATA = {  # a small set of each kind, a change that leaves name and counts as they are, and what describes the set
    "hw1 p1": (
        lambda top: draw_small(top, 1, 1),
        lambda folder: rename_one(folder / "train_50", "0_0.png", "0_7.png"),
        lambda top, folder: load_p1(str(top)).describe(),
    ),
    "hw1 p2": (
        lambda top: draw_in(top / "hw1_data/p2_data", p2_synthetic.draw_p2, 1, 2),
        lambda folder: shutil.copy(folder / "validation/0000_mask.png", folder / "validation/0001_mask.png"),
        lambda top, folder: p2_data.load_p2(str(top), 64).describe(),
    ),
    "hw1 p3": (
        lambda top: draw_in(top / "hw1_data/p3_data", p3_synthetic.draw_p3, 20, 20, 20),
        lambda folder: relabel(folder / "office/train.csv"),
        lambda top, folder: p3_data.load_target(p3_data.Source("p3_data", folder), 32)[0].describe(),
    ),
    "hw2 p1": (
        lambda top: draw_in(top / "hw2_data/p1_data", p1_synthetic.draw_scenes, 1, 1),
        lambda folder: next((folder / "p1/train/Forest").iterdir()).rename(folder / "p1/train/Forest/other.jpg"),
        lambda top, folder: [split.digest() for split in scenes.load_scenes(str(top), None)[1:]],
    ),
    "hw2 p2": (
        lambda top: draw_in(top / "hw2_data/p2_data", cifar_synthetic.draw_cifar, 20, 5, 5),
        lambda folder: change_json(folder / "annotations/train_annos.json", swap_categories),
        lambda top, folder: cifar.load_cifar(str(top), 0).describe(),
    ),
    "hw3 p1": (
        lambda top: draw_in(top / "hw3_data/p1_data", pets_synthetic.draw_pets, 1, 1),
        lambda folder: next((folder / "val").iterdir()).rename(folder / "val/0_99999.jpg"),
        lambda top, folder: pets.load_pets(str(top)).describe(),
    ),
    "hw3 p2": (
        lambda top: draw_in(top / "hw3_data/p2_data", captions_synthetic.draw_captions, 4, 2),
        lambda folder: change_json(folder / "train.json", lambda content: content["annotations"][0].update(caption="another")),
        lambda top, folder: captions.load_captions(str(top))[0],
    ),
}


def draw_in(folder, draw, *counts):
    draw(folder, *counts)
    return folder


@pytest.mark.parametrize("kind", DATA)
def test_data_of_one_name_and_size_are_told_apart(tmp_path, kind):
    draw, change, describe = DATA[kind]
    folder = draw(tmp_path)
    before = describe(tmp_path, folder)
    assert describe(tmp_path, folder) == before
    change(folder)
    after = describe(tmp_path, folder)
    assert after != before
    if isinstance(before, dict):
        assert {key: value for key, value in after.items() if key != "digest"} == {k: v for k, v in before.items() if k != "digest"}


@pytest.fixture(scope="module")
def two_sets(tmp_path_factory):
    """Data /a and /b of one name and one size, and a training on /a."""
    top = tmp_path_factory.mktemp("two")
    draw_small(top / "a", 1, 2)
    shutil.copytree(top / "a", top / "b")
    rename_one(top / "b/hw1_data/p1_data/train_50", "0_0.png", "0_7.png")
    run = p1_train.main(p1_train.parse_args(options(top, "a")))
    return top, run


def options(top, data: str, *more: str) -> list[str]:
    found = ["--report", "f22a", "--data", str(top / data), "--out", str(top / "out"), "--quick", "--device", "cpu", *more]
    return found if "--model" in more or "--run" in more else [*found, "--model", "A", "--epochs", "1", "--batch-size", "10"]


def test_two_sets_share_no_folder_and_no_figure(two_sets):
    top, run = two_sets
    for more, message in (([], "holds a training with data p1_data"), (["--resume"], "other settings")):
        with pytest.raises(UsageError, match=message):
            p1_train.main(p1_train.parse_args(options(top, "b", *more)))
    folder = next((top / "out/checkpoints").iterdir())
    assert json.loads((folder / "run.json").read_text())["settings"]["data"]["digest"] == run["settings"]["data"]["digest"]
    assert p1_train.main(p1_train.parse_args(options(top, "a", "--resume")))["history"] == run["history"]
    with pytest.raises(UsageError, match="was trained on"):
        p1_pca.main(p1_pca.parse_args(options(top, "b", "--run", str(folder))))


def test_a_figure_takes_epochs_of_one_run_only(two_sets, tmp_path):
    top, _ = two_sets
    folder = tmp_path / "run"
    shutil.copytree(next((top / "out/checkpoints").iterdir()), folder)
    found = p1_pca.main(p1_pca.parse_args(options(top, "a", "--run", str(folder))))
    assert "epochs 1, not 90" in found["deviations"]
    state = checkpoints.load_checkpoint(folder / "epoch-001.pth", "")
    state["history"][0]["train_loss"] += 1  # as a later training of this folder would have left, that was broken off
    checkpoints.save_checkpoint(folder / "epoch-001.pth", state)
    with pytest.raises(UsageError, match="another training than its folder's run"):
        p1_pca.main(p1_pca.parse_args(options(top, "a", "--run", str(folder))))


def test_a_run_of_another_report_says_so(two_sets):
    top, _ = two_sets
    folder = next((top / "out/checkpoints").iterdir())
    more = options(top, "a", "--run", str(folder))
    found = p1_pca.main(p1_pca.parse_args([*more[:1], "f23", *more[2:]]))
    assert "network small_cnn, not resnet18_mlp" in found["deviations"]


# ---- a table's rows ----


def put_run(runtime, model: str, accuracy: float, digest: str, deviations: tuple[str, ...] = ()) -> None:
    """What a finished training leaves, as far as item 1.2 reads it."""
    data = {"name": "p1_data", "train": 1, "validation": 1, "digest": digest}
    run = {key: model for key in ("command", "device", "commit")} | {"quick": False, "seconds": 1.0, "history": []}
    run |= {"settings": {"data": data, "weights": "none"}, "kept": {"validation_accuracy": accuracy}, "deviations": list(deviations)}
    results.write_json(p1_recipes.run_folder(runtime, "f22a", model, "p1_data", {}) / "run.json", run)
    p1_items.write_accuracy(runtime, "f22a", data, {})


def test_each_row_keeps_its_best_run(tmp_path, capsys):
    runtime = replace(CPU, out=tmp_path)
    table = lambda: results.read_json(tmp_path / "f22a-1.2.json")  # noqa: E731
    put_run(runtime, "A", 0.5, "one")
    put_run(runtime, "B", 0.6, "one", ("random weights, not published ones",))
    assert table()["reproduced"] == {"A": 0.5, "B": 0.6} and table()["claims"][0]["holds"]
    assert table()["deviations"] == ["B: random weights, not published ones"]
    put_run(runtime, "B", 0.9, "one")
    assert table()["reproduced"] == {"A": 0.5, "B": 0.9} and table()["deviations"] == []
    capsys.readouterr()
    put_run(runtime, "A", 0.99, "one", ("epochs 1, not 90",))
    assert table()["reproduced"] == {"A": 0.5, "B": 0.9} and "keeps its row A" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "checkpoints")
    put_run(runtime, "A", 0.4, "one")  # B's checkpoints are gone, its row stays
    assert table()["reproduced"] == {"A": 0.4, "B": 0.9} and table()["settings"]["B"]["command"] == "B"
    put_run(runtime, "B", 0.8, "two")
    assert table()["reproduced"] == {"B": 0.8} and "other data (one, now two)" in capsys.readouterr().err


def test_a_quick_row_joins_a_quick_table_of_other_counts_and_no_full_one(tmp_path):
    quick, full = replace(CPU, out=tmp_path, quick=True), replace(CPU, out=tmp_path)
    data = {"name": "p1_data", "train": 50, "digest": "one"}
    row = {"quick": True, "deviations": []}
    results.write_json(tmp_path / "f22a-1.2.json", {"quick": True, "data": data, "rows": {"A": row}})
    assert reports.best_rows(quick, "f22a 1.2", data | {"train": 10}, {"B": row}).keys() == {"A", "B"}
    assert reports.best_rows(full, "f22a 1.2", data, {"B": row}).keys() == {"B"}
    assert reports.best_rows(quick, "f22a 1.2", data | {"digest": "two"}, {"B": row}).keys() == {"B"}


# ---- later stages, and machines ----


class Small:
    """A recipe of two epochs, for training.Run."""

    epochs, keep = 2, "last"
    kept_epochs = staticmethod(lambda: ())


def walk(folder, settings: dict, runtime=CPU, resuming=True, one_epoch=None, epochs=2) -> list[dict]:
    """Train a linear layer; each epoch's loss is its number."""
    folder.mkdir(exist_ok=True)
    model = torch.nn.Linear(1, 1)
    optimiser = torch.optim.SGD(model.parameters(), 0.1)
    settings = {"epochs": 2, "precision": runtime.precision()} | settings
    recipe = Small()
    recipe.epochs = epochs
    run = training.Run(folder, recipe, settings, replace(runtime, resume=resuming))
    for epoch in run.epochs(model, optimiser):
        epoch.record(**(one_epoch(epoch.index) if one_epoch else {"train_loss": float(epoch.index)}))
    return run.history


def test_a_stage_whose_start_was_made_anew_starts_over(tmp_path, capsys):
    for key in training.EARLIER_STAGE:
        first = walk(tmp_path / key, {key: "one"})
        assert walk(tmp_path / key, {key: "one"}) == first and "anew" not in capsys.readouterr().out
        walk(tmp_path / key, {key: "two"}, one_epoch=lambda epoch: {"train_loss": 7.0})
        assert f"trained anew ({key})" in capsys.readouterr().out
        assert [epoch["train_loss"] for epoch in walk(tmp_path / key, {key: "two"})] == [7.0, 7.0]
    with pytest.raises(UsageError, match=r"other settings .*lr"):
        walk(tmp_path / key, {key: "one", "lr": 1})


def test_a_second_resume_leaves_the_kept_network_as_later_stages_know_it(tmp_path):
    walk(tmp_path, {})
    before = file_digest(tmp_path / "best.pth")
    torch.save(torch.load(tmp_path / "best.pth", weights_only=True) | {"more": 1}, tmp_path / "best.pth")
    other = file_digest(tmp_path / "best.pth")
    walk(tmp_path, {})
    assert file_digest(tmp_path / "best.pth") == other != before
    (tmp_path / "best.pth").unlink()
    walk(tmp_path, {})
    assert checkpoints.load_checkpoint(tmp_path / "best.pth", "")["epoch"] == 2


def test_what_a_network_made_is_load_or_compute(tmp_path):
    made = p2_training.load_or_compute(tmp_path / "a.pth", [{"epoch": 1}], 2, lambda: torch.ones(2))
    again = p2_training.load_or_compute(tmp_path / "a.pth", [{"epoch": 1}], 2, lambda: torch.zeros(2))
    assert torch.equal(made, again)
    for history, count in (([{"epoch": 2}], 2), ([{"epoch": 2}], 3)):
        assert not p2_training.load_or_compute(tmp_path / "a.pth", history, count, lambda count=count: torch.zeros(count)).any()
    assert len(p2_training.load_or_compute(tmp_path / "a.pth", [{"epoch": 2}], 3, lambda: torch.ones(3))) == 3


def test_labels_and_names_are_a_training_set(tmp_path):
    cifar_synthetic.draw_cifar(tmp_path / "hw2_data/p2_data", 20, 5, 5)
    splits = cifar.load_cifar(str(tmp_path), 0)
    fewer = replace(splits, train=splits.train.take(torch.arange(5)))
    other = replace(splits, train=splits.train.take(torch.arange(1, 6)))
    whole, one, two = (p2_training.run_settings(TABLE, "none", each, CPU) for each in (splits, fewer, other))
    assert len({each["training set"] for each in (whole, one, two)}) == 3
    assert len({each["data"]["digest"] for each in (whole, one, two)}) == 1


def test_a_finished_training_is_a_result_on_every_machine(tmp_path):
    history = walk(tmp_path, {}, CPU_BF16)
    again = walk(tmp_path, {}, CPU)
    assert again == history and results.precision(again)["precision"] == CPU_BF16.precision() != CPU.precision()
    settings = SCRATCH.settings() | {"weights": "none", "data": {}, "precision": CPU.precision()}
    trained = [epoch | {"validation_accuracy": 0.5} for epoch in again]
    run = training.Run(tmp_path, SCRATCH, settings, CPU)
    run.history = trained
    assert results.write_run(run, SCRATCH)["settings"]["precision"] == CPU_BF16.precision()
    walk(tmp_path / "half", {}, CPU_BF16, epochs=1)
    with pytest.raises(UsageError, match=r"other settings \(precision\)"):
        walk(tmp_path / "half", {}, CPU)
    settings = {"epochs": 2, "data": {}, "precision": CPU_BF16.precision()}
    results.write_history(tmp_path / "table", settings, [{"epoch": 1}])  # as an older commit wrote it
    found = results.finished_history(tmp_path / "table", settings | {"precision": CPU.precision()}, resuming=True)
    assert found == [{"epoch": 1, "precision": CPU_BF16.precision()}]
    assert results.finished_history(tmp_path / "table", settings | {"lr": 1}, resuming=True) == []


def no_epoch(epoch: int) -> dict:
    raise AssertionError("trained again")


def test_checkpoints_from_before_the_digests_are_read(tmp_path):
    data = {"name": "p1_data", "train": 1, "validation": 1}
    first = walk(tmp_path, {"data": data})
    assert walk(tmp_path, {"data": data | {"digest": "one"}, "training set": "two"}, one_epoch=no_epoch) == first
    walk(tmp_path, {"data": data | {"digest": "one"}}, resuming=False)


def test_a_list_of_dirty_images_that_comes_later_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(p3_data, "OFFICE_TRAIN", 60)
    draw_small(tmp_path, 2, 1)
    cifar_synthetic.draw_cifar(tmp_path / "hw2_data/p2_data", 40, 10, 10)
    more = ["--supervised", "--data", str(tmp_path), "--out", str(tmp_path), "--backbone", "small", "--epochs", "1", "--resume"]
    args = p3_ssl_pretrain.parse_args(more)
    p3_ssl_pretrain.main(args)
    p3_ssl_pretrain.main(args)  # a second time, as run_all.sh --full would
    dropped = tmp_path / "checkpoints/hw2-p2-scratch/dropped.csv"
    dropped.parent.mkdir()
    dropped.write_text("filename\n00000.jpg\n")
    with pytest.raises(UsageError, match="list of images left out"):
        p3_ssl_pretrain.main(args)
    assert p3_ssl_pretrain.excluded_file(None, p3_data.find(str(tmp_path), None), replace(CPU, out=tmp_path, quick=True)) is None


# ---- numbers that are missing ----


def test_a_validation_that_fails_is_named_in_its_epoch(tmp_path):
    numbers = [{"train_loss": 1.0, "validation_loss": 1.0}, {"train_loss": 1.0, "validation_loss": math.nan}]
    with pytest.raises(Incomplete, match=r"in epoch 2: validation loss"):
        walk(tmp_path, {}, one_epoch=numbers.__getitem__)
    assert len(checkpoints.load_checkpoint(tmp_path / "last.pth", "")["history"]) == 1


def test_a_result_without_a_number_is_written_with_the_reason(tmp_path, capsys):
    found = {"A": math.nan, "B": {"C": [0.5, math.inf]}, "D": None}
    results.write_result(
        replace(CPU, out=tmp_path), "f22a 1.2", "title", reproduced=found, missing={"reproduced / D": "no such values"}, data={}
    )
    content = json.loads((tmp_path / "f22a-1.2.json").read_text())
    assert content["reproduced"] == {"A": None, "B": {"C": [0.5, None]}, "D": None}
    assert content["missing"] == {
        "reproduced / A": "came out as nan",
        "reproduced / B / C": "came out as inf",
        "reproduced / D": "no such values",
    }
    assert "no such values" in capsys.readouterr().err and "no such values" in page.build(tmp_path).read_text()


# ---- precision ----


def test_maps_and_similarities_are_computed_in_fp32(monkeypatch):
    seen = []

    def note(*_, **__):
        seen.append((torch.get_float32_matmul_precision(), torch.is_inference_mode_enabled()))
        raise LookupError

    model = p1_models.build("tiny", 96)
    monkeypatch.setattr(torch.nn.functional, "normalize", note)
    monkeypatch.setattr(catr.CATR, "encode", note)
    torch.set_float32_matmul_precision("high")
    try:
        for call in (lambda: p1_models.position_similarity(model), lambda: catr.greedy(catr.CATR(catr.ARCHES["small"]), [])):
            with pytest.raises(LookupError):
                call()
    finally:
        torch.set_float32_matmul_precision("highest")
    assert seen == [("highest", True)] * 2


def test_the_captioner_claims_no_bf16():
    assert "bf16" in CPU_BF16.precision() and CPU_BF16.precision(mixed=False) == CPU.precision() == "fp32, channels last"
