"""One map of the inventory, read key by key: unknown keys, wrong kinds and wrong values go to the report.

May import `pgha.inventory_*` below it. Nothing here raises: it reports, and gives the default, so that all is checked.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TypeVar

from pgha.inventory_forms import Reader, Wrong
from pgha.inventory_keys import BY_PATH, Key, children, elsewhere
from pgha.inventory_yaml import Items, Report, Scalar, Spot, Table, Tree, shown

T = TypeVar("T")
U = TypeVar("U")
WORDS = {Scalar: "a single value", Items: "a list", Table: "a map"}


def nearest(name: str, known: Sequence[str]) -> str:
    """The known name that looks most like it, or ""."""
    return next(iter(difflib.get_close_matches(name.lower(), known, 1, 0.6)), "")


def apply(report: Report, value: Scalar, reader: Reader[T], *, key: Key, label: str) -> T | None:
    """The value, or None after reporting what is wrong with it."""
    if value.kind == "broken":
        return None
    try:
        if value.kind == "null":
            raise Wrong("it has no value")
        return reader(value)
    except Wrong as e:
        step = e.next_step or f"for example {key.example}"
        report.add(value.spot, f"{label}: {e.what}", e.accepted or key.accepted, step)
        return None


class Section:
    """The map at `path` of the table of keys; `label` is its name in messages (`nodes.db1` for `nodes.NAME`)."""

    def __init__(self, report: Report, tree: Tree | None, *, path: str, label: str = "") -> None:
        self.report, self.path, self.label = report, path, label or path
        self.table = tree if isinstance(tree, Table) else None
        self.spot = tree.spot if tree else Spot()
        if tree is not None and self.table is None:
            self._not("a map", tree, BY_PATH.get(path))
        if self.table is not None and children(path):
            self._unknown(self.table)

    def named(self, name: str) -> str:
        """The key's name in messages."""
        return f"{self.label}.{name}" if self.label else name

    def key(self, name: str) -> Key:
        """The key's row in the table."""
        return BY_PATH[f"{self.path}.{name}" if self.path else name]

    def tree(self, name: str) -> Tree | None:
        """What stands there, unread."""
        return self.table.entries.get(name) if self.table else None

    def at(self, name: str) -> Spot:
        """Where the key stands; the map's own place when it does not."""
        return self.table.keys.get(name, self.spot) if self.table else self.spot

    def has(self, name: str) -> bool:
        """Whether the key is there."""
        return self.table is not None and name in self.table.keys

    def read(self, name: str, reader: Reader[T], default: U) -> T | U:
        """A single value; the default when it is absent or wrong."""
        tree = self.tree(name)
        if tree is None:
            return default
        if not isinstance(tree, Scalar):
            self._not("a single value", tree, self.key(name), self.named(name))
            return default
        value = apply(self.report, tree, reader, key=self.key(name), label=self.named(name))
        return default if value is None else value

    def items(self, name: str, reader: Reader[T], *, empty: bool = False) -> tuple[tuple[Spot, T], ...]:
        """A list of single values, each with its place; wrong ones are left out."""
        tree = self.tree(name)
        if tree is None or (isinstance(tree, Scalar) and tree.kind == "broken"):
            return ()
        if not isinstance(tree, Items):
            self._not("a list", tree, self.key(name), self.named(name))
            return ()
        if not tree.items and not empty:
            self.report.add(tree.spot, f"{self.named(name)} is empty", "", f"for example {self.key(name).example}")
        key, found = BY_PATH[f"{self.key(name).path}[]"], []
        for number, item in enumerate(tree.items, 1):
            label = f"{self.named(name)}, entry {number}"
            if not isinstance(item, Scalar):
                self._not("a single value", item, key, label)
                continue
            value = apply(self.report, item, reader, key=key, label=label)
            if value is not None:
                found.append((item.spot, value))
        return tuple(found)

    def require(self, name: str) -> None:
        """Reports the key when it is missing."""
        if self.table is not None and not self.has(name):
            key = self.key(name)
            self.report.add(
                self.spot, f"{self.named(name)} is missing", key.meaning.replace("`", ""), f"add {name}: {key.example}"
            )

    def section(self, name: str) -> Section:
        """The map below this key; an absent one reads as empty."""
        return Section(self.report, self.tree(name), path=self.key(name).path, label=self.named(name))

    def _not(self, wanted: str, tree: Tree, key: Key | None, label: str = "") -> None:
        if isinstance(tree, Scalar) and tree.kind == "broken":
            return
        found = "nothing" if isinstance(tree, Scalar) and tree.kind == "null" else WORDS[type(tree)]
        name = "" if key and key.path.endswith("[]") else f"{(label or self.label).rpartition('.')[2]}: "
        example = f"{name}{key.example}" if key else "cluster: shop"
        self.report.add(
            tree.spot,
            f"{label or self.label or 'the file'}: expected {wanted}, found {found}",
            "",
            f"for example {example}",
        )

    def _unknown(self, table: Table) -> None:
        known = children(self.path)
        for name, spot in table.keys.items():
            if name in known:
                continue
            anywhere = elsewhere()
            meant = nearest(name, known) or anywhere.get(nearest(name, tuple(anywhere)), "")
            step = f"did you mean {meant}?" if meant else ""
            self.report.add(
                spot,
                f"unknown key {shown(name)}" + (f" in {self.label}" if self.label else ""),
                f"known here: {', '.join(known)}",
                step or "delete it",
            )
