"""common/results.py: what a result says, and which result may take another's place."""

import json

import torch

from common import checkpoints, cli, figures, results, setup
from hw1 import p1_embedding


def write(out, quick=False, **fields):
    runtime = setup.Runtime(torch.device("cpu"), False, out=out, quick=quick, seed=3)
    figure, grid = figures.new_figure()
    grid[0, 0].plot([1, 2])
    fields = {"data": {"name": "p1_data"}, "reproduced": {"A": 0.5}} | fields
    return results.write_result(runtime, "f22a 1.2", "title", figures={"": figure}, **fields)


def test_entries(tmp_path):
    content = write(tmp_path)
    assert json.loads((tmp_path / "f22a-1.2.json").read_text()) == content
    assert content["files"] == ["f22a-1.2.png"] and (tmp_path / "f22a-1.2.png").stat().st_size > 1000
    assert content["seed"] == 3 and content["device"].startswith("cpu (") and content["versions"]["torch"] == torch.__version__
    assert {"item", "title", "script", "command", "data", "quick", "seconds", "commit"} <= content.keys()


def test_command_names_no_folder_of_this_machine(monkeypatch):
    for option in ("--out", "--data"):
        for folder in ([option, "/some/where"], [f"{option}=/some/where"], [option, "a/relative/one"]):
            monkeypatch.setattr("sys.argv", [str(cli.ROOT / "hw1/p1_train.py"), "--quick", *folder, "--arch", "out"])
            assert results.command_line() == "python hw1/p1_train.py --quick --arch out"
    words = ["--weights", "/some/where/vgg16.pth", "--data", "synthetic", "--seed", "1"]
    monkeypatch.setattr("sys.argv", [str(cli.ROOT / "hw1/p1_train.py"), *words])
    assert results.command_line() == "python hw1/p1_train.py --weights vgg16.pth --data synthetic --seed 1"


def test_worse_never_replaces_better(tmp_path, capsys):
    path = tmp_path / "f22a-1.2.json"
    for better, worse in [
        ({"quick": False}, {"quick": True}),
        ({"quick": True}, {"quick": False, "data": {"name": "synthetic"}}),
        ({"deviations": []}, {"deviations": ["epochs 1, not 90"]}),
    ]:
        path.unlink(missing_ok=True)
        write(tmp_path, reproduced={"A": 0.1}, **worse)
        write(tmp_path, reproduced={"A": 0.2}, **better)
        picture = (tmp_path / "f22a-1.2.png").stat().st_mtime_ns
        write(tmp_path, reproduced={"A": 0.3}, **worse)
        assert results.read_json(path)["reproduced"] == {"A": 0.2} and (tmp_path / "f22a-1.2.png").stat().st_mtime_ns == picture
        assert "is kept" in capsys.readouterr().err
        write(tmp_path, reproduced={"A": 0.4}, **better)
        assert results.read_json(path)["reproduced"] == {"A": 0.4}


def test_fifty_classes_can_be_told_apart():
    styles = p1_embedding.class_styles(50)
    assert len({(style["color"], style["marker"]) for style in styles}) == 50


def test_half_precision_keeps_what_it_cannot_hold(tmp_path):
    model = {"weight": torch.tensor([1.0, 2.5]), "running_var": torch.tensor([1.0, 1e6]), "num_batches_tracked": torch.tensor(7)}
    checkpoints.save_checkpoint(tmp_path / "best.pth", {"model": model, "settings": {}})
    kept = checkpoints.load_checkpoint(results.save_half(tmp_path, "p2.pth", {}), "")["model"]
    assert all(torch.equal(kept[key], value) for key, value in model.items())
    assert kept["weight"].dtype == torch.float16 and kept["running_var"].dtype == torch.float32
