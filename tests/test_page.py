"""The results page, the site and the README's table: what they show of a few JSON files, and how the page behaves in a browser."""

import json
import os
import re
import runpy
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from PIL import Image

from common import items, page, results, setup
from common.cli import UsageError
from hw1 import p1_embedding, p2_mask_viz

A_RESULT = {
    "title": "Top-1 accuracy",
    "script": "hw1/p1_train.py",
    "command": "python hw1/p1_train.py --seed 0",
    "reported": {"A": 0.5544, "B": {"epoch 1": 0.0204}},
    "reproduced": {"A": 0.56014, "C": 25557032, "lr": 0.000123456},
    "claims": [
        {"claim": "B beats A", "holds": True, "measured": {"A": 0.56}},
        {"claim": "mixed", "holds": False},
        {"claim": "open", "holds": None},
    ],
    "data": {"name": "p1_data", "train": 22500},
    "settings": {"optimiser": {"lr": 0.1}, "scheduler": None},
    "quick": False,
    "weights": "default",
    "seed": 0,
    "versions": {"torch": "2.0"},
    "files": [],
}
ITEMS = [item for item in items.load().values() if item.result]
VOID = ("meta", "link", "img", "input")


class Balanced(HTMLParser):
    """Reads a page, asserts that every element is closed in order; collects what its tests look at."""

    def __init__(self, path):
        super().__init__()
        self.open, self.rows, self.ids, self.targets, self.text, self.tiles = [], [], [], [], "", {}
        self.feed(path.read_text(encoding="utf-8"))
        assert self.open == []
        self.text = " ".join(self.text.split())

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.targets += [attrs[name] for name in ("src", "href") if name in attrs]
        self.rows += [[]] if tag == "tr" else []
        if attrs.get("id", "").startswith("tile-"):
            self.tile = self.tiles.setdefault(attrs["id"].removeprefix("tile-"), attrs | {"text": ""})
        self.open += [tag] if tag not in VOID else []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self.text += " " if tag in ("dd", "dt", "li", "p", "summary") else ""

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.text += data
            if "li" in self.open and "a" in self.open:
                self.tile["text"] += data
        if {"td", "th"} & set(self.open) and data.strip():
            self.rows[-1].append(data.strip())


def write(out, item, **fields):
    (out / f"{item.replace(' ', '-')}.json").write_text(json.dumps({"item": item, **A_RESULT, **fields}))


def read(out):
    return Balanced(page.build(out))


def some_points():
    """A point file of 2,500 points of 50 classes in three panels."""
    draw = np.random.default_rng(0)
    return p1_embedding.points_file({f"epoch {i}": draw.normal(size=(2500, 2)) * (3, 1) for i in range(3)}, np.arange(2500) % 50)


def some_stages():
    """Stage files of one tile: a grey photograph, then red and green."""
    pictures = [np.full((40, 40, 3), colour, np.uint8) for colour in ((90, 90, 90), (255, 0, 0), (0, 255, 0))]
    return p2_mask_viz.stages_files(["epoch 1", "epoch 2"], {"0013": pictures})


def write_extras(out, item, small, **fields):
    """A result with small files beside it, as results.write_result leaves them."""
    stem = item.replace(" ", "-")
    for suffix, content in small.items():
        (out / (stem + suffix)).write_bytes(content)
    write(out, item, extras=[stem + suffix for suffix in small], **fields)


# ---- numbers ----


@pytest.mark.parametrize(
    ("item", "content", "shown"),
    [
        ("f22a 1.2", {"reported": {"A": 0.5544, "B": 0.9}, "reproduced": {"A": 0.59481}}, "0.5544 → 0.5948"),
        ("f22a 1.2", {"reported": {"A": 0.5544}, "reproduced": {"B": 0.9}}, "0.5544 → —"),
        ("f22a 1.2", {}, "0.5544 → not run"),
        ("f22a 2.3", {"reported": {"A": 0.669958}, "reproduced": {"A": 0.66}}, "0.6700 → 0.6600"),
        ("f21 1.1", {"reported": {"accuracy": 0.944}, "reproduced": {"accuracy": 0.9106666}}, "0.944 → 0.911"),
        ("f23 1.6", {"reported": {"last": {"accuracy": 0.65}}, "reproduced": {"last": {"accuracy": 0.7}}}, "0.650 → 0.700"),
        ("cv22 2.2", {"reported": {"parameters": 25557032}, "reproduced": {"parameters": 25557032}}, "25,557,032 → 25,557,032 parameters"),
        ("f22a 2.1", {"reported": "figure", "reproduced": {"parameters": 23336775}}, "23,336,775 parameters"),
        ("f22a 1.5", {"reported": "figure", "reproduced": {"silhouette": -0.21524}}, "silhouette -0.2152"),
        ("hw1-p1 best", {"reported": {"accuracy": "words"}, "reproduced": {"accuracy": 0.83}}, "accuracy 0.83"),
        ("f22a 1.5", {"reported": "figure", "reproduced": {"silhouette": None}}, ""),
        ("f22a 1.5", {"reported": "figure", "reproduced": {"silhouette": True}}, ""),
        ("f22a 1.5", {}, ""),
        ("new 1", {"reported": {"A": 0.5}, "reproduced": {"A": 0.5}}, ""),
    ],
)
def test_headlines(item, content, shown):
    assert items.headline(item, content) == shown


