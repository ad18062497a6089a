"""The results page, and the README's table, from the JSON files that the scripts leave.

    python common/page.py --out results     writes results/index.html: one static page, no network, no script
    python common/page.py --readme          rewrites the table between README.md's index markers from docs/results/*.json

Both show only what stands in those files: what the report states beside what a run measured, and where the run's number comes from.
"""

import argparse
import json
import re
import struct
import sys
from collections.abc import Iterator
from html import escape
from itertools import groupby
from pathlib import Path
from urllib.parse import quote

sys.path.append(str(Path(__file__).resolve().parents[1]))

from common import cli
from common.cli import ROOT, UsageError

NOTHING = "—"
UNKNOWN = "| — | — |"  # how a row of the README ends whose result is not kept
MARKERS = ("<!-- index -->", "<!-- /index -->")
COLUMNS = ("reported", "reproduced", "data")
REPORTS = {  # in the order of the page
    "f21": "Deep Learning for Computer Vision, fall 2021",
    "f22a": "Deep Learning for Computer Vision, fall 2022",
    "f22b": "Deep Learning for Computer Vision, fall 2022, second report",
    "f23": "Deep Learning for Computer Vision, fall 2023",
    "cv22": "Computer Vision, spring 2022",
    "hw1-p1": "our own models of 50 classes",
    "hw1-p2": "our own model of satellite tiles, from random weights",
    "hw2-p2": "our own model of CIFAR-10 mini, from random weights",
}
BADGES = {
    "synthetic stand-in": "ran on images that the program drew in place of the course's; its numbers cannot be compared with the report's",
    "quick run": "a small version of the experiment: fewer images, steps or epochs than the report's",
    "other settings": "the run differs from the report in the settings that its section names",
    "weights: none": "the networks started from random weights",
    "training pictures": "what is shown are pictures that the network was trained on, not the report's",
}
TRAINED_ON = "pictures that the network was trained on"  # the deviation of such a result
MARKS = {True: ("✓", "yes", "holds"), False: ("✗", "no", "does not hold"), None: ("?", "muted", "not decided")}
SHAPES = {  # of the fields that are taken apart; the others may hold any JSON value
    "item": str,
    "data": {},
    "settings": {},
    "versions": {},
    "claims": [{"holds": (bool, type(None))}],
    "files": [str],
    "deviations": [str],
    "missing": {},
    "tables": [{"header": [], "rows": [[]]}],
}
TITLE = "Report items, reproduced"
ABOUT = (
    "The numbered tables and figures of five computer vision reports, run again: what the report states beside what a run measured. "
    "Built from the JSON files beside this page alone; what one side does not give is a dash."
)

# ---- from files to words, for the page and the README alike ----


def read_results(out: Path) -> tuple[dict[str, dict], dict[str, str]]:
    """The results in a folder in the reports' order, {file name: content}, and what cannot be used, {file name: why}.

    JSON without "item" is left out. Raises UsageError if `out` is not a folder.
    """
    if not Path(out).is_dir():
        raise UsageError(f"{out} is not a folder; run an item first, or name the folder that holds results")
    results, damaged = {}, {}
    # A name that starts with a dot is a file that another process has not finished.
    for path in Path(out).glob("[!.]*.json"):
        try:
            content = json.loads(path.read_text(encoding="utf-8-sig"))
        except (OSError, ValueError, RecursionError) as error:
            damaged[path.name] = f"cannot be read: {error}"
            continue
        if not isinstance(content, dict) or content.get("item") is None:
            continue
        content = {field: value for field, value in content.items() if value is not None}
        wrong = [field for field, shape in SHAPES.items() if field in content and not fits(content[field], shape)]
        wrong = wrong or ["files"] * any(Path(name).name != name for name in content.get("files", []))  # figures of other folders
        if wrong:
            damaged[path.name] = f"unexpected content in {', '.join(wrong)}"
        else:
            results[path.name] = content
    ordered = sorted(results.items(), key=lambda entry: (report_order(entry[1]["item"]), entry[0]))
    return dict(ordered), dict(sorted(damaged.items()))


def fits(value, shape) -> bool:
    """Whether a JSON value has a shape: a type, [the shape of each entry] or {key: the shape of its value, where it is there}."""
    if isinstance(shape, dict):
        return isinstance(value, dict) and all(fits(value[key], inner) for key, inner in shape.items() if key in value)
    if isinstance(shape, list):
        return isinstance(value, list) and all(fits(entry, inner) for inner in shape for entry in value)
    return isinstance(value, shape)


