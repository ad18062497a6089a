"""One JSON file, and its figures, for each report item.

`results/<key>-<item>.json` is what the results page and the README's table are built from. Only what a run measured is in it.
"""

import json
import math
import shlex
import sys
import time
from pathlib import Path

from common import figures as drawing
from common import setup
from common.setup import ROOT

_STARTED = time.monotonic()


def command_line() -> str:
    """The command that runs, as one would type it in the repository root; without --out, which is this machine's and changes no number."""
    script, words = Path(sys.argv[0]).resolve(), sys.argv[1:]
    name = script.relative_to(ROOT) if script.is_relative_to(ROOT) else script.name
    kept = [word for before, word in zip(["", *words], words, strict=False) if "--out" not in (before, word.split("=")[0])]
    return shlex.join(["python", str(name), *kept])


def result_path(out: Path, item: str) -> Path:
    """'f22a 1.2' -> OUT/f22a-1.2.json."""
    return Path(out) / f"{item.replace(' ', '-')}.json"


def read_json(path: Path) -> dict:
    """A JSON object, or {} if there is none or it is damaged."""
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def write_json(path: Path, content: dict) -> None:
    """Write a JSON file whole or not at all. Raises UsageError if the folder cannot be written."""
    with setup.replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def provenance(args, runtime: setup.Runtime) -> dict:
    """Where a number comes from: command, seed, device, precision, commit, versions, seconds since the process began."""
    return {
        "command": command_line(),
        "quick": args.quick,
        "device": runtime.describe(),
        "seconds": round(time.monotonic() - _STARTED, 1),
        "seed": args.seed,
        "commit": setup.commit(),
        "versions": setup.versions(),
    }


def write_result(
    args,
    runtime: setup.Runtime,
    item: str,
    title: str,
    *,
    figures: dict | None = None,
    animations: dict | None = None,
    missing: dict[str, str] | None = None,
    **fields,
) -> dict:
    """Write an item's figures and its JSON to `args.out`; returns the JSON's content.

    `figures` maps a suffix ('' or '-B') to a matplotlib figure, saved as <key>-<item><suffix>.png; `animations` one to the frames of a
    GIF, uint8 arrays (H, W, 3). `fields` are the further entries: reported, reproduced, claims (a list of {"claim", "holds"}), data,
    settings, weights, and of a table the `rows` that `best_rows` gave, from which the others were made. A number that is not finite is
    null; `missing` says why, by number.

    A quick or changed run's result never takes the place of a full one, nor synthetic data's that of real data's: what is there is kept,
    and a line on stderr says so. A table of the same data is always written: its rows were chosen one by one.
    """
    path = result_path(args.out, item)
    content = {"item": item, "title": title, "script": command_line().split()[1], **provenance(args, runtime), **fields}
    broken: dict[str, str] = {}
    content = finite(content, "", broken)
    if lacking := broken | (missing or {}):
        content["missing"] = lacking
        print(f"note: {item} lacks {', '.join(f'{label} ({why})' for label, why in lacking.items())}", file=sys.stderr)
    drawn = {f"{path.stem}{suffix}.png": figure for suffix, figure in (figures or {}).items()}
    moving = {f"{path.stem}{suffix}.gif": frames for suffix, frames in (animations or {}).items()}
    content["files"] = [*drawn, *moving]
    there = read_json(path)
    same_table = "rows" in content and "rows" in there and there.get("data") == content.get("data")
    if worth(content) < worth(there) and not same_table:
        print(f"note: {path} holds a full run or real data and is kept; use another --out for this one", file=sys.stderr)
        return content
    if len({data_digest(content), data_digest(there), None}) > 2:
        print(f"note: {path} held a result of other data ({data_digest(there)}, now {data_digest(content)})", file=sys.stderr)
    for name, figure in drawn.items():
        drawing.save(figure, path.with_name(name))
    for name, frames in moving.items():
        drawing.save_gif(frames, path.with_name(name))
    write_json(path, content)
    print(f"wrote {path}", flush=True)
    return content


def data_digest(content: dict) -> str | None:
    """Which data a result is of; None if it does not say."""
    return content.get("data", {}).get("digest")


def finite(value, label: str, broken: dict[str, str]):
    """A JSON value with null for numbers that are not finite; `broken` gets their labels and what they were."""
    if isinstance(value, dict):
        return {key: finite(inner, f"{label} / {key}" if label else str(key), broken) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(inner, label, broken) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        broken[label] = f"came out as {value}"
        return None
    return value


def best_rows(args, item: str, data: dict, rows: dict[str, dict]) -> dict[str, dict]:
    """A table's rows by name, each of the better of two runs: today's, and that of the item's result, if it is of the same `data`.

    A row says where it comes from, and has "quick" and "deviations", by which `worth` decides; of two alike the newer is taken.
    """
    path = result_path(args.out, item)
    there = read_json(path)
    found = there.get("rows", {}) if there.get("data") == data else {}
    for name, row in rows.items():
        if name in found and worth(row) < worth(found[name]):
            print(f"note: {path} keeps its row {name}, of the report's own settings; use another --out for this one", file=sys.stderr)
        else:
            found[name] = row
    return dict(sorted(found.items()))


def worth(content: dict) -> tuple[bool, ...]:
    """How much a result tells: real data before synthetic, then full before quick, then the report's settings before changed ones."""
    if not content:
        return (False,)
    return True, content.get("data", {}).get("name") != "synthetic", not content.get("quick"), not content.get("deviations")
