"""The cluster as one reading of the store shows it: `gather` asks, `judge` (pure) says what it means.

Facts are what the agents published, each with its age by the wall clock of its writer (for showing only). What is not
known is said to be unknown; a silent node stays a row.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from pgha import records
from pgha.core import decide
from pgha.core.model import Copy, Leader, Member, Rule, Tenure, format_lsn, parse_standby_name
from pgha.errors import Exit
from pgha.ops import node_notes
from pgha.ops.paused import Paused, paused
from pgha.ops.promise import WRITES_WAIT, promise
from pgha.ops.target import NodeRef, Target
from pgha.ports import Clock, Store, StoreDown, StoreHealth

BEAT_S = 2.0  # a member writes its record at least this often
SILENT_S = 3 * BEAT_S + 4.0
WRITABLE_S = 4.5  # below the least H: a record may say so long that its node is writable
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Seen:
    """One look: what the store said, how its members are, and when (wall clock). down: why there was no answer."""

    records: records.Records
    health: StoreHealth
    at: float
    down: str = ""
    denied: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One node. lag_bytes and seen_s are None when nobody said; alert: something is wrong with it."""

    node: str
    role: str
    state: str
    timeline: int | None
    lsn: int | None
    lag_bytes: int | None
    sync: str
    seen_s: float | None
    host: str
    alert: bool = False
    problem: str = ""


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
        rows = [
            {
                "node": r.node,
                "role": r.role,
                "state": r.state,
                "timeline": r.timeline,
                "lsn": None if r.lsn is None else format_lsn(r.lsn),
                "lag_bytes": r.lag_bytes,
                "sync": r.sync,
                "seen_s": None if r.seen_s is None else round(r.seen_s, 1),
                "host": r.host,
                "alert": r.alert,
                "problem": r.problem,
            }
            for r in self.rows
        ]
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
            "nodes": rows,
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


def _age(member: Member | None, at: float) -> float | None:
    return None if member is None else max(0.0, at - member.written_at)


def is_fresh(member: Member | None, at: float) -> bool:
    """It has reported within SILENT_S."""
    age = _age(member, at)
    return age is not None and age <= SILENT_S


def says_primary(member: Member, seen: Seen) -> bool:
    """It said within WRITABLE_S that it is writable; for the holder of the key, within SILENT_S.

    A dead primary's last record outlives its lease: it is no second primary beside the one that has taken over.
    """
    leader, age = seen.records.leader, _age(member, seen.at)
    holds = leader is not None and leader.holder.node == member.node
    return member.primary and age is not None and age <= (SILENT_S if holds else WRITABLE_S)


def primary_of(seen: Seen) -> Member | None:
    """The holder's own record when the key is held and the holder still reports; else there is no primary to show."""
    leader = seen.records.leader
    if leader is None or leader.tenure is not Tenure.HELD:
        return None
    member = seen.records.members.get(leader.holder.node)
    return member if is_fresh(member, seen.at) else None


def standbys_of(primary: Member | None) -> Mapping[str, tuple[str, int]]:
    """What the primary says of its followers: node name to (state, flush LSN)."""
    found: dict[str, tuple[str, int]] = {}
    for name, said in (primary.standbys if primary else {}).items():
        parsed = parse_standby_name(name)
        found[parsed[0].node if parsed else name.partition(".")[0]] = said
    return found


def voters_of(leader: Leader | None) -> frozenset[Copy]:
    """The voters of the rule in force, which is the newest."""
    return leader.sync[-1].voters if leader is not None and leader.sync else frozenset()


