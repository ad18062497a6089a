"""Training by several processes: their losses are one's, one of them writes, all have what one finds, and no error leaves one waiting."""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from processes import pair

from common import checkpoints, results, setup, training
from common import data as data_module
from common.cli import ROOT, Incomplete, UsageError
from common.setup import Runtime
from hw1 import (
    p1_recipes,
    p1_synthetic,
    p1_train,
    p2_data,
    p2_models,
    p2_recipes,
    p2_seg_train,
    p3_backbones,
    p3_data,
    p3_recipes,
    p3_ssl_finetune,
    p3_ssl_pretrain,
    p3_synthetic,
)
from hw1 import p2_synthetic as land_synthetic
from hw2 import p2_augmentation, p2_cleaning, p2_final, p2_learning_curves, p2_ours, p2_tables
from hw2 import p2_synthetic as cifar_synthetic
from hw3 import p1_recipes as pet_recipes
from hw3 import p1_synthetic as pet_synthetic
from hw3 import p1_train as pet_train
from hw3 import p2_caption_train
from hw3 import p2_synthetic as caption_synthetic

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="gloo with torchrun is tested on Linux and macOS only")
CPU = Runtime(torch.device("cpu"), bf16=False)


def launch(script, processes: int, *options) -> str:
    """Run a script with one process or under torchrun; returns its output."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)] if processes > 1 else []
    command = [sys.executable, *launcher, str(ROOT / script), *map(str, options)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def train(data, out, script, processes: int, *options) -> dict:
    """Train f22a's model A with one process or several; returns its run.json."""
    printed = launch(script, processes, "--report", "f22a", "--model", "A", "--data", data, "--out", out, *options)
    assert printed.count("epoch 1 ") == ("--resume" not in options)
    return json.loads(next(out.glob("checkpoints/*/run.json")).read_text())


def test_two_processes_give_one_process_losses(data, tmp_path):
    # 400 images in batches of 56: the last batch of 8 is shared too, and its weight must be right.
    options = ["--device", "cpu", "--epochs", "2", "--batch-size", "56", "--lr", "0.05"]
    one, two = (train(data, tmp_path / str(n), "tests/train_without_norm.py", n, *options)["history"] for n in (1, 2))
    for name in ("train_loss", "train_accuracy", "validation_loss", "validation_accuracy"):
        assert [epoch[name] for epoch in two] == pytest.approx([epoch[name] for epoch in one], abs=1e-3)
    assert one[1]["train_loss"] < one[0]["train_loss"] - 0.01  # the test would be empty if nothing were learnt


# ---- every training script, ended and resumed ----

TRAININGS = {  # script, options, the files that it leaves in --out
    "p1": (p1_train, ["--model", "scratch", "--batch-size", "50"], ["hw1-p1-scratch.json"]),
    "p1 A": (p1_train, ["--report", "f22a", "--model", "A", "--batch-size", "50"], ["f22a-1.2.json", "f22a-1.3.json"]),
    "segmentation": (p2_seg_train, ["--model", "best", "--batch-size", "4"], ["hw1-p2-best.json"]),
    "byol": (p3_ssl_pretrain, [], ["f23-2.1.json"]),
    "supervised": (p3_ssl_pretrain, ["--supervised"], []),
    "transfer": (p3_ssl_finetune, ["--seeds", "1"], ["f23-2.2.json"]),
    "curves": (p2_learning_curves, ["--batch-size", "20"], ["cv22-2.1.json"]),
    "augmentation": (p2_augmentation, [], ["cv22-2.3.json"]),
    "cleaning": (p2_cleaning, [], ["cv22-2.4.json"]),
    "final": (p2_final, [], ["cv22-2.5.json"]),
    "ours": (p2_final, ["--model", "best", "--batch-size", "20"], ["hw2-p2-best.json"]),
    "ours, scratch": (p2_final, ["--model", "scratch", "--batch-size", "20"], ["hw2-p2-scratch.json"]),
    "pets": (pet_train, ["--image-size", "16"], ["f21-1.1.json"]),
    "captions": (p2_caption_train, ["--arch", "small", "--batch-size", "16"], ["f21-2.1-training.json"]),
}


