"""What `list` says of each node besides its state: tags, settings that wait or were left, an order for it alone. Pure.

May import core and records.
"""

from __future__ import annotations

from pgha import records
from pgha.core.chores import OPEN
from pgha.core.model import Member
from pgha.ops.paused import span_text

DAY_S = 86400.0
FENCE = "fence"  # among what waits for a restart
UNARMED = "its fence is not armed: it runs as it was taken over; pgha restart --rolling --pending arms it"


def tags(member: Member) -> list[str]:
    """As the inventory has them."""
    flags = ("nofailover", "nosync", "clonefrom", "noloadbalance")
    found = [name for name in flags if getattr(member, name)]
    found += [f"priority {member.priority}"] if member.priority else []
    return [*found, *([f"follow {member.follow}"] if member.follow else [])]


def remarks(found: records.Records, at: float) -> tuple[str, ...]:
    """Nothing is wrong, and somebody may want to know."""
    said = [_differ(found, "PostgreSQL", "postgres"), _differ(found, "pgha", "version")]
    said = [*(sentence for sentence in said if sentence), *_waiting(found)]
    for name, member in sorted(found.members.items()):
        if member.follow and member.follows not in ("", member.follow):
            said.append(f"{name} streams from {member.follows} while {member.follow} can't be followed")
        said += [f"{name}: {UNARMED}"] if FENCE in member.pending else []
        measured, ago_s = member.measures, max(0.0, at - member.measures.least_at)
        if measured.near and ago_s <= DAY_S:
            times = f"{measured.near} near miss{'' if measured.near == 1 else 'es'} within a day"
            said.append(
                f"{name} renewed its lease with {measured.least_s:.1f} s left, {span_text(ago_s)} ago ({times})"
            )
    return tuple(said)


def _waiting(found: records.Records) -> list[str]:
    """Each parameter that waits for a restart, once for all nodes where it is the same change."""
    nodes: dict[tuple[str, str, str], list[str]] = {}
    for name, member in sorted(found.members.items()):
        for parameter, (now, new) in member.pending.items():
            if parameter != FENCE:
                nodes.setdefault((parameter, now, new), []).append(name)
    return [
        f"{', '.join(who)} wait{'' if who[1:] else 's'} for a restart: {parameter} {now} -> {new}"
        for (parameter, now, new), who in sorted(nodes.items())
    ]


def _differ(found: records.Records, what: str, name: str) -> str:
    """Which nodes run which version of it, when they don't all run the same; "" else."""
    runs: dict[str, list[str]] = {}
    for node, member in sorted(found.members.items()):
        runs.setdefault(str(getattr(member, name)), []).append(node)
    runs.pop("", None)
    if len(runs) < 2:
        return ""
    short = {version: version.split()[0] for version in runs}
    shown = short if len(set(short.values())) == len(runs) else {version: version for version in runs}
    told = "; ".join(f"{shown[version]} on {', '.join(nodes)}" for version, nodes in sorted(runs.items()))
    return f"several versions of {what} run: {told}"


def unarmed(found: records.Records) -> list[str]:
    """The nodes whose server is not the guard's child (bootstrap --adopt), with what ends that."""
    return [f"{name}: {UNARMED}" for name, member in sorted(found.members.items()) if FENCE in member.pending]


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
