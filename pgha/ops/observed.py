"""A node's observation, rebuilt from one reading of the store: what the node itself saw, as far as it can be known.

Duty: no decision, no wording. The store shows keys, seals, positions, orders. Clocks, processes and a node's memory it
does not show: of these a published rule is the only witness, and what is taken from it is named (`Rebuilt.word`).
May import core, records and ops.status. Pure; the clock of a rebuilt observation is a made-up one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from pgha.core import voters
from pgha.core.budget import CRASHES_FREE
from pgha.core.classify import CLAIM_S, START_S, STOP_S, classify, seals_at
from pgha.core.decide import Rule, choose
from pgha.core.model import Copy, Leader, Member, Position, Seal, Settings, Tenure
from pgha.core.observation import Memory, Observation, StoreView, Tenancy
from pgha.core.server import Running, ServerView, Walsender
from pgha.core.situation import AXES, Situation
from pgha.core.timing import Timing, timing_for
from pgha.ops.status import Seen
from pgha.records import Records

NOW_S = 1e6  # of the made-up clock
LONG_S = 1e5  # ago: longer than any limit
BEYOND_S = 0.001  # a limit that was passed is passed by more than the clock's rounding
STANDBY = frozenset({"streaming", "following", "sealed", "waiting", "promoting"})
MEASURED = frozenset({"sealed", "waiting", "promoting"})  # states that are published with the measured position
JOBS = frozenset({"cloning", "rewinding"})


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What this version's core makes of it. word: the axes that rest on the node's published rule alone."""

    situation: Situation
    rule: Rule
    word: tuple[str, ...]


def rule_named(name: str) -> Rule | None:
    """The rule a node published; None when this version does not know it."""
    return Rule.__members__.get(name)


def timing_of(found: Records) -> Timing:
    """The lease's times as the store's settings make them."""
    return timing_for((found.settings or Settings()).failover_after_s)


def view_of(found: Records) -> StoreView:
    """The reading as a node would hold it, of this moment."""
    return StoreView(
        sent_s=NOW_S,
        revision=found.revision,
        cluster=found.cluster,
        settings=found.settings or Settings(),
        leader=found.leader,
        leader_revision=found.rev("leader"),
        members=found.members,
        order=found.order,
        order_revision=found.rev("request"),
        history=found.history,
        requests=found.requests,
        revisions=found.revisions,
    )


def rebuild(seen: Seen, node: str) -> Rebuilt | None:
    """The node's situation and its rule; None when it never reported, or reported a state of another version."""
    member = seen.records.members.get(node)
    server = _server(member, seen.records.leader) if member is not None else None
    if member is None or server is None:
        return None
    shown = _observation(seen, member, server)
    said = rule_named(member.rule)
    told = WORD[said](shown) if said in WORD else shown
    plain, full = classify(shown), classify(told)
    word = tuple(axis for axis in AXES if getattr(plain, axis) is not getattr(full, axis))
    return Rebuilt(full, choose(full), word)


def _observation(seen: Seen, member: Member, server: ServerView) -> Observation:
    found = seen.records
    view, leader, order = view_of(found), found.leader, found.order
    mine = leader is not None and leader.holder.node == member.node and leader.incarnation == member.incarnation
    going_on = order is not None and order.phase in ("stopping", "handed")
    return Observation(
        me=member.node,
        incarnation=member.incarnation,
        now_s=NOW_S,
        timing=timing_of(found),
        store=view,
        server=server,
        memory=Memory(cluster=found.cluster.ident if found.cluster else "", seal=member.seal),
        tenancy=Tenancy(leader.epoch, NOW_S, NOW_S - _since_claim_s(leader), leader.left_s)
        if leader and mine
        else Tenancy(),
        copy=member.copy if member.data else None,
        system=found.cluster.system_identifier if found.cluster else "",
        sealed=member.position if member.state in MEASURED and not member.primary else None,
        key_seen_s=NOW_S,
        bid_s=NOW_S - LONG_S,
        health_s=NOW_S,
        nofailover=member.nofailover,
        missing_s={},
        mark=(server.names, member.position.lsn),
        order_seen_s=NOW_S,
        prepared=order.ident if order is not None and going_on else "",
        chore_seen_s=NOW_S,
    )


def _since_claim_s(leader: Leader) -> float:
    return 0.0 if leader.tenure is Tenure.CLAIMED else LONG_S