def every_training(args: argparse.Namespace) -> None:
    """Each script's main twice, in small, the second time with --resume; what it returns in each process, as JSON."""
    results.drawing.save = lambda figure, path: path.write_bytes(b"")
    p1_recipes.RECIPES["ours", "scratch"] = replace(p1_recipes.RECIPES["f22a", "A"], mixup=0.2, average=0.9)
    small = {"network": "test_efficientnet_fpn", "image_size": 64, "average": 0.9}
    p2_recipes.QUICK["efficientnet_lite2_fpn"], p2_recipes.QUICK_VALIDATION = (8, small), 3
    p3_recipes.QUICK_UNLABELLED, p3_recipes.QUICK_LABELLED = 60, (3, 3)
    p2_tables.QUICK_IMAGES = p2_ours.QUICK_IMAGES = (4, 1)
    p2_ours.QUICK_UNLABELED = 20
    pet_recipes.QUICK_IMAGES = (2, 1)
    for backbone in (p3_recipes.PRETRAIN, p3_recipes.SUPERVISED):  # --epochs would give their runs other folders than transfer's
        p3_recipes.QUICK[backbone]["epochs"] = 1
    found = {}
    for name, (script, options, _) in TRAININGS.items():
        options = [*options, "--data", str(args.data), "--out", str(args.out), "--quick", "--device", "cpu"]
        options += ["--epochs", "1"] * (script is not p3_ssl_pretrain)
        found[name] = [script.main(script.parse_args(options + more)) for more in ([], ["--resume"])]
    args.folder.joinpath(f"{setup.rank()}.json").write_text(json.dumps(found, default=str))


@pytest.fixture(scope="module")
def course(tmp_path_factory) -> Path:
    """A --data folder with a little of everything."""
    folder = tmp_path_factory.mktemp("course")
    p1_synthetic.draw_p1(folder / "hw1_data/p1_data", 2, 1)
    land_synthetic.draw_p2(folder / "hw1_data/p2_data", 8, 3)
    p3_synthetic.draw_p3(folder / "hw1_data/p3_data", 60, 40, 40)
    cifar_synthetic.draw_cifar(folder / "hw2_data/p2_data", 200, 20, 20)
    pet_synthetic.draw_pets(folder / "hw3_data/p1_data", 2, 1)
    caption_synthetic.draw_captions(folder / "hw3_data/p2_data", 30, 5)
    return folder


@pytest.fixture(scope="module")
def trained(course, tmp_path_factory):
    """What two processes print and return from every training, and its --out."""
    folder, out = tmp_path_factory.mktemp("every"), tmp_path_factory.mktemp("results")
    ends = pair(every_training, folder, argparse.Namespace(data=course, out=out, folder=folder))
    assert [code for code, _, _ in ends] == [0, 0], ends[0][2] + ends[1][2]
    return [printed for _, printed, _ in ends], [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)], out


@pytest.mark.parametrize("name", TRAININGS)
def test_a_script_ends_and_resumes_under_two_processes(trained, name):
    _, (first, second), out = trained
    ended, resumed = first[name]
    assert first[name] == second[name]  # all processes have what rank 0 wrote
    key = next(key for key in ("history", "reproduced", "train_loss") if key in ended)
    assert ended[key] == resumed[key]
    for file in TRAININGS[name][2]:
        assert "2 processes" in json.loads((out / file).read_text())["device"]


def test_only_one_process_prints(trained):
    (first, second), _, _ = trained
    assert "epoch 1 " in first and "wrote " in first and second == ""


def test_segmentation_is_evaluated_over_all_processes(trained, course):
    _, (found, _), out = trained
    model, _ = p2_models.load_trained(next(out.glob("checkpoints/p2-best*/best.pth")), CPU, "")
    alone = p2_models.evaluate(model, p2_data.load_p2(str(course), 64).validation, CPU)
    kept = found["segmentation"][0]["kept"]
    assert {name: kept[name] for name in alone} == pytest.approx(alone, abs=1e-6)


