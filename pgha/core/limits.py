"""The parameters whose order between primary and standbys matters: what each node writes into its server's file. Pure.

A standby's must not be lower than its primary's: it would stop replaying (from 14 on), or not even start (PostgreSQL
manual, "Hot Standby", Administrator's Overview). So they are raised on the standbys first, and a node that starts as a
standby, as all do, never has less than its pg_control asks for. May import nothing of pgha.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

BUILT_IN = {
    "max_connections": 100,
    "max_worker_processes": 8,
    "max_wal_senders": 10,
    "max_prepared_transactions": 0,
    "max_locks_per_transaction": 64,
}
"""PostgreSQL's own defaults, where nobody says anything."""

ORDERED = tuple(BUILT_IN)


def whole(text: str) -> int | None:
    """The number that a file's text gives; None for what PostgreSQL would not take as one."""
    stripped = text.strip()
    return int(stripped) if stripped.isdecimal() and stripped.isascii() and len(stripped) < 12 else None


def wanted(name: str, *sources: Mapping[str, str]) -> int:
    """What the first of these sources that speaks of it says, else PostgreSQL's default."""
    said = (whole(source[name]) for source in sources if name in source)
    return next((number for number in said if number is not None), BUILT_IN[name])


def is_lowered(pending: Mapping[str, tuple[str, str]]) -> bool:
    """A primary is given less than it runs: standbys can follow only once it has been restarted in place."""
    waits = [pending[name] for name in ORDERED if name in pending]
    numbers = [(whole(old), whole(new.partition(" ")[0])) for old, new in waits]
    return any(old is not None and new is not None and new < old for old, new in numbers)


def is_short(running: Mapping[str, int], floor: Mapping[str, int]) -> bool:
    """A standby that runs with less than its primary: it replays no more, and needs a start with what it needs."""
    return any(running[name] < floor[name] for name in ORDERED if name in running and name in floor)


def written(
    wanted_now: Mapping[str, int],
    floor: Mapping[str, int],
    running: Mapping[str, int],
    others: Iterable[Mapping[str, int]],
    *,
    primary: bool,
) -> dict[str, int]:
    """The value of each for this node's file.

    floor: what pg_control asks of a standby (empty: unknown). running: of this server (empty: it is down).
    others: what the other nodes that report run. A primary does not raise before they have.
    """
    found, there = {}, list(others)
    for name in ORDERED:
        value = max(wanted_now[name], floor.get(name, 0))
        now = running.get(name)
        if primary and now is not None and value > now and any(o.get(name, value) < value for o in there):
            value = now
        found[name] = value
    return found
