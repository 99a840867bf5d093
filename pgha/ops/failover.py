"""Giving a cluster a primary that it can't give itself: what it would cost, and the order that accepts it.

Who has cover takes over by itself, so a failover by hand is about a loss: entries of `sync` that no seal covers, or,
where nothing is promised, more than `max_lag` of the old primary's WAL. The order names the target, the entries it
gives up, and the leader key's revision; the target claims only when no other entry is missing. Pure but for `ask`.
May import core, records and its neighbours in ops.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pgha.core import bids, cover
from pgha.core.classify import seals_at
from pgha.core.decide import Rule as Decision
from pgha.core.model import Copy, Leader, Member, Order, Position, Rule, Seal, Tenure
from pgha.core.observation import StoreView
from pgha.errors import Exit, PghaError, Refused, StoreUnreachable, UsageError
from pgha.ops.explain import ASTRAY, Absent, about, fill, find_gap, hearing_nothing
from pgha.ops.observed import STANDBY, timing_of, view_of
from pgha.ops.status import Seen, is_fresh
from pgha.ops.switchover import BUDGET_S, Asked, busy, place, refuse_paused
from pgha.ops.target import Target
from pgha.ports import Clock, Store

STALE_S = 2 * BUDGET_S  # an order this old is void for every agent
EXPECTED_OUTAGE = "0.2 to 0.5 s until the target accepts writes"


@dataclass(frozen=True, slots=True)
class Plan:
    """A failover that would lose something.

    seal: the target's. lacks: the entries it does not cover. absent: whose seals are missing. end: the last position
    known of anybody. lost_bytes: of WAL known of, up to `end`. unseen_s: for so long the old primary may have gone on
    after its last word. kept: copies whose directories stay. first: a step that may make all this needless, or "".
    """

    source: str
    target: str
    epoch: int
    revision: int
    seal: Seal
    lacks: tuple[cover.Missing, ...]
    absent: tuple[Absent, ...]
    end: Position
    lost_bytes: int
    unseen_s: float
    kept: tuple[Copy, ...]
    first: str

    @property
    def gives_up(self) -> tuple[Rule, ...]:
        """The entries of `sync` the order names."""
        return tuple(lack.rule for lack in self.lacks)

    def lines(self, cluster: str) -> list[str]:
        """What the operator reads before the question."""
        move = f"{self.source} -> {self.target}  (cluster {cluster}, epoch {self.epoch} -> {self.epoch + 1})"
        page = [
            f"plan: {move}, with a loss",
            f"  {self.target} has sealed at {self.seal.position}; the last position known is {self.end}",
            *(f"  missing: {_absent_text(a)}" for a in self.absent),
            *(f"  gives up: {_rule_text(rule)}" for rule in self.gives_up),
            f"  at stake: {self.at_stake()}",
            *(
                f"  kept: the directory of {copy}; when {copy.node} is back it is cloned beside it"
                for copy in self.kept
            ),
        ]
        page += [f"  first try: {self.first}"] if self.first else []
        return [*page, f"  expected write outage {EXPECTED_OUTAGE}"]

    def at_stake(self) -> str:
        """Bytes and seconds, as far as anybody knows."""
        tail = f", and what {self.source} acknowledged in up to {self.unseen_s:.1f} s after its last word"
        return f"{self.lost_bytes} bytes of WAL known of{tail if self.unseen_s else ''}"

    def refusal(self, target: Target) -> PghaError:
        """Without the operator's consent."""
        missing = "; ".join(_absent_text(a) for a in self.absent)
        accept = target.command(f"failover --to {self.target} --accept-data-loss")
        why = f"at stake: {self.at_stake()}" + (f"; missing: {missing}" if missing else "")
        return PghaError(
            f"{self.target} can take over only with a loss of acknowledged commits", why, accept, code=Exit.WOULD_LOSE
        )

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "from": self.source,
            "to": self.target,
            "epoch": self.epoch + 1,
            "sealed": str(self.seal.position),
            "last_known": str(self.end),
            "lost_bytes": self.lost_bytes,
            "unseen_s": round(self.unseen_s, 2),
            "gives_up": [_rule_text(rule) for rule in self.gives_up],
            "missing": [str(a.copy) for a in self.absent],
            "kept": [str(copy) for copy in self.kept],
        }


