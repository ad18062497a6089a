"""Data folders that are too small: one line says so."""

import pytest
import torch
from conftest import draw_small

from common import data
from common.cli import UsageError
from hw1 import p1_pca, p1_train, p1_tsne


def keep_first(folder, count):
    """Remove all images of a folder but the first `count`."""
    for path in sorted(folder.glob("*.png"))[count:]:
        path.unlink()


def test_one_training_image_is_too_few(tmp_path):
    folder = draw_small(tmp_path / "data", 1, 1)
    keep_first(folder / "train_50", 1)
    words = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--report", "f22a", "--model", "A", "--quick"]
    with pytest.raises(UsageError, match="1 training images: fewer than two"):
        p1_train.main(p1_train.parse_args(words))


@pytest.mark.parametrize("script", [p1_pca, p1_tsne])
@pytest.mark.parametrize("count", [1, 4])
def test_figures_of_a_few_images_are_refused(tmp_path, script, count):
    folder = draw_small(tmp_path / "data", 1, 1)
    keep_first(folder / "val_50", count)
    (folder / "val_gt.csv").unlink(missing_ok=True)
    words = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--report", "f22a"]
    with pytest.raises(UsageError, match=f"{count} validation images of . classes are too few"):
        script.main(script.parse_args(words))


def test_two_images_make_a_batch():
    (batch,) = data.batches(2, 8, torch.Generator())
    assert len(batch[0]) == 2
