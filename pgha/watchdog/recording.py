"""What the new primary does once clients are back: its first checkpoint, and the take-over's record in history."""

from __future__ import annotations

from dataclasses import replace

from pgha import records
from pgha.core.model import Event
from pgha.core.observation import Observation
from pgha.ports import Guard, Write
from pgha.watchdog.agent import Agent


def _kind(reason: str) -> str:
    return next((kind for kind in ("switchover", "restart", "adoption") if f"{kind} " in reason), "failover")


def record(agent: Agent, obs: Observation) -> None:
    """The first checkpoint, and history/<epoch>, create-only."""
    view, notes = obs.store, agent.notes
    if view is None or view.leader is None:
        return
    leader = view.leader
    if leader.epoch not in view.history:
        before = view.history.get(leader.epoch - 1)
        event = Event(
            epoch=leader.epoch,
            holder=leader.holder.node,
            source=leader.source or (before.holder if before else ""),
            kind=_kind(leader.reason),
            reason=leader.reason,
            position=leader.position,
            phases_ms={k: round(v * 1000, 1) for k, v in notes.phases.items() if k != "revision"},
            asked_by=leader.asked_by,
            at=agent.ports.wall(),
            loss_bytes=leader.loss_bytes,
        )
        key = f"{agent.root}history/{leader.epoch}"
        agent.ports.store.commit(
            [Guard(key, 0)],
            [Write(key, records.dump_event(event))],
            deadline_s=agent.ports.clock.now_s() + agent.timing.a_s,
        )
    if leader.checkpointed:
        return
    if obs.server.checkpoints > notes.checkpoint_base:
        agent.lease.change(lambda leader: replace(leader, checkpointed=True))
    else:
        agent.ports.server.checkpoint()
