"""What users really have: csv files of other programs, animated pictures, odd names, checkpoints in other wrappings, outputs of others."""

import ast
import codecs
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import run_script
from PIL import Image

from common import checkpoints, figures, files, grading
from common.cli import ROOT, UsageError
from common.data import decode_folder, read_annotations, read_image
from common.files import image_files
from hw1 import p2_inference, p3_data
from hw1.p1_data import parse_integer, read_answers

# ---- csv and JSON ----


@pytest.mark.parametrize(
    "text, number", [("7", 7), (" 7", 7), ("07", 7), ("7.0", 7), ("7.5", None), ("", None), ("cat", None), ("nan", None)]
)
def test_whole_numbers_are_read_as_spreadsheets_write_them(text, number):
    assert parse_integer(text) == number


def test_answers_of_a_spreadsheet_are_numbers(tmp_path):
    path = tmp_path / "answers.csv"
    path.write_bytes(codecs.BOM_UTF8 + b"label,filename\r\n7.0,a.png\r\n07,b.png\r\n 7,c.png\r\n")
    assert read_answers(path) == {"a.png": 7, "b.png": 7, "c.png": 7}
    path.write_text("filename,label\na.png,7\nb.png,7.5\n")
    with pytest.raises(UsageError, match=r"b\.png has label '7\.5', no whole number"):
        read_answers(path)


def test_an_answer_given_twice_is_named(tmp_path):
    (tmp_path / "answers.csv").write_text("filename,label\na.png,7\nb.png,7\na.png,8\n")
    with pytest.raises(UsageError, match=r"a\.png is listed twice"):
        read_answers(tmp_path / "answers.csv")


IN_ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
READ_AND_WRITE = """
import sys
from pathlib import Path
from common import data, files, grading, results
from hw1 import p1_data, p3_data
from hw2 import p2_ours
assert sys.getfilesystemencoding() == "ascii"
folder = Path(sys.argv[1])
(row,) = p3_data.read_rows(folder / "images.csv", folder, ("filename",))
names = [row["filename"], *p1_data.read_answers(folder / "images.csv"), *p3_data.read_excluded(folder / "images.csv")]
listed, _ = data.read_annotations(folder / "annos.json", folder)
assert names == [path.name for path in files.image_files(folder, (".png",))] * 3 and data.read_image(listed[0]).shape == (3, 8, 8)
p2_ours.write_dropped(folder / "dropped.csv", names[:1])
results.write_json(folder / "a.json", {"title": chr(215)})
"""


@pytest.mark.skipif(os.name != "posix", reason="names are UTF-8 on other systems, whatever the locale")
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_text_is_utf_8_whatever_the_locale(tmp_path, mark):
    Image.new("RGB", (8, 8)).save(tmp_path / "caf\u00e9.png")
    (tmp_path / "images.csv").write_text(f"{mark}filename,label\ncaf\u00e9.png,7\n", encoding="utf-8")
    (tmp_path / "annos.json").write_text(mark + '{"images": ["caf\u00e9.png"], "categories": [3]}', encoding="utf-8")
    command = [sys.executable, "-c", READ_AND_WRITE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ | IN_ASCII)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "dropped.csv").read_text(encoding="utf-8") == "filename\ncaf\u00e9.png\n"


def test_every_text_file_is_opened_as_utf_8():
    calls, wrong = 0, []
    for path in [*ROOT.glob("common/*.py"), *ROOT.glob("hw*/*.py"), *ROOT.glob("benchmarks/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", ""))
            binary = name == "open" and (isinstance(node.func, ast.Attribute) or "b" in ast.unparse(node.args[1:2]))
            if name in ("read_text", "write_text") or (name == "open" and not binary):
                calls += 1
                if not any(word.arg == "encoding" and "utf-8" in ast.unparse(word.value) for word in node.keywords):
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert calls > 20 and not wrong


def test_annotations_with_a_byte_order_mark(tmp_path):
    (tmp_path / "a.jpg").touch()
    path = tmp_path / "annos.json"
    path.write_bytes(codecs.BOM_UTF8 + b'{"images": ["a.jpg"], "categories": [3]}')
    assert read_annotations(path, tmp_path) == ([tmp_path / "a.jpg"], [3])


def test_rows_need_no_column_that_is_not_used(tmp_path):
    (tmp_path / "a.jpg").touch()
    path = tmp_path / "images.csv"
    path.write_text("filename\na.jpg\n")
    assert p3_data.read_rows(path, tmp_path, ("filename",)) == [{"filename": "a.jpg", "label": ""}]
    with pytest.raises(UsageError, match="no rows under the header 'filename,label'"):
        p3_data.read_rows(path, tmp_path)
    path.write_text("filename,label\na.jpg,07\n")
    assert p3_data.read_rows(path, tmp_path)[0]["label"] == "7"


# ---- pictures and their names ----


def test_of_an_animated_gif_the_first_frame_is_taken(tmp_path):
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.jpg", "GIF", save_all=True, append_images=frames[1:])
    assert torch.equal(read_image(tmp_path / "a.jpg")[:, 0, 0], torch.tensor([255, 0, 0], dtype=torch.uint8))


def test_links_to_nowhere_are_named(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "gone.png")
    files = image_files(tmp_path, (".png",))
    assert [path.name for path in files] == ["a.png", "b.png"]
    labels, problems = grading.classify(files, lambda images: torch.zeros(len(images), 3), 8)
    assert list(labels) == ["a.png"] and len(problems) == 1 and "b.png" in problems[0]
    with pytest.raises(UsageError, match=r"b\.png is a link to nowhere"):
        decode_folder(files, 8)


