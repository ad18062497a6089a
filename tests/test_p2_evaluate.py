"""hw1 problem 2's metric: the course's numbers to the digit, pairing, and masks that are not what they should be."""

import json

import numpy as np
import pytest
import torch
from conftest import run_script
from PIL import Image

from common.cli import UsageError
from hw1 import p2_evaluate
from hw1.p2_classes import COLOURS, LABEL_OF_CODE, coloured
from hw1.p2_data import read_mask


def write_mask(path, labels):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(coloured(torch.as_tensor(labels)).permute(1, 2, 0).numpy()).save(path)


@pytest.fixture
def folders(tmp_path):
    """Three true masks `000i_mask.png`, beside them images as in the course's folder, and predictions `000i_sat.png`; all classes occur."""
    rng = np.random.default_rng(0)
    for i in range(3):
        truth = rng.integers(0, 7, (40, 48))
        write_mask(tmp_path / "g" / f"{i:04d}_mask.png", truth)
        write_mask(tmp_path / "p" / f"{i:04d}_sat.png", np.where(rng.random((40, 48)) < 0.6, truth, rng.integers(0, 7, (40, 48))))
        Image.new("RGB", (48, 40)).save(tmp_path / "g" / f"{i:04d}_sat.jpg")
    return tmp_path / "g", tmp_path / "p"


def course_lines(truth, predicted) -> str:
    """The course's method, plainly: sums over float arrays, one comparison for each class."""
    truth, predicted = (np.stack([read_mask(path).numpy() for path in sorted(files)]).astype(float) for files in (truth, predicted))
    lines, mean = [], 0
    for i in range(6):
        tp_fp, tp_fn, tp = np.sum(predicted == i), np.sum(truth == i), np.sum((predicted == i) * (truth == i))
        iou = tp / (tp_fp + tp_fn - tp)
        mean += iou / 6
        lines.append(f"class #{i} : {iou:1.5f}")
    return "\n".join([*lines, "", f"mean_iou: {mean:f}", "", ""])


def evaluate(g, p, *options):
    return p2_evaluate.main(p2_evaluate.parse_args(["-g", str(g), "-p", str(p), *map(str, options)]))


def test_prints_the_courses_lines(folders, capsys):
    g, p = folders
    found = evaluate(g, p)
    out, err = capsys.readouterr()
    assert out == course_lines(g.glob("*.png"), p.glob("*.png")) and not err
    assert set(found["iou"]) == {"urban", "agriculture", "rangeland", "forest", "water", "barren"}


def test_unknown_truth_counts_against_what_is_predicted_there(tmp_path):
    write_mask(tmp_path / "g/0.png", [[0, 0, 6, 1]])
    write_mask(tmp_path / "p/0.png", [[0, 6, 0, 1]])
    iou = evaluate(tmp_path / "g", tmp_path / "p")["iou"]
    assert iou["urban"] == pytest.approx(1 / 3) and iou["agriculture"] == 1


def test_absent_class_is_nan_and_left_out(tmp_path, capsys):
    write_mask(tmp_path / "g/0.png", [[0, 0, 1, 1]])
    write_mask(tmp_path / "p/0.png", [[0, 1, 1, 1]])
    found = evaluate(tmp_path / "g", tmp_path / "p", "--json", tmp_path / "scores.json")
    out, err = capsys.readouterr()
    assert found["mean_iou"] == pytest.approx((1 / 2 + 2 / 3) / 2) and "class #5 : nan\n" in out
    assert "#2 (rangeland), #3 (forest), #4 (water), #5 (barren) is in neither folder" in err
    written = json.loads((tmp_path / "scores.json").read_text())
    assert written["iou"]["water"] is None and written["images"]["0.png"]["iou"]["urban"] == 0.5


def test_names_that_agree_are_paired_whatever_their_order(tmp_path, capsys):
    for name, label in (("10_sat", 0), ("9", 1)):
        write_mask(tmp_path / "p" / f"{name}.png", [[label, label]])
    for name, label in (("10", 0), ("9_mask", 1)):
        write_mask(tmp_path / "g" / f"{name}.png", [[label, label]])
    assert evaluate(tmp_path / "g", tmp_path / "p")["mean_iou"] == 1 and "pairing" not in capsys.readouterr().err


def test_other_names_are_paired_by_order_with_a_warning(folders, capsys):
    g, p = folders
    for i, path in enumerate(sorted(p.iterdir())):
        path.rename(p / f"tile{i}.png")
    evaluate(g, p)
    assert (
        "3 of 3 pairs by sorted order alone (0000_mask.png with tile0.png, 0001_mask.png with tile1.png, 0002_mask.png with tile2.png)"
        in capsys.readouterr().err
    )


