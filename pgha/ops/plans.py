"""Orders for later as `list` and `history` tell them. Pure.

May import core, records, ops.paused and ops.target.
"""

from __future__ import annotations

from datetime import UTC, datetime

from pgha import records
from pgha.core.planned import HAND, OPEN, Planned
from pgha.ops.paused import span_text
from pgha.ops.target import Target

DAY_S = 86400.0


def time_text(at: float) -> str:
    """In UTC, to the second."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def remarks(target: Target, found: records.Records, at: float) -> tuple[str, ...]:
    """For `list`: what is to come, what is at work, and for a day what was dropped."""
    plans = sorted(found.planned.values(), key=lambda p: (p.at, p.ident))
    shown = [p for p in plans if p.phase in (*OPEN, HAND) or (p.phase == "dropped" and at - max(p.since, p.at) < DAY_S)]
    return tuple(_remark(target, plan, at) for plan in shown)


def _remark(target: Target, plan: Planned, at: float) -> str:
    head, way = f"plan {plan.ident}: {plan.words}", target.command(f"cancel {plan.ident}")
    if plan.phase == "dropped":
        return f"{head} at {time_text(plan.at)} was dropped: {plan.answer}"
    if plan.phase == HAND:
        ago = f"{span_text(max(0.0, at - plan.since))} ago"
        done, left = ", ".join(plan.done) or "nobody", ", ".join(plan.nodes) or "nobody"
        turn = f", {plan.step} has its turn" if plan.step else ""
        return (
            f"{head}: by {plan.asked_by or 'somebody'}, last step {ago}{turn}; done: {done}; left: {left}; "
            f"the same command goes on, {way} forgets it"
        )
    if plan.phase == "begun":
        left = f", left: {', '.join(plan.nodes)}" if plan.nodes else ""
        return f"{head}: at work{f', {plan.step} has its turn' if plan.step else ''}{left}; {way}"
    when = f"in {span_text(plan.at - at)}" if plan.at > at else f"due for {span_text(at - plan.at)}, nobody has begun"
    return f"{head} at {time_text(plan.at)} ({when}), by {plan.asked_by or 'somebody'}; {way}"


def dropped(found: records.Records) -> tuple[str, ...]:
    """For `history`: what did not happen, and why."""
    plans = sorted(found.planned.values(), key=lambda p: (p.at, p.ident))
    return tuple(f"{p.words} planned for {time_text(p.at)}: {p.answer}" for p in plans if p.phase == "dropped")
