"""Planted bugs of orders for later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pgha.core import schedule
from pgha.ports import Committed, Conflict, Guard, Unknown, Write
from tests.sim.planting import Undo, swap
from tests.sim.store import SimStore


def plan_early() -> Undo:
    """Nobody looks at the clock."""
    real = schedule.due
    return swap(schedule, "due", lambda plans, wall: real([replace(p, at=min(p.at, wall)) for p in plans], wall))


def plan_apart() -> Undo:
    """An order is given first, and the plan's note of it comes with the next look."""
    real = SimStore.commit

    def commit(
        self: SimStore, guards: Sequence[Guard], writes: Sequence[Write], *, deadline_s: float
    ) -> Committed | Conflict | Unknown:
        plans = [w for w in writes if "/schedule/" in w.key] if len(writes) > 1 else []
        return real(self, guards, [w for w in writes if w not in plans], deadline_s=deadline_s)

    return swap(SimStore, "commit", commit)
