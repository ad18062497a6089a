"""hw3 problem 2: CATR against torch's own attention and its own recomputation, word pieces, captions' data, maps, and the scripts."""

import dataclasses
import itertools
import json
import shutil

import numpy as np
import pytest
import torch
from conftest import COURSE_DATA, run_script
from PIL import Image
from torchvision import models

from common import checkpoints, page, setup
from common.checkpoints import save_checkpoint
from common.setup import UsageError
from hw3 import (
    catr,
    p2_caption_attention,
    p2_caption_train,
    p2_data,
    p2_inference,
    p2_maps,
    p2_models,
    p2_recipes,
    p2_scores,
    p2_synthetic,
    p2_text,
)
from hw3.catr import ARCHES

BERT = COURSE_DATA / "bert-base-uncased-vocab.txt"
CPU = setup.Runtime(torch.device("cpu"), False)
WORDS = ["a red circle above a blue square", "a star left of a heart", "snowboard snow"]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """A --data folder with 60 drawn training and 8 validation pictures."""
    folder = tmp_path_factory.mktemp("captions")
    p2_synthetic.draw_captions(folder / "hw3_data/p2_data", 60, 8)
    return folder


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return catr.CATR(dataclasses.replace(ARCHES["small"], vocab=200)).eval()


@pytest.fixture(scope="module")
def trained(drawn, tmp_path_factory):
    """The --out folder of a short training, and its result."""
    out = tmp_path_factory.mktemp("out")
    options = ["--data", str(drawn), "--out", str(out), "--arch", "small", "--epochs", "2", "--batch-size", "20"]
    result = p2_caption_train.main(p2_caption_train.parse_args(options))
    (out / "checkpoints/hw3-p2-small-epochs2-batch_size20").rename(out / "checkpoints/hw3-p2-small")
    return out, result


# ---- the network ----


def test_full_network_has_the_published_files_tensors():
    with torch.device("meta"):
        state = catr.CATR(ARCHES["full"]).state_dict()
    assert len(state) == 716 and not [key for key in state if "num_batches_tracked" in key]
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    assert shapes["transformer.embeddings.word_embeddings.weight"] == (30522, 256)
    assert shapes["transformer.decoder.layers.5.multihead_attn.in_proj_weight"] == (768, 256)
    assert shapes["backbone.0.body.layer4.2.conv3.weight"] == (2048, 512, 1, 1) and shapes["mlp.layers.2.weight"] == (30522, 512)
    assert {"input_proj.bias", "transformer.encoder.norm.weight", "transformer.decoder.layers.0.norm3.bias"} < shapes.keys()


def test_attention_is_torchs():
    own, torchs = catr.Attention(32, 4, 0.0), torch.nn.MultiheadAttention(32, 4, batch_first=True)
    torchs.load_state_dict(own.state_dict())
    query, key, value = torch.randn(2, 3, 32), torch.randn(2, 5, 32), torch.randn(2, 5, 32)
    hidden = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    out, weights = own(own.project(query, 0), own.project(key, 1), own.project(value, 2), hidden[:, None, None])
    expected = torchs(query, key, value, key_padding_mask=hidden, average_attn_weights=False)
    assert torch.allclose(out, expected[0], atol=1e-6) and torch.allclose(weights, expected[1], atol=1e-6)


def test_sine_positions_are_detrs():
    found = catr.sine_positions(3, 5, 8).view(3, 5, 8)
    y, x = 2 / (3 + 1e-6) * 2 * np.pi, 4 / (5 + 1e-6) * 2 * np.pi  # row 1, column 3, counted from 0
    expected = [np.sin(y), np.cos(y), np.sin(y / 100), np.cos(y / 100), np.sin(x), np.cos(x), np.sin(x / 100), np.cos(x / 100)]
    assert found[1, 3].tolist() == pytest.approx(expected, abs=1e-5)


