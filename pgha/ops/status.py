"""The cluster as one reading of the store shows it: `gather` asks, `judge` (pure) says what it means.

Facts are what the agents published, each with its age by the wall clock of its writer (for showing only). What is not
known is said to be unknown; a silent node stays a row.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from pgha import records
from pgha.core import decide
from pgha.core.model import Leader, Member, Rule, Tenure
from pgha.errors import Exit
from pgha.ops import advice, node_notes, plans
from pgha.ops.paused import Paused, paused
from pgha.ops.promise import WRITES_WAIT, promise
from pgha.ops.rows import BEAT_S as BEAT_S
from pgha.ops.rows import SILENT_S as SILENT_S
from pgha.ops.rows import Row as Row
from pgha.ops.rows import Seen as Seen
from pgha.ops.rows import age_of, refs_of, row_of, unknown
from pgha.ops.rows import is_fresh as is_fresh
from pgha.ops.rows import primary_of as primary_of
from pgha.ops.rows import says_primary as says_primary
from pgha.ops.rows import standbys_of as standbys_of
from pgha.ops.rows import voters_of as voters_of
from pgha.ops.target import Target
from pgha.ports import Clock, Store, StoreDown, StoreHealth

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Status:
    """The judgement. exit: OK, DEGRADED, NO_PRIMARY or STORE. survives: losses that cost neither data nor writes.

    stakes: where nothing is promised, the bytes that the primary's loss would cost now; None: else, or unknown.
    """

    cluster: str
    verdict: str
    exit: Exit
    epoch: int | None
    leader: str
    sync: str
    survives: int
    store_up: int
    store_size: int
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()
    next_step: str = ""
    order: str = ""
    at: float = field(default=0.0)
    stakes: int | None = None
    paused: Paused | None = None
    remarks: tuple[str, ...] = ()

    def sentence(self) -> str:
        """All that matters in one line."""
        parts = [self.cluster, self.verdict]
        if self.epoch is not None:
            parts.append(f"epoch {self.epoch}")
        if self.sync:
            parts.append(self.sync)
        if self.stakes is not None:
            parts.append(f"{self.stakes} bytes at stake")
        elif self.exit in (Exit.OK, Exit.DEGRADED):
            parts.append(f"survives {self.survives} more loss{'' if self.survives == 1 else 'es'}")
        parts.append(f"store {self.store_up}/{self.store_size}")
        return "  ".join(parts)

    def as_dict(self) -> dict[str, object]:
        """For JSON: stable names, `schema_version` rises when one changes its meaning."""
        return {
            "schema_version": SCHEMA_VERSION,
            "cluster": self.cluster,
            "verdict": self.verdict,
            "exit": int(self.exit),
            "epoch": self.epoch,
            "leader": self.leader or None,
            "sync": self.sync,
            "survives": self.survives,
            "store": {"up": self.store_up, "size": self.store_size},
            "nodes": [row.as_dict() for row in self.rows],
            "order": self.order or None,
            "paused": self.paused.as_dict() if self.paused else None,
            "at_stake_bytes": self.stakes,
            "remarks": list(self.remarks),
            "notes": list(self.notes),
            "next": self.next_step or None,
        }


def gather(store: Store, clock: Clock, cluster: str, *, timeout_s: float) -> Seen:
    """Reads the prefix and asks every member at the same time. Never raises for the store."""
    deadline = clock.now_s() + timeout_s
    health: list[StoreHealth] = []
    asking = threading.Thread(target=lambda: health.append(store.health(deadline_s=deadline)), daemon=True)
    asking.start()
    found, down, denied = records.Records(), "", False
    try:
        seen = store.read(records.prefix(cluster), deadline_s=deadline)
        entries = {key: (entry.value, entry.revision) for key, entry in seen.entries.items()}
        found = records.parse_snapshot(cluster, seen.revision, entries)
    except StoreDown as e:
        down, denied = e.why or "no answer", e.denied
    asking.join(max(0.0, deadline + 0.5 - clock.now_s()))
    return Seen(found, health[0] if health else StoreHealth(False), time.time(), down, denied)


# -- judgement -----------------------------------------------------------------------------------------------


def survivable(sync: tuple[Rule, ...], *, store_up: int, store_size: int, fresh: frozenset[str]) -> int:
    """How many nodes may be lost at one moment, the primary among them: the smallest k of the rules that still count.

    Bounded by the members the store may lose, and by the voters that are there at all.
    """
    if not sync:
        return 0
    rules = min(min(rule.k, sum(v.node in fresh for v in rule.voters)) for rule in sync)
    return max(0, min(rules, store_up - (store_size // 2 + 1)))


def _disagreements(target: Target, seen: Seen, primary: Member | None) -> list[str]:
    """Where the store, the servers and the replication view don't tell the same story, and what is unreadable."""
    found, at = seen.records, seen.at
    notes = [f"key {p.key} is left alone: {p.why}" for p in found.problems]
    writable = sorted(m.node for m in found.members.values() if says_primary(m, seen))
    holder = found.leader.holder.node if found.leader else ""
    named = f"the leader key names {holder or 'nobody'}"
    notes += [f"{name} says it is primary, {named}" for name in writable if name != holder]
    if primary is not None and not primary.primary:
        notes.append(f"{holder} holds the leader key, its server is not writable ({primary.state})")
    listed = {ref.name for ref in target.nodes}
    where = target.where or "the inventory"
    notes += [f"{name} reports and is not in {where}" for name in sorted(found.members) if name not in listed]
    followers = standbys_of(primary)
    lost = decide.Rule.R210_RESTORED
    notes += [f"{m.node}: {lost.sentence}" for m in found.members.values() if m.rule == lost.name and is_fresh(m, at)]
    for member in found.members.values():
        elsewhere = primary is not None and member.follow and member.follows not in ("", primary.node)
        if primary is not None and member.state == "streaming" and is_fresh(member, at) and not elsewhere:
            state = followers.get(member.node, ("not connected", 0))[0]
            if state != "streaming":
                notes.append(f"{member.node} says streaming, {primary.node} says {state}")
    return notes


