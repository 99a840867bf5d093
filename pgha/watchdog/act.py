"""One function for each action: one effect, bounded, idempotent. A crash between any two lines is a normal day.

What must be durable before an effect is written right before it. Decisions are not made here: an action that finds
things changed does nothing, and the next round decides anew.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import assert_never

from pgha import records
from pgha.core import upstream, voters
from pgha.core.classify import bid_of, catching_up, given_up, own_seal, stops_on_order
from pgha.core.decide import Action, Rule
from pgha.core.following import holding_up, voter_view
from pgha.core.model import Leader, Position, Seal, Tenure
from pgha.core.model import Rule as SyncRule
from pgha.core.observation import Observation, Tenancy
from pgha.core.server import Running
from pgha.core.situation import Bid
from pgha.ports import Committed, Guard, ServerTrouble, Write
from pgha.watchdog import chores, claiming, configuring, orders, pausing, recording, rejoin, upstreams
from pgha.watchdog.agent import Agent

ADDRESS_S = 1.0  # between looks for an address that is gone
KILL_S = 2.0
VOTERS_FIRST_S = 1.0  # after a crash the voters have this long before the server is started in place


def nothing(agent: Agent, obs: Observation) -> None:
    """Comfort only: slots, old copies, a failed job; once for each role, and when a node or a copy came or went."""
    primary = obs.server.running is Running.PRIMARY
    leader = obs.store.leader if obs.store else None
    streaming = obs.server.receiving and leader is not None and obs.server.position.timeline == leader.epoch
    if obs.store is None or leader is None or not (primary or streaming):
        return
    held = upstreams.held(agent, obs.store, primary=primary)
    there = frozenset(f"{m.node} {m.data} {m.node in held}" for m in obs.store.members.values())
    now = (leader.epoch, primary, there)
    if agent.notes.settled != now or obs.server.job_failed:
        agent.notes.kept = agent.ports.server.settle(primary=primary, held=held)
        agent.notes.settled = now


def fence(agent: Agent, obs: Observation) -> None:
    """Every process of the tree is gone, or has SIGKILL pending."""
    if agent.rule is Rule.R130_FENCE_HUNG:
        agent.notes.unwell = obs.tenancy.epoch
        stuck = holding_up(obs)
        agent.notes.unwell_why = f"the walsender of {stuck} stood still" if stuck else agent.notes.ailment
    done = agent.ports.link.kill_tree(deadline_s=agent.ports.clock.now_s() + KILL_S)
    agent.note("fence", done=done)


def stop(agent: Agent, _obs: Observation) -> None:
    """Fast stop."""
    agent.ports.server.stop_fast()


def untangle(agent: Agent, obs: Observation) -> None:
    """Everything it has was replayed and measured on its timeline: the histories beyond it say nothing of its WAL."""
    assert obs.sealed is not None
    agent.notes.forget = given_up(obs, obs.sealed.timeline + 1)
    agent.note("untangle", position=str(obs.sealed), given_up=list(agent.notes.forget))
    agent.ports.server.stop_fast()


def start(agent: Agent, obs: Observation) -> None:
    """A sealed start; starts that fail again and again come at growing distance."""
    if obs.tenancy.epoch:  # the store is silent, the lease has run out: what is renewed from now on is nothing
        agent.lease.let_go()
        agent.notes.ended = obs.tenancy.epoch if agent.notes.unwell != obs.tenancy.epoch else 0
        agent.disarm(replace(obs, tenancy=Tenancy()))
    notes, now_s = agent.notes, agent.ports.clock.now_s()
    if agent.ports.address_gone_s() is not None:  # it could not listen: such a start is none that fails
        notes.problem, notes.start_after_s = f"this host has no address {agent.node.me.host}", now_s + ADDRESS_S
        return
    notes.start_after_s = notes.starts.began(now_s)
    notes.sealed = None
    leader = obs.store.leader if obs.store else None
    completes = leader is not None and leader.tenure is Tenure.HELD and leader.epoch == catching_up(obs)
    configuring.before_start(agent, obs)
    try:
        source = leader.holder.node if leader and completes else ""
        agent.ports.server.start(catch_up=source, without=agent.notes.forget)
        agent.notes.forget = ()
    except ServerTrouble as e:
        notes.starts.said = str(e)


def release(agent: Agent, obs: Observation) -> None:
    """No process is left that could write: the key says so, and nobody waits for H."""
    view = obs.store
    assert view is not None and view.leader is not None
    old, server = view.leader, agent.ports.server
    end = server.shut_down_at() if obs.server.running is Running.DOWN else None
    clean = end is not None and obs.copy == old.holder and end.timeline == old.epoch
    hung = agent.notes.unwell == old.epoch
    order = view.order if hung else None  # it may be what ended a server that was borne with
    order = order if order and (order.kind, order.epoch) == ("switchover", old.epoch) else None
    why = "stopped cleanly" if clean else obs.server.why or "the server is down"
    new = replace(
        old,
        beat=old.beat + 1,
        tenure=Tenure.RELEASED,
        clean=clean,
        position=end if clean and end is not None else old.position,
        target=order.target if order else "",
        reason=(agent.notes.unwell_why or "the server did not answer") if hung else why,
        unwell=hung,
        asked_by=order.asked_by if order else "",
        paused=None,
    )
    if agent.lease.held()[0] is not None:
        late = old.paused is None  # a pause of ours may have landed since this was decided: then it is decided anew
        outcome = agent.lease.change(lambda now: None if late and now.paused else replace(new, beat=now.beat))
    else:
        key = agent.root + "leader"
        outcome = agent.ports.store.commit(
            [Guard(key, view.leader_revision)],
            [Write(key, records.dump_leader(new))],
            deadline_s=agent.ports.clock.now_s() + agent.timing.a_s,
        )
    agent.reread = True
    if isinstance(outcome, Committed):
        agent.lease.forget()
        agent.ports.link.deadline(None)
        if not clean and any(r.voters for r in old.sync):
            agent.notes.start_after_s = max(agent.notes.start_after_s, agent.ports.clock.now_s() + VOTERS_FIRST_S)
    agent.note("release", epoch=old.epoch, clean=clean, outcome=type(outcome).__name__, because=why)


def _measure(agent: Agent, obs: Observation) -> Position | None:
    """Cut off and measured; a position that still stands is not measured again."""
    if obs.sealed is not None and obs.server.upstream_epoch == 0:
        return obs.sealed
    try:
        position = agent.ports.server.seal()
    except ServerTrouble as e:
        agent.notes.problem = str(e)
        return None
    if position is None:
        agent.notes.problem = "the server could not be cut off in time"
        return None
    if _went_back(agent, obs, position):
        return None
    agent.notes.sealed = (obs.server.since_s, position)
    agent.memory.update(catch_up=0)
    return position


def _went_back(agent: Agent, obs: Observation, position: Position) -> bool:
    """Below what this copy has sealed on that timeline: a disk or a volume that went back. What lies there is another
    copy from now on, which no entry counts (redteam 6)."""
    seal, identity = agent.memory.value.seal, agent.ports.server.identity()
    if seal is None or identity is None or seal.copy != obs.copy or seal.position.timeline != position.timeline:
        return False
    if position.lsn >= seal.position.lsn:
        return False
    ident = agent.memory.add_copy(identity)
    agent.note("went back", measured=str(position), sealed=str(seal.position), data=ident)
    return True


def unfollow(agent: Agent, obs: Observation) -> None:
    """Cut off and measured, without a seal: nobody is to be followed at this moment. A holder that stops on order may
    wait for the target's position: it is told at once, unless the store has moved on meanwhile."""
    position, view = _measure(agent, obs), obs.store
    if position is None or view is None or view.order is None or view.order.target != agent.node.node:
        return
    if stops_on_order(obs) and not agent.ports.store.wait(
        agent.root, view.revision, deadline_s=agent.ports.clock.now_s()
    ):
        agent.publish(replace(obs, sealed=position), Rule.R550_UNFOLLOW, force=True)


