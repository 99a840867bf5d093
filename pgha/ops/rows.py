"""One look at the store, and what it says of each node: its row of `list`. Pure.

May import core, records, and ops.target. Facts are what the agents published, each with its age by the wall clock of
its writer (for showing only).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pgha import records
from pgha.core.model import Copy, Leader, Member, Tenure, format_lsn, parse_standby_name
from pgha.ops import node_notes
from pgha.ops.target import NodeRef, Target
from pgha.ports import StoreHealth

BEAT_S = 2.0  # a member writes its record at least this often
SILENT_S = 3 * BEAT_S + 4.0
WRITABLE_S = 4.5  # below the least H: a record may say so long that its node is writable


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
    """One node. lag_bytes, lag_s and seen_s are None when nobody said; alert: something is wrong with it.

    lag_bytes: not flushed by it yet; lag_s: until it has replayed, as the primary measured lately. lease_s: what the
    holder had left of its lease when it reported. near: of the last day, renewals with little left; least_s: the least.
    follows: the node that it streams from, "" for none or unknown.
    pending: parameters that wait for a restart: name, running, coming. postgres, pgha: the versions that run there.
    """

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
    lag_s: float | None = None
    lease_s: float | None = None
    near: int = 0
    least_s: float | None = None
    tags: tuple[str, ...] = ()
    follows: str = ""
    pending: tuple[tuple[str, str, str], ...] = ()
    postgres: str = ""
    pgha: str = ""

    def as_dict(self) -> dict[str, object]:
        """For JSON: see `ops.status.Status.as_dict`."""
        return {
            "node": self.node,
            "role": self.role,
            "state": self.state,
            "timeline": self.timeline,
            "lsn": None if self.lsn is None else format_lsn(self.lsn),
            "lag_bytes": self.lag_bytes,
            "lag_s": _rounded(self.lag_s),
            "sync": self.sync,
            "lease_left_s": _rounded(self.lease_s),
            "near_misses": self.near,
            "least_lease_left_s": _rounded(self.least_s),
            "seen_s": None if self.seen_s is None else round(self.seen_s, 1),
            "host": self.host,
            "tags": list(self.tags),
            "follows": self.follows,
            "pending_restart": {name: {"running": now, "coming": new} for name, now, new in self.pending},
            "postgres_version": self.postgres or None,
            "pgha_version": self.pgha or None,
            "alert": self.alert,
            "problem": self.problem,
        }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def age_of(member: Member | None, at: float) -> float | None:
    """Seconds since it reported."""
    return None if member is None else max(0.0, at - member.written_at)


def is_fresh(member: Member | None, at: float) -> bool:
    """It has reported within SILENT_S."""
    age = age_of(member, at)
    return age is not None and age <= SILENT_S


def mute(target: Target, seen: Seen) -> list[str]:
    """The nodes that should be there and say nothing."""
    return [ref.name for ref in target.nodes if seen.down or not is_fresh(seen.records.members.get(ref.name), seen.at)]


def says_primary(member: Member, seen: Seen) -> bool:
    """It said within WRITABLE_S that it is writable; for the holder of the key, within SILENT_S.

    A dead primary's last record outlives its lease: it is no second primary beside the one that has taken over.
    """
    leader, age = seen.records.leader, age_of(member, seen.at)
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


def _serves(member: Member, *, fresh: bool) -> bool:
    """It reports and has a server; what a silent node is by now nobody knows."""
    return fresh and member.state not in ("starting", "stopping", "stopped", "waiting")


def row_of(ref: NodeRef, seen: Seen, primary: Member | None) -> Row:
    """That node's; primary: whom `list` shows as such."""
    member, leader = seen.records.members.get(ref.name), seen.records.leader
    age, host = age_of(member, seen.at), f"{ref.host}:{ref.port}"
    if member is None:
        return Row(ref.name, "-", "never reported", None, None, None, "-", None, host, alert=True)
    fresh, is_primary = is_fresh(member, seen.at), primary is not None and primary.node == ref.name
    fresh = fresh and not (member.primary and not is_primary and not says_primary(member, seen))
    follower = standbys_of(primary).get(ref.name)
    voter = member.copy in voters_of(leader)
    own = member.position.lsn if member.follow else 0  # the primary has no word of who streams from another node
    flushed = follower[1] if follower else own
    lag = max(0, primary.position.lsn - flushed) if primary is not None and flushed else None
    role = "primary" if is_primary or says_primary(member, seen) else "standby" if _serves(member, fresh=fresh) else "-"
    good = fresh and (is_primary or member.state == "streaming")
    left_s, least_s = member.measures.lease_s, member.measures.least_s
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
        lag_s=None if is_primary or follower is None else _lag_s(primary, ref.name),
        lease_s=left_s if is_primary and age is not None and left_s > 0.0 and age <= left_s else None,
        near=member.measures.near,
        least_s=least_s or None,
        tags=tuple(node_notes.tags(member)),
        follows=member.follows,
        pending=tuple((name, now, new) for name, (now, new) in sorted(member.pending.items())),
        postgres=member.postgres,
        pgha=member.version,
    )


def _lag_s(primary: Member | None, node: str) -> float | None:
    """The longest of its walsenders', None when the primary measures none."""
    named = (primary.measures.lags if primary else {}).items()
    return max((s for name, s in named if name.partition(".")[0] == node), default=None)


def refs_of(target: Target, seen: Seen) -> tuple[NodeRef, ...]:
    """The nodes that should be there, and those that report besides."""
    known = {ref.name for ref in target.nodes}
    others = [m for name, m in sorted(seen.records.members.items()) if name not in known]
    return (*target.nodes, *(NodeRef(m.node, m.host, m.port, m.nofailover) for m in others))


def unknown(ref: NodeRef) -> Row:
    """Of a node of which nothing can be said."""
    return Row(ref.name, "-", "unknown", None, None, None, "-", None, f"{ref.host}:{ref.port}", alert=True)