def test_every_item_with_numbers_has_a_headline():
    assert [item.name for item in ITEMS if not item.headline] == []
    committed = {content["item"]: content for content in page.read_results(page.KEPT)[0].values()}
    for name, content in committed.items():
        assert re.search(r"\d", items.headline(name, content)), name
    to_run = [item for item in ITEMS if re.search(r"\d", str(item.reported)) and item.name not in committed]
    assert to_run and [item.name for item in to_run if item.headline not in dict(items.flatten(item.reported))] == []


def test_numbers_stand_side_by_side(tmp_path):
    write(tmp_path, "f22a 1.2", tables=[{"title": "Layers", "header": ["name", "size"], "rows": [["conv1", [64, 8]]]}])
    parsed = read(tmp_path)
    assert ["model A", "0.5544", "0.5601"] in parsed.rows
    assert ["model B / epoch 1", "0.0204", "—"] in parsed.rows
    assert ["C", "—", "25,557,032"] in parsed.rows
    assert ["learning rate", "—", "0.0001235"] in parsed.rows
    assert ["conv1", "64, 8"] in parsed.rows
    assert parsed.tiles["f22a-1.2"]["text"].split() == [
        *("0.5544", "→", "0.5601", "f22a", "1.2", "✓✗?", "0.5544", "→", "0.5601", "Top-1", "accuracy"),
        *("not", "run:", "model", "B", "/", "epoch", "1"),
    ]


def test_claims_and_their_count(tmp_path):
    write(tmp_path, "f22a 1.2")
    write(tmp_path, "f22a 1.3", data={"name": "synthetic"}, claims=[{"claim": "always", "holds": True}])
    parsed = read(tmp_path)
    assert "✓ B beats A (measured: measured A: 0.56)" in parsed.text
    assert "✗ mixed" in parsed.text
    assert "? open" in parsed.text
    assert "f22a Deep Learning for Computer Vision, fall 2022: homework 1 2 of 10 items done 2 of 4 claims hold" in parsed.text
    assert f"items done: 2 of {len(ITEMS)}. Claims that hold: 2 of 4." in parsed.text
    assert "1 of the items; without these, 1 of 3 claims hold" in parsed.text


def test_origin_and_settings(tmp_path):
    write(tmp_path, "f22a 1.2", commit="0123abc")
    parsed = read(tmp_path)
    assert "data name: p1_data, train: 22,500 seed 0 weights default commit 0123abc versions torch: 2.0 file f22a-1.2.json" in parsed.text
    assert A_RESULT["command"] in parsed.text
    assert "optimiser / lr 0.1 scheduler —" in parsed.text
    assert "f22a-1.2.json" in parsed.targets


def test_badges_only_where_they_apply(tmp_path):
    write(tmp_path, "f22a 1.2")
    assert not any(badge in read(tmp_path).text for badge in page.BADGES)
    write(tmp_path, "f22a 1.3", data={"name": "synthetic"}, quick=True, weights="none", deviations=["epochs 8, not 90", page.TRAINED_ON])
    write(tmp_path, "f22a 1.4", deviations=["epochs 1, not 200"])
    parsed = read(tmp_path)
    assert "not as in the report: 1 setting epochs 1, not 200" in parsed.text
    assert "synthetic stand-in quick run weights: none training pictures" in " ".join(parsed.tiles["f22a-1.3"]["text"].split())
    assert "other settings" in parsed.tiles["f22a-1.4"]["text"] and "other settings" not in parsed.tiles["f22a-1.3"]["text"]
    assert all(badge in parsed.text for badge in page.BADGES)
    assert [parsed.tiles[f"f22a-1.{i}"]["data-data"] for i in (2, 3, 4, 5)] == ["real", "drawn", "real", "none"]


