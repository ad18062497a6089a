"""hw1 problem 2, the graders' interface: images of every kind, names, failures, and that nothing half written is left."""

import itertools
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from conftest import run_script
from PIL import Image

from common import setup
from common.checkpoints import save_checkpoint
from common.cli import ROOT, UsageError
from hw1 import p2_inference, p2_models, p2_recipes
from hw1.p2_classes import COLOURS


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A checkpoint of our own small model with random weights, in half precision."""
    return half_checkpoint("scratch", tmp_path_factory.mktemp("weights") / "p2.pth")


def half_checkpoint(model: str, path):
    """A checkpoint of a model of ours with random weights, as p2_seg_train.py leaves it for the graders' script; returns its path."""
    torch.manual_seed(0)
    recipe = p2_recipes.recipe(None, model)
    state = p2_models.build(recipe.network).state_dict()
    state = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
    save_checkpoint(path, {"model": state, "settings": recipe.settings()})
    return path


def photograph(width, height, mode="RGB") -> Image.Image:
    rng = np.random.default_rng(width)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).convert(mode)


def segment(in_dir, out_dir, weights, *options):
    arguments = [str(in_dir), str(out_dir), "--weights", str(weights), "--device", "cpu", *options]
    return p2_inference.main(p2_inference.parse_args(arguments))


def sizes(folder):
    return {path.name: Image.open(path).size for path in sorted(folder.iterdir())}


def test_a_mask_of_each_images_size_in_class_colours(tmp_path, weights):
    images = tmp_path / "in dir"
    images.mkdir()
    for name, size in (("0013_sat.jpg", (512, 512)), ("b.jpg", (1, 1)), ("c.JPG", (300, 20)), ("d.jpeg", (70, 1100))):
        photograph(*size).save(images / name, "JPEG")
    photograph(64, 64, "L").save(images / "grey.jpg")
    photograph(64, 64, "CMYK").save(images / "cmyk.jpg")
    Image.new("RGB", (512, 512)).save(images / "0013_mask.png")
    segment(images, tmp_path / "new/out dir", weights)
    assert sizes(tmp_path / "new/out dir") == {
        **{"0013_sat.png": (512, 512), "b.png": (1, 1), "c.png": (300, 20), "cmyk.png": (64, 64), "d.png": (70, 1100), "grey.png": (64, 64)}
    }
    with Image.open(tmp_path / "new/out dir/0013_sat.png") as mask:
        assert mask.mode == "RGB" and set(mask.get_flattened_data()) <= set(map(tuple, COLOURS.tolist()))


