"""YAML text to a tree that knows line and column of everything. Takes the plain part of YAML 1.2, refuses the rest.

May import `pgha.errors` and, lazily, yaml. Never opens a file.

PyYAML's own loading is not used: it keeps the last of two equal keys, reads `no` as false and `22:22` as 1342, and its
recursion ends in the C stack. Its events have none of that.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from pgha.errors import PghaError, UsageError

if TYPE_CHECKING:
    from yaml import Event, YAMLError

MAX_BYTES = 1_000_000
MAX_DEPTH = 12
MAX_VALUES = 5_000  # keeps any file quick to judge
UNSHOWN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})  # not shown as they are
INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,17})")
FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")


@dataclass(frozen=True, slots=True, order=True)
class Spot:
    """A place in the file, counted from 1."""

    line: int = 1
    column: int = 1


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value. kind: text, whole, float, flag, null, or broken (already reported). text: as it was written."""

    spot: Spot
    kind: str
    text: str
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    spot: Spot
    items: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A map. keys: where each name stands, in the order of the file. refused: entries left out (already reported)."""

    spot: Spot
    keys: Mapping[str, Spot]
    entries: Mapping[str, Tree]
    refused: int = 0


Tree: TypeAlias = Scalar | Items | Table


def shown(text: str) -> str:
    """Text from the file, safe for a terminal: quoted, escaped, at most 60 characters."""
    return ascii(text) if len(text) <= 60 else ascii(text[:57] + "...")


@dataclass(slots=True)
class Report:
    """The problems found so far. `where` is the file's name as the operator gave it."""

    where: str
    found: list[tuple[Spot, UsageError]] = field(default_factory=list)

    def add(self, spot: Spot, what: str, because: str, next_step: str) -> None:
        """One problem, with what is accepted in `because` or `next_step`."""
        place = f"{self.where}:{spot.line}:{spot.column}"
        self.found.append((spot, UsageError(f"{place}: {what}", because, next_step)))

    def problems(self) -> list[PghaError]:
        """All of them in the order of the file."""
        return [error for _, error in sorted(self.found, key=lambda pair: pair[0])]


def decode(raw: bytes, where: str) -> str:
    """The file's text without byte order mark, with plain line ends. Raises UsageError when it is not a text file."""
    fix = "give a YAML file like inventory.example.yaml, as UTF-8 text"
    if len(raw) > MAX_BYTES:
        raise UsageError(f"{where}:1:1: too large for an inventory", f"{len(raw)} bytes, at most {MAX_BYTES}", fix)
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UsageError(f"{where}:1:1: saved as UTF-16", "an inventory is UTF-8", "save it again as UTF-8")
    try:
        text = raw.decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as e:
        good = raw[: e.start].decode("utf-8").removeprefix("\ufeff")
        raise UsageError(f"{_place(where, good)}: not UTF-8", f"byte {raw[e.start]:#04x} ({e.reason})", fix) from None
    if "\0" in text:
        raise UsageError(f"{_place(where, text[: text.index(chr(0))])}: a NUL byte, this is no text file", "", fix)
    if not text.strip():
        raise UsageError(f"{where}:1:1: the file is empty", "", fix)
    return text.replace("\r\n", "\n").replace("\r", "\n")


def compose(text: str, report: Report) -> Tree | None:
    """The file's one document, or None when it can't be read. Look into the report also when a tree comes back."""
    if _unreadable(text, report):
        return None
    import yaml

    loader = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
    try:
        return _Builder(report).build(iter(yaml.parse(text, Loader=loader)))
    except yaml.YAMLError as e:
        _syntax(e, text, report)
        return None


def _unreadable(text: str, report: Report) -> bool:
    """Characters that no editor shows as they are; YAML refuses most of them too, without saying where."""
    for number, line in enumerate(text.split("\n"), 1):
        for column, char in enumerate("" if line.isprintable() else line, 1):
            if char != "\t" and unicodedata.category(char) in UNSHOWN:
                what = f"the character U+{ord(char):04X} is not allowed"
                report.add(Spot(number, column), what, "it can't be seen as it is", "delete it, or type the line again")
                return True
    return False


def _syntax(e: YAMLError, text: str, report: Report) -> None:
    mark, problem = getattr(e, "problem_mark", None), getattr(e, "problem", None)
    spot = Spot(mark.line + 1, mark.column + 1) if mark else Spot()
    lines = text.split("\n")
    here = lines[spot.line - 1][spot.column - 1 :][:1] if spot.line <= len(lines) else ""
    if here == "\t":
        report.add(spot, "a tab", "YAML indents with spaces only", "replace the tab by spaces")
        return
    # The line itself is not shown: it may hold a password.
    because = " ".join(part for part in (getattr(e, "context", None), problem) if part) or "it can't be parsed"
    report.add(
        spot,
        "not valid YAML from here",
        because,
        "close what is open before it, and quote text that has : # or quotes in it",
    )


def _place(where: str, before: str) -> str:
    return f"{where}:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"