def test_per_image_table(folders, capsys):
    evaluate(*folders, "--per-image")
    rows = capsys.readouterr().out.splitlines()[-3:]
    assert [row.split()[0] for row in rows] == ["0000_mask.png", "0001_mask.png", "0002_mask.png"] and len(rows[0].split()) == 8


def test_another_number_of_files_is_refused(folders):
    g, p = folders
    (p / "0001_sat.png").unlink()
    with pytest.raises(UsageError, match=r"holds 3 masks, .* 2 \(no prediction for 0001_mask\.png\)"):
        evaluate(g, p)


def test_sizes_that_differ_and_damaged_files_are_named(folders):
    g, p = folders
    write_mask(p / "0001_sat.png", np.zeros((40, 47)))
    (p / "0002_sat.png").write_bytes((p / "0002_sat.png").read_bytes()[:60])
    with pytest.raises(UsageError, match=r"0001_sat.png has 47x40 pixels; 0002_sat.png is unreadable"):
        evaluate(g, p)


def test_colours_of_no_class_are_named(folders, capsys):
    g, p = folders
    pixels = np.array(Image.open(p / "0001_sat.png"))
    pixels[0, 0], pixels[1, 1] = (255, 0, 0), (3, 250, 4)
    Image.fromarray(pixels).save(p / "0001_sat.png")
    evaluate(g, p)
    err = capsys.readouterr().err
    assert "0001_sat.png has colours of no class" in err and "0001_sat.png has 1 red pixels" in err


@pytest.mark.parametrize("ignored", [6, 255])
def test_masks_of_labels_in_place_of_colours_are_refused(folders, ignored):
    g, p = folders
    labels = read_mask(p / "0001_sat.png").numpy()
    Image.fromarray(np.where(labels == 6, ignored, labels).astype(np.uint8)).save(p / "0001_sat.png")
    with pytest.raises(UsageError, match=r"0001_sat\.png is grey, with the classes' numbers in place of their colours"):
        evaluate(g, p)
    with pytest.raises(ValueError, match="grey, with the classes' numbers"):
        read_mask(p / "0001_sat.png")


def test_one_missing_and_one_extra_mask_shift_no_pairs(folders):
    g, p = folders
    (p / "0000_sat.png").rename(p / "0007_sat.png")
    with pytest.raises(UsageError, match=r"no prediction for 0000_mask\.png, no truth for 0007_sat\.png"):
        evaluate(g, p)


def test_numbers_are_compared_as_numbers(folders):
    g, p = folders
    expected = evaluate(g, p)
    for path in p.iterdir():
        path.rename(p / f"{int(path.stem.removesuffix('_sat'))}.png")
    assert evaluate(g, p) == expected


def test_two_masks_of_one_image_are_named(folders):
    g, p = folders
    (p / "0001_mask.png").write_bytes((p / "0001_sat.png").read_bytes())
    with pytest.raises(UsageError, match=r"0001_mask\.png and 0001_sat\.png are two masks of one image"):
        evaluate(g, p)


def test_a_link_to_nowhere_is_named(folders):
    g, p = folders
    (p / "0001_sat.png").unlink()
    (p / "0001_sat.png").symlink_to(p / "gone.png")
    with pytest.raises(UsageError, match=r"0001_sat\.png is unreadable \(FileNotFoundError\)"):
        evaluate(g, p)


def test_the_scores_path_is_tried_before_the_work(folders):
    g, p = folders
    for path in p.iterdir():
        path.write_bytes(b"no mask")
    with pytest.raises(UsageError, match=r"--json .* is a folder"):
        evaluate(g, p, "--json", g)


def test_wrong_folders_end_in_one_line(tmp_path):
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "missing"):
        done = run_script("hw1/p2_evaluate.py", "-g", tmp_path / folder, "-p", tmp_path / "empty")
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1 and folder in done.stderr


def test_colours_and_codes_belong_together(tmp_path):
    bits = (COLOURS >> 7).int()
    codes = bits[:, 0] * 4 + bits[:, 1] * 2 + bits[:, 2]
    assert LABEL_OF_CODE[codes].tolist() == list(range(7)) and codes.tolist() == [3, 6, 5, 2, 1, 7, 0]
    labels = torch.arange(7).repeat(3, 1)
    write_mask(tmp_path / "m" / "0.png", labels)
    assert torch.equal(read_mask(tmp_path / "m" / "0.png").long(), labels)
