"""hw2 problem 2, 2.3 to 2.5: the tables, what cleaning finds, the final trainings, and the graders' scripts, on drawn images."""

import csv
import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import timm
import torch
import torch.nn.functional as F
from conftest import run_script

from common import classification, data, setup, training
from common.augment import Crop, PerImage, Pipeline
from common.checkpoints import load_checkpoint, save_checkpoint
from common.cli import UsageError
from common.data import Labelled, Splits, load_batches
from common.results import beats, summary
from hw2 import (
    p2_augmentation,
    p2_cleaning,
    p2_data,
    p2_evaluate,
    p2_final,
    p2_models,
    p2_ours,
    p2_recipes,
    p2_suspects,
    p2_synthetic,
    p2_tables,
)
from hw2.p2_recipes import BEST, CHAINS, SCRATCH, TABLE
from hw2.p2_transforms import ByPart

CPU = setup.Runtime(torch.device("cpu"), False)


@pytest.fixture(scope="module")
def cifar(tmp_path_factory):
    """A --data folder with 300 drawn training images."""
    folder = tmp_path_factory.mktemp("cifar")
    p2_synthetic.draw_cifar(folder / "hw2_data/p2_data", 300, 30, 30)
    return folder


@pytest.fixture(scope="module", autouse=True)
def few_images():
    with pytest.MonkeyPatch.context() as patch:
        for module in (p2_tables, p2_ours):
            patch.setattr(module, "QUICK_IMAGES", (3, 2))
        yield


def call(script, cifar, out, *options):
    return script.main(script.parse_args(["--data", str(cifar), "--out", str(out), "--quick", "--epochs", "1", *options]))


@pytest.fixture(scope="module", params=CHAINS)
def ours(request, cifar, tmp_path_factory):
    """The result and the p2.pth of the quick form of one of our own trainings."""
    out, model = tmp_path_factory.mktemp("ours"), request.param
    result = p2_final.main(p2_final.parse_args(["--model", model, "--data", str(cifar), "--out", str(out), "--quick"]))
    return result, next(out.glob(f"checkpoints/hw2-p2-{model}-quick/p2.pth"))


def some(count: int) -> Splits:
    images = torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 32, 32)
    return Splits("some", *[Labelled(images, torch.arange(count) % 10, [str(i) for i in range(count)])] * 2)


def test_augmentation_table_has_all_rows_and_resumes(cifar, tmp_path, capsys):
    found = call(p2_augmentation, cifar, tmp_path, "--seeds", "2")
    assert list(found["reproduced"]) == list(found["reported"]) == list(p2_augmentation.AUGMENTATIONS)
    assert all(set(row) - {"note"} == {"train", "train sd", "validation", "validation sd"} for row in found["reproduced"].values())
    assert found["settings"]["seeds"] == [0, 1] and (tmp_path / "cv22-2.3.png").exists()
    assert not list(tmp_path.glob("checkpoints/*/*.pth"))
    capsys.readouterr()
    assert call(p2_augmentation, cifar, tmp_path, "--seeds", "2", "--resume")["reproduced"] == found["reproduced"]
    assert capsys.readouterr().out.count("has ended") == 14


def test_combined_set_has_each_third_again():
    scores = torch.arange(11.0).flip(0)
    dropped = p2_suspects.lowest(torch.cat([scores, scores + 20]), 1)
    train = p2_data.combined(p2_suspects.without(some(11), dropped)).train  # ten are left: thirds of three
    assert train.names == list("0123456789012345") and train.part.tolist() == [0] * 10 + [1] * 3 + [2] * 3
    assert train.images[:, 0, 0, 0].tolist() == list(map(int, train.names)) and train.target.tolist() == list(map(int, train.names))
    assert train.take(torch.tensor([11, 2, 15])).part.tolist() == [1, 0, 2]