def test_everything_is_escaped(tmp_path):
    hostile = "<script>alert('1')</script>\"&"
    table = {"title": hostile, "header": [hostile], "rows": [[hostile]]}
    claims = [{"claim": hostile, "holds": True, hostile: hostile}]
    fields = dict.fromkeys(("title", "command", "reported", "script", "device", "commit", "weights"), hostile)
    more = {field: {hostile: hostile, "name": hostile} for field in ("reproduced", "settings", "versions", "data", "missing")}
    (tmp_path / "a&'b.png").write_bytes(b"")
    points = json.dumps({"panels": [{"title": hostile, "x": [1], "y": [1]}], "target": [0]}).encode()
    stages = json.dumps({"stages": [hostile], "tiles": [hostile.replace("/", "")], "size": [1, 1]}).encode()
    extras = {"-points.json": points, "-stages.json": stages}
    files = [hostile.replace("/", ""), "a&'b.png"]
    write_extras(tmp_path, "f22a 1.2", extras, claims=claims, tables=[table], files=files, deviations=[hostile], **fields, **more)
    write(tmp_path, 'f99"<i> 1')
    parsed = read(tmp_path)
    content = (tmp_path / "index.html").read_text()
    assert "<script>alert" not in content and "<i>" not in content and 'f99"' not in content
    assert content.count("<script") == 2  # the page's own, and the points
    assert parsed.text.count(hostile) > 15


def test_figures_are_linked_or_named_as_missing(tmp_path):
    head = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + (1500).to_bytes(4, "big") + (600).to_bytes(4, "big")
    (tmp_path / "f22a-1.2.png").write_bytes(head)
    write(tmp_path, "f22a 1.2", files=["f22a-1.2.png", "f22a-1.2-B.png"])
    parsed = read(tmp_path)
    assert parsed.targets.count("f22a-1.2.png") == 3  # thumbnail, figure, link to the file
    assert "f22a-1.2-B.png" not in parsed.targets
    assert f"Not in this folder: f22a-1.2-B.png. This draws it: {A_RESULT['command']}" in parsed.text
    assert 'width="1500" height="600"' in (tmp_path / "index.html").read_text()


def test_whose_photographs_they_are(tmp_path):
    write(tmp_path, "f21 1.3")
    write(tmp_path, "f21 2.1", files=["f21-2.1-a.png"])
    parsed = read(tmp_path)
    assert parsed.text.count("Oxford-IIIT Pet Dataset (Parkhi et al., 2012), CC BY-SA 4.0.") == 2  # at the item, and at the page's foot
    assert "not ours to hand on." in parsed.tiles["f21-2.1"]["text"]
    assert f"not ours to hand on. Not in this folder: f21-2.1-a.png. This draws it: {A_RESULT['command']}" in parsed.text


# ---- which files ----


def test_figures_of_other_folders_are_not_shown(tmp_path):
    write(tmp_path, "f22a 1.2", files=["../a.png"])
    write(tmp_path, "f22a 1.3", extras=["../a-points.json"])
    wrong = {"f22a-1.2.json": "unexpected content in files", "f22a-1.3.json": "unexpected content in extras"}
    assert page.read_results(tmp_path) == ({}, wrong)


def test_a_damaged_file_is_named_and_the_rest_is_shown(tmp_path):
    write(tmp_path, "f22a 1.2")
    write(tmp_path, "f22a 1.3", claims="x")
    write(tmp_path, "f22a 1.4", data=[])
    write(tmp_path, "f22a 1.5", tables=[{"rows": [1]}])
    (tmp_path / "f22a-1.6.json").write_text('{"item": "f22')
    (tmp_path / "f22a-1.7.json").write_bytes(b"\xff\xfe")
    (tmp_path / "labels.json").write_text("[1, 2]")
    (tmp_path / ".f22a-1.8.1.json").write_text("{")
    found, damaged = page.read_results(tmp_path)
    assert list(found) == ["f22a-1.2.json"]
    assert list(damaged) == [f"f22a-1.{number}.json" for number in range(3, 8)]
    shown = read(tmp_path).text.partition("Damaged files, left out")[2].partition("items done")[0]
    assert re.findall(r"f22a-1\.\d", shown) == [f"f22a-1.{number}" for number in range(3, 8)]
    assert "labels.json" not in shown