def test_cached_decoding_gives_what_recomputing_gives(model):
    image = torch.randn(3, 96, 64, generator=torch.Generator().manual_seed(0))
    caption = catr.greedy(model, [image], 12)[0]
    memory, tokens = model.encode([image]), [model.config.start]
    with torch.no_grad():
        while len(tokens) < len(caption.tokens):
            logits, attention, _ = model.decode(torch.tensor([tokens]), memory)
            tokens.append(logits[0, -1].argmax().item())
    assert tokens == caption.tokens and len(tokens) > 3
    assert torch.allclose(attention[0].unflatten(3, (12, 8)), caption.attention, atol=1e-5)
    assert torch.allclose(caption.attention.sum((3, 4)), torch.ones(2, 4, len(tokens) - 1), atol=1e-5)


def test_pictures_of_a_batch_do_not_touch_each_other(model):
    images = [torch.randn(3, *size, generator=torch.Generator().manual_seed(i)) for i, size in enumerate([(96, 96), (50, 96), (96, 40)])]
    together, alone = catr.greedy(model, images, 8), [catr.greedy(model, [image], 8)[0] for image in images]
    for a, b in zip(together, alone, strict=True):
        assert a.tokens == b.tokens and torch.allclose(a.attention, b.attention, atol=1e-4)
    assert [caption.attention.shape[3:] for caption in together] == [(12, 12), (7, 12), (12, 5)]


def test_beams_find_the_likeliest_caption(model):
    """As many beams as there are captions of three tokens find the best of all; a batch finds what each image alone does."""
    torch.manual_seed(1)
    small = catr.CATR(dataclasses.replace(ARCHES["small"], vocab=7, positions=4, start=2, end=3)).eval()
    images = [torch.randn(3, 32, 32) for _ in range(3)]
    for image, found in zip(images, catr.beam_search(small, images, 300), strict=True):
        memory, score = small.encode([image]), {}
        for words in itertools.product(range(7), repeat=3):
            words = [2, *words[: words.index(3) + 1 if 3 in words else 3]]
            with torch.no_grad():
                logits = small.decode(torch.tensor([words[:-1]]), memory)[0][0].log_softmax(1)
            score[tuple(words)] = logits[range(len(words) - 1), words[1:]].mean().item()
        assert tuple(found.tokens) == max(score, key=score.get)
        alone = catr.beam_search(small, [image], 300)[0]
        assert alone.tokens == found.tokens and torch.allclose(alone.attention, found.attention, atol=1e-5)
    greedy, one = catr.greedy(model, images, 8), catr.beam_search(model, images, 1, 8)
    for a, b in zip(greedy, one, strict=True):
        assert a.tokens == b.tokens and torch.allclose(a.attention, b.attention, atol=1e-4)


def test_caption_ends_with_its_end_token():
    attention = torch.rand(2, 4, 6, 20)
    found = catr.cut([101, 7, 8, 102, 9, 9, 9], attention, (4, 4), 102)
    assert found.tokens == [101, 7, 8, 102] and torch.equal(found.attention, attention[:, :, :3, :16].unflatten(3, (4, 4)))
    assert len(catr.cut([101, 7, 8, 9, 9, 9, 9], attention, (4, 5), 102).tokens) == 7


# ---- words and data ----


@pytest.mark.skipif(not BERT.exists(), reason=f"BERT's uncased vocabulary is not at {BERT}")
def test_the_published_vocabulary():
    pieces = p2_text.read_vocabulary(BERT)
    assert (len(pieces), pieces.start, pieces.end) == (ARCHES["full"].vocab, ARCHES["full"].start, ARCHES["full"].end)
    tokens = pieces.encode("A man in a red jacket is on a snowboard.")
    assert tokens == [101, 1037, 2158, 1999, 1037, 2417, 6598, 2003, 2006, 1037, 4586, 6277, 1012, 102]
    assert pieces.words(tokens)[10:12] == ["snow", "##board"]


