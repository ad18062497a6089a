"""The results page, and the README's table, from the JSON files that the scripts leave and from items.toml.

    python common/page.py --out results     writes results/index.html: one page that needs no network and no script
    python common/page.py --site            writes docs/index.html, the same of docs/results, for a host of static pages
    python common/page.py --readme          rewrites the table between README.md's index markers from docs/results

They show only what stands in those files: what the report states beside what a run measured, and where the run's number comes from.
page.html is the template, page.css its look; page.js adds keys, the wiping of masks and the classes of a t-SNE.
"""

import argparse
import re
import struct
import sys
from html import escape
from itertools import groupby
from pathlib import Path
from urllib.parse import quote

import jinja2
import markupsafe

sys.path.append(str(Path(__file__).resolve().parents[1]))

import json

from common import cli, files, items
from common.cli import ROOT, UsageError
from common.items import decimals, flatten, format_number, is_number, name_in_words

NOTHING = "—"
MARKERS = ("<!-- index -->", "<!-- /index -->")
KEPT = ROOT / "docs" / "results"
OURS, OURS_IS = "our own", "Models of 50 classes, of satellite tiles and of CIFAR-10 mini"  # the group of what belongs to no report
BADGES = {
    "synthetic stand-in": "ran on images that the program drew in place of the course's; its numbers cannot be compared with the report's",
    "quick run": "a small version of the experiment: fewer images, steps or epochs than the report's",
    "other settings": "the run differs from the report in the settings that its section names",
    "weights: none": "the networks started from random weights",
    "training pictures": "what is shown are pictures that the network was trained on, not the report's",
}
TRAINED_ON = "pictures that the network was trained on"  # the deviation of such a result
MARKS = {True: ("✓", "yes", "holds"), False: ("✗", "no", "does not hold"), None: ("?", "muted", "not decided")}

# ---- results, from their files ----

SHAPES = {  # of the fields that are taken apart; the others may hold any JSON value
    "item": str,
    "data": {},
    "settings": {},
    "versions": {},
    "claims": [{"holds": (bool, type(None))}],
    "files": [str],
    "extras": [str],
    "deviations": [str],
    "missing": {},
    "tables": [{"header": [], "rows": [[]]}],
}
EXTRAS = {  # small files beside a result, named in its "extras": hw1/p1_tsne.py and hw1/p2_mask_viz.py write them
    "points": {"panels": [{"title": str, "x": [int], "y": [int]}], "target": [int]},
    "stages": {"stages": [str], "tiles": [str], "size": [int]},
}


def read_json(path: Path) -> tuple[object, str]:
    """A file's JSON value and '', or None and why it cannot be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig")), ""
    except (OSError, ValueError, RecursionError) as error:
        return None, f"cannot be read: {error}"


def read_results(out: Path) -> tuple[dict[str, dict], dict[str, str]]:
    """The results in a folder, {file name: content}, and what cannot be used, {file name: why}; JSON without "item" is left out.

    A content's "extras" are read too: {"points": ..., "stages": ...}. Raises UsageError if `out` is not a folder.
    """
    if not Path(out).is_dir():
        raise UsageError(f"{out} is not a folder; run an item first, or name the folder that holds results")
    results, damaged = {}, {}
    for path in sorted(Path(out).glob("[!.]*.json")):  # with a dot begins what another process has not finished
        content, why = read_json(path)
        if why:
            damaged[path.name] = why
        if not isinstance(content, dict) or content.get("item") is None:
            continue
        content = {field: value for field, value in content.items() if value is not None}
        wrong = [field for field, shape in SHAPES.items() if field in content and not matches(content[field], shape)]
        names = [] if wrong else [(field, name) for field in ("files", "extras") for name in content.get(field, [])]
        wrong += dict.fromkeys(field for field, name in names if Path(name).name != name)  # files of other folders
        if wrong:
            damaged[path.name] = f"unexpected content in {', '.join(wrong)}"
            continue
        results[path.name] = content | {"extras": {}}
        for name in content.get("extras", []):
            kind = Path(name).stem.rpartition("-")[2]
            if kind in EXTRAS and name.endswith(".json"):
                extra, why = read_json(Path(out) / name)
                if why or not matches(extra, EXTRAS[kind]) or not extra.keys() >= EXTRAS[kind].keys():
                    damaged[name] = why or f"not of the form of a {kind} file"
                else:
                    results[path.name]["extras"][kind] = extra
    return results, damaged


def matches(value, shape) -> bool:
    """Whether a JSON value has a shape: a type, [the shape of each entry] or {key: the shape of its value, where it is there}."""
    if isinstance(shape, dict):
        return isinstance(value, dict) and all(matches(value[key], inner) for key, inner in shape.items() if key in value)
    if isinstance(shape, list):
        return isinstance(value, list) and all(matches(entry, inner) for inner in shape for entry in value)
    return isinstance(value, shape)


# ---- from results to words ----


def report_order(item: str) -> tuple:
    """Sorts items by report, then by number: 'f22a 1.9' before 'f22a 1.10'; reports that items.toml does not know come last."""
    key, _, rest = item.partition(" ")
    known = list(items.reports())
    return known.index(key) if key in known else len(known), key, [int(digits) for digits in re.findall(r"\d+", rest)], item


def format_value(value, like=None) -> str:
    """A JSON value in words; of a number the digits that the report prints of `like`, else four."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if is_number(value):
        return format_number(value, decimals(like))
    if isinstance(value, list):
        return ", ".join(f"({format_value(entry)})" if isinstance(entry, list) else format_value(entry) for entry in value)
    if isinstance(value, dict):
        return ", ".join(f"{label}: {format_value(leaf)}" for label, leaf in flatten(value)) or NOTHING
    return str(value)