@pytest.mark.parametrize(
    "content", ["{", "[]", "{}", '{"panels": 1, "target": []}', '{"panels": [{"title": "", "x": ["a"]}], "target": []}']
)
def test_a_damaged_small_file_is_named_and_its_item_is_shown(tmp_path, content):
    write_extras(tmp_path, "f22a 1.6", {"-points.json": content.encode()})
    found, damaged = page.read_results(tmp_path)
    assert found["f22a-1.6.json"]["extras"] == {} and list(damaged) == ["f22a-1.6-points.json"]
    parsed = read(tmp_path)
    assert "f22a-1.6-points.json" in parsed.text and "One class at a time" not in parsed.text


def test_a_result_says_its_headline_and_names_its_small_files(tmp_path):
    runtime = setup.Runtime(torch.device("cpu"), False, out=tmp_path)
    fields = {"reported": {"A": 0.5544}, "reproduced": {"A": 0.59481}, "data": {"name": "p1_data"}}
    results.write_result(runtime, "f22a 1.2", "title", extras=some_points() | some_stages(), **fields)
    content = json.loads((tmp_path / "f22a-1.2.json").read_text())
    assert content["headline"] == "0.5544 → 0.5948"
    assert content["extras"] == ["f22a-1.2-points.json", "f22a-1.2-stages.json", "f22a-1.2-0013-strip.jpg"]
    found, damaged = page.read_results(tmp_path)
    assert list(found) == ["f22a-1.2.json"] and list(found["f22a-1.2.json"]["extras"]) == ["points", "stages"] and damaged == {}
    assert (tmp_path / "f22a-1.2-0013-strip.jpg").read_bytes() == some_stages()["-0013-strip.jpg"]


def test_small_files_for_the_page(tmp_path):
    files = some_points() | some_stages()
    assert len(files["-points.json"]) < 100_000
    content = json.loads(files["-points.json"])
    assert [len(panel["x"]) for panel in content["panels"]] == [len(content["target"])] * 3 == [2500] * 3
    assert {min(content["panels"][0]["x"]), max(content["panels"][0]["x"])} == {0, 999}
    assert min(content["panels"][0]["y"]) == 0 and 150 < max(content["panels"][0]["y"]) < 500  # one scale for both sides
    plane = np.array([[0.0, 0.0], [0.0, 2.0], [4.0, 1.0]])
    panel = json.loads(p1_embedding.points_file({"a": plane}, np.arange(3))["-points.json"])["panels"][0]
    assert panel == {"title": "a", "x": [0, 0, 999], "y": [500, 0, 250]}  # the highest point is at the top
    write_extras(tmp_path, "f22a 2.4", some_stages())
    with Image.open(tmp_path / "f22a-2.4-0013-strip.jpg") as strip:
        assert strip.size == (960, 320) and strip.getpixel((480, 160))[0] > 240 and strip.getpixel((800, 160))[1] > 240
    parsed = read(tmp_path)
    assert parsed.targets.count("f22a-2.4-0013-strip.jpg") == 2 and "epoch 1 epoch 2" in parsed.text


def test_order_of_reports_and_items(tmp_path):
    own = ["new 1", "f22a 1.9", "f22a 1.10", "f23 2.1-other"]
    for item in own:
        write(tmp_path, item)
    tiles = list(read(tmp_path).tiles)
    assert len(tiles) == len(ITEMS) + len(own)
    assert [tiles.index(name) for name in ("f21-1.1", "f22a-1.6", "f22a-1.9", "f22a-1.10", "f22a-2.1")] == [0, 11, 12, 13, 14]
    assert tiles.index("f23-2.1-other") == tiles.index("f23-2.1-crop") + 1
    assert tiles[-1] == "new-1" and tiles.index("cv22-2.5") < tiles.index("hw1-p1-best")


