"""A holder that nobody reaches: its host has lost the address by which everybody knows this node.

It reaches the store from another address, so its lease would never run out: for clients and standbys it is dead all the
same. May import core and the agent's own values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgha.core.model import Tenure

if TYPE_CHECKING:
    from pgha.watchdog.agent import Agent


def look(agent: Agent) -> None:
    """Before each renewal. Once one went out and came back without the address, the server counts as one that does not
    answer: it goes while its voters still are voters, for without any nobody could take over."""
    gone_s, (leader, _, tenancy) = agent.ports.address_gone_s(), agent.lease.held()
    lost = (
        gone_s is not None
        and leader is not None
        and leader.tenure is Tenure.HELD
        and leader.paused is None
        and tenancy.sent_s > gone_s
        and bool(leader.sync)
        and all(rule.voters for rule in leader.sync)
    )
    agent.notes.ailment = f"{agent.node.me.host} is no longer an address of its host" if lost else ""
    if lost:
        agent.notes.health_s = min(agent.notes.health_s, agent.ports.clock.now_s() - 2 * agent.timing.health_fresh_s)
