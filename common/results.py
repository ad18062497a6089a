"""One JSON file, and its figures, for each report item.

`results/<key>-<item>.json` is what the results page and the README's table are built from. Only what a run measured is in it.
"""

import json
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
    args, runtime: setup.Runtime, item: str, title: str, *, figures: dict | None = None, animations: dict | None = None, **fields
) -> dict:
    """Write an item's figures and its JSON to `args.out`; returns the JSON's content.

    `figures` maps a suffix ('' or '-B') to a matplotlib figure, saved as <key>-<item><suffix>.png; `animations` one to the frames of a
    GIF, uint8 arrays (H, W, 3). `fields` are the further entries:
    reported, reproduced, claims (a list of {"claim", "holds"}), data, settings, weights. A quick or changed run's result never takes the
    place of a full one, nor synthetic data's that of real data's: what is there is kept, and a line on stderr says so.
    """
    path = result_path(args.out, item)
    content = {"item": item, "title": title, "script": command_line().split()[1], **provenance(args, runtime), **fields}
    drawn = {f"{path.stem}{suffix}.png": figure for suffix, figure in (figures or {}).items()}
    moving = {f"{path.stem}{suffix}.gif": frames for suffix, frames in (animations or {}).items()}
    content["files"] = [*drawn, *moving]
    if worth(content) < worth(read_json(path)):
        print(f"note: {path} holds a full run or real data and is kept; use another --out for this one", file=sys.stderr)
        return content
    for name, figure in drawn.items():
        drawing.save(figure, path.with_name(name))
    for name, frames in moving.items():
        drawing.save_gif(frames, path.with_name(name))
    write_json(path, content)
    print(f"wrote {path}", flush=True)
    return content


def worth(content: dict) -> tuple[bool, ...]:
    """How much a result tells: real data before synthetic, then full before quick, then the report's settings before changed ones."""
    if not content:
        return (False,)
    return True, content.get("data", {}).get("name") != "synthetic", not content.get("quick"), not content.get("deviations")
