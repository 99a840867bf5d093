"""What the holder does about an ordered switchover: refuse, prepare, hand over (design, section 7).

The order is a key of its own, moved from phase to phase by CAS; if any step before the stop fails, nothing happened.
"""

from __future__ import annotations

from dataclasses import replace

from pgha import records
from pgha.core.classify import order_problem
from pgha.core.following import followers, hanging, unheard
from pgha.core.model import Leader, Member, Order, Position, Tenure
from pgha.core.observation import Observation
from pgha.ports import Committed, Guard, StoreDown, Write
from pgha.watchdog.agent import Agent

KILL_S = 2.0
EXIT_S = 1.0  # so long a postmaster that has shut down has for its exit
STOP_S = 8.0
TARGET_REPLAY_S = 1.0
SEGMENT_S = 0.5  # so long the target has for its file of the new WAL segment
USUAL_S = 0.05  # walsenders end sooner than that, as a rule; the store is asked only then
LOOK_S = 0.005  # between looks at the old server while no hint comes
OTHERS_FIRST_S = 0.3  # with another voter there, the old primary comes back after the new one is writable


def _advance(agent: Agent, obs: Observation, phase: str, answer: str = "") -> Order | None:
    """Write the order's next phase by CAS; None when somebody else moved it."""
    view = obs.store
    if view is None or view.order is None:
        return None
    new, key = replace(view.order, phase=phase, answer=answer), agent.root + "request"
    outcome = agent.ports.store.commit(
        [Guard(key, view.order_revision)],
        [Write(key, records.dump_order(new))],
        deadline_s=agent.ports.clock.now_s() + agent.timing.a_s,
    )
    if not isinstance(outcome, Committed):
        return None
    assert agent.view is not None
    agent.view = replace(agent.view, order=new, order_revision=outcome.revision)
    return new


def refuse(agent: Agent, obs: Observation) -> None:
    """The order can't be carried out; it says why and stays for its operator to read."""
    assert obs.store is not None and obs.store.order is not None
    order = obs.store.order
    ours, leader = order.target == agent.node.node, obs.store.leader
    # its source fell, before the order was carried out or by it
    fell = order.kind == "switchover" and leader is not None and order.epoch < leader.epoch
    if ours and (order.phase == "handed" or order.kind == "failover" or fell):
        _end(agent, obs)
        return
    why = order_problem(obs, order)
    if order.phase == "handed":
        why = f"{agent.node.node} took over instead"
    _advance(agent, obs, "refused", why)
    agent.note("refuse", order=order.ident, because=why)


def _end(agent: Agent, obs: Observation) -> None:
    """The order is done: its key goes."""
    assert obs.store is not None
    key = agent.root + "request"
    agent.ports.store.commit(
        [Guard(key, obs.store.order_revision)],
        [Write(key, None)],
        deadline_s=agent.ports.clock.now_s() + agent.timing.a_s,
    )


def prepare(agent: Agent, obs: Observation) -> None:
    """Accept the order, checkpoint while clients work."""
    notes, view = agent.notes, obs.store
    assert view is not None and view.order is not None
    order: Order | None = view.order
    if view.order.phase == "asked":
        order = _advance(agent, obs, "accepted")
    if order is None:
        return
    if notes.preparing[0] != order.ident:
        notes.preparing = (order.ident, obs.server.checkpoints)
        agent.ports.server.checkpoint(switch_wal=True)
    elif obs.server.checkpoints > notes.preparing[1]:
        if notes.switched[0] != order.ident:
            notes.switched = (order.ident, obs.now_s, obs.server.position.lsn)
            agent.ports.server.nudge()
        _, since_s, lsn = notes.switched
        if unheard(obs, since_s):
            _refuse_hanging(agent, obs, hanging(obs, since_s))
            return
        alone = order.target == agent.node.node  # a restart in place
        if alone or obs.now_s - since_s > SEGMENT_S or _has_beyond(obs, order.target, lsn):
            notes.prepared = order.ident
    else:
        agent.ports.server.checkpoint(switch_wal=True)


def _refuse_hanging(agent: Agent, obs: Observation, nodes: str) -> None:
    """The server could not shut down in time; nothing is lost by not beginning."""
    if not nodes:
        return
    why = f"the walsender of {nodes} has not been heard of since the WAL was switched: it stands still, and would hold"
    _advance(agent, obs, "refused", f"{why} the shutdown; look at that process on {agent.node.node}")
    agent.note("refuse", because="a walsender stands still", nodes=nodes)


def _has_beyond(obs: Observation, target: str, lsn: int) -> bool:
    """The target has made its file of the new WAL segment: commits wait for that, and must not wait into the stop."""
    return any(f.flush > lsn for f in followers(obs) if f.copy.node == target and f.streaming)


