"""Planted bugs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

BUGS: dict[str, object] = {}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """x."""
    yield