def test_word_pieces(tmp_path):
    pieces = p2_text.train_vocabulary(WORDS, 60)
    tokens = pieces.encode(WORDS[0])
    assert tokens[0] == pieces.start and tokens[-1] == pieces.end and pieces.text(tokens) == WORDS[0]
    assert pieces.words(tokens)[0] == "<start>" and pieces.words(tokens)[-1] == "<end>"
    captions = [f"{word} {other}ing" for word in WORDS for other in ("ride", "stand", "jump", "carry")]
    assert len({tuple(p2_text.train_vocabulary(captions).pieces) for _ in range(5)}) == 1
    (tmp_path / "vocab.txt").write_text("\n".join([*p2_text.SPECIAL, "snow", "##board", "a", "man"]), encoding="utf-8-sig")
    read = p2_text.read_vocabulary(tmp_path / "vocab.txt")
    assert read.words(read.encode("A snowboard")) == ["<start>", "a", "snow", "##board", "<end>"]
    (tmp_path / "bad.txt").write_text("a\nb\n")
    with pytest.raises(UsageError, match=r"bad\.txt has no \[PAD\]"):
        p2_text.read_vocabulary(tmp_path / "bad.txt")


def test_preprocessed_as_catr_does():
    image = torch.randint(0, 256, (3, 427, 640), dtype=torch.uint8)
    seen = p2_data.preprocess(image, 299)
    assert seen.shape == (3, int(299 / 640 * 427), 299)
    expected = np.asarray(Image.fromarray(image.permute(1, 2, 0).numpy()).resize((299, 199))) / 255
    assert np.allclose(seen.permute(1, 2, 0), (expected - 0.5) / 0.5, atol=1e-6)
    assert p2_data.preprocess(torch.zeros(3, 1, 1, dtype=torch.uint8), 96).shape == (3, 96, 96)
    assert p2_data.preprocess(torch.zeros(3, 1, 900, dtype=torch.uint8), 96).shape == (3, 1, 96)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda content: content["annotations"].pop(0), "train00000.jpg has no caption"),
        (lambda content: content["images"].pop(0), "caption of image 0, which is not listed"),
        (lambda content: content["images"][0].update(file_name="none.jpg"), "none.jpg is not in"),
        (lambda content: content["images"][0].update(file_name="../train/train00000.jpg"), "../train/train00000.jpg is not in"),
        (lambda content: content["images"][0].update(file_name=7), "7 in place of a file's name"),
        (lambda content: content["images"][0].update(file_name="train00001.jpg"), "train00001.jpg is listed twice"),
        (lambda content: content["images"][0].update(id=1), "image id 1 comes 2 times"),
        (lambda content: content["annotations"][0].update(caption=None), "image 0 has None in place of a caption"),
        (lambda content: content["annotations"][0].update(caption=" "), "image 0 has an empty caption"),
        (lambda content: content["annotations"][0].update(image_id=[0]), "has no lists 'images'"),
        (lambda content: content.clear(), "has no lists 'images'"),
    ],
)
def test_wrong_captions_are_one_line(tmp_path, spoil, message):
    p2_synthetic.draw_captions(tmp_path / "hw3_data/p2_data", 3, 2)
    path = tmp_path / "hw3_data/p2_data/train.json"
    content = json.loads(path.read_text())
    spoil(content)
    path.write_text(json.dumps(content))
    with pytest.raises(UsageError, match=message):
        p2_data.load_captions(str(tmp_path))


def test_an_absolute_name_is_refused(tmp_path):
    p2_synthetic.draw_captions(tmp_path / "hw3_data/p2_data", 3, 2)
    path, image = tmp_path / "hw3_data/p2_data/train.json", tmp_path / "hw3_data/p2_data/images/val/val00000.jpg"
    content = json.loads(path.read_text())
    content["images"][0]["file_name"] = str(image)
    path.write_text(json.dumps(content))
    with pytest.raises(UsageError, match=f"{image} is not in"):
        p2_data.load_captions(str(tmp_path))


def test_drawn_boxes_hold_their_shapes():
    for seed in range(5):
        pixels, caption, boxes = p2_synthetic.scene(np.random.default_rng(seed))
        words = caption.split()
        for name, box in boxes.items():
            left, top, right, bottom = (round(edge * 96) for edge in box)
            colour = p2_synthetic.COLOURS[words[words.index(name) - 1]]
            near = np.abs(pixels.transpose(1, 2, 0).astype(int) - colour).sum(2) < 60
            inside = near[max(top, 0) : bottom, max(left, 0) : right].sum()
            assert inside > 100 and inside > 0.95 * near.sum()


# ---- maps ----