@dataclass(slots=True)
class _Open:
    """A list or map that is being filled."""

    spot: Spot
    mapping: bool
    items: list[Tree] = field(default_factory=list)
    keys: dict[str, Spot] = field(default_factory=dict)
    entries: dict[str, Tree] = field(default_factory=dict)
    key: str | None = None  # its value comes next
    skip: bool = False  # the next value belongs to a key that was refused
    refused: int = 0
    broken: bool = False  # it has a tag or an anchor

    def close(self) -> Tree:
        """What it has become."""
        if self.broken:
            return Scalar(self.spot, "broken", "")
        return (
            Table(self.spot, self.keys, self.entries, self.refused)
            if self.mapping
            else Items(self.spot, tuple(self.items))
        )


class _Builder:
    """Events in, a tree out, with a stack of its own instead of recursion."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.stack: list[_Open] = []
        self.root: Tree | None = None

    def build(self, events: Iterator[Event]) -> Tree | None:
        import yaml

        documents = 0
        for count, event in enumerate(events):
            mark = event.start_mark
            spot = Spot(mark.line + 1, mark.column + 1) if mark else Spot()
            if count > MAX_VALUES:
                self.report.add(
                    spot,
                    "too much for an inventory",
                    f"more than {MAX_VALUES} values",
                    "write one file for each cluster",
                )
                return None
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self.report.add(
                        spot, "a second YAML document", "one file is one cluster", "write one file for each cluster"
                    )
                    return self.root
            elif isinstance(event, yaml.AliasEvent):
                self._refuse(spot, f"an alias (*{event.anchor})", "write the value out")
                self._value(Scalar(spot, "broken", ""))
            elif isinstance(event, yaml.ScalarEvent):
                self._scalar(event, spot)
            elif isinstance(event, yaml.CollectionStartEvent):
                if len(self.stack) >= MAX_DEPTH:
                    self.report.add(
                        spot, "nested too deep", f"more than {MAX_DEPTH} levels", "an inventory needs three"
                    )
                    return None
                mapping = isinstance(event, yaml.MappingStartEvent)
                self.stack.append(_Open(spot, mapping, broken=not self._plain(event, spot)))
            elif isinstance(event, yaml.CollectionEndEvent):
                self._value(self.stack.pop().close())
        return self.root

    def _refuse(self, spot: Spot, what: str, next_step: str) -> None:
        self.report.add(
            spot,
            f"{what} is not accepted",
            "an inventory uses plain YAML: no anchors, aliases, merge keys or tags",
            next_step,
        )

    def _plain(self, event: Event, spot: Spot) -> bool:
        """Whether it has neither anchor nor tag."""
        anchor, tag = getattr(event, "anchor", None), getattr(event, "tag", None)
        if anchor:
            self._refuse(spot, f"an anchor (&{anchor})", "delete it")
        if tag:
            self._refuse(spot, f"a tag ({shown(str(tag))})", "delete it; quote a value that has to be text")
        return not anchor and not tag

    def _scalar(self, event: Event, spot: Spot) -> None:
        text, quoted = str(getattr(event, "value", "")), not getattr(event, "implicit", (True,))[0]
        if not self._plain(event, spot):
            kind = "broken"
        else:
            kind = "text" if quoted else plain_kind(text)
        self._value(Scalar(spot, kind, text, quoted))

    def _value(self, tree: Tree) -> None:
        if not self.stack:
            self.root = tree
            return
        top = self.stack[-1]
        if not top.mapping:
            top.items.append(tree)
        elif top.skip:
            top.skip = False
        elif top.key is None:
            top.key = self._key(top, tree)
            top.skip = top.key is None
            top.refused += top.skip
        else:
            top.entries[top.key] = tree
            top.key = None

    def _key(self, top: _Open, tree: Tree) -> str | None:
        if not isinstance(tree, Scalar):
            self.report.add(
                tree.spot, "a list or map used as a key", "a key is a word", "put braces and brackets after the colon"
            )
            return None
        if tree.kind == "broken":
            return None
        if tree.text == "<<" and not tree.quoted:
            self._refuse(tree.spot, "a merge key (<<)", "write the values out")
            return None
        if tree.text in top.keys:
            first = top.keys[tree.text]
            because = f"first in line {first.line}, again in line {tree.spot.line}"
            self.report.add(tree.spot, f"{shown(tree.text)} is there twice", because, "keep one of them")
            return None
        top.keys[tree.text] = tree.spot
        return tree.text


def plain_kind(text: str) -> str:
    """What an unquoted scalar is, by YAML 1.2 without octal and hexadecimal: `no`, `010` and `22:22` are text."""
    if text in ("", "~", "null", "Null", "NULL"):
        return "null"
    if text in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return "flag"
    if INT.fullmatch(text):
        return "whole"
    if FLOAT.fullmatch(text) and not re.match(r"[-+]?0[0-9]", text) and not text.strip("+-").isdecimal():
        return "float"
    return "text"