@pytest.mark.parametrize(("ranks", "workers"), [(1, 0), (1, 2), (2, 0)])
def test_each_image_of_the_combined_set_gets_its_parts_pipeline(monkeypatch, ranks, workers):
    train, seen = p2_data.combined(some(30)).train, []
    paint = [Pipeline(PerImage(lambda image, part=part: torch.cat([image[:1], torch.full_like(image[:2], part)]))) for part in range(3)]
    pipeline = Pipeline(ByPart(tuple(paint)), Crop(4))
    runtime = setup.Runtime(torch.device("cpu"), False, workers)
    monkeypatch.setattr(data, "world_size", lambda: ranks)
    for rank in range(ranks):
        monkeypatch.setattr(data, "rank", lambda rank=rank: rank)
        walk = train.batches(10, torch.Generator().manual_seed(0), pipeline.draws)
        for images, target, _ in load_batches(train, pipeline, walk, runtime):
            assert torch.equal(images[:, 0, 9, 9] % 10, target)
            seen += list(zip(images[:, 0, 9, 9].tolist(), images[:, 1, 9, 9].tolist(), strict=True))
    assert sorted(seen) == sorted([(i, 0) for i in range(30)] + [(i, 1) for i in range(10)] + [(i, 2) for i in range(10, 20)])


def test_a_training_tells_the_parts_apart():
    """By a network that sees what each part's pipeline makes of an image: learnt from images whose label is their part."""
    black, white = (PerImage(lambda image, value=value: torch.full_like(image, value)) for value in (0, 255))
    recipe = replace(TABLE, network="lenet", epochs=20, batch_size=10, augment=(ByPart((Pipeline(black), Pipeline(white))),))
    part = torch.arange(40) % 2
    split = p2_data.Combined(torch.zeros(40, 3, 32, 32, dtype=torch.uint8), part, [""] * 40, part)
    model = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 2))
    optimiser = training.make_optimiser(model, recipe)
    numbers = [classification.train_epoch(model, optimiser, split, recipe, CPU, epoch) for epoch in range(recipe.epochs)]
    assert numbers[-1]["train_accuracy"] == 1


def test_spread_decides_who_wins():
    histories = [[{"train_accuracy": 0.5, "validation_accuracy": value}] for value in (0.3, 0.4)]
    row = summary(histories)
    assert row["validation"] == pytest.approx(0.35) and row["validation sd"] == pytest.approx(0.0707, abs=1e-4)
    assert beats(row | {"validation": 0.46}, row) and not beats(row | {"validation": 0.44}, row)
    assert beats(summary(histories[:1]), row) is None


def test_one_run_carries_no_claim_and_the_best_row_must_be_the_named_one():
    once = {name: {"train": 0.5, "validation": 0.3} for name in (*p2_augmentation.ITEM.reported, *p2_cleaning.ITEM.reported)}
    assert {claim["holds"] for script in (p2_augmentation, p2_cleaning) for claim in script.claims(rows_of(script, once))} == {None}
    thrice = {name: row | {"validation sd": 0.01} for name, row in once.items()}
    combined = thrice | {"combined": {"train": 0.4, "validation": 0.4, "validation sd": 0.01}}
    single = ["RandomAffine", "RandomPerspective", "RandomAdjustSharpness", "ColorJitter"]
    assert [claim["claim"].split()[0] for claim in p2_augmentation.claims(rows_of(p2_augmentation, combined))[3:7]] == single
    assert [claim["holds"] for claim in p2_augmentation.claims(rows_of(p2_augmentation, combined))] == [
        True,
        True,
        True,
        *[False] * 4,
        False,
    ]
    crop = combined | {"RandomCrop": {"train": 0.1, "validation": 0.2, "validation sd": 0.01}}
    assert [claim["holds"] for claim in p2_augmentation.claims(rows_of(p2_augmentation, crop))] == [True, False, True, *[False] * 4, True]
    colour = combined | {"ColorJitter": {"train": 0.6, "validation": 0.5, "validation sd": 0.01}}
    assert [claim["holds"] for claim in p2_augmentation.claims(rows_of(p2_augmentation, colour))] == [
        True,
        True,
        False,
        *[False] * 3,
        True,
        False,
    ]
    for best, holds in (("drop 4000", [True, True, True]), ("drop 1000", [True, False, True]), ("none", [False, False, False])):
        rows = thrice | {best: {"train": 0.5, "validation": 0.4, "validation sd": 0.01, "validation, the report's way sd": 0.01}}
        assert [claim["holds"] for claim in p2_cleaning.claims(rows_of(p2_cleaning, rows))] == holds
    easier = {p2_suspects.WAY: 0.4, f"{p2_suspects.WAY} sd": 0.01, p2_cleaning.PLAIN: 0.39}
    found = p2_cleaning.claims(rows_of(p2_cleaning, thrice | {"drop 2000": thrice["drop 2000"] | easier}))
    assert [claim["holds"] for claim in found] == [False, False, True]
    assert found[2]["best"] == "drop 2000" and found[2]["none, on the images of drop 2000"] == 0.39


