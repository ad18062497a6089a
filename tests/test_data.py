"""common/data.py: layouts, decoding, the cache, what is refused, and batches."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import draw_small
from PIL import Image

from common import data as data_module
from common.cli import UsageError
from common.data import batches, read_image
from common.files import image_files
from hw1 import p1_synthetic, p3_data
from hw1.p1_data import load_p1


def test_splits(data):
    splits = load_p1(str(data))
    assert splits.name == "p1_data" and len(splits.train) == 400 and len(splits.validation) == 200
    assert splits.train.images.shape == (400, 3, 32, 32) and splits.train.images.dtype == torch.uint8
    name, target, image = splits.train.names[17], splits.train.target[17], splits.train.images[17]
    assert int(name.split("_")[0]) == target
    with Image.open(data / "hw1_data/p1_data/train_50" / name) as picture:
        assert (np.asarray(picture).transpose(2, 0, 1) == image.numpy()).all()


def test_first_per_class(data):
    small = load_p1(str(data)).first_per_class(3, 2)
    assert torch.bincount(small.train.target).tolist() == [3] * 50 and len(small.validation) == 100


def test_second_load_decodes_nothing(data, monkeypatch):
    first = load_p1(str(data))
    monkeypatch.setattr(data_module, "read_image", lambda path: pytest.fail("decoded again"))
    assert torch.equal(load_p1(str(data)).train.images, first.train.images)


def test_changed_file_is_decoded_again(tmp_path):
    folder = draw_small(tmp_path, 2, 2)
    path = folder / "train_50" / load_p1(str(tmp_path)).train.names[0]
    Image.new("RGB", (32, 32), (1, 2, 3)).save(path)
    assert load_p1(str(tmp_path)).train.images[0, :, 0, 0].tolist() == [1, 2, 3]


def test_damaged_cache_is_made_again(data):
    expected = load_p1(str(data)).train.images
    for cache in data_module.cache_folder().glob("train_50-*.pt"):
        cache.write_bytes(b"no tensor")
    assert torch.equal(load_p1(str(data)).train.images, expected)


def decodes(monkeypatch, *arguments, **options) -> int:
    """How many images `decode_folder` decodes."""
    read, count = data_module.read_image, []
    with monkeypatch.context() as patch:
        patch.setattr(data_module, "read_image", lambda path: count.append(path) or read(path))
        data_module.decode_folder(*arguments, **options)
    return len(count)


def test_sizes_and_forms_of_a_folder_are_kept_side_by_side(tmp_path, monkeypatch):
    files = image_files(draw_small(tmp_path, 1, 1) / "train_50", (".png",))
    forms = [(32, None), (32, p3_data.resize_and_crop), (32, data_module.resize_square), (16, p3_data.resize_and_crop)]
    assert [decodes(monkeypatch, files, size, fit) for size, fit in forms * 2] == [50] * 4 + [0] * 4


@pytest.mark.parametrize("what", ["PIL.__version__", "torch.__version__", "torchvision.__version__", "code"])
def test_other_code_or_libraries_decode_again(tmp_path, monkeypatch, what):
    files = image_files(draw_small(tmp_path, 1, 1) / "train_50", (".png",))
    assert decodes(monkeypatch, files, 32) == 50
    if what == "code":
        (tmp_path / "data.py").write_bytes(Path(data_module.__file__).read_bytes() + b"\n")
        monkeypatch.setattr(data_module, "__file__", str(tmp_path / "data.py"))
    else:
        monkeypatch.setattr(f"common.data.{what}", "0.1")
    assert decodes(monkeypatch, files, 32) == 50 and decodes(monkeypatch, files, 32) == 0


def test_what_was_not_used_for_longest_is_dropped(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(data_module, "MOST_CACHED", 2500)
    cache, day = data_module.cache_folder(), data_module.DAY
    made = {"a.pt": 900, "sift/b.pt": 800, "synthetic/old/hw1_data/c.png": 700, "synthetic/young/hw1_data/d.png": 600, "e.pt": 500}
    for name, age in made.items():
        path = cache / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(1000))
        entry = path.parents[1] if "synthetic" in name else path
        os.utime(entry, (0, time.time() - age * day / 650))
    data_module.drop_oldest()
    assert sorted(str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file()) == sorted([*made][3:])
    (cache / "f.pt").write_bytes(bytes(9000))
    data_module.drop_oldest()  # the newest stays, whatever its size, and a stand-in that may be in use
    assert sorted(str(path.relative_to(cache)) for path in cache.rglob("*") if path.is_file()) == ["f.pt", "synthetic/young/hw1_data/d.png"]


def test_what_is_read_counts_as_used(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    files = image_files(draw_small(tmp_path, 1, 1) / "train_50", (".png",))
    decodes(monkeypatch, files, 32)
    (kept,) = data_module.cache_folder().glob("*.pt")
    os.utime(kept, (0, 0))
    decodes(monkeypatch, files, 32)
    assert time.time() - kept.stat().st_mtime < 100
    for _ in range(2):
        folder, _ = data_module.locate("synthetic", "hw0_data", lambda folder: folder.mkdir(parents=True))
        assert time.time() - folder.parent.stat().st_mtime < 100
        os.utime(folder.parent, (0, 0))


def test_every_rank_fills_the_cache(tmp_path, monkeypatch):
    files = image_files(draw_small(tmp_path, 1, 1) / "train_50", (".png",))
    monkeypatch.setattr("common.setup.rank", lambda: 1)  # whichever has the lock first decodes, and the others read
    assert [decodes(monkeypatch, files, 32) for _ in range(2)] == [50, 0]


def test_missing_set_falls_back_and_says_so(tmp_path, capsys, monkeypatch):
    drawn, draw = [], p1_synthetic.draw_p1
    monkeypatch.setattr(p1_synthetic, "draw_p1", lambda folder: drawn.append(draw(folder, 2, 2)))
    monkeypatch.setattr(data_module.synthetic, "version", lambda draw: "small")
    (tmp_path / "hw2_data").mkdir()
    assert [load_p1(str(tmp_path)).name for _ in range(2)] == ["synthetic"] * 2 and len(drawn) == 1
    assert capsys.readouterr().out.count("using the synthetic stand-in") == 1
    assert load_p1("synthetic").name == "synthetic" and len(drawn) == 1


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda f: f.joinpath("train_50/50_0.png").write_bytes(f.joinpath("train_50/0_0.png").read_bytes()), "50_0.png has label 50"),
        (lambda f: f.joinpath("train_50/0_0.png").write_text("text"), "0_0.png unreadable"),
        (lambda f: f.joinpath("train_50/0_0.png").write_bytes(f.joinpath("train_50/0_0.png").read_bytes()[:500]), "0_0.png unreadable"),
        (lambda f: Image.new("RGB", (64, 32)).save(f / "train_50/0_0.png"), "0_0.png 64x32 pixels, not 32x32"),
        (lambda f: f.joinpath("train_50/00_0.png").write_bytes(f.joinpath("train_50/0_0.png").read_bytes()), "repeats the id"),
        (lambda f: f.joinpath("train_50/0_2.png").write_bytes(f.joinpath("val_50/0_2.png").read_bytes()), "is in train_50 and in val_50"),
        (lambda f: f.joinpath("train_50/cat.png").write_bytes(b""), "cat.png is not named label_id.png"),
        (lambda f: f.joinpath("val_gt.csv").write_text("filename,label\n0_2.png,7\n"), "0_2.png has label 7, its name says 0"),
        (lambda f: f.joinpath("val_gt.csv").write_text("name;class\n"), "filename,label"),
        (lambda f: [path.unlink() for path in f.joinpath("train_50").iterdir()], "no .png files"),
        (lambda f: [path.unlink() for path in f.joinpath("train_50").iterdir()] + [f.joinpath("train_50/0").mkdir()], "images lie flat"),
        (lambda f: os.rename(f / "val_50", f / "val"), "val_50 is not a folder"),
    ],
)
def test_bad_sets_are_refused_by_name(tmp_path, break_it, words):
    break_it(draw_small(tmp_path, 2, 2))
    with pytest.raises(UsageError, match=words.replace(".", r"\.")) as error:
        load_p1(str(tmp_path))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir(), lambda path: path.write_text("")])
def test_named_data_folder_must_hold_something(tmp_path, make):
    make(tmp_path / "data")
    with pytest.raises(UsageError, match="--data"):
        load_p1(str(tmp_path / "data"))


@pytest.mark.parametrize("mode", ["L", "RGBA", "LA", "P", "1", "I;16", "CMYK"])
def test_kinds_of_images(tmp_path, mode):
    grey = np.random.default_rng(0).integers(0, 256, (32, 32), dtype=np.uint8)
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    picture = (
        Image.fromarray(grey.astype(np.uint16) * 257)
        if mode == "I;16"
        else Image.fromarray(grey).convert("L" if mode == "P" else "RGB").convert(mode)
    )
    picture.save(path)
    image = read_image(path)
    assert image.shape == (3, 32, 32) and image.dtype == torch.uint8
    if mode not in ("CMYK", "1"):
        assert (image.numpy() == grey).all()


def test_a_shortened_png_is_refused_or_whole(tmp_path):
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(tmp_path / "whole.png")
    content, whole, refused = (tmp_path / "whole.png").read_bytes(), read_image(tmp_path / "whole.png"), 0
    for length in range(0, len(content), 50):
        (tmp_path / "cut.png").write_bytes(content[:length])
        try:
            assert torch.equal(read_image(tmp_path / "cut.png"), whole)
        except ValueError:
            refused += 1
    assert refused > len(content) / 50 * 0.9


def test_batches_cover_everything_once():
    walk = list(batches(103, 20, torch.Generator().manual_seed(1), draws=2))
    assert torch.cat([index for index, _, _ in walk]).sort().values.tolist() == list(range(103))
    assert [len(index) for index, _, _ in walk] == [20] * 5 + [3] and all(weight == 1 for _, _, weight in walk)
    u = torch.cat([u for _, u, _ in walk])
    assert u.shape == (103, 2) and u.min() >= 0 and u.max() < 1 and len(u.unique()) > 200


def test_batches_are_shuffled_by_their_own_generator():
    first, again, other = (torch.cat([i for i, _, _ in batches(64, 16, torch.Generator().manual_seed(seed))]) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other) and first.tolist() != list(range(64))


def test_ranks_share_each_batch(monkeypatch):
    def walk():
        return list(batches(50, 16, torch.Generator().manual_seed(3), draws=1))

    alone = walk()
    monkeypatch.setattr(data_module, "world_size", lambda: 3)
    shares = []
    for rank in range(3):
        monkeypatch.setattr(data_module, "rank", lambda rank=rank: rank)
        shares.append(walk())
    for step, (index, u, _) in enumerate(alone[:3]):
        parts = [share[step] for share in shares]
        assert torch.equal(torch.cat([part[0] for part in parts]).sort().values, index.sort().values)
        assert torch.equal(torch.cat([part[1] for part in parts]).sort(0).values, u.sort(0).values)
        assert sum(part[2] for part in parts) == pytest.approx(3)  # the mean over processes of the weighted means is the batch's mean
    assert [len(share) for share in shares] == [3, 3, 3]  # the last two images are fewer than two for each process
    with pytest.raises(UsageError, match="--batch-size 4"):
        list(batches(50, 4, torch.Generator()))


def test_a_mean_over_tokens_is_that_of_the_batch(monkeypatch):
    losses, tokens = torch.rand(20), torch.arange(1, 21)  # of an example: the mean over its tokens, and how many it has
    monkeypatch.setattr(data_module, "world_size", lambda: 2)
    means = torch.zeros(2)
    for rank in range(2):
        monkeypatch.setattr(data_module, "rank", lambda rank=rank: rank)
        for step, (index, _, weight) in enumerate(batches(20, 10, torch.Generator().manual_seed(0), amounts=tokens)):
            means[step] += weight * (losses * tokens)[index].sum() / tokens[index].sum() / 2
    whole = torch.randperm(20, generator=torch.Generator().manual_seed(0)).split(10)
    assert means.tolist() == pytest.approx([float((losses * tokens)[index].sum() / tokens[index].sum()) for index in whole])


def test_evaluation_is_shared_by_more_processes_than_there_are_images(monkeypatch):
    monkeypatch.setattr(data_module, "world_size", lambda: 4)
    found = []
    for rank in range(4):
        monkeypatch.setattr(data_module, "rank", lambda rank=rank: rank)
        found.append([index.tolist() for index in data_module.evaluation_indices(2, 5)])
    assert found == [[[0]], [[1]], [], []]
