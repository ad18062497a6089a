"""The results page and the README's table: what they show of a few JSON files."""

import json
import re
from html.parser import HTMLParser

import pytest

from common import page
from common.setup import UsageError

A_RESULT = {
    "title": "Top-1 accuracy",
    "script": "hw1/p1_train.py",
    "command": "python hw1/p1_train.py --seed 0",
    "reported": {"A": 0.5544, "B": {"epoch 1": 0.0204}},
    "reproduced": {"A": 0.5601, "C": 25557032},
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


class Balanced(HTMLParser):
    """Reads a page, asserts that every element is closed in order; collects the rows' cells, the ids, what is linked, and the text."""

    def __init__(self, path):
        super().__init__()
        self.open, self.rows, self.ids, self.targets, self.text = [], [], [], [], ""
        self.feed(path.read_text(encoding="utf-8"))
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.ids += [attrs["id"]] if "id" in attrs else []
        self.targets += [attrs[name] for name in ("src", "href") if name in attrs]
        self.rows += [[]] if tag == "tr" else []
        self.open += [tag] if tag not in ("meta", "link", "img") else []

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data if "style" not in self.open else ""
        if {"td", "th"} & set(self.open) and data.strip():
            self.rows[-1].append(data.strip())


def test_figures_of_other_folders_are_not_shown(tmp_path):
    write(tmp_path, "f22a 1.2", files=["../a.png"])
    assert page.read_results(tmp_path) == ({}, {"f22a-1.2.json": "unexpected content in files"})


def write(out, item, **fields):
    (out / f"{item.replace(' ', '-')}.json").write_text(json.dumps({"item": item, **A_RESULT, **fields}))


def read(out):
    return Balanced(page.build(out))


def test_numbers_stand_side_by_side(tmp_path):
    write(tmp_path, "f22a 1.2", tables=[{"title": "Layers", "header": ["name", "size"], "rows": [["conv1", [64, 8]]]}])
    rows = read(tmp_path).rows
    assert ["A", "0.5544", "0.5601"] in rows
    assert ["B / epoch 1", "0.0204", "—"] in rows
    assert ["C", "—", "25,557,032"] in rows
    assert ["f22a 1.2", "Top-1 accuracy", "A: 0.5544, B / epoch 1: 0.0204", "A: 0.5601, C: 25,557,032", "p1_data"] in rows
    assert ["conv1", "64, 8"] in rows


def test_claims_and_their_count(tmp_path):
    write(tmp_path, "f22a 1.2")
    write(tmp_path, "f22a 1.3", data={"name": "synthetic"}, claims=[{"claim": "always", "holds": True}])
    text = " ".join(read(tmp_path).text.split())
    assert "✓ B beats A (measured A: 0.56)" in text
    assert "✗ mixed" in text
    assert "? open" in text
    assert "Claims that hold: 2 of 4." in text
    assert "1 of the items; without these, 1 of 3 claims hold" in text


def test_origin_and_settings(tmp_path):
    write(tmp_path, "f22a 1.2", commit="0123abc")
    parsed = read(tmp_path)
    text = parsed.text
    assert "data: p1_data (train: 22,500) · seed: 0 · weights: default · commit: 0123abc · torch 2.0 · " in text
    assert A_RESULT["command"] in text
    assert "optimiser / lr\n0.1\nscheduler\n—" in text
    assert "f22a-1.2.json" in parsed.targets


def test_badges_only_where_they_apply(tmp_path):
    write(tmp_path, "f22a 1.2")
    assert not any(badge in read(tmp_path).text for badge in page.BADGES)
    write(tmp_path, "f22a 1.3", data={"name": "synthetic"}, quick=True, weights="none", deviations=["epochs 8, not 90", page.TRAINED_ON])
    write(tmp_path, "f22a 1.4", deviations=["epochs 1, not 200"])
    parsed = read(tmp_path)
    assert "Not as in the report: epochs 1, not 200." in parsed.text
    assert parsed.rows[3][-1] == "synthetic stand-in, quick run, weights: none, training pictures"
    assert all(badge in parsed.text for badge in page.BADGES)


def test_everything_is_escaped(tmp_path):
    hostile = "<script>alert('1')</script>\"&"
    table = {"title": hostile, "header": [hostile], "rows": [[hostile]]}
    claims = [{"claim": hostile, "holds": True, hostile: hostile}]
    fields = dict.fromkeys(("title", "command", "reported", "script", "device", "commit", "weights"), hostile)
    more = {field: {hostile: hostile, "name": hostile} for field in ("reproduced", "settings", "versions", "data")}
    (tmp_path / "a&'b.png").write_bytes(b"")
    write(tmp_path, "f22a 1.2", claims=claims, tables=[table], files=[hostile.replace("/", ""), "a&'b.png"], **fields, **more)
    write(tmp_path, "f99<i> 1")
    parsed = read(tmp_path)
    assert "<script" not in (tmp_path / "index.html").read_text()
    assert "<i>" not in (tmp_path / "index.html").read_text()
    assert hostile in parsed.text


def test_figures_are_linked_or_named_as_missing(tmp_path):
    head = b"\x89PNG\r\n\x1a\n" + b"\0\0\0\rIHDR" + (1500).to_bytes(4, "big") + (600).to_bytes(4, "big")
    (tmp_path / "f22a-1.2.png").write_bytes(head)
    write(tmp_path, "f22a 1.2", files=["f22a-1.2.png", "f22a-1.2-B.png"])
    parsed = read(tmp_path)
    assert parsed.targets.count("f22a-1.2.png") == 2
    assert "f22a-1.2-B.png" not in parsed.targets
    assert "The figure f22a-1.2-B.png" in " ".join(parsed.text.split())
    assert 'width="1500" height="600"' in (tmp_path / "index.html").read_text()


def test_a_damaged_file_is_named_and_the_rest_is_shown(tmp_path):
    write(tmp_path, "f22a 1.2")
    write(tmp_path, "f22a 1.3", claims="x")
    write(tmp_path, "f22a 1.4", data=[])
    write(tmp_path, "f22a 1.5", tables=[{"rows": [1]}])
    (tmp_path / "f22a-1.6.json").write_text('{"item": "f22')
    (tmp_path / "f22a-1.7.json").write_bytes(b"\xff\xfe")
    (tmp_path / "labels.json").write_text("[1, 2]")
    (tmp_path / ".f22a-1.8.1.json").write_text("{")
    parsed = read(tmp_path)
    assert parsed.ids == ["f22a-1.2"]
    damaged = parsed.text.partition("Damaged files")[2].partition("reported")[0]
    assert re.findall(r"f22a-1\.\d", damaged) == [f"f22a-1.{number}" for number in range(3, 8)]
    assert "labels.json" not in damaged


def test_order_of_reports_and_items(tmp_path):
    items = ["f21 1.1", "f22a 1.9", "f22a 1.10", "f22b 1.1", "f23 1.1", "cv22 1", "cv22 2.1", "new 1"]
    for item in sorted(items):
        write(tmp_path, item)
    parsed = read(tmp_path)
    assert parsed.ids == [item.replace(" ", "-") for item in items]
    assert [target[1:] for target in parsed.targets if target.startswith("#")] == parsed.ids


def test_an_empty_folder_and_a_missing_one(tmp_path):
    assert "Nothing has been run yet" in read(tmp_path).text
    with pytest.raises(UsageError, match="not a folder"):
        page.build(tmp_path / "missing")


def test_nothing_is_loaded_from_elsewhere(tmp_path):
    write(tmp_path, "f22a 1.2", files=["x.png"])
    (tmp_path / "x.png").write_bytes(b"")
    parsed = read(tmp_path)
    assert not [target for target in parsed.targets if ":" in target and target != "data:,"]
    assert "//" not in (tmp_path / "index.html").read_text()


def test_readme_table(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- index -->\nold\n<!-- /index -->\nafter\n")
    write(tmp_path, "f22a 1.10", reported="a | <b>", reproduced=None, quick=True)
    write(tmp_path, "f22a 1.9", reported={str(number): number for number in range(6)})
    assert page.write_readme(readme, tmp_path, tmp_path / "none") == readme
    first = readme.read_text()
    assert first.startswith("before\n<!-- index -->\n| item | script | reported | reproduced | data |\n| --- |")
    assert first.endswith(
        "| f22a 1.9 | hw1/p1_train.py | 0: 0, 1: 1, 2: 2, 3: 3, and 2 more | A: 0.5601, C: 25,557,032 | p1_data |\n"
        "| f22a 1.10 | hw1/p1_train.py | a \\| &lt;b&gt; | — | p1_data, quick run |\n<!-- /index -->\nafter\n"
    )
    page.write_readme(readme, tmp_path, tmp_path / "none")
    assert readme.read_text() == first
    (tmp_path / "known").mkdir()
    write(tmp_path / "known", "f22a 1.2", quick=True)
    write(tmp_path / "known", "f22a 1.9", reported="other")
    page.write_readme(readme, tmp_path, tmp_path / "known")
    added = set(readme.read_text().splitlines()) - set(first.splitlines())
    assert len(added) == 1 and added.pop().startswith("| f22a 1.2 | hw1/p1_train.py | ") and readme.read_text().count("| — | — |") == 1
    second = readme.read_text()
    page.write_readme(readme, tmp_path, tmp_path / "none")  # on a machine that has not run f22a 1.2
    assert readme.read_text() == second
    (tmp_path / "f22a-1.9.json").unlink()
    page.write_readme(readme, tmp_path, tmp_path / "none")
    assert "f22a 1.9" not in readme.read_text()


@pytest.mark.parametrize("content", [None, "", "<!-- index -->", "<!-- /index --> <!-- index -->"])
def test_readme_without_markers_is_left_alone(tmp_path, content):
    readme = tmp_path / "README.md"
    if content is not None:
        readme.write_text(content)
    with pytest.raises(UsageError, match="needs the lines"):
        page.write_readme(readme, tmp_path, tmp_path / "none")
    assert (readme.read_text() if readme.exists() else None) == content


def test_readme_refuses_a_damaged_result(tmp_path):
    (tmp_path / "f22a-1.2.json").write_text("{")
    with pytest.raises(UsageError, match=r"f22a-1\.2\.json"):
        page.write_readme(tmp_path / "README.md", tmp_path)


def test_the_readmes_table_is_that_of_the_committed_results(tmp_path):
    kept = (page.ROOT / "README.md").read_text(encoding="utf-8")
    (tmp_path / "README.md").write_text(kept, encoding="utf-8")
    page.write_readme(tmp_path / "README.md", page.ROOT / "docs/results", tmp_path / "none")
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == kept


def test_command_line(tmp_path, capsys):
    assert page.main(page.parse_args(["--out", str(tmp_path)])) == tmp_path / "index.html"
    assert capsys.readouterr().out == f"{tmp_path / 'index.html'}\n"