def rows_of(script, rows: dict[str, dict]) -> dict[str, dict]:
    return {name: rows[name] for name in script.ITEM.reported}


def test_cleaning_table(cifar, tmp_path, capsys):
    found = call(p2_cleaning, cifar, tmp_path)
    call(p2_augmentation, cifar, tmp_path, "--seeds", "1", "--resume")
    assert capsys.readouterr().out.count("has ended") == 1  # row none, which both tables have
    assert list(found["reproduced"]) == ["none", "drop 1000", "drop 2000", "drop 4000"]
    assert {"precision", "recall", p2_suspects.WAY, p2_cleaning.PLAIN} <= found["reproduced"]["drop 4000"].keys()
    assert p2_suspects.WAY not in found["reproduced"]["none"] and "network that scores: training accuracy" in found["settings"]
    assert 0 < found["reproduced"]["drop 4000"][p2_cleaning.LEFT] < found["data"]["validation"]
    assert sorted(found["files"]) == ["cv22-2.4-suspicious.png", "cv22-2.4.png"]


def test_wrong_weights_end_before_the_scoring_network_trains(cifar, tmp_path, capsys):
    for script, model in ((p2_cleaning, []), (p2_final, []), (p2_final, ["--model", "best"])):
        with pytest.raises(UsageError, match=r"none\.pth"):
            call(script, cifar, tmp_path, *model, "--weights", str(tmp_path / "none.pth"))
    torch.save(p2_models.build("lenet").state_dict(), tmp_path / "lenet.pth")
    with pytest.raises(UsageError, match=r"lenet\.pth belongs to another model"):
        call(p2_final, cifar, tmp_path, "--model", "best", "--weights", str(tmp_path / "lenet.pth"))
    assert "epoch 1 " not in capsys.readouterr().out


def test_what_cleaning_drops_and_finds():
    splits, scores = some(10), torch.tensor([0.9, 0.1, 0.8, 0.2, 0.7, 0.3, 0.6, 0.5, 0.95, 0.99])
    dropped = p2_suspects.lowest(torch.cat([scores, scores + 0.15]), 4)  # of all: three training images and one validation image
    cleaned = p2_suspects.without(splits, dropped)
    assert cleaned.train.names == list("024") + list("6789") and cleaned.validation.names == list("02") + list("3456789")
    assert p2_suspects.precision_recall(splits.train.names, dropped[:10], {"1", "3", "9", "elsewhere"}) == (2 / 3, 2 / 3)
    assert p2_suspects.share(4000, 23_000) == 4000 and p2_suspects.share(1000, 2300) == 100


def test_validation_in_the_reports_way_by_hand():
    histories, plain = ([[{"seconds": 1}, {p2_tables.RIGHT: right}] for right in rights] for rights in (("1100", "0001"), ("1010", "0011")))
    dropped = [torch.tensor([True, False, *gone]) for gone in ((False, False, True, True), (True, False, False, False))]
    found = p2_cleaning.reports_way(histories, plain, dropped)
    assert found[p2_suspects.WAY] == pytest.approx((2 / 2 + 1 / 3) / 2) and found[p2_cleaning.PLAIN] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert found[p2_cleaning.LEFT] == 2.5 and found[f"{p2_suspects.WAY} sd"] == pytest.approx(2 / 3 / 2**0.5)
    assert p2_cleaning.reports_way(histories, plain, [gone & False for gone in dropped]) == {}


def test_a_row_that_has_not_learnt_says_so():
    for accuracy, learnt in ((0.19, False), (0.2, True)):
        history = [{"train_accuracy": accuracy, "validation_accuracy": 0.15, "seconds": 1.0}]
        assert ("note" not in p2_tables.table_row([history])) == learnt
        assert ("network that scores: note" not in p2_suspects.about(history)) == learnt
    assert p2_recipes.TABLE.lr == p2_recipes.SCORER.lr == 0.01


def test_score_is_the_largest_probability(cifar):
    split, model = p2_tables.load_splits(replace(CPU, data=str(cifar), quick=True)).train, p2_models.build("lenet").eval()
    expected = model(p2_data.NORMALISED(split.images, torch.empty(0, 0))).softmax(1).max(1).values
    assert torch.allclose(p2_suspects.largest_probability(model, split, CPU), expected, atol=1e-6)