def badges(content: dict) -> list[str]:
    """What a reader must know before the numbers: those of BADGES that apply."""
    quick = content.get("quick") is True
    deviations = content.get("deviations", [])
    applies = (is_synthetic(content), quick, bool(deviations) and not quick, content.get("weights") == "none", TRAINED_ON in deviations)
    return [badge for badge, holds in zip(BADGES, applies, strict=True) if holds]


def is_synthetic(content: dict) -> bool:
    return content.get("data", {}).get("name") == "synthetic"


def label(item: str, path: str) -> str:
    """The path of a number in words: 'last / lr' is 'last / learning rate'."""
    return " / ".join(name_in_words(item, name) for name in path.split(" / "))


def comparison(item: str, reported, reproduced) -> list[tuple[str, str, str]]:
    """A row for each number that either side has: its label, what the report prints, what ours is in the same digits."""
    sides = dict(flatten(reported)), dict(flatten(reproduced))
    names = [name for name in sides[0] | sides[1] if name or name in sides[1]]  # an item that is a figure has no number to compare
    return [(label(item, name), *(format_value(side.get(name), sides[0].get(name)) for side in sides)) for name in names]


def entries(out: Path) -> tuple[list[dict], dict[str, str]]:
    """All items in the reports' order as the template and the README show them, and the damaged files."""
    results, damaged = read_results(out)
    found = [entry(out, content["item"], content, file) for file, content in results.items()]
    lacking = [item for item in items.load().values() if item.result and item.name not in {content["item"] for content in results.values()}]
    found += [entry(out, item.name, {}, f"{item.name.replace(' ', '-')}.json") for item in lacking]
    return sorted(found, key=lambda one: (report_order(one["name"]), one["file"])), damaged


def entry(out: Path, name: str, content: dict, file: str) -> dict:
    """One item: its result, {} where there is none, and what is made of it."""
    item, key, data = items.load().get(name), name.partition(" ")[0], content.get("data", {}).get("name")
    reported = content.get("reported", item.reported if item and not content else None)
    ours = dict(flatten(content.get("reproduced")))
    command = content.get("command") or (f"bash run_all.sh --only {file.removesuffix('.json')} --full" if item else "")
    return {
        "name": name,
        "file": file,
        "stem": file.removesuffix(".json"),
        "anchor": re.sub(r"[^\w.-]", "-", file.removesuffix(".json")),
        "group": OURS if key.startswith("hw") else key,
        "title": format_value(content.get("title", item.title if item else None)),
        "script": content.get("script") or (item.runs[0].split()[0] if item else None),
        "command": command,
        "content": content,
        "headline": items.headline(name, content),
        "number": label(name, item.headline) if item else "",
        "badges": badges(content),
        "data": "none" if not data else "drawn" if is_synthetic(content) else "real",
        "holds": [claim.get("holds") for claim in content.get("claims", [])],
        "rows": comparison(name, reported, content.get("reproduced")),
        "lacking": [label(name, path) for path, value in flatten(content.get("reported")) if is_number(value) and path not in ours],
        "figures": [(file, picture_size(out / file)) for file in content.get("files", [])],
        "photographs": item.photographs if item else "",
        "settings": list(flatten(content.get("settings"))),
    }