def survivable(sync: tuple[Rule, ...], *, store_up: int, store_size: int, fresh: frozenset[str]) -> int:
    """How many nodes may be lost at one moment, the primary among them: the smallest k of the rules that still count.

    Bounded by the members the store may lose, and by the voters that are there at all.
    """
    if not sync:
        return 0
    rules = min(min(rule.k, sum(v.node in fresh for v in rule.voters)) for rule in sync)
    return max(0, min(rules, store_up - (store_size // 2 + 1)))


def _serves(member: Member, *, fresh: bool) -> bool:
    """It reports and has a server; what a silent node is by now nobody knows."""
    return fresh and member.state not in ("starting", "stopping", "stopped", "waiting")


def _row(ref: NodeRef, seen: Seen, primary: Member | None) -> Row:
    member, leader = seen.records.members.get(ref.name), seen.records.leader
    age, host = _age(member, seen.at), f"{ref.host}:{ref.port}"
    if member is None:
        return Row(ref.name, "-", "never reported", None, None, None, "-", None, host, alert=True)
    fresh, is_primary = is_fresh(member, seen.at), primary is not None and primary.node == ref.name
    fresh = fresh and not (member.primary and not is_primary and not says_primary(member, seen))
    follower = standbys_of(primary).get(ref.name)
    voter = member.copy in voters_of(leader)
    lag = max(0, primary.position.lsn - follower[1]) if primary is not None and follower is not None else None
    role = "primary" if is_primary or says_primary(member, seen) else "standby" if _serves(member, fresh=fresh) else "-"
    good = fresh and (is_primary or member.state == "streaming")
    return Row(
        node=ref.name,
        role=role,
        state=member.state if fresh else f"silent, was {member.state}",
        timeline=member.position.timeline or None,
        lsn=member.position.lsn or None,
        lag_bytes=0 if is_primary else lag,
        sync="-" if is_primary else "voter" if voter else "no",
        seen_s=age,
        host=f"{member.host}:{member.port}",
        alert=not good or bool(member.problem) or (member.primary and not is_primary),
        problem=member.problem,
    )


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
        if primary is not None and member.state == "streaming" and is_fresh(member, at):
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
    age = _age(member, seen.at)
    return [f"{name} holds the leader key and has not reported" + ("" if age is None else f" for {age:.0f} s")]


def _degradations(rows: tuple[Row, ...], leader: Leader, seen: Seen, nofailover: frozenset[str]) -> list[str]:
    notes, nosync = [], {name for name, m in seen.records.members.items() if m.nosync}
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
    refs = _refs(target, seen)
    rows = tuple(_row(ref, seen, primary) for ref in refs)
    nofailover = frozenset(ref.name for ref in refs if ref.nofailover)
    notes = _disagreements(target, seen, primary)
    writable = [m for m in found.members.values() if says_primary(m, seen)]
    here = (
        m for name, m in found.members.items() if is_fresh(m, seen.at) and (primary is None or name != primary.node)
    )
    promised = promise(found.settings, leader, primary, here)
    verdict, code = "healthy", Exit.OK
    if seen.down:
        verdict, code, rows = "store unreachable", Exit.STORE, tuple(_unknown(ref) for ref in target.nodes)
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
        next_step=pause.resume(target) if pause else _next_step(target, code),
        order=_order_text(seen),
        at=seen.at,
        stakes=promised.stakes,
        paused=pause,
        remarks=() if seen.down else (*promised.remarks, *node_notes.remarks(found)),
    )


def pause_of(seen: Seen) -> Paused | None:
    """The pause, if the store shows one."""
    leader = None if seen.down else seen.records.leader
    member = seen.records.members.get(leader.holder.node) if leader is not None else None
    return paused(leader, member, seen.at, reports=is_fresh(member, seen.at))


def _refs(target: Target, seen: Seen) -> tuple[NodeRef, ...]:
    """The nodes that should be there, and those that report besides."""
    known = {ref.name for ref in target.nodes}
    others = [m for name, m in sorted(seen.records.members.items()) if name not in known]
    return (*target.nodes, *(NodeRef(m.node, m.host, m.port, m.nofailover) for m in others))


def _unknown(ref: NodeRef) -> Row:
    return Row(ref.name, "-", "unknown", None, None, None, "-", None, f"{ref.host}:{ref.port}", alert=True)


def _order_text(seen: Seen) -> str:
    order, others = seen.records.order, "; ".join(node_notes.orders(seen.records, seen.at))
    if order is None:
        return others
    age = max(0.0, seen.at - order.asked_at)
    asked = f"asked {age:.0f} s ago by {order.asked_by or 'somebody'}"
    to = f" to {order.target}" if order.target not in ("", order.source) else ""
    return f"{order.kind} {order.source}{to}: {order.phase}, {asked}" + (f"; {others}" if others else "")


def _next_step(target: Target, code: Exit) -> str:
    if code == Exit.OK:
        return ""
    if target.local_dir:
        return target.command("list -w") if code == Exit.DEGRADED else f"look into {target.local_dir}/<node>/state"
    return target.command("list -w") if code != Exit.STORE else "check the store's members and the network to them"