def report_order(item: str) -> tuple:
    """Sorts items by report, then by number: 'f22a 1.9' before 'f22a 1.10'; reports that are not in REPORTS come last."""
    key, _, number = item.partition(" ")
    place = list(REPORTS).index(key) if key in REPORTS else len(REPORTS)
    return place, key, [int(digits) for digits in re.findall(r"\d+", number)], item


def text(value) -> str:
    """A JSON value in words; six digits, so that each of the reports' own numbers appears as it was printed."""
    if value is None:
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{value:,}" if isinstance(value, int) else f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(f"({text(entry)})" if isinstance(entry, list) else text(entry) for entry in value)
    return summary(value) if isinstance(value, dict) else str(value)


def flat(value, label: str = "") -> Iterator[tuple[str, object]]:
    """The leaves of nested dicts with their labels: {'A': {'epoch 1': 0.5}} gives ('A / epoch 1', 0.5)."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flat(inner, f"{label} / {key}" if label else key)
    elif label or value is not None:
        yield label, value


def summary(value, most: int | None = None) -> str:
    """'A: 0.5544, B: 0.8976', of at most `most` numbers."""
    words = [f"{label}: {text(leaf)}" if label else text(leaf) for label, leaf in flat(value)]
    more = [f"and {len(words) - most} more"] if most and len(words) > most else []
    return ", ".join(words[:most] + more) or NOTHING


def badges(content: dict) -> list[str]:
    """What a reader must know before the numbers: those of BADGES that apply."""
    quick = content.get("quick") is True
    deviations = content.get("deviations", [])
    applies = (is_synthetic(content), quick, bool(deviations) and not quick, content.get("weights") == "none", TRAINED_ON in deviations)
    return [badge for badge, holds in zip(BADGES, applies, strict=True) if holds]


def is_synthetic(content: dict) -> bool:
    return content.get("data", {}).get("name") == "synthetic"


def in_short(content: dict) -> list[str]:
    """The cells of an index table under COLUMNS."""
    data = content.get("data", {}).get("name")
    name = [data] if data and not is_synthetic(content) else []
    return [summary(content.get("reported"), 4), summary(content.get("reproduced"), 4), ", ".join(name + badges(content)) or NOTHING]


# ---- the page ----


class Html(str):
    """Text that is HTML already; `tag` escapes all other text."""


def tag(name: str, *inside, **attributes) -> Html:
    """An element: tag('a', 'f22a 1.2', href='#x'). A trailing _ is cut off an attribute's name, another becomes a hyphen."""
    written = "".join(f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"' for key, value in attributes.items())
    return Html(f"<{name}{written}>{''.join(part if isinstance(part, Html) else escape(text(part)) for part in inside)}</{name}>\n")


def build(out: Path) -> Path:
    """Write OUT/index.html from the JSON files and figures in OUT; returns its path.

    Raises UsageError if OUT is not a folder or cannot be written.
    """
    path = Path(out) / "index.html"
    page = page_html(Path(out), *read_results(out))
    with cli.replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="replace")
    return path