def _server(member: Member, leader: Leader | None) -> ServerView | None:
    """The server as the member's record shows it; None for a state word this version does not know."""
    running = _running(member)
    if running is None:
        return None
    # Its synchronous_standby_names are not published: taken to be those of the newest rule, as the agent sees to.
    last = leader.sync[-1] if leader is not None and leader.sync else None
    return ServerView(
        running=running,
        position=member.position,
        replay=member.replay,
        upstream_epoch=member.upstream_epoch,
        receiving=member.state == "streaming",
        names=voters.names(last, leader.epoch) if leader is not None and last is not None else "",
        walsenders=tuple(
            Walsender(name, state, flush, _priority(name, last.voters if last else frozenset(), leader))
            for name, (state, flush) in member.standbys.items()
        ),
        answered_s=NOW_S,
        since_s=NOW_S,
        stop_asked_s=NOW_S,
        job=member.state if member.state in JOBS else "",
    )


def _running(member: Member) -> Running | None:
    if member.primary:
        return Running.PRIMARY
    if member.state in STANDBY:
        return Running.STANDBY
    if member.state in JOBS:
        return Running.DOWN
    if member.state == "stopped":
        return Running.DOWN if member.data else Running.NO_DATA
    return {"starting": Running.STARTING, "stopping": Running.STOPPING}.get(member.state)


def _priority(name: str, voting: frozenset[Copy], leader: Leader | None) -> int:
    return int(leader is not None and name in {v.standby_name(leader.epoch) for v in voting})


# -- the node's own word: what a published rule says beyond the store -------------------------------------------

Word = Callable[[Observation], Observation]


def _renewed(ago: Callable[[Timing], float]) -> Word:
    return lambda o: replace(
        o, tenancy=replace(o.tenancy, sent_s=o.now_s - o.tenancy.left_s - ago(o.timing) - BEYOND_S)
    )


def _silent(o: Observation) -> Observation:
    """It has seen the key silent for H; a seal of an older revision says that the key has moved since."""
    seal, view = o.memory.seal, o.store
    if seal is not None and view is not None and seal.revision != view.leader_revision and o.sealed is not None:
        return o
    leader = view.leader if view is not None else None
    if leader is not None and leader.holder.node == o.me and leader.incarnation == o.incarnation:
        return replace(o, tenancy=Tenancy(), ended=leader.epoch)  # its own: let go while the store was silent
    left_s = leader.left_s if leader is not None else 0.0
    return replace(o, key_seen_s=o.now_s - o.timing.silent_after_s(left_s) - BEYOND_S)


def _unpublished(o: Observation) -> Observation:
    """Its seal is on its disk only."""
    if o.store is None or o.copy is None or o.sealed is None or o.memory.seal is not None:
        return _silent(o)
    seal = Seal(o.store.leader_revision, o.copy, o.sealed)
    return _silent(replace(o, memory=replace(o.memory, seal=seal)))


def _to_be_cloned(o: Observation) -> Observation:
    """A rewind was tried, or the directory waits for a holder that is gone."""
    if o.sealed is not None:
        return replace(o, rewound=1)
    leader = o.store.leader if o.store else None
    epoch = leader.epoch + 1 if leader else 1
    return replace(o, memory=replace(o.memory, catch_up=epoch, catch_up_data=o.copy.data if o.copy else ""))


def _empty_and_free(o: Observation) -> Observation:
    """It would clone from a holder that it hears."""
    leader = o.store.leader if o.store else None
    held = leader is not None and leader.tenure is Tenure.HELD and leader.holder.node != o.me
    o = replace(o, server=replace(o.server, running=Running.NO_DATA))
    return replace(o, key_seen_s=o.now_s - o.timing.h_s - BEYOND_S) if held else o


def at_least(copy: Copy, known: Position | None, view: StoreView) -> Position:
    """Where a seal of this copy would be, at least: a primary has all that anybody has sealed of its timeline."""
    leader, position = view.leader, known or Position(0, 0)
    if leader is None or copy != leader.holder:
        return position
    return max([position, *(s.position for s in seals_at(view) if s.position.timeline == leader.epoch)])


def _unread(o: Observation) -> Observation:
    return replace(o, store=replace(o.store, sent_s=o.now_s - LONG_S)) if o.store else o


