"""The shape of a JSON document: its names and the types of its values, as text that a golden file can hold."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping


def shape(*bodies: Mapping[str, object]) -> str:
    """A line a name, sorted, as paths: `nodes[].lag_bytes: int | null`. Of a list all its members count together, and
    so do several documents of one form."""
    found: dict[str, set[str]] = {}
    for body in bodies:
        _walk("", json.loads(json.dumps(body)), found)
    return "".join(f"{path}: {' | '.join(sorted(kinds))}\n" for path, kinds in sorted(found.items()))


def _walk(path: str, value: object, found: dict[str, set[str]]) -> None:
    if isinstance(value, dict):
        found.setdefault(path or ".", set()).add("object")
        for name, inner in value.items():
            _walk(f"{path}.{name}" if path else str(name), inner, found)
    elif isinstance(value, list):
        found.setdefault(path, set()).add("list")
        _each(f"{path}[]", value, found)
    else:
        kind = {str: "text", bool: "bool", int: "int", float: "number", type(None): "null"}[type(value)]
        found.setdefault(path, set()).add(kind)


def _each(path: str, values: Iterable[object], found: dict[str, set[str]]) -> None:
    for value in values:
        _walk(path, value, found)
