"""The items of the reports, from items.toml: what makes each, what it needs, what its report states.

Read without torch.
"""

import functools
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field

from common.cli import ROOT


@dataclass(frozen=True)
class Item:
    """One item; its `name` is the report's key and number ('f22a 1.2'). The other fields are explained at the head of items.toml."""

    name: str
    title: str
    runs: list[str]
    needs: list[str] = field(default_factory=list)
    needs_full: list[str] = field(default_factory=list)
    reported: dict | str = "figure"
    claims: dict[str, str] = field(default_factory=dict)
    headline: str = ""
    quick_seconds: float = 5.0
    shares: str = ""
    words: dict[str, str] = field(default_factory=dict)
    photographs: str = ""
    result: bool = True

    def claim(self, name: str, holds: bool | None, **measured) -> dict:
        """A claim of the report's as results hold it: its words, whether it holds (None: this run cannot tell), and what was measured."""
        return {"claim": self.claims[name], "holds": holds, **measured}


@functools.cache
def _table() -> dict:
    return tomllib.loads((ROOT / "items.toml").read_text(encoding="utf-8"))


@functools.cache
def load() -> dict[str, Item]:
    """All items by name, in the order in which run_all.sh makes them."""
    return {name: Item(name, **entry) for name, entry in _table()["items"].items()}


def get(name: str) -> Item:
    """The item of that name, 'f22a 1.2'."""
    return load()[name]


def reports() -> dict[str, str]:
    """The reports, and our own models, in words by key, in the results page's order."""
    return _table()["reports"]


# ---- numbers in words ----


def flatten(value, label: str = "") -> Iterator[tuple[str, object]]:
    """The leaves of nested dicts with their labels: {'A': {'epoch 1': 0.5}} gives ('A / epoch 1', 0.5)."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from flatten(inner, f"{label} / {key}" if label else key)
    elif label or value is not None:
        yield label, value


def name_in_words(item: str, name: str) -> str:
    """A number's name, one part of a path, in words: 'lr' is 'learning rate'."""
    own = load()[item].words if item in load() else {}
    return (_table()["words"] | own).get(name, name.replace("_", " "))


def is_number(value) -> bool:
    """Whether a JSON value is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def decimals(value) -> int | None:
    """How many decimals a number of a report's was printed with; None if that does not say how to print another (10, 2e-05)."""
    written = repr(value)
    return len(written.partition(".")[2]) if isinstance(value, float) and "e" not in written else None


def format_number(value: float, places: int | None = None) -> str:
    """A number with so many decimals, else with four digits; whole ones with all of theirs: 0.5948, 19.98, 25,557,032."""
    if isinstance(value, int):
        return f"{value:,}"
    if places is None:
        return f"{value:,.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
    return f"{value:.{places}f}"


def headline(item: str, content: dict) -> str:
    """The number that stands for an item, reported beside reproduced: '0.5544 → 0.5948'; '' for an item without one.

    `content` is the item's result, {} where there is none: what the report states is then taken from items.toml. The digits are the
    report's, three or four. Where the report has no such number, ours has a word: 'silhouette -0.2152', '41,996,878 parameters'.
    """
    path = load()[item].headline if item in load() else ""
    sides = content.get("reported", load()[item].reported if path else None), content.get("reproduced")
    reported, ours = (value if is_number(value := dict(flatten(side)).get(path)) else None for side in sides)
    if not path or reported is ours is None:
        return ""
    places = decimals(reported)
    if places is not None:
        places = min(4, max(places, 3 if abs(reported) < 1 else 1))
    shown = [format_number(value, places) for value in (reported, ours) if value is not None]
    word = name_in_words(item, path.split(" / ")[-1])
    if isinstance(reported if ours is None else ours, int):  # a count: the word is its unit
        shown[-1] += f" {word}"
    if ours is None:
        shown.append("—" if content else "not run")
    return " → ".join(shown) if reported is not None or isinstance(ours, int) else f"{word} {shown[0]}"
