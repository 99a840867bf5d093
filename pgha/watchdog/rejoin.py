"""The rungs by which a node comes back whose data can't simply go on: rewound, else cloned (design, section 7).

One attempt at a rewind an epoch; clones that fail come at growing distance; what is done and why stands in `list`.
"""

from __future__ import annotations

from pgha.core.model import Leader
from pgha.core.observation import Observation
from pgha.watchdog import chores
from pgha.watchdog.agent import Agent


def _source(agent: Agent, obs: Observation) -> Leader | None:
    """Whose data this node is made from; None when the key names nobody this node knows."""
    leader = obs.store.leader if obs.store else None
    return leader if leader is not None and leader.holder.node in agent.node.nodes else None


def rewind(agent: Agent, obs: Observation) -> None:
    """Begin; one attempt an epoch, then a clone."""
    leader = _source(agent, obs)
    if leader is None:
        return
    agent.memory.update(catch_up=leader.epoch, catch_up_data=obs.copy.data if obs.copy else "")
    agent.notes.rewound = (leader.epoch, obs.rewound + 1)
    agent.notes.sealed = None
    agent.notes.rung = f"rewound from {leader.holder.node}: {obs.sealed} lies beyond the fork of its timeline"
    agent.note("rewind", holder=leader.holder.node, position=str(obs.sealed))
    agent.ports.server.begin_rewind(leader.holder.node)


def clone(agent: Agent, obs: Observation) -> None:
    """Begin; what is there stays until the clone streams."""
    leader, failed = _source(agent, obs), obs.server.job_failed
    if leader is None or not agent.notes.clones.begin(leader.epoch, agent.ports.clock.now_s()):
        return
    agent.notes.sealed = None
    beyond = "the WAL after it is gone" if obs.server.wal_gone else "it can't be rewound"
    why = failed or (f"{obs.sealed}: {beyond}" if obs.sealed else "no usable data directory")
    source = chores.clone_source(agent, obs) or leader.holder.node
    agent.notes.rung = f"cloned from {source}: {why}"
    keep = next((c.data for c in leader.kept if c.node == obs.me and obs.copy in (None, c)), "")
    agent.note("clone", holder=source, position=str(obs.sealed), because=why, keep=keep)
    agent.ports.server.begin_clone(source, keep=keep)