def _no_primary(seen: Seen) -> list[str]:
    """Why nobody is writable, as far as the store shows."""
    leader = seen.records.leader
    if leader is None:
        return ["there is no leader key" if seen.records.cluster else "the store does not know this cluster"]
    name = leader.holder.node
    member = seen.records.members.get(name)
    if leader.tenure is Tenure.CLAIMED:
        return [f"{name} has claimed epoch {leader.epoch} and is not writable yet"]
    if leader.tenure is Tenure.RELEASED:
        return [f"{name} has released the leader key ({leader.reason or 'no reason given'}); nobody has taken over yet"]
    if leader.paused is not None and member is not None and is_fresh(member, seen.at):
        return [f"{name} holds the leader key, its server is not writable ({member.state})"]
    age = age_of(member, seen.at)
    return [f"{name} holds the leader key and has not reported" + ("" if age is None else f" for {age:.0f} s")]


def _degradations(rows: tuple[Row, ...], leader: Leader, seen: Seen, nofailover: frozenset[str]) -> list[str]:
    notes, nosync = [], {name for name, m in seen.records.members.items() if m.nosync or m.follow}
    for row in rows:
        if row.role == "primary":
            continue
        if row.alert:
            notes.append(f"{row.node}: {row.state}" + (f", {row.problem}" if row.problem else ""))
        elif row.sync != "voter" and row.node not in nofailover | nosync and _is_synchronous(seen):
            notes.append(f"{row.node} streams and is no voter yet")
    if _is_synchronous(seen) and leader.sync and any(rule.k == 0 for rule in leader.sync):
        notes.append("commits exist once: no voter confirms them")
    if len(leader.sync) > 1:
        notes.append(f"the voters are being changed ({len(leader.sync)} rules count)")
    return notes


