"""What makes simulated hours cheap, and changes nothing: pure functions of the production code remember their answers.

A parser and the reasons of a situation are functions; the entries of one store are one thing at one revision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache

from pgha import records
from pgha.core import classify, decide, model, voters
from pgha.watchdog import agent, lease

Parse = Callable[[str, int, Mapping[str, tuple[bytes, int]]], records.Records]
KEPT = 64


def _by_revision(real: Parse) -> Parse:
    """For the one store of one run."""
    last: dict[int, records.Records] = {}

    def parse_snapshot(cluster: str, revision: int, entries: Mapping[str, tuple[bytes, int]]) -> records.Records:
        found = last.get(revision)
        if found is None:
            if len(last) > KEPT:
                last.clear()
            found = last[revision] = real(cluster, revision, entries)
        return found

    return parse_snapshot


@contextmanager
def quick() -> Iterator[None]:
    """Within, for one run."""
    parse = lru_cache(maxsize=4096)(records.parse_value)
    swaps: tuple[tuple[object, str, object], ...] = (
        (records, "parse_value", parse),
        (lease, "parse_value", parse),
        (records, "parse_snapshot", _by_revision(records.parse_snapshot)),
        (agent, "reasons", lru_cache(maxsize=4096)(decide.reasons)),
        (classify, "parse_standby_name", lru_cache(maxsize=1024)(model.parse_standby_name)),
        (voters, "parse_names", lru_cache(maxsize=1024)(voters.parse_names)),
    )
    old = [(owner, name, getattr(owner, name)) for owner, name, _ in swaps]
    for owner, name, new in swaps:
        setattr(owner, name, new)
    try:
        yield
    finally:
        for owner, name, was in old:
            setattr(owner, name, was)