def hand_over(agent: Agent, obs: Observation) -> None:
    """Stop fast; the target has the shutdown checkpoint; release to the target; end the tree (design, 7).

    Once pg_control says `shut down` no backend is left, and the postmaster will start none: nothing is acknowledged any
    more, so the key need not wait for its exit (decision 23). Any other end is waited for.
    """
    clock, link, server = agent.ports.clock, agent.ports.link, agent.ports.server
    order = _advance(agent, obs, "stopping")
    if order is None:
        return
    stop_by_s = clock.now_s() + STOP_S
    agent.notes.excused_until_s = stop_by_s + TARGET_REPLAY_S
    server.stop_fast()
    end = None
    while end is None and clock.now_s() < stop_by_s and link.state().tree:
        end = server.shut_down_at()
        if end is None:
            clock.sleep(0.003)
    end = end or server.shut_down_at()
    early = end is not None and order.target != agent.node.node and _await_flush(agent, order, end)
    if (early or _is_ended(agent)) and _hand_to(agent, order, end) and (not early or _has_left(agent)):
        link.deadline(None)


def _has_left(agent: Agent) -> bool:
    """What a postmaster does last (it saves pg_stat_statements), it does while its successor promotes."""
    clock, link = agent.ports.clock, agent.ports.link
    until_s = clock.now_s() + EXIT_S
    while link.state().tree and clock.now_s() < until_s:
        clock.sleep(LOOK_S)
    return _is_ended(agent)


def _is_ended(agent: Agent) -> bool:
    """Nothing of the server may run any more, killed if need be."""
    link = agent.ports.link
    if link.state().tree and not link.kill_tree(deadline_s=agent.ports.clock.now_s() + KILL_S):
        agent.notes.problem = "the old server's processes could not be ended"
        return False
    return True


def _await_flush(agent: Agent, order: Order, end: Position) -> bool:
    """Until the target has the shutdown checkpoint on its disk; at most 1 s. Gives whether that is known.

    A walsender ends only once its standby has confirmed all of it (walsender.c, WalSndDone): it is so when none is
    left, and when the postmaster has exited orderly, which comes after. That takes long while an archive_command or
    another standby is stalled: the target's member key shows it too. Who was not connected then has no cover.
    """
    clock, store = agent.ports.clock, agent.ports.store
    until_s, revision, key = clock.now_s() + TARGET_REPLAY_S, 0, f"{agent.root}members/{order.target}"
    asks_s = clock.now_s() + USUAL_S
    while clock.now_s() < until_s:
        state = agent.ports.link.state()
        if agent.ports.server.walsenders() == 0 if state.postmaster else state.exit_status == "exit 0":
            return True
        if clock.now_s() < asks_s:
            clock.sleep(0.002)
            continue
        if revision and not store.wait(agent.root, revision, deadline_s=clock.now_s() + LOOK_S):
            continue
        try:
            snap = store.read(key, deadline_s=until_s)
        except StoreDown:
            return False
        entry, revision = snap.entries.get(key), snap.revision
        member = records.parse_value(key, entry.value, records.parse_member) if entry else None
        if isinstance(member, Member) and max(member.position, member.replay) >= end:
            return True
    return False


def _why(order: Order) -> str:
    if order.kind == "restart":
        return f"restart of {order.target} asked by {order.asked_by}"
    return f"switchover to {order.target} asked by {order.asked_by}"


def _hand_to(agent: Agent, order: Order, end: Position | None) -> bool:
    clean = end is not None and end.timeline == order.epoch
    key, view = agent.root + "request", agent.view
    assert view is not None

    def released(leader: Leader) -> Leader | None:
        if leader.epoch != order.epoch or leader.tenure is not Tenure.HELD:
            return None
        return replace(
            leader,
            tenure=Tenure.RELEASED,
            clean=clean,
            position=end if clean and end is not None else leader.position,
            target=order.target,
            unwell=False,
            reason=_why(order)[:200],
            asked_by=order.asked_by,
        )

    handed = replace(order, phase="handed")
    outcome = agent.lease.change(
        released, guards=[Guard(key, view.order_revision)], writes=[Write(key, records.dump_order(handed))]
    )
    if isinstance(outcome, Committed):
        agent.lease.forget()
        agent.reread = True
        if order.target != agent.node.node and view.leader and any(len(r.voters) > 1 for r in view.leader.sync):
            agent.notes.start_after_s = agent.ports.clock.now_s() + OTHERS_FIRST_S
    agent.notes.sealed = None
    agent.note("handed", target=order.target, clean=clean, outcome=type(outcome).__name__)
    return isinstance(outcome, Committed)
