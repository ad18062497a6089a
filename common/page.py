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

from common import cli, items
from common.cli import ROOT, UsageError
from common.items import decimals, flat, in_words, is_number, number

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

# ---- from results to words ----


def report_order(item: str) -> tuple:
    """Sorts items by report, then by number: 'f22a 1.9' before 'f22a 1.10'; reports that items.toml does not know come last."""
    key, _, rest = item.partition(" ")
    known = list(items.reports())
    return known.index(key) if key in known else len(known), key, [int(digits) for digits in re.findall(r"\d+", rest)], item


def text(value, like=None) -> str:
    """A JSON value in words; of a number the digits that the report prints of `like`, else four."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if is_number(value):
        return number(value, decimals(like))
    if isinstance(value, list):
        return ", ".join(f"({text(entry)})" if isinstance(entry, list) else text(entry) for entry in value)
    if isinstance(value, dict):
        return ", ".join(f"{label}: {text(leaf)}" for label, leaf in flat(value)) or NOTHING
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
    return " / ".join(in_words(item, name) for name in path.split(" / "))


def comparison(item: str, reported, reproduced) -> list[tuple[str, str, str]]:
    """A row for each number that either side has: its label, what the report prints, what ours is in the same digits."""
    sides = dict(flat(reported)), dict(flat(reproduced))
    names = [name for name in sides[0] | sides[1] if name or name in sides[1]]  # an item that is a figure has no number to compare
    return [(label(item, name), *(text(side.get(name), sides[0].get(name)) for side in sides)) for name in names]


def entries(out: Path) -> tuple[list[dict], dict[str, str]]:
    """All items in the reports' order as the template and the README show them, and the damaged files."""
    results, damaged = items.read_results(out)
    found = [entry(out, content["item"], content, file) for file, content in results.items()]
    lacking = [item for item in items.load().values() if item.result and item.name not in {content["item"] for content in results.values()}]
    found += [entry(out, item.name, {}, f"{item.name.replace(' ', '-')}.json") for item in lacking]
    return sorted(found, key=lambda one: (report_order(one["name"]), one["file"])), damaged


def entry(out: Path, name: str, content: dict, file: str) -> dict:
    """One item: its result, {} where there is none, and what is made of it."""
    item, key, data = items.load().get(name), name.partition(" ")[0], content.get("data", {}).get("name")
    reported = content.get("reported", item.reported if item and not content else None)
    ours = dict(flat(content.get("reproduced")))
    command = content.get("command") or (f"bash run_all.sh --only {file.removesuffix('.json')} --full" if item else "")
    return {
        "name": name,
        "file": file,
        "stem": file.removesuffix(".json"),
        "anchor": re.sub(r"[^\w.-]", "-", file.removesuffix(".json")),
        "group": OURS if key.startswith("hw") else key,
        "title": text(content.get("title", item.title if item else None)),
        "script": content.get("script") or (item.runs[0].split()[0] if item else None),
        "command": command,
        "content": content,
        "headline": items.headline(name, content),
        "number": label(name, item.headline) if item else "",
        "badges": badges(content),
        "data": "none" if not data else "drawn" if is_synthetic(content) else "real",
        "holds": [claim.get("holds") for claim in content.get("claims", [])],
        "rows": comparison(name, reported, content.get("reproduced")),
        "lacking": [label(name, path) for path, value in flat(content.get("reported")) if is_number(value) and path not in ours],
        "figures": [(file, picture_size(out / file)) for file in content.get("files", [])],
        "photographs": item.photographs if item else "",
        "settings": list(flat(content.get("settings"))),
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
    environment.filters |= {"words": text, "url": quote}
    environment.globals |= {"tally": tally, "marks": MARKS, "names": items.reports() | {OURS: OURS_IS}}
    files = {name: markupsafe.Markup((beside / f"page.{name}").read_text(encoding="utf-8")) for name in ("css", "js")}
    place = "" if path.parent == Path(out) else f"{quote(Path(out).relative_to(path.parent).as_posix())}/"
    used = {badge: meaning for badge, meaning in BADGES.items() if any(badge in one["badges"] for one in found)}
    page = environment.get_template("page.html").render(entries=found, groups=groups, damaged=damaged, badges=used, place=place, **files)
    with cli.replacing(path) as temporary:
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
        missing = [f"not run: {text(one['lacking'])}"] if one["lacking"] else []
        run = ", ".join(one["badges"] + missing) or ("full run" if one["content"] else "not run")
        cells = [" ".join(cell.split()) for cell in (one["title"], one["headline"] or NOTHING, run)]
        cells = [escape(cell, quote=False).replace("|", "\\|") for cell in (one["name"], *cells)]
        lines.append(f"| [{cells[0]}](docs/index.html#{one['anchor']}) | {' | '.join(cells[1:])} |")
    table = "".join(f"{line}\n" for line in lines)
    with cli.replacing(readme) as temporary:
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