def _rule_text(rule: Rule) -> str:
    voters = ", ".join(sorted(v.node for v in rule.voters))
    how = f"confirmed by {rule.k} of {voters}" if rule.voters else "confirmed by nobody else"
    return f"commits of {rule.holder.node}, {how}"


def _absent_text(who: Absent) -> str:
    where = f"last known at {who.position}" if who.position else "no position known"
    if who.replaced_by:
        return f"{who.copy}, whose directory is gone"
    heard = (
        "never reported" if who.seen_s is None else f"{'reported' if who.fresh else 'silent for'} {who.seen_s:.0f} s"
    )
    return f"{who.copy}, {where}, {heard}{' ago' if who.fresh else ''}"


def plan(target: Target, seen: Seen, to: str | None) -> Plan:
    """What would be ordered. Raises Refused (also when none is needed), Busy, UsageError, StoreUnreachable."""
    if seen.down:
        raise StoreUnreachable("the store gave no answer", seen.down, target.command("explain"))
    leader = seen.records.leader
    if leader is None:
        why = "a missing or unreadable leader key is no vacancy"
        raise Refused("there is no leader key to take over", why, target.command("explain"))
    _check_orders(target, seen, leader)
    if to is not None and to not in {ref.name for ref in target.nodes} | set(seen.records.members):
        names = sorted({ref.name for ref in target.nodes} | set(seen.records.members))
        raise UsageError(f"there is no node {to!r} in {target.cluster}", f"nodes: {', '.join(names)}")
    _check_holder(target, seen, leader)
    view = view_of(seen.records)
    _check_need(target, seen, view)
    member = _target(target, seen, view, to)
    assert member.seal is not None
    return _cost(target, seen, view, member.seal)


def _check_orders(target: Target, seen: Seen, leader: Leader) -> None:
    order = seen.records.order
    if order is None and "request" in seen.records.revisions:
        raise Refused("the key request can't be understood", "it is left alone", target.command("list"))
    if order is None or order.phase in ("done", "refused") or order.epoch != leader.epoch:
        return
    if seen.at - order.asked_at <= STALE_S:
        raise busy(order, seen.at)


def _check_holder(target: Target, seen: Seen, leader: Leader) -> None:
    """Raises Refused while the key is not free: held by somebody who lives, claimed, or silent for less than H."""
    name, h_s = leader.holder.node, timing_of(seen.records).h_s
    if leader.tenure is Tenure.RELEASED or hearing_nothing(seen):
        return
    refuse_paused(target, seen)
    member = seen.records.members.get(name)
    age = "has never reported" if member is None else f"reported {max(0.0, seen.at - member.written_at):.1f} s ago"
    wait = f"if it is gone, others take over by themselves {h_s:g} s after its last renewal"
    if not is_fresh(member, seen.at):
        why = f"no node that reports has heard nothing of it for {h_s:g} s yet"
        raise Refused(f"{name} holds the leader key and is not silent for long enough", why, target.command("list -w"))
    if member is not None and member.rule == Decision.R449_BEAR.name:
        raise Refused(f"{name} holds the leader key", Decision.R449_BEAR.sentence, target.command("switchover"))
    if leader.tenure is Tenure.HELD and member is not None and member.primary:
        raise Refused(f"{name} is a healthy primary", f"it {age}; {wait}", target.command("switchover"))
    state = "has claimed the leader key and is about to be writable" if leader.tenure is Tenure.CLAIMED else "holds it"
    raise Refused(f"{name} {state}", f"it {age}; {wait}", target.command("list -w"))


