"""One JSON file, and its figures, for each report item, and what the items take from finished trainings.

`results/<key>-<item>.json` is what the results page and the README's table are built from. Only what a run measured is in it.
"""

import json
import math
import shlex
import statistics
import sys
import time
from pathlib import Path

from common import figures as drawing
from common import files, items, setup, training
from common.checkpoints import load_checkpoint, save_checkpoint, to_eight_bits
from common.cli import ROOT
from common.files import atomic_write

_STARTED = time.monotonic()


def command_line() -> str:
    """The command that runs, as one would type it in the repository root, without the folders of this machine.

    --out changes no number and --data's folder is told by the result's data: both are left out. Other absolute paths are file names.
    """
    script, words, kept = Path(sys.argv[0]).resolve(), iter(sys.argv[1:]), []
    for word in words:
        option, given, value = word.partition("=")
        if option in ("--out", "--data"):
            value = value if given else next(words, "")
            kept += ["--data", value] if (option, value) == ("--data", "synthetic") else []
        else:
            kept.append(Path(word).name if Path(word).is_absolute() else word)
    name = script.relative_to(ROOT) if script.is_relative_to(ROOT) else script.name
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
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def provenance(runtime: setup.Runtime) -> dict:
    """Where a number comes from: command, seed, device, precision, commit, versions, seconds since the process began."""
    return {
        "command": command_line(),
        "quick": runtime.quick,
        "device": runtime.describe(),
        "seconds": round(time.monotonic() - _STARTED, 1),
        "seed": runtime.seed,
        "commit": setup.commit(),
        "versions": setup.versions(),
    }


@setup.on_rank_zero
def write_result(
    runtime: setup.Runtime,
    item: str,
    title: str,
    *,
    figures: dict | None = None,
    extras: dict[str, bytes] | None = None,
    missing: dict[str, str] | None = None,
    **fields,
) -> dict:
    """Write an item's figures and its JSON to `runtime.out`; returns the JSON's content.

    `figures` maps a suffix ('' or '-B') to a matplotlib figure, saved as <key>-<item><suffix>.png, and one that ends in .gif to a GIF's
    content; `extras` one to a further file's content for the results page (page.EXTRAS). `fields` are the further entries:
    reported, reproduced, claims (a list of {"claim", "holds"}), data, settings, weights, and of a table the `rows`,
    from which the others were made. A number that is not finite is null; `missing` says why, by number.

    A quick or changed run's result never takes the place of a full one, nor synthetic data's that of real data's: what is there is kept,
    and a line on stderr says so. A table of the same data is always written: its rows were chosen one by one.
    """
    path = result_path(runtime.out, item)
    content = {"item": item, "title": title, "script": command_line().split()[1], **provenance(runtime), **fields}
    broken: dict[str, str] = {}
    content = replace_non_finite(content, "", broken)
    if lacking := broken | (missing or {}):
        content["missing"] = lacking
        print(f"note: {item} lacks {', '.join(f'{label} ({why})' for label, why in lacking.items())}", file=sys.stderr)
    drawn = {path.stem + suffix + ".png" * (not suffix.endswith(".gif")): figure for suffix, figure in (figures or {}).items()}
    further = {path.stem + suffix: inside for suffix, inside in (extras or {}).items()}
    content["files"] = list(drawn)
    if further:
        content["extras"] = list(further)
    content["headline"] = items.headline(item, content)
    there = read_json(path)
    same_table = "rows" in content and same_table_as(there, content["quick"], content.get("data", {}))
    if faithfulness(content) < faithfulness(there) and not same_table:
        print(f"note: {path} holds a full run or real data and is kept; use another --out for this one", file=sys.stderr)
        return content
    if len({data_digest(content), data_digest(there), None}) > 2:
        print(f"note: {path} held a result of other data ({data_digest(there)}, now {data_digest(content)})", file=sys.stderr)
    for name, picture in (drawn | further).items():
        if isinstance(picture, bytes):
            with atomic_write(path.with_name(name)) as temporary:
                temporary.write_bytes(picture)
        else:
            drawing.save(picture, path.with_name(name))
    write_json(path, content)
    print(f"wrote {path}", flush=True)
    return content


def data_digest(content: dict) -> str | None:
    """Which data a result is of; None if it does not say."""
    return content.get("data", {}).get("digest")