def seal(agent: Agent, obs: Observation) -> None:
    """Durable on the node before it is published; bound to the revision that was seen."""
    view = obs.store
    if view is None or obs.copy is None:
        return
    if agent.notes.free_s == 0.0 or agent.notes.phases.get("revision") != view.leader_revision:
        agent.notes.free_s = agent.ports.clock.now_s()
        agent.notes.phases = {"revision": view.leader_revision}
    position = _measure(agent, obs)
    if position is None:
        return
    before = own_seal(obs)
    if before is not None and before.position != position:
        agent.notes.problem = f"measured {position}, sealed {before.position} at this revision already"
        return
    epoch = view.leader.epoch + 1 if view.leader else 0
    agent.memory.update(seal=Seal(view.leader_revision, obs.copy, position), claimed=epoch)
    agent.notes.phases["seal"] = agent.ports.clock.now_s() - agent.notes.free_s
    sealed = replace(obs, sealed=position, memory=agent.memory.value, server=replace(obs.server, upstream_epoch=0))
    if bid_of(sealed) is not Bid.COVERED:  # handed over to this node: the claim itself tells
        _publish_seal(agent, sealed)


def publish(agent: Agent, obs: Observation) -> None:
    """The seal goes to the store (again)."""
    _publish_seal(agent, obs)