def test_what_is_right_adds_up_to_the_accuracy(cifar):
    split, model = p2_data.load_cifar(str(cifar), 0).train, p2_models.build("lenet")
    right = p2_tables.right(model, split, CPU)
    accuracy = classification.evaluate(model, split, p2_data.NORMALISED, 250, CPU)["validation_accuracy"]
    assert len(right) == len(split) and right.count("1") / len(right) == pytest.approx(float(accuracy)) and "1" in right
    labels = model(p2_data.NORMALISED(split.images[:5], torch.empty(0, 0))).max(1).indices
    assert right[:5] == "".join("01"[int(same)] for same in labels == split.target[:5])


def test_final_training(cifar, tmp_path):
    found = call(p2_final, cifar, tmp_path, "--weights", "none")
    assert found["item"] == "cv22 2.5" and "random weights, not published ones" in found["deviations"]
    model, state = p2_models.load_trained(next(tmp_path.glob("checkpoints/cv22-final*/best.pth")), CPU, "")
    test = p2_data.load_public_test(str(cifar))
    labels = p2_models.logits(model, test.images, state["settings"] | {"views": 1}, CPU).max(1).indices
    assert found["reproduced"]["accuracy on public_test"] == pytest.approx((labels == test.target).double().mean().item())
    assert (tmp_path / "cv22-2.5.png").exists()
    left = found["settings"]["validation images left, the report's way"]
    assert (
        0 < left < found["data"]["validation"]
        and round(found["reproduced"]["validation accuracy, the report's way"] * left, 6).is_integer()
    )
    labelled = 30 + found["data"]["validation"]
    kept = labelled - round(labelled * 4000 / 23_000) - left  # training images
    assert found["data"]["train"] == kept + 2 * (kept // 3)


def test_ours_is_trained_on_unlabelled_images_too(ours):
    found, path = ours
    chain = CHAINS[found["item"].removeprefix("hw2-p2 ")]
    assert path.stat().st_size < 10e6 and (path.parent / "dropped.csv").exists()
    state = load_checkpoint(path, "")
    assert state["settings"]["network"] == chain.quick["network"] and state["settings"]["label_smoothing"] == 0
    assert state["settings"]["data"]["train"] == 30 - round(0.13 * 30) + 30  # of the labelled images all but 13 %, and the unlabelled ones
    assert 0 < state["settings"]["data"]["validation"] <= 0.02 * 300  # all but 2 % of the labelled images are for training


def test_the_least_probable_are_dropped_and_named(tmp_path):
    splits = some(20)
    cleaned = p2_ours.clean(splits, torch.linspace(1, 0, 20), tmp_path / "new" / "dropped.csv")
    assert (tmp_path / "new" / "dropped.csv").read_text().split() == ["filename", *sorted(splits.train.names[-3:])]  # 13 % of 20
    assert cleaned.train.names == splits.train.names[:-3] and torch.equal(cleaned.train.images, splits.train.images[:-3])


def test_soft_labels_are_probabilities(cifar):
    splits = some(20)
    labels, images = torch.rand(7, 10).softmax(1), torch.randint(0, 256, (7, 3, 32, 32), dtype=torch.uint8)
    both = p2_ours.with_soft_labels(splits, images, labels, 0.1).train
    assert torch.equal(both.target[20:], labels) and torch.equal(both.images[20:], images)
    assert torch.allclose(both.target.sum(1), torch.ones(27)) and len(both) == len(both.names) == 27
    assert torch.equal(both.target[:20].max(1).indices, splits.train.target)
    assert both.target[:20].max(1).values == pytest.approx([0.91] * 20)


@pytest.mark.parametrize("chain", CHAINS.values(), ids=CHAINS)
def test_each_network_learns_the_labels_of_the_one_before(cifar, tmp_path, monkeypatch, chain):
    sets, names = {}, [*(f"{chain.name}-{stage.name}" for stage in chain.stages), chain.name]

    def train_stage(name, recipe, splits, weights, runtime, changed):
        sets[name] = (recipe.network, splits.train.target)
        return name, SimpleNamespace(history=[{"epoch": 1, "seconds": 1.0, "validation_accuracy": 0.5}], folder=tmp_path)

    monkeypatch.setattr(p2_ours, "train_stage", train_stage)
    monkeypatch.setattr(
        p2_ours, "probabilities", lambda name, images, *_: F.one_hot(torch.full((len(images),), names.index(name)), 10).float()
    )
    monkeypatch.setattr(p2_ours, "label_probabilities", lambda chain, splits, *_: (torch.rand(len(splits.train)), {}))
    p2_ours.train(chain, some(20), chain.last, "none", replace(CPU, data=str(cifar), out=tmp_path, quick=True), {})
    kept = 20 - round(0.13 * 20)
    assert list(sets) == names and sets[names[0]][1].shape == (kept,)
    for before, name in enumerate(names[1:]):
        assert (sets[name][1][kept:].argmax(1) == before).all() and len(sets[name][1]) > kept
    assert [network for network, _ in sets.values()] == [stage.network or chain.last.network for stage in chain.stages] + [
        chain.last.network
    ]


def test_a_chains_stages_follow_its_last_training():
    stage = SCRATCH.stages[1]
    assert SCRATCH.recipe(stage, SCRATCH.last) == replace(SCRATCH.last, network="whitened", epochs=30)
    assert SCRATCH.recipe(stage, replace(SCRATCH.last, network="lenet", epochs=4)) == replace(SCRATCH.last, network="lenet", epochs=3)
    teacher = BEST.recipe(BEST.stages[0], replace(BEST.last, lr=0.5))
    assert teacher == replace(BEST.last, epochs=BEST.stages[0].epochs, lr=0.5, average=0.0) and BEST.last.average > 0


def test_best_resizes_after_the_augmentation_and_mixes_hard_labels_alone(cifar, tmp_path, monkeypatch):
    names = [type(operation).__name__ for operation in BEST.last.train_pipeline(0).operations]
    assert names == ["PerImage", "Crop", "Flip", "Resize", "Normalise", "Cutout"] and "Resize" not in SCRATCH.last.settings()["transforms"]
    small = replace(BEST.last, network="test_efficientnet", image_size=40, epochs=1, batch_size=5, average=0.5)
    sizes, evaluate = [], classification.evaluate

    def watched(model, split, pipeline, *more):
        sizes.append(pipeline(split.images[:1], torch.empty(0, 0)).shape[2:])
        return evaluate(model, split, pipeline, *more)

    monkeypatch.setattr(classification, "evaluate", watched)
    runtime, splits = replace(CPU, out=tmp_path), some(10)
    soft = p2_ours.with_soft_labels(splits, splits.train.images, torch.rand(10, 10).softmax(1), 0.1)
    for name, these, mixup in (("hard", splits, 0.2), ("soft", soft, 0.0)):
        model, run = p2_ours.train_stage(name, small, these, "none", runtime, {})
        assert run.recipe.mixup == run.settings["mixup"] == mixup and run.settings["image_size"] == 40
        kept = load_checkpoint(run.folder / "best.pth", "")["model"]
        assert all(torch.equal(value, kept[key]) for key, value in model.state_dict().items())  # the average of the weights
    assert set(sizes) == {(40, 40)}


def test_size_normalisation_and_views_are_the_checkpoints(monkeypatch):
    images = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    seen = []

    class Watching(torch.nn.Module):
        def forward(self, x):
            seen.append(x)
            return x.mean((2, 3)).repeat(1, 4)

    settings = {"image_size": 48, "normalise": "half", "views": 2}
    assert p2_models.logits(Watching(), images, settings, CPU).shape == (2, 10)
    assert len(seen) == 2 and seen[0].shape == (2, 3, 48, 48) and torch.equal(seen[0].flip(-1), seen[1])
    assert (seen[0].mean(), seen[0].amin() >= -1) == (pytest.approx(float(images.float().mean() / 127.5 - 1), abs=0.02), True)
    seen.clear()
    p2_models.logits(Watching(), images, {}, CPU)  # an older checkpoint's
    assert len(seen) == 10 and torch.equal(seen[0], p2_data.NORMALISED(images, torch.empty(0, 0)))


def test_probabilities_are_kept_with_the_training_they_come_from(tmp_path, monkeypatch):
    images, model = torch.randint(0, 256, (7, 3, 32, 32), dtype=torch.uint8), p2_models.build("whitened_small")

    def probabilities(loss):
        run = SimpleNamespace(history=[{"epoch": 1, "train_loss": loss}], settings={}, runtime=CPU)
        return p2_ours.probabilities(model, images, run, tmp_path / "a.pth")

    first = probabilities(2.0)
    monkeypatch.setattr(p2_models, "logits", lambda *_: torch.zeros(7, 10))
    assert torch.equal(probabilities(2.0), first)
    assert torch.allclose(probabilities(1.0), torch.full((7, 10), 0.1))


def test_first_filters_whiten():
    images = torch.randn(200, 3, 32, 32, generator=torch.Generator().manual_seed(0)).cumsum(3)
    model = p2_models.build("whitened").whiten_like(images)
    out = model.whiten(images)[:, :12].transpose(0, 1).flatten(1)
    assert torch.allclose(out.cov(), torch.eye(12), atol=0.01)


def test_residual_block_adds_its_input():
    block, x = p2_models.ResidualBlock(4, 6).eval(), torch.randn(2, 4, 8, 8)
    assert not torch.allclose(block(x), F.gelu(block.first(x)))
    torch.nn.init.zeros_(block.others[-1].weight)
    assert block(x).shape == (2, 6, 4, 4) and torch.allclose(block(x), F.gelu(block.first(x)))


# ---- the graders' interface ----


def test_inference_writes_sorted_names(cifar, ours, tmp_path):
    folder = tmp_path / "in"
    shutil.copytree(cifar / "hw2_data/p2_data/public_test", folder)
    (folder / "00003.jpg").rename(folder / "z z.jpg")
    done = run_script("hw2/p2_inference.py", folder, tmp_path / "new/out.csv", "--weights", ours[1])
    assert done.returncode == 0, done.stderr
    with open(tmp_path / "new/out.csv", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["filename", "label"] and [name for name, _ in rows[1:]] == sorted(path.name for path in folder.iterdir())
    assert {label for _, label in rows[1:]} <= set(map(str, range(10)))


def test_evaluate_prints_the_graders_line(cifar, ours, tmp_path, capsys):
    notes = cifar / "hw2_data/p2_data/annotations/public_test_annos.json"
    accuracy = p2_evaluate.main(p2_evaluate.parse_args(["--path", str(ours[1]), "--test_anno", str(notes)]))
    assert capsys.readouterr().out.splitlines()[-1] == f"accuracy :  {accuracy}"
    content = json.loads(notes.read_text())
    model, state = p2_models.load_trained(ours[1], CPU, "")
    test = p2_data.load_public_test(str(cifar))
    labels = p2_models.logits(model, test.images, state["settings"], CPU).max(1).indices.tolist()
    assert accuracy == sum(a == b for a, b in zip(labels, content["categories"], strict=True)) / 30
    copy = tmp_path / "mine.json"
    copy.write_text(notes.read_text())
    options = ["--path", str(ours[1]), "--test_anno", str(copy), "--images", str(notes.parent.parent / "public_test")]
    assert p2_evaluate.main(p2_evaluate.parse_args(options)) == accuracy


@pytest.mark.parametrize(("content", "message"), [({"model": {}}, "no checkpoint of"), ({"other": 1}, "no checkpoint of")])
def test_other_checkpoints_are_refused(cifar, tmp_path, content, message):
    save_checkpoint(tmp_path / "a.pth", content)
    options = ["--path", str(tmp_path / "a.pth"), "--test_anno", str(cifar / "hw2_data/p2_data/annotations/public_test_annos.json")]
    with pytest.raises(UsageError, match=message):
        p2_evaluate.main(p2_evaluate.parse_args(options))


def test_published_weights_of_resnet50_are_read(cifar, tmp_path):
    state = p2_models.build("resnet50").state_dict()
    torch.save(state, tmp_path / "resnet50.pth")
    assert torch.equal(p2_models.build("resnet50", str(tmp_path / "resnet50.pth")).fc.weight, state["fc.weight"])
    del state["fc.weight"]
    torch.save(state, tmp_path / "damaged.pth")
    with pytest.raises(UsageError, match=r"fc\.weight"):
        p2_models.build("resnet50", str(tmp_path / "damaged.pth"))


def test_timms_file_starts_a_network_of_ten_classes_and_a_checkpoint_of_ours_its_head_too(tmp_path):
    imagenet = timm.create_model("test_efficientnet").state_dict()
    torch.save(imagenet, tmp_path / "timm.pth")
    model = p2_models.build("test_efficientnet", str(tmp_path / "timm.pth"))
    assert torch.equal(model.conv_stem.weight, imagenet["conv_stem.weight"]) and model.classifier.weight.shape[0] == 10
    torch.save({"model": model.state_dict()}, tmp_path / "ours.pth")
    again = p2_models.build("test_efficientnet", str(tmp_path / "ours.pth"))
    assert torch.equal(again.classifier.weight, model.classifier.weight)
    with pytest.raises(UsageError, match="nobody publishes weights of test_efficientnet"):
        p2_models.build("test_efficientnet", "default")