def _check_need(target: Target, seen: Seen, view: StoreView) -> None:
    """Raises Refused when somebody takes over by itself, and says when."""
    watch = target.command("list -w")
    for member in seen.records.members.values():
        if is_fresh(member, seen.at) and member.rule in ASTRAY:
            why = f"{member.node} says that the store is not what it was; nobody may take over in it"
            raise Refused("a failover would not help", why, target.command("explain"))
    here = _here(seen, view)
    able = [m for m in here if not m.nofailover and m.seal and _leads(m.seal, view)]
    if able:
        names = ", ".join(m.node for m in able)
        why = f"{names} has cover and takes over by itself, within {bids.MORE_S + 1:g} s"
        raise Refused("no failover by hand is needed", why, watch)
    gap = find_gap(seen)
    if gap is not None and gap.coming and all(_seals_soon(seen.records.members[c.node]) for c in gap.coming):
        names = ", ".join(c.node for c in gap.coming)
        why = f"{names} will seal in a moment, and with that nothing is missing: it goes on by itself"
        raise Refused("no failover by hand is needed", why, watch)


def _seals_soon(member: Member) -> bool:
    """Its server is up as a standby, and it complains of nothing."""
    return member.state in STANDBY and not member.problem


def _leads(seal: Seal, view: StoreView) -> bool:
    assert view.leader is not None
    return cover.covered(seal, seals_at(view), view.leader.sync) and not bids.lags(view, seal)


def _here(seen: Seen, view: StoreView) -> list[Member]:
    """Who reports and has sealed at the key's present revision."""
    found = seen.records.members.values()
    return [m for m in found if is_fresh(m, seen.at) and m.seal and m.seal.revision == view.leader_revision]


def _target(target: Target, seen: Seen, view: StoreView, to: str | None) -> Member:
    """The node named, or the best one. Raises Refused when it can't lead."""
    here = {m.node: m for m in _here(seen, view)}
    if to is None:
        known = [cover.Candidate(m.seal, m.precedence, m.node, m.nofailover) for m in here.values() if m.seal]
        best = cover.best(known)
        if best is None:
            why = "no node that reports, and is not marked nofailover, has sealed"
            raise Refused("no node can take over", why, target.command("explain"))
        return here[best.name]
    member = seen.records.members.get(to)
    if member is None or not is_fresh(member, seen.at):
        raise Refused(f"{to} can't take over", "it does not report", target.command("explain"))
    if member.nofailover:
        raise Refused(f"{to} can't take over", "it is marked nofailover", target.command("explain"))
    if to not in here:
        why = f"it has not sealed yet, it says {member.state}"
        raise Refused(f"{to} can't take over", why, target.command(f"explain {to}"))
    return member


def _cost(target: Target, seen: Seen, view: StoreView, seal: Seal) -> Plan:
    leader = view.leader
    assert leader is not None
    seals, timing = seals_at(view), timing_of(seen.records)
    lacks = cover.missing(seal, seals, leader.sync)
    absent = tuple(about(copy, seen, view) for copy in sorted({c for lack in lacks for c in lack.absent}))
    if not lacks:
        absent = (about(leader.holder, seen, view),)
    end = max([leader.position, seal.position, *(a.position for a in absent if a.position)])
    gap = find_gap(seen)
    unseen_s = timing.f_hard_s if leader.tenure is not Tenure.RELEASED else 0.0 if leader.clean else 2 * timing.k_s
    return Plan(
        source=leader.holder.node,
        target=seal.copy.node,
        epoch=leader.epoch,
        revision=view.leader_revision,
        seal=seal,
        lacks=lacks,
        absent=absent,
        end=end,
        lost_bytes=cover.behind(seal.position, end, leader.forks),
        unseen_s=unseen_s,
        kept=bids.to_keep(view, seal, seals),
        first=fill(target, gap) if gap is not None and _startable(gap.absent) else "",
    )


def _startable(absent: Sequence[Absent]) -> bool:
    return any(not a.replaced_by for a in absent)


def ask(store: Store, clock: Clock, target: Target, seen: Seen, chosen: Plan, *, asked_by: str) -> Asked:
    """Write the order, create-only. Raises Busy, OutcomeUnknown."""
    order = Order(
        kind="failover",
        ident="",
        epoch=chosen.epoch,
        source=chosen.source,
        target=chosen.target,
        budget_s=BUDGET_S,
        asked_by=asked_by,
        revision=chosen.revision,
        gives_up=chosen.gives_up,
    )
    return place(store, clock, target, order, over=seen.records.rev("request"))