def test_items_that_have_not_run_are_listed_with_their_command(tmp_path):
    write(tmp_path, "f22a 1.2")
    parsed = read(tmp_path)
    assert list(parsed.tiles) == sorted(parsed.tiles, key=list(parsed.tiles).index) and len(parsed.tiles) == len(ITEMS)
    assert parsed.tiles["f23-1.2"]["text"].split() == [
        "not",
        "run",
        "f23",
        "1.2",
        "0.646",
        "→",
        "not",
        "run",
        "top-1",
        "accuracy",
        "on",
        "validation",
    ]
    assert "Not run here. This makes it: bash run_all.sh --only f23-1.2 --full" in parsed.text
    assert ["model B", "0.8628", "—"] in parsed.rows
    assert "f23-2.2-supervised" not in parsed.tiles
    assert {f"#{name}" for name in parsed.tiles} <= set(parsed.targets) and set(parsed.tiles) <= set(parsed.ids)
    assert len(parsed.ids) == len(set(parsed.ids))


def test_an_empty_folder_and_a_missing_one(tmp_path):
    assert "Nothing has been run yet" in read(tmp_path).text
    with pytest.raises(UsageError, match="not a folder"):
        page.build(tmp_path / "missing")


def test_nothing_is_loaded_from_elsewhere(tmp_path):
    write_extras(tmp_path, "f22a 1.2", some_points() | some_stages(), files=["x.png"])
    (tmp_path / "x.png").write_bytes(b"")
    parsed = read(tmp_path)
    assert not [target for target in parsed.targets if ":" in target and target != "data:,"]
    assert "//" not in (tmp_path / "index.html").read_text()


# ---- the site and the README ----


def test_the_site_is_that_of_the_committed_results(tmp_path):
    kept = (page.KEPT.parent / "index.html").read_text(encoding="utf-8")
    shutil.copytree(page.KEPT, tmp_path / "results")
    made = page.build(tmp_path / "results", tmp_path / "index.html").read_text(encoding="utf-8")
    assert made == kept, "docs/index.html is stale: python common/page.py --site"
    figures = [target for target in Balanced(tmp_path / "index.html").targets if target.startswith("results/")]
    assert len(figures) > 100 and all((tmp_path / target).is_file() for target in figures)


