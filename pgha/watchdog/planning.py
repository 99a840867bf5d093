"""Orders for later, carried out by the agent of the primary of that time: it asks, as an operator's command would.

Nothing but the store is touched. What moves a role is the order that is laid there, by the rules of the table.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pgha import records
from pgha.core import schedule
from pgha.core.decide import Rule
from pgha.core.observation import Observation
from pgha.ports import Committed, Guard, Write
from pgha.records_schedule import dump_planned

if TYPE_CHECKING:
    from pgha.watchdog.agent import Agent

CALM = (Rule.R450_HOLD, Rule.R390_PAUSED)


def look(agent: Agent, obs: Observation, rule: Rule) -> None:
    """One step of the plan that is due, if there is one and nothing else is to be done. One commit: the plan and the
    order go into the store together, so no order is given twice."""
    view = obs.store
    if rule not in CALM or view is None or not view.planned or view.leader is None:
        return
    wall = agent.ports.wall()
    plan = schedule.due(view.planned.values(), wall)
    move = schedule.next_move(obs, plan, wall) if plan is not None else None
    if move is None:
        return
    new, writes, guards = move.plan, [], [f"schedule/{move.plan.ident}"]
    if move.place is not None:
        key, order = move.place
        order = replace(order, ident=agent.ports.new_id())
        new = replace(new, order=order.ident)
        guards.append(key)
        writes.append(Write(agent.root + key, records.dump_order(order)))
    if move.remove:
        guards.append(move.remove)
        writes.append(Write(agent.root + move.remove, None))
    writes.append(Write(agent.root + guards[0], dump_planned(new)))
    outcome = agent.ports.store.commit(
        [Guard(agent.root + key, view.revisions.get(key, 0)) for key in guards],
        writes,
        deadline_s=agent.ports.clock.now_s() + agent.timing.a_s,
    )
    agent.reread = True
    facts = {"plan": new.words, "ident": new.ident, "phase": new.phase, "step": new.step, "answer": new.answer}
    agent.note("planned", outcome=type(outcome).__name__, **facts)
    if isinstance(outcome, Committed):
        agent.view = None if agent.view is None else replace(agent.view, planned={})  # not again from the old read
