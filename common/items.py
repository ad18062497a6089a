"""The items of the reports, from items.toml: what makes each, what it needs, what its report states. Read without torch."""

import functools
import tomllib
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