@pytest.mark.parametrize("title, drawn", [("a$\\frac{$^_b.jpg", "a$\\frac{$^_b.jpg"), ("a\udcff\x01.jpg", "a\ufffd\ufffd.jpg")])
def test_titles_are_drawn_as_they_are(tmp_path, title, drawn):
    figure, axes = figures.new_figure()
    axes[0, 0].set_title(title)
    figures.save(figure, tmp_path / "a.png")
    assert axes[0, 0].get_title() == drawn and not axes[0, 0].title.get_parse_math() and files.is_signed(tmp_path / "a.png")


# ---- outputs ----


def test_true_masks_are_not_replaced(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "truth").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "in/0013_sat.jpg")
    Image.new("RGB", (64, 64), "yellow").save(tmp_path / "truth/0013_mask.png")
    before = (tmp_path / "truth/0013_mask.png").read_bytes()
    with pytest.raises(UsageError, match=r"holds 0013_mask\.png that this script did not write"):
        p2_inference.plan(tmp_path / "in", tmp_path / "truth", "2023")
    assert (tmp_path / "truth/0013_mask.png").read_bytes() == before


def test_a_signed_mask_is_the_same_picture(tmp_path):
    labels = torch.randint(0, 7, (40, 30), dtype=torch.uint8)
    p2_inference.write_mask(tmp_path / "a.png", labels)
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.info["Software"] == "course-reports"
        assert np.array_equal(np.asarray(picture), p2_inference.coloured(labels).permute(1, 2, 0).numpy())
    assert files.is_signed(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: path.write_text("filename,label\na.png,1\n"), "not as this script wrote it"),  # the course's answers, say
        (lambda path: path.write_bytes(b"\xff\xfe\x00"), "not as this script wrote it"),
        (lambda path: path.symlink_to("/proc/self/mem"), "cannot be read"),  # root may read all files; not this one
    ],
)
def test_a_csv_path_that_cannot_be_is_refused_before_the_work(tmp_path, make, match):
    make(tmp_path / "out.csv")
    with pytest.raises(UsageError, match=f"OUT_CSV .* {match}"):
        grading.check_own_csv(tmp_path / "out.csv")


def test_a_csv_of_ours_is_written_again_until_somebody_changes_it(tmp_path):
    path = tmp_path / "out.csv"
    path.touch()  # as mktemp leaves it
    for label in (1, 2, 2):
        grading.check_own_csv(path)
        grading.write_csv(path, [("filename", "label"), ("a.png", label)])
    assert path.read_bytes() == b"filename,label\na.png,2\n"
    with pytest.raises(UsageError, match="is one of the inputs"):
        grading.check_own_csv(path, None, path)
    path.write_text("filename,label\na.png,3\n")
    with pytest.raises(UsageError, match="not as this script wrote it"):
        grading.check_own_csv(path)


def test_a_run_killed_between_the_record_and_the_csv_can_be_repeated(tmp_path, monkeypatch):
    path, replace = tmp_path / "out.csv", os.replace
    grading.write_csv(path, [("filename", "label"), ("a.png", 1)])
    for label in (2, 3):
        with monkeypatch.context() as patch, pytest.raises(UsageError):
            patch.setattr(os, "replace", lambda one, other: replace(one, other) if other != path else os.stat(tmp_path / "none"))
            grading.write_csv(path, [("filename", "label"), ("a.png", label)])
        grading.check_own_csv(path)


def test_an_out_that_cannot_be_written_is_named_at_the_start(tmp_path):
    (tmp_path / "file").touch()
    done = run_script(
        "hw1/p1_pca.py", "--report", "f22a", "--out", tmp_path / "file/out", "--data", "synthetic", XDG_CACHE_HOME=str(tmp_path)
    )
    assert done.returncode == 2 and "file/out" in done.stderr and "drawing" not in done.stdout


def test_leftovers_of_a_killed_process_are_removed(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    (tmp_path / f".a.{files.HOST}.{gone.pid}.part").mkdir()
    (tmp_path / f".b.{files.HOST}.{gone.pid}.part").touch()
    (tmp_path / f".b.{files.HOST}.{os.getpid()}.part").touch()
    with files.atomic_folder(tmp_path / "a"), files.atomic_write(tmp_path / "b") as temporary:
        temporary.touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


# ---- checkpoints and shells ----


@pytest.mark.parametrize("name", ["", "model", "state_dict", "ema", "model_ema"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_checkpoints_in_other_wrappings(tmp_path, name, prefix):
    state = {f"{prefix}weight": torch.ones(2, 3), f"{prefix}bias": torch.zeros(2)}
    torch.save({name: state, "epoch": 3} if name else state, tmp_path / "a.pth")
    found = checkpoints.load_checkpoint(tmp_path / "a.pth", "train again")
    checkpoints.load_weights(torch.nn.Linear(3, 2), found.get("model", found), tmp_path / "a.pth")


@pytest.mark.parametrize(
    "text, words",
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 9\n", "a Git LFS pointer"),
        ("\n<!DOCTYPE html><html><body>404</body></html>", "a web page"),
        ("Not found\n", "a text file"),
    ],
)
def test_text_in_place_of_weights_is_said(tmp_path, text, words):
    (tmp_path / "a.pth").write_text(text)
    with pytest.raises(UsageError, match=f"is {words}, not the weights: download"):
        checkpoints.load_checkpoint(tmp_path / "a.pth", "train again")


@pytest.mark.parametrize("shell", ["bash", "sh"])
def test_shell_scripts_through_a_link(tmp_path, shell):
    (tmp_path / "grade.sh").symlink_to(ROOT / "hw1/p2_inference.sh")
    command = [shutil.which(shell), "grade.sh", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"XDG_CACHE_HOME": str(tmp_path)})
    assert done.returncode == 0 and "IN_DIR" in done.stdout, done.stderr
