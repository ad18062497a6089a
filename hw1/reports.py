"""What the models of hw1's reports and our own ones share: their recipes by name, and tables whose rows are trained one by one."""

import sys
from pathlib import Path

from common import cli, items, results, setup

# ---- models ----


def find_recipe(recipes: dict, report: str | None, model: str):
    """A report's recipe for model 'A' or 'B', or our own ones ('best', 'scratch'); raises UsageError if there is none."""
    key = (report or "ours", model)
    if key not in recipes:
        known = sorted({name for name, _ in recipes} - {"ours"})
        raise cli.UsageError(
            f"no recipe for --report {report} --model {model}; give {', '.join(known)} with --model A or B, or --model best"
        )
    return recipes[key]


def start_in_words(settings: dict) -> str:
    """A title for a run of ours: 'resnet_fpn from random weights at 256 px'."""
    start = {"none": "random weights", "default": "ImageNet weights"}.get(settings["weights"], settings["weights"])
    return f"{settings['network']} from {start} at {settings['image_size']} px"


def check_same_run(path: Path, state: dict, run: dict) -> None:
    """Raises UsageError if a checkpoint's epochs are not those of `run`, its folder's run.json: a later training there was broken off."""
    histories = ([(epoch["epoch"], epoch["train_loss"]) for epoch in one] for one in (state.get("history", []), run.get("history", [])))
    if any(one != other for one, other in zip(*histories, strict=False)):
        raise cli.UsageError(f"{path} is of another training than its folder's run.json; train again, or go on with --resume")


# ---- tables ----

ROW = ("kept", "settings", "deviations", "quick", "command", "seconds", "device", "commit")  # what a table keeps of a model's run.json


def best_rows(runtime: setup.Runtime, item: str, data: dict, rows: dict[str, dict]) -> dict[str, dict]:
    """A table's rows by name, each of the better of two runs: today's, and that of the item's result, if it is of the same `data` and form.

    A row says where it comes from, and has "quick" and "deviations", by which `faithfulness` decides; of two alike the newer is taken.
    """
    path = results.result_path(runtime.out, item)
    there = results.read_json(path)
    found = there["rows"] if results.same_table_as(there, runtime.quick, data) else {}
    for name, row in rows.items():
        if name in found and results.faithfulness(row) < results.faithfulness(found[name]):
            print(f"note: {path} keeps its row {name}, of the report's own settings; use another --out for this one", file=sys.stderr)
        else:
            found[name] = row
    return dict(sorted(found.items()))


def model_rows(runtime: setup.Runtime, item: str, folders: dict[str, Path], data: dict, numbers: tuple[str, ...]) -> dict[str, dict]:
    """A table's rows: of each model the best run on the same data, of that in its folder and those that the table has had.

    Of each run ROW's entries of its run.json, and of its history these `numbers` ('loss', ...).
    """
    found = {}
    for model, folder in folders.items():
        run = results.read_json(folder / "run.json")
        if run and results.same_data(run["settings"]["data"], data):
            names = ["epoch", *(f"{split}_{number}" for split in ("train", "validation") for number in numbers)]
            short = [{name: epoch[name] for name in names if name in epoch} for epoch in run["history"]]
            found[model] = {key: run[key] for key in ROW} | ({"history": short} if numbers else {})
    return best_rows(runtime, item, data, found)


def b_beats_a(runtime: setup.Runtime, table: str, ours: str, measured: dict[str, float], data: dict) -> list[dict]:
    """The claims of an item `table` of a report's models A and B, `measured` as far as they are trained.

    B starts from published weights, which may not be at hand. So the claim is tried a second time with the number of the item `ours`, our
    own model from published weights, where that has a result of the same data and form.
    """
    item = items.get(table)
    claims = [item.claim("b_beats_a", measured["B"] > measured["A"], **measured)] if len(measured) == 2 else []
    best = results.read_json(results.result_path(runtime.out, ours))
    published = best.get("quick") == runtime.quick and best["weights"] != "none" and results.same_data(best["data"], data)
    if "A" in measured and published:
        number = best["reproduced"][items.get(ours).headline]
        claims.append(item.claim("published_beats_a", number > measured["A"], A=measured["A"], **{best["title"]: number}))
    return claims


def model_fields(rows: dict[str, dict]) -> dict:
    """The entries of a result that is made of models' runs, which it keeps as `rows`."""
    origin = ("command", "seconds", "device", "commit")
    return {
        "weights": ", ".join(f"{model} {row['settings']['weights']}" for model, row in rows.items()),
        "settings": {model: row["settings"] | {key: row[key] for key in origin} for model, row in rows.items()},
        **row_fields(rows),
    }


def row_fields(rows: dict[str, dict]) -> dict:
    """The entries of a table's result that its rows have together."""
    places = {key: ", ".join(dict.fromkeys(row[key] for row in rows.values() if key in row)) for key in ("device", "commit")}
    deviations = merge_deviations({name: row["deviations"] for name, row in rows.items()})
    return {"deviations": deviations, "seconds": round(sum(row["seconds"] for row in rows.values()), 1), **places, "rows": rows}


def merge_deviations(deviations: dict[str, list[str]]) -> list[str]:
    """The deviations of a table's rows, each with the names of the rows that have it, unless all of several rows have."""
    rows: dict[str, list[str]] = {}
    for name, words in deviations.items():
        for word in words:
            rows.setdefault(word, []).append(name)
    return [word if len(names) == len(deviations) > 1 else f"{', '.join(names)}: {word}" for word, names in rows.items()]