def page_html(out: Path, results: dict[str, dict], damaged: dict[str, str]) -> str:
    """The whole page; `out` is where the figures are looked for."""
    header = tag("header", tag("h1", TITLE), tag("p", ABOUT, class_="muted"), *head_html(results), *damaged_html(damaged))
    sections = [part for key, group in by_report(results) for part in (heading("h2", key), *(section_html(out, *entry) for entry in group))]
    style = Path(__file__).with_name("page.css").read_text(encoding="utf-8")
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{TITLE}</title><link rel="icon" href="data:,"><style>{style}</style></head>
<body>{header}{tag("main", index_html(results) if results else Html(), *sections)}</body></html>
"""


def by_report(results: dict[str, dict]):
    """The results, which are in order, as (report key, its (file name, content) pairs)."""
    return groupby(results.items(), key=lambda entry: entry[1]["item"].partition(" ")[0])


def heading(name: str, key: str, **attributes) -> Html:
    return tag(name, f"{key} ", tag("span", REPORTS.get(key, ""), class_="muted"), **attributes)


def head_html(results: dict[str, dict]) -> list[Html]:
    """How many items there are and how many claims hold, and what those badges mean that occur."""
    if not results:
        return [tag("p", "Nothing has been run yet: this folder holds no result.")]
    real = [content for content in results.values() if not is_synthetic(content)]
    counts = f"Items: {len(results)}. Claims that hold: {claims_held(results.values())}."
    if len(real) < len(results):
        counts += f" On the synthetic stand-in: {len(results) - len(real)} of the items; without these, {claims_held(real)} claims hold."
    used = {badge for content in results.values() for badge in badges(content)}
    legend = [tag("li", tag("span", badge, class_="badge"), meaning) for badge, meaning in BADGES.items() if badge in used]
    return [tag("p", counts), tag("ul", *legend, class_="small")]


def claims_held(contents) -> str:
    held = [claim.get("holds") is True for content in contents for claim in content.get("claims", [])]
    return f"{sum(held)} of {len(held)}"


def damaged_html(damaged: dict[str, str]) -> list[Html]:
    """The files that could not be used, if any."""
    entries = [tag("li", tag("code", name), why) for name, why in damaged.items()]
    return [tag("h4", "Damaged files, left out", class_="no"), tag("ul", *entries, class_="small")] if entries else []


def index_html(results: dict[str, dict]) -> Html:
    """The table that leads to the sections."""
    bodies = []
    for key, group in by_report(results):
        rows = [tag("tr", heading("th", key, colspan=5, scope="rowgroup"))]
        for file, content in group:
            link = tag("th", tag("a", content["item"], href=f"#{anchor(file)}"), scope="row")
            cells = [tag("td", cell, data_label=name) for name, cell in zip(COLUMNS, in_short(content), strict=True)]
            rows.append(tag("tr", link, tag("td", content.get("title")), *cells))
        bodies.append(tag("tbody", *rows))
    return tag("nav", tag("table", header_html("item", "title", *COLUMNS), *bodies, class_="index"))


def header_html(*names) -> Html:
    return tag("thead", tag("tr", *(tag("th", name, scope="col") for name in names)))


def anchor(file: str) -> str:
    return re.sub(r"[^\w.-]", "-", Path(file).stem)


def section_html(out: Path, file: str, content: dict) -> Html:
    """One item: numbers, claims, figures, further tables, and where they come from."""
    claims = [claim_html(claim) for claim in content.get("claims", [])]
    return tag(
        "section",
        tag("h3", f"{content['item']} · {text(content.get('title'))}"),
        *(tag("span", badge, class_="badge") for badge in badges(content)),
        *(tag("p", f"Not as in the report: {text(content['deviations'])}.", class_="small") for _ in content.get("deviations", [])[:1]),
        comparison_html(content),
        *(tag("p", f"{label}: no number, {text(why)}.", class_="small") for label, why in content.get("missing", {}).items()),
        tag("ul", *claims, class_="claims") if claims else Html(),
        *(figure_html(out, name, content) for name in content.get("files", [])),
        *map(table_html, content.get("tables", [])),
        *origin_html(file, content),
        id=anchor(file),
    )


def comparison_html(content: dict) -> Html:
    """Reported beside reproduced: a row for each number that either side has."""
    reported, reproduced = dict(flat(content.get("reported"))), dict(flat(content.get("reproduced")))
    rows = [
        tag("tr", tag("th", label, scope="row"), tag("td", reported.get(label)), tag("td", reproduced.get(label)))
        for label in reported | reproduced
        if label or label in reproduced  # an item that is a figure has no number to compare
    ]
    return tag("div", tag("table", header_html("", *COLUMNS[:2]), tag("tbody", *rows)), class_="wide") if rows else Html()


def claim_html(claim: dict) -> Html:
    """A tick, a cross, or a question mark for what the run could not decide; the claim; what was measured for it."""
    mark, look, meaning = MARKS[claim.get("holds")]
    measured = ", ".join(f"{key} {text(value)}" for key, value in claim.items() if key not in ("claim", "holds"))
    note = [tag("span", f" ({measured})", class_="muted")] if measured else []
    return tag("li", tag("span", mark, class_=look, role="img", aria_label=meaning, title=meaning), claim.get("claim"), *note)


def figure_html(out: Path, name: str, content: dict) -> Html:
    """A figure that opens as its file, or its name where the file is missing."""
    if not (out / name).is_file():
        return tag("p", "The figure ", tag("code", name), " is not in this folder.", class_="no")
    alt = escape(f"{content['item']}: {text(content.get('title'))} ({name})")
    image = Html(f'<img src="{quote(name)}" alt="{alt}" loading="lazy"{picture_size(out / name)}>')
    return tag("figure", tag("a", image, href=quote(name)), tag("figcaption", name, class_="muted small"))


def picture_size(path: Path) -> str:
    # Without its size a lazy image moves the section that a link leads to when it loads.
    with open(path, "rb") as file:
        head = file.read(24)
    layout = {b"\x89PNG": ">16xII", b"GIF8": "<6xHH14x"}.get(head[:4])
    return ' width="{}" height="{}"'.format(*struct.unpack(layout, head)) if layout and len(head) == 24 else ""


def table_html(table: dict) -> Html:
    """A result's further table: {"title", "header", "rows"}."""
    rows = [tag("tr", *(tag("td", cell) for cell in row)) for row in table.get("rows", [])]
    grid = tag("div", tag("table", header_html(*table.get("header", [])), tag("tbody", *rows)), class_="wide")
    return Html(tag("h4", table.get("title")) + grid)


