"""A failing run made small: fewer faults, a shorter time, and the same invariant still broken (delta debugging)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tests.sim.plan import Fault, Plan

RUNS = 150
AFTER_S = 2.0


class Shrinker:
    """fails: whether a plan still shows what is looked for. At most `runs` plans are tried."""

    def __init__(self, fails: Callable[[Plan], bool], *, runs: int = RUNS) -> None:
        self._fails, self.left = fails, runs

    def _still(self, plan: Plan) -> bool:
        if self.left <= 0:
            return False
        self.left -= 1
        return self._fails(plan)

    def shrink(self, plan: Plan, *, failed_at: float) -> Plan:
        """The smallest plan that was found. failed_at: when the invariant broke in the run of this one."""
        early = plan.without({f for f in plan.faults if f.at > failed_at})
        plan = early if len(early.faults) < len(plan.faults) and self._still(early) else plan
        plan = self._fewer(plan)
        calmer = (
            replace(plan, odds=0.0),
            replace(plan, core=False),
            replace(plan, until=round(min(plan.until, max((f.at for f in plan.faults), default=0.0) + AFTER_S), 1)),
        )
        for field, candidate in zip(("odds", "core", "until"), calmer, strict=True):
            value = getattr(candidate, field)
            if value != getattr(plan, field) and self._still(replace(plan, **{field: value})):
                plan = replace(plan, **{field: value})
        return plan

    def _fewer(self, plan: Plan) -> Plan:
        """ddmin: parts of the list are left out, halves first, then ever smaller ones."""
        parts = 2
        while len(plan.faults) > 1 and self.left > 0:
            size = -(-len(plan.faults) // parts)
            chunks: list[set[Fault]] = [set(plan.faults[i : i + size]) for i in range(0, len(plan.faults), size)]
            shorter = next((p for c in chunks if self._still(p := plan.without(c))), None)
            if shorter is not None:
                plan, parts = shorter, max(parts - 1, 2)
            elif size == 1:
                break
            else:
                parts = min(parts * 2, len(plan.faults))
        return plan