def replace_non_finite(value, label: str, broken: dict[str, str]):
    """A JSON value with null for numbers that are not finite; `broken` gets their labels and what they were."""
    if isinstance(value, dict):
        return {key: replace_non_finite(inner, f"{label} / {key}" if label else str(key), broken) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [replace_non_finite(inner, label, broken) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        broken[label] = f"came out as {value}"
        return None
    return value


def same_table_as(there: dict, quick: bool, data: dict) -> bool:
    """Whether a result is a table of the same data and form, quick or full, whose rows may stand beside today's."""
    return "rows" in there and there.get("quick") == quick and same_data(there.get("data", {}), data)


def same_data(one: dict, other: dict) -> bool:
    """Whether two descriptions are of the same files; quick forms take different numbers of them. Older ones have no digest.

    Without a digest on one side the numbers decide.
    """
    if "digest" in one and "digest" in other:
        return (one.get("name"), one["digest"]) == (other.get("name"), other["digest"])
    return {**one, "digest": other.get("digest")} == {**other, "digest": other.get("digest")}


def faithfulness(content: dict) -> tuple[bool, ...]:
    """How much a result tells: real data before synthetic, then full before quick, then the report's settings before changed ones."""
    if not content:
        return (False,)
    return True, content.get("data", {}).get("name") != "synthetic", not content.get("quick"), not content.get("deviations")


# ---- finished trainings ----


@setup.on_rank_zero
def write_run(run: training.Run, full: training.Recipe) -> dict:
    """Write run.json beside a finished training's checkpoints; returns its content. `full` is the report's recipe."""
    settings = run.settings | precision(run.history)
    content = {
        "settings": settings,
        "deviations": training.deviations(full, settings | run.recipe.settings()),
        "kept": run.kept,
        "history": run.history,
        "checkpoints": [f"epoch-{epoch:03d}.pth" for epoch in run.recipe.kept_epochs()],
        **provenance(run.runtime),
        **origin(run.history),
    }
    write_json(run.folder / "run.json", content)
    return content


def origin(*histories: list[dict]) -> dict:
    """Where trainings ran, and their seconds together; every device and commit where --resume went on at another.

    A history that an older commit wrote does not say where; a result then names the device and the commit that wrote it.
    """
    epochs = [epoch for history in histories for epoch in history]
    places = {key: ", ".join(dict.fromkeys(epoch[key] for epoch in epochs if key in epoch)) for key in ("device", "commit")}
    return {"seconds": round(sum(epoch["seconds"] for epoch in epochs), 1)} | {key: place for key, place in places.items() if place}


def precision(*histories: list[dict]) -> dict:
    """The setting `precision` of trainings that have ended: that of their epochs, whichever machine reads them."""
    return {"precision": ", ".join(dict.fromkeys(epoch["precision"] for history in histories for epoch in history if "precision" in epoch))}


def run_fields(run: dict) -> dict:
    """The entries of a result that come from a run.json."""
    fields = {"settings": run["settings"], "weights": run["settings"]["weights"], "data": run["settings"]["data"]}
    return fields | {key: run[key] for key in ("deviations", "seconds", "command", "commit", "device")}


@setup.on_rank_zero
def save_half(folder: Path, name: str, kept: dict, eight_bits: bool = False, **more) -> Path:
    """Write best.pth in half precision as `name`, as the graders' script uses it, with the kept epoch's numbers and `more`.

    A tensor with values that half precision cannot hold, as variances of a batch norm may be, stays as it is. `eight_bits`: large
    kernels and matrices in eight, for a network that would be too large (see checkpoints.to_eight_bits).
    """
    state = load_checkpoint(folder / "best.pth", "train again")
    half = {key: value.half() if value.is_floating_point() else value for key, value in state["model"].items()}
    half = {key: value if value.isfinite().all() else state["model"][key] for key, value in half.items()}
    save_checkpoint(
        folder / name, {"model": to_eight_bits(half) if eight_bits else half, "settings": state["settings"], "kept": kept, **more}
    )
    return folder / name


# ---- short trainings, repeated over seeds ----


@setup.on_rank_zero
def finished_history(folder: Path, settings: dict, resuming: bool) -> list[dict]:
    """The history that `write_history` wrote, if `resuming` and that training had these settings and ended; else [].

    Without `resuming` an older history is removed: the training that begins may be interrupted, and resumed. Raises UsageError if that
    training began from other weights or data, or another run works in the folder.
    """
    kept = read_json(folder / "history.json")
    training.check_same_start(folder, kept.get("settings", {}), settings)
    if not resuming:
        files.lock_folder(folder)
        (folder / "history.json").unlink(missing_ok=True)
        return []
    if not kept:
        return []
    if different := training.changed_settings(kept["settings"], settings, ended=True):
        setup.log(f"  {folder} ended with other settings ({', '.join(different)}): training again")
        return []
    return training.add_precision(kept["history"], kept["settings"])


@setup.on_rank_zero
def write_history(folder: Path, settings: dict, history: list[dict]) -> None:
    """Write history.json and remove the checkpoints, which for ResNet-50 take 300 MB a training."""
    write_json(folder / "history.json", {"settings": settings, "history": history, "versions": setup.versions()})
    for name in ("best.pth", "last.pth"):
        (folder / name).unlink(missing_ok=True)


def summary(histories: list[list[dict]]) -> dict[str, float]:
    """Mean and standard deviation, over the repetitions, of the last epoch's accuracies; one repetition has no deviation."""
    found = {}
    for split in ("train", "validation"):
        values = [history[-1][f"{split}_accuracy"] for history in histories]
        found[split] = statistics.fmean(values)
        if len(values) > 1:
            found[f"{split} sd"] = statistics.stdev(values)
    return found


def beats(better: dict[str, float], worse: dict[str, float]) -> bool | None:
    """Whether one row's validation accuracy is above another's by more than their spreads; None where one run cannot tell."""
    if "validation sd" not in better or "validation sd" not in worse:
        return None
    spread = (better["validation sd"] ** 2 + worse["validation sd"] ** 2) ** 0.5
    return better["validation"] - worse["validation"] > spread