def test_measures_of_maps():
    point = torch.zeros(4, 4)
    point[0, 3] = 1.0
    assert p2_maps.centre_and_spread(point) == pytest.approx((0.875, 0.125, 0))
    assert p2_maps.centre_and_spread(torch.ones(4, 4))[2] == pytest.approx((2 * 1.25 / 16) ** 0.5)
    assert p2_maps.difference(torch.stack([point, point.flip(1)])) == 1 and p2_maps.difference(torch.stack([point, point])) == 0
    words, maps = [["<start>", "a", "cat"], ["<start>", "cat"]], [torch.stack([point.flip(1), point]), point[None].flip(1)]
    assert p2_maps.word_table(words, maps)["rows"] == [["cat", 2, 0.875, 0.5, 0], ["a", 1, 0.125, 0.125, 0]]
    assert p2_maps.measures(words, maps) == {"difference between maps": 0.5, "spread of a map": 0}
    assert p2_maps.share_in_box(torch.ones(4, 4), [0.1, 0.2, 0.6, 0.9]) == pytest.approx((0.35, 0.35))
    assert p2_maps.share_in_box(point, [0.5, 0, 1, 0.125]) == pytest.approx((0.5, 0.0625))


def test_a_nouns_share_on_its_shape():
    maps = torch.zeros(2, 2, 2)
    maps[0, 0, 0] = maps[1, 0, 1] = 1
    boxes = {"circle": [0, 0, 0.5, 0.5], "square": [0.5, 0, 1, 0.5]}
    found = p2_maps.on_shapes([["<start>", "circle", "square"]], [maps], [boxes])
    assert list(found.values()) == [1, 0, 0.25]


def test_an_overlay_is_half_picture_half_jet():
    image, attention = torch.full((3, 2, 2), 100, dtype=torch.uint8), torch.tensor([[0.1, 0.1], [0.1, 0.3]])
    blue, red = [50, 50, 50 + 64], [50 + 64, 50, 50]  # jet begins with half blue and ends with half red
    assert p2_maps.overlay(image, attention).tolist() == [[blue, blue], [blue, red]]


def test_one_cell_a_token_with_its_own_map():
    image, maps = torch.zeros(3, 8, 8, dtype=torch.uint8), torch.eye(4).view(4, 2, 2)
    cells = p2_maps.cells(image, ["<start>", "a", "snow", "##board", "<end>"], maps)
    assert [title for title, _ in cells] == ["<start>", "a", "snow", "##board", "<end>"] and not cells[0][1].any()
    for (_, picture), one in zip(cells[1:], maps, strict=True):
        assert np.array_equal(picture, p2_maps.overlay(image, one))
    assert len({picture.tobytes() for _, picture in cells}) == 5


# ---- the scripts ----


def test_training_learns(trained):
    out, result = trained
    state = checkpoints.load_checkpoint(out / "checkpoints/hw3-p2-small/last.pth", "")
    assert state["history"][1]["train_loss"] < state["history"][0]["train_loss"]
    assert result["missing"] if p2_scores.missing() else 0 <= result["reproduced"]["3 beams"]["BLEU-4"] <= 1
    assert result["settings"]["quarter turns"] is False and "bf16" not in result["settings"]["precision"]


def test_figures_show_each_image_its_own_maps(drawn, trained, tmp_path):
    options = ["--data", str(drawn), "--out", str(trained[0]), "--arch", "small", "--max-tokens", "6"]
    found = p2_caption_attention.main(p2_caption_attention.parse_args([*options, "--gif", "--save", str(tmp_path / "a.npz")]))
    assert [name.partition(".")[2] for name in sorted(found["files"])] == [
        f"1-val{i:05d}.{kind}" for i in range(5) for kind in ("gif", "png")
    ]
    kept = np.load(tmp_path / "a.npz")
    assert len(kept["tokens"]) == len(kept["attention"]) + 1 <= 7 and kept["attention"].shape[1:] == (12, 12)
    model, _, _ = p2_models.load_captioner(trained[0] / "checkpoints/hw3-p2-small/p2.pth", None, CPU, "")
    images = [p2_data.preprocess(image, 96) for image in p2_data.load_captions(str(drawn))[2].images.images[:2]]
    own = [catr.greedy(model, [image], 6)[0].attention[-1].mean(0) for image in images]
    assert np.abs(kept["attention"] - own[0].numpy()).max() < 0.01 * (own[0][0] - own[1][0]).abs().max()