def _is_synchronous(seen: Seen) -> bool:
    return seen.records.settings is None or seen.records.settings.durability != "async"


def judge(target: Target, seen: Seen) -> Status:
    """What the look means. Pure."""
    up, size = sum(m.reachable for m in seen.health.members), len(seen.health.members) or len(target.store.endpoints)
    found, leader = seen.records, seen.records.leader
    pause = pause_of(seen)
    primary = None if seen.down else primary_of(seen)
    if pause is not None and primary is not None and not primary.primary:
        primary = None  # it stays so until the pause is over
    refs = refs_of(target, seen)
    rows = tuple(row_of(ref, seen, primary) for ref in refs)
    nofailover = frozenset(ref.name for ref in refs if ref.nofailover)
    nofailover |= {name for name, m in found.members.items() if m.nofailover}  # a node's own file has no peer's tags
    notes = _disagreements(target, seen, primary)
    writable = [m for m in found.members.values() if says_primary(m, seen)]
    here = (
        m for name, m in found.members.items() if is_fresh(m, seen.at) and (primary is None or name != primary.node)
    )
    promised = promise(found.settings, leader, primary, here)
    verdict, code = "healthy", Exit.OK
    if seen.down:
        verdict, code, rows = "store unreachable", Exit.STORE, tuple(unknown(ref) for ref in target.nodes)
        notes = [f"the store gave no answer: {seen.down}"]
    elif len(writable) > 1:
        verdict, code = "TWO PRIMARIES", Exit.NO_PRIMARY
    elif primary is None or leader is None:
        verdict, code = "no primary", Exit.NO_PRIMARY
        notes = _no_primary(seen) + notes
    else:
        notes += [*promised.notes, *_degradations(rows, leader, seen, nofailover), *node_notes.problems(found)]
        notes += [f"store member {m.endpoint}: {m.problem or 'silent'}" for m in seen.health.members if not m.reachable]
        if promised.waits:
            verdict, code = WRITES_WAIT, Exit.NO_PRIMARY
        elif notes or any(row.alert for row in rows):
            verdict, code = "degraded", Exit.DEGRADED
    if pause is not None:
        verdict, code, notes = pause.judged(verdict, code, notes)
    fresh = frozenset(m.node for m in found.members.values() if is_fresh(m, seen.at))
    return Status(
        cluster=target.cluster,
        verdict=verdict,
        exit=code,
        epoch=leader.epoch if leader and not seen.down else None,
        leader=primary.node if primary else "",
        sync="" if seen.down else promised.sync,
        survives=survivable(leader.sync, store_up=up, store_size=size, fresh=fresh) if leader else 0,
        store_up=up,
        store_size=size,
        rows=rows,
        notes=tuple(notes),
        next_step=pause.resume(target) if pause else advice.next_step(target, code, rows),
        order=_order_text(seen),
        at=seen.at,
        stakes=promised.stakes,
        paused=pause,
        remarks=()
        if seen.down
        else (*promised.remarks, *node_notes.remarks(found, seen.at), *plans.remarks(target, found, seen.at)),
    )


def pause_of(seen: Seen) -> Paused | None:
    """The pause, if the store shows one."""
    leader = None if seen.down else seen.records.leader
    member = seen.records.members.get(leader.holder.node) if leader is not None else None
    return paused(leader, member, seen.at, reports=is_fresh(member, seen.at))


def _order_text(seen: Seen) -> str:
    order, others = seen.records.order, "; ".join(node_notes.orders(seen.records, seen.at))
    if order is None:
        return others
    age = max(0.0, seen.at - order.asked_at)
    asked = f"asked {age:.0f} s ago by {order.asked_by or 'somebody'}"
    to = f" to {order.target}" if order.target not in ("", order.source) else ""
    return f"{order.kind} {order.source}{to}: {order.phase}, {asked}" + (f"; {others}" if others else "")
