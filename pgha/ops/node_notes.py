"""What `list` says of each node besides its state: tags, settings that wait or were left, an order for it alone. Pure.

May import core and records.
"""

from __future__ import annotations

from pgha import records
from pgha.core.chores import OPEN
from pgha.core.model import Member
from pgha.ops.paused import span_text

DAY_S = 86400.0


def tags(member: Member) -> list[str]:
    """As the inventory has them."""
    flags = ("nofailover", "nosync", "clonefrom", "noloadbalance")
    found = [name for name in flags if getattr(member, name)]
    return [*found, *([f"priority {member.priority}"] if member.priority else [])]


def remarks(found: records.Records, at: float) -> tuple[str, ...]:
    """Nothing is wrong, and somebody may want to know."""
    said = []
    for name, member in sorted(found.members.items()):
        said += [f"{name} waits for a restart: {p} {now} -> {new}" for p, (now, new) in sorted(member.pending.items())]
        measured, ago_s = member.measures, max(0.0, at - member.measures.least_at)
        if measured.near and ago_s <= DAY_S:
            times = f"{measured.near} near miss{'' if measured.near == 1 else 'es'} within a day"
            said.append(
                f"{name} renewed its lease with {measured.least_s:.1f} s left, {span_text(ago_s)} ago ({times})"
            )
    return tuple(said)


def problems(found: records.Records) -> list[str]:
    """Settings that a node does not run."""
    return [f"{name}: {member.refused}" for name, member in sorted(found.members.items()) if member.refused]


def orders(found: records.Records, at: float) -> list[str]:
    """The orders for single nodes that are not over."""
    said = []
    for name, order in sorted(found.requests.items()):
        if order.phase in OPEN:
            age, who = max(0.0, at - order.asked_at), order.asked_by or "somebody"
            said.append(f"{order.kind} {name}: {order.phase}, asked {age:.0f} s ago by {who}")
    return said