def _publish_seal(agent: Agent, obs: Observation) -> None:
    if obs.store is not None and agent.publish(obs, Rule.R620_SEAL, force=True):
        agent.notes.bid = (obs.store.leader_revision, agent.ports.clock.now_s())
        agent.reread = True  # the others seal at this moment too


def promote(agent: Agent, obs: Observation) -> None:
    """Names and history files first, then the promotion, then the key says so. Only under a fresh lease."""
    leader, _, tenancy = agent.lease.held()
    if leader is None or leader.tenure is not Tenure.CLAIMED or leader.holder != obs.copy:
        return
    if not agent.lease.confirmed:  # an earlier agent's claim, of whatever age: it is renewed first
        return
    if obs.sealed is not None and obs.sealed.timeline >= leader.epoch:  # it was promoted under this very claim before
        agent.notes.problem = f"epoch {leader.epoch} has its timeline already: another one would be of a later epoch"
        fence(agent, obs)
        return
    server = agent.ports.server
    agent.arm(tenancy.sent_s)
    try:
        if not server.prepare_promotion(leader.epoch, claiming.names_of(agent, leader)):
            agent.notes.problem = "the names could not be put in force"
            return
        lowers = configuring.lowers(agent, obs)
        if lowers and not server.lower(leader.epoch):
            raise ServerTrouble("the server did not come up with less")
        found = server.promote(leader.epoch)
        if lowers and found is not None and (not found[1] or found[1][-1][1] < leader.position.lsn):
            raise ServerTrouble(f"promoted at {found[1][-1:]}, claimed at {leader.position}")
        if found is not None and found[1][-1][0] != leader.position.timeline:
            raise ServerTrouble(f"promoted from timeline {found[1][-1][0]}, measured on {leader.position.timeline}")
    except (ServerTrouble, OSError, ValueError) as e:
        agent.notes.problem = str(e)
        agent.note("trouble", action="promote", says=str(e))
        fence(agent, obs)
        return
    if found is None:
        return
    agent.notes.phases["promote"] = agent.ports.clock.now_s() - agent.notes.free_s
    agent.notes.health_s = agent.ports.clock.now_s()
    _announce(agent, found[0], found[1])


def announce(agent: Agent, obs: Observation) -> None:
    """The server is writable and the key does not say so yet."""
    try:
        forks = agent.ports.server.history()
    except ServerTrouble as e:
        agent.notes.problem = str(e)
        return
    _announce(agent, obs.server.position, forks)


