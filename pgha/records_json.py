"""One JSON object of the store, read field by field with its type. Used by `records` and its neighbours.

May import `pgha.core` only. Everything here raises ValueError that names the field.
"""

from __future__ import annotations

import json
from math import isfinite
from typing import TypeVar

from pgha.core.model import Copy, Position, parse_lsn

T = TypeVar("T")
SCHEMA = 1


def dump(body: dict[str, object]) -> bytes:
    """One value of the store, with its schema number."""
    return json.dumps({"schema": SCHEMA, **body}, separators=(",", ":"), sort_keys=True).encode()


def other_form(schema: int) -> str:
    """Why a value of another form than this version's is left alone."""
    newer = ": a newer pgha has written it, upgrade this one" if schema > SCHEMA else ""
    return f"schema {schema}, this version knows {SCHEMA}{newer}"


class Reader:
    """One JSON object, read field by field with its type; raises ValueError naming the field."""

    def __init__(self, body: object) -> None:
        if not isinstance(body, dict):
            raise ValueError("not a JSON object")
        self.body = body

    def get(self, name: str, kind: type[T], default: T | None = None) -> T:
        """The field, of this type; an int will do for a float."""
        value = self.body.get(name, default)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise ValueError(f"{name}: expected {kind.__name__}, found {value!r}"[:120])
        if isinstance(value, float) and not isfinite(value):
            raise ValueError(f"{name}: {value} is no number")  # JSON has none, Python's reader has
        if isinstance(value, str):
            text_of(value)
        return value

    def count(self, name: str, default: int | None = None) -> int:
        """A whole number that is not negative."""
        value = self.get(name, int, default)
        if not 0 <= value < 1 << 63:
            raise ValueError(f"{name}: out of range: {value}")
        return value

    def position(self, name: str) -> Position:
        """A place in the WAL."""
        inner = Reader(self.get(name, dict))
        return Position(inner.count("timeline"), lsn_of(inner.get("lsn", str)))

    def copy(self, name: str) -> Copy:
        """A data copy: `node.data`."""
        return copy_of(self.get(name, str))


def pairs_of(reader: Reader, name: str) -> dict[str, tuple[str, str]]:
    """A map of texts to two texts each."""
    found = {}
    for key, pair in reader.get(name, dict, {}).items():
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            raise ValueError(f"{name}: {pair!r}"[:120])
        found[text_of(key)] = (text_of(pair[0]), text_of(pair[1]))
    return found


def texts_of(reader: Reader, name: str) -> dict[str, str]:
    """A map of texts to a text each; none when it is absent."""
    found = {}
    for key, text in reader.get(name, dict, {}).items():
        if not isinstance(text, str):
            raise ValueError(f"{name}: {text!r}"[:120])
        found[text_of(key)] = text_of(text)
    return found


def text_of(value: object) -> str:
    """Half a character (a lone surrogate) can be neither shown nor written: UnicodeEncodeError, a ValueError."""
    text = str(value)
    text.encode()
    return text


def lsn_of(value: object) -> int:
    """PostgreSQL's notation."""
    if not isinstance(value, str):
        raise ValueError(f"not an LSN: {value!r}"[:120])
    return parse_lsn(value)


def copy_of(text: object) -> Copy:
    """`node.data`."""
    if not isinstance(text, str):
        raise ValueError(f"not a data copy: {text!r}"[:120])
    node, dot, data = text.partition(".")
    if not dot or not node or not data or "." in data:
        raise ValueError(f"not a data copy: {text!r}"[:120])
    return Copy(node, data)
