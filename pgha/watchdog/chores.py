"""What a node does about an order for itself (`requests/<node>`): restart, make its copy anew, answer.

The order's phase is moved by CAS before what it says is done: a crash between any two lines is one more look.
"""

from __future__ import annotations

from dataclasses import replace

from pgha import records
from pgha.core import chores
from pgha.core.model import Member, Order, Tenure
from pgha.core.observation import Observation
from pgha.core.server import Running
from pgha.ports import Committed, Guard, Write
from pgha.watchdog import configuring
from pgha.watchdog.agent import Agent


def _advance(agent: Agent, obs: Observation, order: Order, **changes: object) -> bool:
    """Write what has changed; False when somebody else moved it, or nobody knows."""
    view, key = obs.store, f"requests/{agent.node.node}"
    new = replace(order, **changes)  # type: ignore[arg-type]  # names are checked by replace
    revision = view.revisions.get(key, 0) if view else 0
    outcome = agent.ports.store.commit(
        [Guard(agent.root + key, revision)],
        [Write(agent.root + key, records.dump_order(new))],
        deadline_s=agent.ports.clock.now_s() + agent.timing.a_s,
    )
    agent.reread = True
    facts = {"order": order.ident, "kind": order.kind, "outcome": type(outcome).__name__}
    agent.note("chore", **facts, **{name: value for name, value in changes.items() if name in ("phase", "answer")})
    return isinstance(outcome, Committed)


def configure(agent: Agent, obs: Observation) -> None:
    """Newer settings, or all files once more because a reload is ordered."""
    configuring.configure(agent, obs)
    order = chores.order_of(obs)
    if order is not None and order.kind == "reload":
        _advance(agent, obs, order, phase="done", answer=agent.notes.configuring.refused(agent.settings.revision))


def answer(agent: Agent, obs: Observation) -> None:
    """The order is over: done, or why not. It stays for its operator to read."""
    order = chores.order_of(obs)
    if order is None:
        return
    why = "" if _came(obs, order) else chores.problem(obs, order)
    _advance(agent, obs, order, phase="refused" if why else "done", answer=why)


def _came(obs: Observation, order: Order) -> bool:
    """The server or the copy that was to go is another by now."""
    if order.phase != "begun":
        return False
    if order.kind == "restart":
        return order.begun_s != obs.server.since_s and obs.server.running in (Running.STANDBY, Running.PRIMARY)
    return order.kind == "reinit" and obs.copy is not None and obs.copy.data != order.data


def restart(agent: Agent, obs: Observation) -> None:
    """Fast stop; the next rounds start it again, as they start whatever is down."""
    order = chores.order_of(obs)
    if order is None:
        agent.note("restart", because="it runs with less than its primary", limits=agent.notes.configuring.running)
    elif order.phase == "asked" and not _advance(agent, obs, order, phase="begun", begun_s=obs.server.since_s):
        return
    agent.notes.sealed = None
    agent.ports.server.stop_fast()


def reinit(agent: Agent, obs: Observation) -> None:
    """A clone takes this copy's place, which is kept until the clone streams."""
    order = chores.order_of(obs)
    source = clone_source(agent, obs, order.target if order else "")
    if order is None or obs.copy is None or not source:
        return
    if order.phase == "asked" and not _advance(agent, obs, order, phase="begun", data=obs.copy.data):
        return
    agent.notes.sealed = None
    agent.notes.rung = f"cloned from {source}: ordered by {order.asked_by or 'somebody'}"
    agent.note("clone", holder=source, because="ordered", order=order.ident)
    agent.ports.server.begin_clone(source)


def clone_source(agent: Agent, obs: Observation, wish: str = "") -> str:
    """Whom to clone: who is wished for, else a standby tagged clonefrom that streams, else the holder; "": nobody.

    After a clone that failed it is the holder.
    """
    view = obs.store
    leader = view.leader if view else None
    if view is None or leader is None or leader.tenure is not Tenure.HELD:
        return ""
    if wish:
        return wish if wish in agent.node.nodes else ""
    tagged = sorted(m.node for m in view.members.values() if m.clonefrom and _streams(m, leader.epoch))
    others = [name for name in tagged if name != agent.node.node and name in agent.node.nodes]
    if obs.server.job_failed:
        others = []
    return others[0] if others else leader.holder.node if leader.holder.node in agent.node.nodes else ""


def _streams(member: Member, epoch: int) -> bool:
    return member.state == "streaming" and member.upstream_epoch == epoch