def test_the_reports_five_pictures_are_taken_where_they_are(drawn, trained, tmp_path):
    shutil.copytree(drawn, tmp_path / "data")
    folder = tmp_path / "data/hw3_data/p2_data/images"
    options = ["--data", str(tmp_path / "data"), "--out", str(trained[0]), "--arch", "small", "--max-tokens", "3"]

    def shown(*more: str) -> list[str]:
        found = p2_caption_attention.main(p2_caption_attention.parse_args([*options, *more]))
        pictures = list(found["reproduced"]["captions"])
        assert ("training pictures" in page.badges(found)) == pictures[0].startswith("train")
        assert ("pictures of val, not the report's" in found["deviations"]) == pictures[0].startswith("val")
        return pictures

    five = ["bike", "girl", "sheep", "ski", "umbrella"]
    for number, name in enumerate(five):
        assert shown() == [f"val{i:05d}" for i in range(5)]  # until all five are there
        shutil.copy(folder / f"train/train{number:05d}.jpg", folder / f"{name}.jpg")
    assert shown() == five and shown("--split", "train") == [f"train{i:05d}" for i in range(5)]


@pytest.mark.parametrize("mode", ["LA", "P", "CMYK", "I;16", "RGB"])
def test_any_picture_is_captioned(drawn, trained, tmp_path, mode):
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    Image.new(mode, (1, 1) if mode == "RGB" else (50, 30)).save(path)
    options = ["--data", str(drawn), "--out", str(trained[0]), "--arch", "small", "--max-tokens", "3", "--image", str(path)]
    found = p2_caption_attention.main(p2_caption_attention.parse_args(options))
    assert found["item"] == "f21 2.1-a" and found["files"] == ["f21-2.1-a.png"]


def test_long_captions_and_other_checkpoints_are_refused(drawn, trained, tmp_path):
    folder = tmp_path / "long"
    shutil.copytree(drawn / "hw3_data", folder / "hw3_data")
    content = json.loads((folder / "hw3_data/p2_data/train.json").read_text())
    content["annotations"][0]["caption"] = "a red " * 50
    (folder / "hw3_data/p2_data/train.json").write_text(json.dumps(content))
    done = run_script("hw3/p2_caption_train.py", "--data", folder, "--out", tmp_path, "--arch", "small")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "64 positions" in done.stderr and ".jpg has " in done.stderr
    own = trained[0] / "checkpoints/hw3-p2-small/p2.pth"
    state = checkpoints.load_checkpoint(own, "")
    del state["pieces"], state["settings"]
    save_checkpoint(tmp_path / "bare.pth", state)
    (tmp_path / "vocab.txt").write_text("\n".join(p2_text.SPECIAL))
    for vocab, message in ((None, "give BERT's uncased"), (tmp_path / "vocab.txt", "has 5 pieces")):
        with pytest.raises(UsageError, match=message):
            p2_models.load_captioner(tmp_path / "bare.pth", vocab, CPU, "")


def test_inference_draws_a_figure_for_each_image(drawn, trained, tmp_path):
    folder = tmp_path / "in"
    shutil.copytree(drawn / "hw3_data/p2_data/images/val", folder)
    (folder / "bad.jpg").write_text("text")
    weights = trained[0] / "checkpoints/hw3-p2-small/p2.pth"
    done = run_script("hw3/p2_inference.sh", folder, tmp_path / "new/out", "--weights", weights, "--max-tokens", "3")
    assert done.returncode == 1 and "bad.jpg is unreadable" in done.stderr
    assert sorted(path.name for path in (tmp_path / "new/out").iterdir()) == [f"val{i:05d}.png" for i in range(8)]
    with pytest.raises(UsageError, match="is IN_DIR"):
        p2_inference.main(p2_inference.parse_args([str(folder), str(folder), "--weights", str(weights)]))


