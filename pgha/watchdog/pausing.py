"""What the holder does about a pause: say it in the leader key, and take it back when it is over or ordered to end.

Both are renewals that also answer the order, in one transaction. The guard's deadline follows from what the key says:
`lease.LeaseKeeper` moves it, later only after a success, sooner before the attempt (decision 10).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pgha.core.model import Leader, Order, Pause, Tenure
from pgha.core.observation import Observation
from pgha.ports import Committed, Guard, Write
from pgha.watchdog.agent import Agent


def _answered(agent: Agent, obs: Observation, kind: str) -> tuple[Order | None, Sequence[Guard], Sequence[Write]]:
    """The order of this kind that is carried out; its key goes with the same transaction."""
    view = obs.store
    order = view.order if view else None
    if view is None or order is None or order.kind != kind or order.phase != "asked":
        return None, (), ()
    key = agent.root + "request"
    return order, [Guard(key, view.order_revision)], [Write(key, None)]


def _over(agent: Agent, outcome: object, *, answered: bool) -> None:
    """What this node has just written it need not read again; what is not known it reads."""
    if isinstance(outcome, Committed) and agent.view is not None:
        if answered:
            agent.view = replace(agent.view, order=None, order_revision=0)
    else:
        agent.reread = True


def pause(agent: Agent, obs: Observation) -> None:
    """The key says paused: by whom, why, for how long."""
    order, guards, writes = _answered(agent, obs, "pause")
    if order is None:
        return
    asked = order
    said = Pause(asked.ident, asked.reason, asked.asked_by, agent.ports.wall(), asked.for_s, asked.for_s)

    def paused(leader: Leader) -> Leader | None:
        if leader.tenure is not Tenure.HELD or leader.epoch != asked.epoch or leader.paused is not None:
            return None
        return replace(leader, paused=said)

    outcome = agent.lease.change(paused, guards=guards, writes=writes)
    _over(agent, outcome, answered=True)
    facts = {"asked_by": asked.asked_by, "because": asked.reason, "for_s": asked.for_s}
    agent.note("paused", epoch=asked.epoch, outcome=type(outcome).__name__, **facts)


def lift(agent: Agent, obs: Observation) -> None:
    """The key says paused no more: its time is over, or an order says so."""
    order, guards, writes = _answered(agent, obs, "resume")
    leader = agent.lease.held()[0]
    if leader is None or leader.paused is None:
        agent.reread = True
        return
    outcome = agent.lease.change(
        lambda key: replace(key, paused=None) if key.paused is not None else None, guards=guards, writes=writes
    )
    _over(agent, outcome, answered=order is not None)
    why = f"asked by {order.asked_by}" if order is not None else f"{leader.paused.for_s:g} s are over"
    agent.note("resumed", epoch=leader.epoch, outcome=type(outcome).__name__, because=why)