def picture_size(path: Path) -> tuple[int, int] | None:
    """Width and height of a PNG or GIF, (0, 0) of another file, None where it is missing."""
    if not path.is_file():
        return None
    with open(path, "rb") as file:
        head = file.read(24)
    layout = {b"\x89PNG": ">16xII", b"GIF8": "<6xHH14x"}.get(head[:4])
    return struct.unpack(layout, head) if layout and len(head) == 24 else (0, 0)


def tally(found: list[dict]) -> dict[str, int]:
    """How many items there are, are done, on which data, and how many of their claims hold."""
    found = list(found)
    claims = [hold for one in found for hold in one["holds"]]
    counts = {"all": len(found), "done": sum(bool(one["content"]) for one in found)}
    counts |= {kind: sum(one["data"] == kind for one in found) for kind in ("real", "drawn")}
    return counts | {"claims": len(claims), "held": claims.count(True), "failing": sum(False in one["holds"] for one in found)}


# ---- the page and the README's table ----


def build(out: Path, path: Path | None = None) -> Path:
    """Write OUT/index.html, or `path` in a folder above, from the results and figures in OUT; returns its path.

    Raises UsageError if OUT is not a folder or the page cannot be written.
    """
    path = Path(path or Path(out) / "index.html")
    found, damaged = entries(Path(out))
    groups = [(key, list(group)) for key, group in groupby(found, key=lambda one: one["group"])]
    for place, (_, group) in enumerate(groups, 1):
        for one in group:
            one["place"] = place
    beside = Path(__file__).parent
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, loader=jinja2.FileSystemLoader(beside))
    environment.filters |= {"words": format_value, "url": quote}
    environment.globals |= {"tally": tally, "marks": MARKS, "names": items.reports() | {OURS: OURS_IS}}
    assets = {name: markupsafe.Markup((beside / f"page.{name}").read_text(encoding="utf-8")) for name in ("css", "js")}
    place = "" if path.parent == Path(out) else f"{quote(Path(out).relative_to(path.parent).as_posix())}/"
    used = {badge: meaning for badge, meaning in BADGES.items() if any(badge in one["badges"] for one in found)}
    page = environment.get_template("page.html").render(entries=found, groups=groups, damaged=damaged, badges=used, place=place, **assets)
    with files.atomic_write(path) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="replace")
    return path


def write_readme(readme: Path = ROOT / "README.md", out: Path = KEPT) -> Path:
    """Rewrite the table between the README's index markers: a row for each item, from the results in `out` and items.toml.

    Raises UsageError if a marker is missing, `out` is not a folder, or a result there is damaged: its numbers would be missing unnoticed.
    """
    found, damaged = entries(Path(out))
    if damaged:
        raise UsageError(f"damaged result in {out}: {', '.join(damaged)}; restore or remove it")
    content = Path(readme).read_text(encoding="utf-8") if Path(readme).is_file() else ""
    before, opening, rest = content.partition(MARKERS[0])
    _, closing, after = rest.partition(MARKERS[1])
    if not closing:
        raise UsageError(f"{readme} needs the lines {MARKERS[0]} and {MARKERS[1]}, in this order, where its table belongs")
    lines = ["| item | what it shows | reported → reproduced | run |", "| --- | --- | --- | --- |"]
    for one in found:
        missing = [f"not run: {format_value(one['lacking'])}"] if one["lacking"] else []
        run = ", ".join(one["badges"] + missing) or ("full run" if one["content"] else "not run")
        cells = [" ".join(cell.split()) for cell in (one["title"], one["headline"] or NOTHING, run)]
        cells = [escape(cell, quote=False).replace("|", "\\|") for cell in (one["name"], *cells)]
        lines.append(f"| [{cells[0]}](docs/index.html#{one['anchor']}) | {' | '.join(cells[1:])} |")
    table = "".join(f"{line}\n" for line in lines)
    with files.atomic_write(readme) as temporary:
        temporary.write_text(f"{before}{opening}\n{table}{closing}{after}", encoding="utf-8", errors="replace")
    return Path(readme)


def main(args: argparse.Namespace) -> Path:
    """Write the page, the site or the README's table; prints and returns the path."""
    path = write_readme() if args.readme else build(KEPT, KEPT.parent / "index.html") if args.site else build(args.out)
    print(path)
    return path


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = cli.Parser(description=__doc__)
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--out", type=Path, default=cli.DEFAULT_OUT, help="folder with results, where index.html goes (default: results/)")
    choice.add_argument("--site", action="store_true", help="write docs/index.html from docs/results instead")
    choice.add_argument("--readme", action="store_true", help="rewrite the README's table from docs/results instead")
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.run(main, parse_args())