def _announce(agent: Agent, position: Position, forks: tuple[tuple[int, int], ...]) -> None:
    agent.notes.mark, agent.notes.missing, agent.notes.settled = None, {}, (0, False, frozenset())

    def held(leader: Leader) -> Leader | None:
        if leader.tenure is not Tenure.CLAIMED or position.timeline != leader.epoch:
            return None
        return replace(leader, tenure=Tenure.HELD, position=position, forks=forks[-32:])

    view = agent.view
    order = view.order if view else None
    outcome = None
    if view is not None and order is not None and order.target == agent.node.node and order.phase == "handed":
        key = agent.root + "request"
        outcome = agent.lease.change(held, guards=[Guard(key, view.order_revision)], writes=[Write(key, None)])
        if isinstance(outcome, Committed):
            agent.view = replace(view, order=None, order_revision=0)
    if not isinstance(outcome, Committed):
        outcome = agent.lease.change(held)
    agent.notes.checkpoint_base = agent.last.checkpoints
    agent.notes.phases["writable"] = agent.ports.clock.now_s() - agent.notes.free_s
    agent.note("writable", epoch=position.timeline, outcome=type(outcome).__name__)
    agent.ports.server.settle(primary=True, held=upstreams.held(agent, view, primary=True))


def follow(agent: Agent, obs: Observation) -> None:
    """The measured position lies on the holder's history: only now the name of this epoch is taken."""
    leader, source = obs.store.leader if obs.store else None, upstream.wanted(obs)
    if leader is None or obs.copy is None or source not in agent.node.nodes:
        return
    agent.notes.sealed = None
    agent.ports.server.follow(source, obs.copy.standby_name(leader.epoch))


def change_voters(agent: Agent, obs: Observation) -> None:
    """One half-step of design, 6 "Change of voters"."""
    state, server = voter_view(obs), agent.ports.server
    if state is None:
        return
    step = voters.next_step(state)
    match step:
        case voters.AddEntry(rule=rule):
            _change_sync(agent, state.sync, (*state.sync, rule))
        case voters.ChangeNames(rule=rule, barrier=barrier, text=text):
            agent.notes.mark = None
            done = server.change_names(text, barrier=barrier)
            agent.note("names", rule=records.rule_text(rule), barrier=barrier, done=done)
        case voters.ReadMark():
            end = server.wal_end()
            agent.notes.mark = (obs.server.names, end) if end is not None else None
        case voters.DropEntries(rule=rule):
            _change_sync(agent, state.sync, (rule,))
        case voters.ClearEntries():
            _change_sync(agent, state.sync, ())
        case voters.WaitFlush() | voters.Settled():
            pass
        case _:
            assert_never(step)


def _change_sync(agent: Agent, old: tuple[SyncRule, ...], new: tuple[SyncRule, ...]) -> None:
    if agent.lease.in_doubt:
        return
    outcome = agent.lease.change(lambda leader: replace(leader, sync=new) if leader.sync == old else None)
    agent.note("sync", outcome=type(outcome).__name__, rules=[records.rule_text(r) for r in new])


ACTIONS: dict[Action, Callable[[Agent, Observation], None]] = {
    Action.NONE: nothing,
    Action.FENCE: fence,
    Action.STOP: stop,
    Action.START: start,
    Action.RELEASE: release,
    Action.SEAL: seal,
    Action.UNFOLLOW: unfollow,
    Action.PUBLISH: publish,
    Action.CLAIM: claiming.claim,
    Action.PROMOTE: promote,
    Action.ANNOUNCE: announce,
    Action.FOLLOW: follow,
    Action.UNTANGLE: untangle,
    Action.REWIND: rejoin.rewind,
    Action.CLONE: rejoin.clone,
    Action.VOTERS: change_voters,
    Action.RECORD: recording.record,
    Action.REFUSE: orders.refuse,
    Action.PAUSE: pausing.pause,
    Action.LIFT: pausing.lift,
    Action.PREPARE: orders.prepare,
    Action.HAND_OVER: orders.hand_over,
    Action.CONFIGURE: chores.configure,
    Action.RESTART: chores.restart,
    Action.REINIT: chores.reinit,
    Action.ANSWER: chores.answer,
}