def test_readme_table(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- index -->\nold\n<!-- /index -->\nafter\n")
    write(tmp_path, "f22a 1.10", title="a | <b>", quick=True)
    write(tmp_path, "f22a 1.2", reported={"A": 0.5544})
    assert page.write_readme(readme, tmp_path) == readme
    first = readme.read_text()
    assert first.startswith("before\n<!-- index -->\n| item | what it shows | reported → reproduced | run |\n| --- |")
    assert first.endswith("\n<!-- /index -->\nafter\n")
    rows = first.splitlines()[4:-2]
    assert len(rows) == len(ITEMS) + 1
    assert "| [f22a 1.2](docs/index.html#f22a-1.2) | Top-1 accuracy | 0.5544 → 0.5601 | full run |" in rows
    assert "| [f22a 1.10](docs/index.html#f22a-1.10) | a \\| &lt;b&gt; | — | quick run, not run: model B / epoch 1 |" in rows
    assert "| [f22a 1.4](docs/index.html#f22a-1.4) | model B's implementation, against A | 200 epochs → not run | not run |" in rows
    page.write_readme(readme, tmp_path)
    assert readme.read_text() == first


@pytest.mark.parametrize("content", [None, "", "<!-- index -->", "<!-- /index --> <!-- index -->"])
def test_readme_without_markers_is_left_alone(tmp_path, content):
    readme = tmp_path / "README.md"
    if content is not None:
        readme.write_text(content)
    with pytest.raises(UsageError, match="needs the lines"):
        page.write_readme(readme, tmp_path)
    assert (readme.read_text() if readme.exists() else None) == content


def test_readme_refuses_a_damaged_result(tmp_path):
    (tmp_path / "f22a-1.2.json").write_text("{")
    with pytest.raises(UsageError, match=r"f22a-1\.2\.json"):
        page.write_readme(tmp_path / "README.md", tmp_path)


def test_the_readmes_table_is_that_of_the_committed_results(tmp_path):
    kept = (page.ROOT / "README.md").read_text(encoding="utf-8")
    (tmp_path / "README.md").write_text(kept, encoding="utf-8")
    page.write_readme(tmp_path / "README.md")
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == kept, "the README's table is stale: python common/page.py --readme"
    anchors = re.findall(r"\(docs/index\.html#([^)]+)\)", kept)
    assert len(anchors) == len(ITEMS) and set(anchors) <= set(Balanced(page.KEPT.parent / "index.html").ids)


def test_the_contact_sheet_is_small_and_has_its_figures(tmp_path):
    kept = page.KEPT.parent / "contact-sheet.png"
    assert kept.stat().st_size < 300_000
    sheet = runpy.run_path(str(kept.with_name("contact_sheet.py")))
    with pytest.raises(UsageError, match=r"lacks hw1-p2-stages-0013\.png"):
        sheet["main"](sheet["parse_args"](["--results", str(tmp_path)]))
    made = sheet["main"](sheet["parse_args"](["--out", str(tmp_path / "sheet.png")]))
    with Image.open(made) as new, Image.open(kept) as old:
        assert new.size == old.size and new.convert("RGB").tobytes() == old.convert("RGB").tobytes(), "stale: python docs/contact_sheet.py"


def test_command_line(tmp_path, capsys):
    assert page.main(page.parse_args(["--out", str(tmp_path)])) == tmp_path / "index.html"
    assert capsys.readouterr().out == f"{tmp_path / 'index.html'}\n"


# ---- in a browser ----

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
USE_IT = """
const problems = [], wait = () => new Promise((done) => setTimeout(done, 30));
const shown = (selector) => [...document.querySelectorAll(selector)].filter((one) => one.checkVisibility()).map((one) => one.id).join(" ");
addEventListener("error", (event) => problems.push(event.message));
console.error = console.warn = (...words) => problems.push(words.join(" "));
const press = (key) => document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
const alphas = (canvas) => [...canvas.getContext("2d").getImageData(0, 0, 720, 720).data].filter((value, i) => i % 4 === 3);
const colours = (canvas) => alphas(canvas).filter((alpha) => alpha > 150).length;
addEventListener("load", () => use().catch((error) => problems.push(error.stack)).finally(() => document.body.append(
  Object.assign(document.createElement("pre"), { id: "outcome", textContent: JSON.stringify(found) }))));
const found = { problems };
async function use() {
  found.start = [document.querySelectorAll(".tile").length, shown(".item")];
  document.querySelector("#show-fails").click();
  await wait();
  found.fails = [shown(".tile"), document.querySelector("#count").textContent];
  document.querySelector("#show-drawn").click();
  await wait();
  found.none = [shown(".tile"), document.querySelector("#count").textContent, shown(".group")];
  document.querySelector("[name=data]").click();
  document.querySelector("#show-fails").click();
  [...document.querySelectorAll("[name=report]")].find((one) => one.parentNode.textContent.trim() === "f21").click();
  await wait();
  found.report = [shown(".tile"), document.querySelector("#count").textContent];
  document.querySelector("[name=report]").click();
  document.querySelector("#tile-f22a-1\\\\.6 a").click();
  await wait();
  found.opened = [location.hash, shown(".item"), shown(".overview")];
  const canvas = document.querySelector(".item:target canvas"), button = document.querySelectorAll(".classes button")[7];
  found.classes = [document.querySelectorAll(".classes button").length, colours(canvas)];
  button.focus();
  found.pointed = colours(canvas);
  button.click();
  button.blur();
  found.pinned = [colours(canvas) === found.pointed, button.ariaPressed];
  press("ArrowRight");
  await wait();
  found.next = shown(".item");
  press("Escape");
  await wait();
  found.closed = [location.hash, shown(".item"), shown(".overview") === document.querySelector(".overview").id];
  location.hash = "#f22a-2.4";
  await wait();
  const range = document.querySelector(".wipe [type=range]"), tiles = document.querySelector(".tiles");
  range.value = 20;
  range.dispatchEvent(new Event("input"));
  document.querySelector(".wipe [type=radio]").click();
  const pictures = [...document.querySelectorAll(".frame img")], box = document.querySelector(".frame").getBoundingClientRect();
  while (!pictures.every((one) => one.complete && one.naturalWidth)) await wait();
  found.wipe = [tiles.style.getPropertyValue("--at"), tiles.style.getPropertyValue("--stage"), pictures.map((one) =>
    Math.round((one.getBoundingClientRect().left - box.left) / box.width))];
  location.hash = "#all";
  await wait();
  found.all = document.querySelectorAll(".item").length === shown(".item").split(" ").length;
  found.wide = document.documentElement.scrollWidth <= innerWidth;
}
"""

LOOK = """
const shown = () => [...document.querySelectorAll(".item")].filter((one) => one.checkVisibility()).map((one) => one.id);
addEventListener("load", () => {
  const found = ["", "#f22a-1.6", "#all", "#tile-f22a-1.6"].map((hash) => (location.hash = hash, shown()));
  document.body.append(Object.assign(document.createElement("pre"), { id: "outcome", textContent: JSON.stringify(found) }));
});
"""
WATCH = """
const problems = [];
addEventListener("error", (event) => problems.push(event.message || event.target.src), true);
console.error = console.warn = (...words) => problems.push(words.join(" "));
addEventListener("load", () => document.body.append(
  Object.assign(document.createElement("pre"), { id: "outcome", textContent: problems.join("; ") || "no problem" })));
"""


@pytest.fixture(scope="module")
def browser():
    """The command of a browser without a window; skips where none is installed."""
    if not (found := next(filter(None, map(shutil.which, BROWSERS)), None)):
        pytest.skip(f"none of {', '.join(BROWSERS)} is installed")
    return [found, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000"]


def dump(browser, folder, address, *options):
    """The page as it stands at the end, opened from the disk."""
    command = [*browser, *options, f"--user-data-dir={folder}", "--dump-dom", address]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=os.environ | {"HOME": str(folder)}).stdout


def outcome(shown):
    """What the script in a page has found."""
    return unescape(re.search(r'<pre id="outcome">(.*?)</pre>', shown, re.S)[1])


@pytest.fixture
def page_to_use(tmp_path):
    """A page with points, stages, a failing claim and one on drawn data, whose claims hold."""
    write_extras(tmp_path, "f22a 1.6", some_points(), claims=[])
    write_extras(tmp_path, "f22a 2.4", some_stages())
    write(tmp_path, "f21 1.1", data={"name": "synthetic"}, claims=[{"claim": "always", "holds": True}])
    return page.build(tmp_path)


@pytest.mark.parametrize("width", [390, 1280])
def test_a_browser_filters_and_opens_items(browser, page_to_use, tmp_path_factory, width):
    used = page_to_use.with_name("used.html")
    used.write_text(page_to_use.read_text().replace("</style>", f"</style><script>{USE_IT}</script>", 1))
    shown = dump(browser, tmp_path_factory.mktemp("browser"), used.as_uri(), f"--window-size={width},900")
    found = json.loads(outcome(shown))
    assert found["problems"] == []
    assert found["start"] == [len(ITEMS), ""]
    assert found["fails"] == ["tile-f22a-2.4", f"1 of {len(ITEMS)} items shown."]
    assert found["none"] == ["", "No item fits these filters.", ""]
    of_report = sorted(item.name.replace(" ", "-") for item in ITEMS if item.name.startswith("f21 "))
    assert found["report"] == [" ".join(f"tile-{name}" for name in of_report), f"{len(of_report)} of {len(ITEMS)} items shown."]
    assert found["opened"] == ["#f22a-1.6", "f22a-1.6", ""]
    assert found["classes"][0] == 50 and 3000 < found["pointed"] < 6000 < found["classes"][1]  # of 2,500 points 50, discs of radius 6
    assert found["pinned"] == [True, "true"]
    assert found["next"] == "f22a-2.1"
    assert found["closed"] == ["#tile-f22a-2.1", "", True]
    assert found["wipe"] == ["20%", "1", [0, -1]]
    assert found["all"] and found["wide"]


def test_without_script_everything_can_be_read(browser, page_to_use, tmp_path_factory):
    """Nothing but the style hides an item; the address shows one, or all."""
    used = page_to_use.with_name("plain.html")
    plain = re.sub(r"<script.*?</script>", "", page_to_use.read_text(), flags=re.S)
    used.write_text(plain.replace("</style>", f"</style><script>{LOOK}</script>", 1))
    none, one, every, closed = json.loads(outcome(dump(browser, tmp_path_factory.mktemp("browser"), used.as_uri())))
    assert (none, one, closed) == ([], ["f22a-1.6"], [])
    assert sorted(every) == sorted(item.name.replace(" ", "-") for item in ITEMS)


def test_the_committed_site_opens_without_a_problem(browser, tmp_path):
    shutil.copytree(page.KEPT.parent, tmp_path / "docs")
    used = tmp_path / "docs/index.html"
    used.write_text(used.read_text(encoding="utf-8").replace("</style>", f"</style><script>{WATCH}</script>", 1), encoding="utf-8")
    assert outcome(dump(browser, tmp_path / "browser", used.as_uri())) == "no problem"