def _later(o: Observation) -> Observation:
    """It remembers a later revision than the store has."""
    return replace(o, memory=replace(o.memory, revision=o.store.revision + 1)) if o.store else o


def _server_is(running: Running) -> Word:
    return lambda o: replace(o, server=replace(o.server, running=running))


def _order_spent(o: Observation) -> Observation:
    order = o.store.order if o.store else None
    return replace(o, order_seen_s=o.now_s - order.budget_s - 1.0) if order else o


def _left_nothing(o: Observation) -> Observation:
    """Its clock says that the pause is over."""
    leader = o.store.leader if o.store else None
    return replace(o, tenancy=replace(o.tenancy, sent_s=o.now_s - leader.left_s - BEYOND_S)) if leader else o


def _aims_wrong(o: Observation) -> Observation:
    leader = o.store.leader if o.store else None
    return replace(o, server=replace(o.server, histories=(leader.epoch + 1,))) if leader else o


def _order_ready(o: Observation) -> Observation:
    order = o.store.order if o.store else None
    return replace(o, prepared=order.ident) if order else o


def _silent_server(o: Observation) -> Observation:
    return replace(o, server=replace(o.server, answered_s=0.0, since_s=0.0), health_s=0.0)


WORD: dict[Rule, Word] = {
    Rule.R110_FENCE_EXPIRED: _renewed(lambda t: t.f_hard_s),
    Rule.R120_FENCE_ORPHANS: _server_is(Running.DYING),
    Rule.R130_FENCE_HUNG: lambda o: replace(_silent_server(o), tenancy=replace(o.tenancy, claimed_s=o.now_s - LONG_S)),
    Rule.R140_FENCE_SLOW_STOP: lambda o: replace(o, server=replace(o.server, stop_asked_s=o.now_s - STOP_S - 1.0)),
    Rule.R150_STOP_LATE: _renewed(lambda t: t.f_soft_s),
    Rule.R170_FENCE_SLOW_START: lambda o: replace(o, server=replace(o.server, since_s=o.now_s - START_S - 1.0)),
    Rule.R200_FOREIGN: lambda o: replace(o, memory=replace(o.memory, cluster="another")),
    Rule.R210_RESTORED: _later,
    Rule.R220_STORE_SILENT: _unread,
    Rule.R225_START_SILENT: lambda o: _unread(_renewed(lambda t: t.f_hard_s)(o)),
    Rule.R330_FENCE_UNPROMOTED: lambda o: replace(o, tenancy=replace(o.tenancy, claimed_s=o.now_s - CLAIM_S - 1.0)),
    Rule.R565_UNTANGLE: _aims_wrong,
    Rule.R370_LIFT: _left_nothing,
    Rule.R400_HAND_OVER: _order_ready,
    Rule.R420_REFUSE: _order_spent,
    Rule.R430_VOTERS: lambda o: replace(o, server=replace(o.server, names="?")),  # the setting is not the rule's yet
    Rule.R445_CONFIGURE: lambda o: replace(o, outdated=True),
    Rule.R449_BEAR: lambda o: replace(_silent_server(o), tenancy=replace(o.tenancy, claimed_s=o.now_s)),
    Rule.R450_HOLD: lambda o: replace(o, tenancy=replace(o.tenancy, claimed_s=o.now_s)),  # clients come first
    Rule.R500_CLONE_EMPTY: _server_is(Running.NO_DATA),
    Rule.R520_LEAVE_MOMENT: lambda o: replace(o, start_after_s=o.now_s + 1.0),
    Rule.R525_FENCE_INCOMPLETE: _to_be_cloned,
    Rule.R541_CONFIGURE: lambda o: replace(o, outdated=True),
    Rule.R545_RESTART: lambda o: replace(o, short=True),
    Rule.R590_CLONE: _to_be_cloned,
    Rule.R610_NO_DATA: _empty_and_free,
    Rule.R620_SEAL: _silent,
    Rule.R630_PUBLISH: _unpublished,
    Rule.R640_WAIT_SEALS: _silent,
    Rule.R650_YIELD: lambda o: _silent(replace(o, bid_s=o.now_s)),
    Rule.R655_BRAKE: lambda o: replace(o, crashes=CRASHES_FREE + 1, key_seen_s=o.now_s),
    Rule.R660_BARRED: _silent,
    Rule.R670_CLAIM: _silent,
    Rule.R680_CLAIM_ORDERED: _silent,
}