def test_two_processes_train_the_captioner_as_one(trained, course, tmp_path):
    # Captions differ in length, so the mean over a process's tokens is not to be weighted by its captions.
    script, options, _ = TRAININGS["captions"]
    options = [*options, "--data", str(course), "--out", str(tmp_path), "--quick", "--device", "cpu", "--epochs", "1"]
    script.main(script.parse_args(options))
    one, two = (json.loads(next(out.glob("checkpoints/hw3-p2-*/run.json")).read_text())["history"] for out in (tmp_path, trained[2]))
    for name in ("train_loss", "validation_loss"):
        assert two[0][name] == pytest.approx(one[0][name], abs=1e-4)


# ---- what rank 0 does alone ----

WRONG = UsageError("wrong use")


def wrong(*_):
    raise WRONG


def said(call) -> str:
    """The message of the UsageError that a call raises."""
    try:
        call()
    except UsageError as error:
        return str(error)
    return ""


def rank_zero_helpers(args: argparse.Namespace) -> None:
    """A UsageError in everything that rank 0 does for all, one after the other, and what the processes know of one another meanwhile."""
    setup.start(argparse.Namespace(device="cpu", seed=0))
    mine, missing, file = setup.rank(), args.folder / "missing", args.folder / "file"
    if mine == 0:
        file.write_text("no folder")
        checkpoints.save_checkpoint(args.folder / "kept/last.pth", {"settings": {"weights": "other"}, "model": {}})
        (args.folder / "kept/history.json").write_text('{"settings": {"weights": "other"}}')
    source = p3_data.Source("p3_data", missing)
    choice = p3_recipes.Choice(source, files={"ssl": missing})
    messages = [
        said(lambda: setup.from_rank_zero(wrong)),
        said(setup.on_rank_zero(wrong)),
        said(lambda: setup.writable_folder(file / "below")),
        said(lambda: checkpoints.load_checkpoint_for_all(missing, "")),
        said(lambda: results.save_half(missing, "p1.pth", {})),
        said(lambda: results.finished_history(args.folder / "kept", {"weights": "none"}, False)),
        said(lambda: training.resume(args.folder / "kept", None, None, None, {"weights": "none"})),
        said(lambda: next(training.Run(args.folder / "kept", None, {"weights": "none"}, CPU).epochs(None, None))),
        said(lambda: checkpoints.published_weights("small", None)),
        said(lambda: data_module.locate(str(missing), "hw1_data/p1_data", wrong)),
        said(lambda: p3_backbones.file_of("C", choice, replace(CPU, out=args.folder))),
        said(lambda: p3_data.read_excluded(missing)),
        said(lambda: p2_caption_train.word_pieces(missing, None, 100)),
    ]
    alone = setup.from_rank_zero(
        lambda: [setup.rank(), setup.world_size(), setup.sum_over_processes(1.0), setup.distributed_map(str, [1, 2, 3])]
    )
    together = [mine, setup.world_size(), setup.sum_over_processes(1.0), setup.distributed_map(lambda piece: f"{mine}: {piece}", [1, 2, 3])]
    try:
        setup.from_rank_zero(incomplete)
    except Incomplete as error:
        messages.append(str(error))
    args.folder.joinpath(f"{mine}.json").write_text(json.dumps([messages, alone, together]))


def incomplete():
    raise Incomplete("half of it")


def test_errors_of_rank_zero_are_those_of_all_and_it_works_alone(tmp_path):
    ends = pair(rank_zero_helpers, tmp_path, argparse.Namespace(folder=tmp_path))
    assert [code for code, _, _ in ends] == [0, 0], ends
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first[0] == second[0] and all(first[0]) and len(first[0]) == 14
    assert first[1] == second[1] == [0, 1, [1.0], ["1", "2", "3"]]
    assert first[2] == [0, 2, [2.0], ["0: 1", "1: 2", "0: 3"]] and second[2] == [1, *first[2][1:]]


# ---- errors of one process ----


def joined() -> int:
    """This process's number."""
    setup.start(argparse.Namespace(device="cpu", seed=0))
    return setup.rank()


def wrong_on_one(args: argparse.Namespace) -> None:
    """Rank 1 fails while rank 0 waits for it in the collective that `args` names."""
    if joined() == 1:
        raise args.error
    args.wait()