def origin_html(file: str, content: dict) -> list[Html]:
    """A line on data, device, time, seed, commit and versions; the command; the settings, folded."""
    sizes = {key: value for key, value in content.get("data", {}).items() if key != "name"}
    words = [f"data: {text(content.get('data', {}).get('name'))}" + (f" ({summary(sizes)})" if sizes else "")]
    words += [f"{name}: {text(content[name])}" for name in ("device", "seconds", "seed", "weights", "commit") if name in content]
    line = " · ".join(words + [f"{name} {text(version)}" for name, version in content.get("versions", {}).items()] + [""])
    command = [tag("code", content["command"], class_="command")] if "command" in content else []
    settings = [tag(name, word) for label, value in flat(content.get("settings")) for name, word in (("dt", label), ("dd", value))]
    folded = [tag("details", tag("summary", "settings"), tag("dl", *settings))] if settings else []
    return [tag("p", line, tag("a", file, href=quote(file)), class_="muted small"), *command, *folded]


# ---- the README's table ----


def write_readme(readme: Path = ROOT / "README.md", out: Path = ROOT / "docs" / "results", known: Path = ROOT / "results") -> Path:
    """Rewrite the table between the README's index markers from the results in `out`; returns the README's path.

    Items that only `known` holds, whose results are not kept, are listed with a dash for what they reproduced; such rows stay.
    Raises UsageError if a marker is missing, `out` is not a folder, or a result there is damaged: a row would be missing unnoticed.
    """
    results, damaged = read_results(out)
    if damaged:
        raise UsageError(f"damaged result in {out}: {', '.join(damaged)}; restore or remove it")
    for name, listed in (read_results(known)[0] if Path(known).is_dir() else {}).items():
        results.setdefault(name, {key: listed[key] for key in ("item", "script", "reported") if key in listed})
    content = Path(readme).read_text(encoding="utf-8") if Path(readme).is_file() else ""
    before, opening, rest = content.partition(MARKERS[0])
    table, closing, after = rest.partition(MARKERS[1])
    if not closing:
        raise UsageError(f"{readme} needs the lines {MARKERS[0]} and {MARKERS[1]}, in this order, where its table belongs")
    with cli.replacing(readme) as temporary:
        rows = [line for line in table.splitlines() if line.endswith(UNKNOWN)]
        temporary.write_text(f"{before}{opening}\n{markdown_table(results, rows)}{closing}{after}", encoding="utf-8", errors="replace")
    return Path(readme)


def markdown_table(results: dict[str, dict], kept: list[str]) -> str:
    """The index table in Markdown; rows in `kept` stand for items that are not among the results."""
    rows = {row.split(" | ")[0].removeprefix("| "): row for row in kept}
    for content in results.values():
        rows[content["item"]] = markdown_row([content["item"], text(content.get("script")), *in_short(content)])
    lines = [markdown_row(["item", "script", *COLUMNS]), markdown_row(["---"] * 5)]
    lines += [rows[item] for item in sorted(rows, key=report_order)]
    return "".join(f"{line}\n" for line in lines)


def markdown_row(cells: list[str]) -> str:
    return "| " + " | ".join(escape(" ".join(cell.split()), quote=False).replace("|", "\\|") for cell in cells) + " |"


def main(args: argparse.Namespace) -> Path:
    """Write the page or the README's table; prints and returns the path."""
    path = write_readme() if args.readme else build(args.out)
    print(path)
    return path


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = cli.Parser(description="Build the results page, or the README's table.")
    choice = parser.add_mutually_exclusive_group()
    choice.add_argument("--out", type=Path, default=ROOT / "results", help="folder with results, where index.html goes (default: results/)")
    choice.add_argument("--readme", action="store_true", help="rewrite the README's table from docs/results instead")
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.run(main, parse_args())
