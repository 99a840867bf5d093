"""What the cluster promises now, in words for `list`: waiting commits, bytes at stake, what was lost and kept.

Pure; may import core. Facts come from the leader key, from the primary's record and from the settings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pgha.core.model import Leader, Member, Settings, format_lsn, parse_standby_name

WRITES_WAIT = "writes wait"


@dataclass(frozen=True, slots=True)
class Promise:
    """sync: the sentence's part; stakes: the bytes that would be lost if the primary died now, None where that is no
    question or nobody is there to take over; waits: no commit can return; notes: what is wrong; remarks: what is so.
    """

    sync: str
    stakes: int | None = None
    waits: bool = False
    notes: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def promise(
    settings: Settings | None, leader: Leader | None, primary: Member | None, others: Iterable[Member]
) -> Promise:
    """Of the cluster as one look shows it. others: members that report, the primary not among them."""
    if leader is None:
        return Promise("")
    known, settings = tuple(others), settings or Settings()
    remarks = (*_lost(leader), *_kept(leader, known if primary is None else (*known, primary)))
    if not leader.sync:
        return _nothing_promised(settings, leader, primary, known, remarks)
    rule = leader.sync[-1]
    if settings.durability == "strict" and primary is not None and _confirming(leader, primary) < max(rule.k, 1):
        note = (
            f"durability strict: commits wait, {_confirming(leader, primary)} of {max(rule.k, 1)} voters confirm them"
        )
        text = f"sync ANY {rule.k} of {len(rule.voters)}" if rule.voters else "no voters"
        return Promise(text, waits=True, notes=(note,), remarks=remarks)
    return Promise(f"sync ANY {rule.k} of {len(rule.voters)}" if rule.k else "not replicated", remarks=remarks)


def _confirming(leader: Leader, primary: Member) -> int:
    """Voters of the rule in force that stream, by the primary's word."""
    names = {v.standby_name(leader.epoch) for v in leader.sync[-1].voters}
    return sum(1 for name, (state, _) in primary.standbys.items() if name in names and state == "streaming")


def _nothing_promised(
    settings: Settings, leader: Leader, primary: Member | None, others: tuple[Member, ...], remarks: tuple[str, ...]
) -> Promise:
    """async: how far behind the best candidate is, and who is too far behind to be one."""
    if primary is None:
        return Promise("async", remarks=remarks)
    flushed = _flushed(leader, primary)
    able = [m for m in others if not m.nofailover and m.node in flushed]
    lags = {m.node: max(0, primary.position.lsn - flushed[m.node]) for m in able}
    far = [f"{n} lacks {lag} bytes, more than max_lag" for n, lag in sorted(lags.items()) if lag > settings.max_lag]
    notes = [f"{text}: it would not take over by itself" for text in far]
    if not any(lag <= settings.max_lag for lag in lags.values()):
        notes.append("no node would take over by itself")
    return Promise("async", min(lags.values(), default=None), notes=tuple(notes), remarks=remarks)


def _flushed(leader: Leader, primary: Member) -> Mapping[str, int]:
    """Node to what it has flushed, of those that stream under a name of this epoch."""
    found = {}
    for name, (state, lsn) in primary.standbys.items():
        parsed = parse_standby_name(name)
        if parsed is not None and parsed[1] == leader.epoch and state == "streaming":
            found[parsed[0].node] = lsn
    return found


def _lost(leader: Leader) -> list[str]:
    if not leader.loss_bytes:
        return []
    at = format_lsn(leader.forks[-1][1]) if leader.forks else "the seal"
    return [f"epoch {leader.epoch} began without {leader.loss_bytes} bytes known of, beyond {at} (pgha history)"]


def _kept(leader: Leader, members: tuple[Member, ...]) -> list[str]:
    """Directories that may alone hold commits that were given up: on their nodes, or still to come back."""
    said = [f"{m.node} keeps {', '.join(m.kept)}: commits that a failover gave up" for m in members if m.kept]
    there = {m.node: m.data for m in members}
    back = [c for c in leader.kept if there.get(c.node, c.data) == c.data]
    return said + [f"{c} may hold commits that a failover gave up: its directory is not to be deleted" for c in back]