def total() -> None:
    setup.sum_over_processes(1.0)


def from_rank_zero() -> None:
    setup.from_rank_zero(int)
    setup.sum_over_processes(1.0)


def barrier() -> None:
    with setup.one_process_first():
        pass
    setup.sum_over_processes(1.0)


def share() -> None:
    setup.distributed_map(int, [1, 2])


def gradients() -> None:
    setup.parallel(torch.nn.Linear(2, 2), CPU)


@pytest.mark.parametrize("wait", [total, from_rank_zero, barrier, share, gradients])
def test_the_process_that_fails_says_why_and_the_other_ends(tmp_path, wait):
    (code0, _, err0), (code1, _, err1) = pair(wrong_on_one, tmp_path, argparse.Namespace(error=WRONG, wait=wait))
    assert (code0, err0) == (1, "") and (code1, err1) == (2, "error: wrong use\n")


def test_an_unexpected_error_is_shown_by_the_process_that_has_it(tmp_path):
    (code0, _, err0), (code1, _, err1) = pair(wrong_on_one, tmp_path, argparse.Namespace(error=ZeroDivisionError("odd"), wait=total))
    assert (code0, err0) == (1, "") and code1 == 1 and "ZeroDivisionError: odd" in err1


def wrong_first_process(args: None) -> None:
    joined()
    with setup.one_process_first():
        raise WRONG


def wrong_everywhere(args: None) -> None:
    joined()
    raise WRONG


def wrong_before_joining(args: None) -> None:
    raise WRONG


def killed(args: None) -> None:
    if joined() == 1:
        os.kill(os.getpid(), 9)
    setup.sum_over_processes(1.0)


@pytest.mark.parametrize("main", [wrong_first_process, wrong_everywhere, wrong_before_joining])
def test_an_error_of_all_is_shown_once(tmp_path, main):
    ends = pair(main, tmp_path)
    assert {code for code, _, _ in ends} <= {1, 2} and sum(err.count("error: wrong use") for _, _, err in ends) == 1
    assert "Traceback" not in ends[0][2] + ends[1][2]


def test_a_killed_process_ends_the_other(tmp_path):
    (code0, _, _), (code1, _, _) = pair(killed, tmp_path)
    assert code0 == 1 and code1 == -9


# ---- one choice for all ----


def locate(args: argparse.Namespace) -> None:
    """Each process looks below a folder of its own."""
    own = args.folders[joined()]
    args.folder.joinpath(f"{setup.rank()}.txt").write_text(data_module.locate(str(own), "hw1_data/p1_data", few)[1])


def few(folder: Path) -> None:
    p1_synthetic.draw_p1(folder, 1, 1)


def test_the_first_process_chooses_the_data(data, tmp_path):
    other = tmp_path / "other"
    other.joinpath("more").mkdir(parents=True)
    ends = pair(locate, tmp_path, argparse.Namespace(folder=tmp_path, folders=[other, data]))
    assert [code for code, _, _ in ends] == [0, 0], ends
    assert [(tmp_path / f"{rank}.txt").read_text() for rank in range(2)] == ["synthetic", "synthetic"]
    (code0, _, _), (code1, _, err1) = pair(locate, tmp_path, argparse.Namespace(folder=tmp_path, folders=[data, other]))
    assert code0 == 1 or (tmp_path / "0.txt").read_text() == "p1_data"
    assert code1 == 2 and err1.startswith("error: no hw1_data/p1_data in ") and err1.count("\n") == 1


def other_settings(args: argparse.Namespace) -> None:
    settings = {"data": {"train": 10 + joined()}, "lr": 1.0}
    training.Run(args.folder, None, settings, CPU)


def test_processes_with_other_data_do_not_train_together(tmp_path):
    (code0, _, err0), (code1, _, err1) = pair(other_settings, tmp_path, argparse.Namespace(folder=tmp_path))
    assert (code0, err0) == (1, "") and code1 == 2
    assert err1 == "error: process 1 has data {'train': 11}, in the first {'train': 10}; give all machines the same files and options\n"