@pytest.mark.parametrize("together", [False, True])
def test_parts_of_a_batch_are_the_captions_one_by_one(model, together):
    """Sorting by length, cutting to the longest and sharing a picture change no loss."""
    split = p2_data.Captioned(None, [None] * 3, [WORDS[:2], WORDS[2:], [*WORDS, "a"]])
    images, pieces = [torch.randn(3, 40, 40) for _ in range(3)], p2_text.train_vocabulary(WORDS, 60)
    pairs = p2_caption_train.Pairs(split, images, pieces, 64, together, False)
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(p2_caption_train, "PART", 2)
        index = torch.tensor([2, 0] if together else [3, 0, 6, 1, 4, 5])
        found = p2_caption_train.caption_loss(model, *pairs.batch(index, CPU), reduction="sum")
        expected = torch.zeros(())
        for place in (0, 2):
            for caption in split.captions[place]:
                tokens = torch.tensor([pieces.encode(caption)])
                logits = model.decode(tokens[:, :-1], model.encode([images[place]]))[0]
                expected += torch.nn.functional.cross_entropy(logits[0], tokens[0, 1:], reduction="sum")
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


def test_scores_of_captions():
    pytest.importorskip("pycocoevalcap")
    references = [["A dog runs.", "the dog runs in grass"], ["A man sits!", "man on a bench"]]
    best = p2_scores.scores(["a dog runs", "man on a bench ."], references)
    worst = p2_scores.scores(["purple", "a"], references)
    assert best["BLEU-3"] == pytest.approx(1, abs=1e-6) and worst["BLEU-4"] < 0.01 and best["CIDEr"] > 3 > worst["CIDEr"]


@pytest.fixture
def published(monkeypatch):
    """EfficientNet-Lite0's weights, random and in timm's names."""
    torch.manual_seed(3)
    state = checkpoints.create("tf_efficientnet_lite0").state_dict()
    monkeypatch.setattr("common.checkpoints.published_weights", lambda name, url: state)
    return state


def test_lite0_sees_features_that_are_computed_once(published, drawn, tmp_path, monkeypatch):
    monkeypatch.setitem(p2_recipes.RECIPES, "lite0", dataclasses.replace(p2_recipes.RECIPES["lite0"], side=64, batch_size=8))
    options = ["--data", str(drawn), "--out", str(tmp_path), "--arch", "lite0", "--epochs", "2"]
    p2_caption_train.main(p2_caption_train.parse_args(options))
    folder = next((tmp_path / "checkpoints").iterdir())
    model, pieces, _ = p2_models.load_captioner(folder / "p2.pth", None, CPU, "")
    body = model.backbone[0].body.state_dict()
    assert all(torch.allclose(value.float(), published[key].float(), rtol=1e-2, atol=1e-3) for key, value in body.items())
    calls = []
    model.backbone[0].register_forward_hook(lambda *_: calls.append(1))
    split = p2_data.load_captions(str(drawn))[2]
    model, twice = p2_models.build("lite0", pieces, 64, "default"), []
    model.train().backbone[0].register_forward_hook(lambda *_: calls.append(1))
    for _ in range(2):
        twice.append(p2_models.seen(model, split, CPU))
        calls.append("read")
    assert "read" in calls[:1] and calls.count(1) == 0  # the training has kept them
    alone = model.features([p2_data.preprocess(split.images.images[0], 64)])[0]
    for found in twice:
        assert found[0].dtype == torch.float16 and torch.allclose(found[0].float(), alone, atol=1e-2 * alone.abs().max().item())
    with pytest.raises(UsageError, match="--turns"):
        p2_caption_train.main(p2_caption_train.parse_args([*options, "--turns"]))
    with pytest.raises(UsageError, match="needs published weights"):
        p2_models.build("lite0", pieces, 64)


def test_full_network_starts_from_published_statistics(monkeypatch):
    pieces = p2_text.WordPieces(list(p2_text.SPECIAL), "")
    with pytest.raises(UsageError, match="batch norm is frozen"):
        p2_models.build("full", pieces, 96)
    state = models.resnet101().state_dict()
    monkeypatch.setattr("common.checkpoints.published_weights", lambda name, url: state)
    body = p2_models.build("full", pieces, 96, "default").backbone[0].body
    assert torch.equal(body.layer4[2].conv3.weight, state["layer4.2.conv3.weight"])
    assert torch.equal(body.bn1.running_var, state["bn1.running_var"])