def test_the_shell_script_from_another_folder(tmp_path, weights):
    (tmp_path / "in dir").mkdir()
    photograph(64, 64).save(tmp_path / "in dir/a b.jpg")
    command = ["bash", str(ROOT / "hw1/p2_inference.sh"), "in dir", "out dir", "--weights", str(weights), "--tta"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sizes(tmp_path / "out dir") == {"a b.png": (64, 64)}


def test_the_best_networks_checkpoint_is_small_and_the_committed_one_is_read(tmp_path):
    best = half_checkpoint("best", tmp_path / "p2.pth")
    assert best.stat().st_size < 16e6
    photograph(100, 64).save(tmp_path / "a.jpg")
    for i, path in enumerate((best, p2_inference.WEIGHTS)):
        segment(tmp_path, tmp_path / f"out{i}", path, "--tta")
        assert sizes(tmp_path / f"out{i}") == {"a.png": (100, 64)}


def test_names_of_2023_and_rerunning(tmp_path, weights):
    photograph(64, 64).save(tmp_path / "0013_sat.jpg")
    first = segment(tmp_path, tmp_path / "out", weights, "--names", "2023")["masks"][0]
    before = first.read_bytes()
    segment(tmp_path, tmp_path / "out", weights, "--names", "2023")
    assert first.name == "0013_mask.png" and first.read_bytes() == before and len(sizes(tmp_path / "out")) == 1


def test_batches_give_what_single_images_give(tmp_path, weights):
    model, _ = p2_models.load_trained(weights, setup.Runtime(torch.device("cpu"), False), "")
    for i in range(11):
        photograph(64, 96 if i in (3, 4) else 64).save(tmp_path / f"{i:02d}.jpg")
    masks = segment(tmp_path, tmp_path / "out", weights)["masks"]
    assert [path.name for path in masks] == [f"{i:02d}.png" for i in range(11)]
    for i in (0, 4, 10):
        image = p2_inference.read_image(tmp_path / f"{i:02d}.jpg")
        alone = p2_inference.predict(model, image[None], 0.5, setup.Runtime(torch.device("cpu"), False), False)[0]
        with Image.open(masks[i]) as mask:
            written = torch.from_numpy(np.array(mask)).permute(2, 0, 1)
        assert (written == p2_inference.coloured(alone)).all(0).float().mean() > 0.999


def test_windows_cover_a_side_once():
    for length in (1, 512, 1024, 1025, 1500, 3000, 5000):
        parts = p2_inference.windows(length)
        assert [start for *_, start, _ in parts] == [0, *(end for *_, end in parts[:-1])] and parts[-1][-1] == length
        assert all(left <= inner < outer <= right <= length for left, right, inner, outer in parts)
        if length > 1024:
            assert all(right - left == 512 for left, right, *_ in parts)
            assert all(b[2] - b[0] >= p2_inference.MARGIN and a[1] - a[3] >= p2_inference.MARGIN for a, b in itertools.pairwise(parts))


def test_each_pixel_of_a_large_picture_is_decided_away_from_its_windows_borders(monkeypatch):
    rows, columns = torch.meshgrid(torch.arange(1300) // 20, torch.arange(2000) // 20, indexing="ij")
    image = torch.stack([rows, columns, rows]).to(torch.uint8)

    def predict(_, images, *__):
        """The sum of a pixel's row and column in twenties, but 255 within the margin of a border that is not the picture's."""
        x = images[0].long()
        found, m = (x[0] + x[1]).to(torch.uint8), p2_inference.MARGIN
        for side, border in ((found[:m], x[0, 0, 0] > 0), (found[-m:], x[0, -1, 0] < 64)):
            side[:] = torch.where(border, 255, side)
        for side, border in ((found[:, :m], x[1, 0, 0] > 0), (found[:, -m:], x[1, 0, -1] < 99)):
            side[:] = torch.where(border, 255, side)
        return found[None]

    monkeypatch.setattr(p2_inference, "predict", predict)
    found = p2_inference.label_image(image, None, 1.0, None, False)
    assert torch.equal(found, (rows + columns).to(torch.uint8))


def test_tta_is_the_mean_over_eight_views(weights):
    model, _ = p2_models.load_trained(weights, setup.Runtime(torch.device("cpu"), False), "")
    image = torch.randint(0, 256, (1, 3, 64, 96), dtype=torch.uint8)
    with torch.inference_mode():
        mean = p2_models.logits_at(model, image, (64, 96), turns=True)
        flipped = p2_models.logits_at(model, image.flip(-1), (64, 96), turns=True).flip(-1)
        assert torch.allclose(mean, flipped, atol=1e-4)
        assert not torch.allclose(mean, p2_models.logits_at(model, image, (64, 96)), atol=1e-2)


def test_a_damaged_image_is_named_and_the_others_written(tmp_path, weights):
    for name in ("a", "c"):
        photograph(64, 64).save(tmp_path / f"{name}.jpg")
    (tmp_path / "b.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:100])
    done = run_script("hw1/p2_inference.py", tmp_path, tmp_path / "out", "--weights", weights, "--device", "cpu")
    assert done.returncode == 1 and "b.jpg is unreadable" in done.stderr and "1 of 3 images" in done.stderr
    assert sorted(sizes(tmp_path / "out")) == ["a.png", "c.png"]


def test_wrong_folders_are_refused(tmp_path, weights):
    (tmp_path / "png").mkdir()
    photograph(8, 8).save(tmp_path / "png/x_mask.png")
    with pytest.raises(UsageError, match=r"holds no \.jpg"):
        segment(tmp_path / "png", tmp_path / "out", weights)
    photograph(8, 8).save(tmp_path / "png/x_sat.jpg")
    with pytest.raises(UsageError, match="is IN_DIR"):
        segment(tmp_path / "png", tmp_path / "png", weights, "--names", "2023")
    photograph(8, 8).save(tmp_path / "png/x_sat.jpeg")
    with pytest.raises(UsageError, match=r"would both become x_sat\.png"):
        segment(tmp_path / "png", tmp_path / "out", weights)
    (tmp_path / "file").touch()
    (tmp_path / "png/x_sat.jpeg").unlink()
    with pytest.raises(UsageError, match="cannot write"):
        segment(tmp_path / "png", tmp_path / "file/out", weights)
    with pytest.raises(UsageError, match="no checkpoint of hw1/p2_seg_train"):
        segment(tmp_path / "png", tmp_path / "out", ROOT / "hw1/checkpoints/p1.pth")


def test_a_full_disk_is_one_line(tmp_path, weights, monkeypatch):
    photograph(64, 64).save(tmp_path / "a.jpg")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(UsageError, match=r"cannot write .*a\.png: No space left on device"):
        segment(tmp_path, tmp_path / "out", weights)
    assert not list((tmp_path / "out").iterdir())


def test_a_killed_run_leaves_whole_masks_only(tmp_path, weights):
    for i in range(200):
        photograph(256, 256).save(tmp_path / f"{i:03d}.jpg")
    command = [sys.executable, str(ROOT / "hw1/p2_inference.py"), str(tmp_path), str(tmp_path / "out"), "--weights", str(weights)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while process.poll() is None and len(list((tmp_path / "out").glob("*.png"))) < 10:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    written = list((tmp_path / "out").glob("*.png"))
    assert written and all(np.array(Image.open(path)).shape == (256, 256, 3) for path in written)
    assert not list((tmp_path / "out").glob(".*.png"))
