"""What this node knows of the node that its tag `follow` names, and whose WAL each slot here holds.

The decision is `core.upstream`'s. May import core and ports.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING

from pgha.core import upstream
from pgha.core.observation import Observation, StoreView

if TYPE_CHECKING:
    from pgha.watchdog.agent import Agent


@dataclass(slots=True)
class Upstream:
    """In this life of the agent. beat: of that node's record, as last seen. aim: whom the server was last told to
    follow."""

    beat: int = -1
    good_s: float = -inf
    left_s: float = -inf
    aim: str = ""


def seen(agent: Agent, obs: Observation) -> Observation:
    """The observation with what is known of the tag's node.

    When that node lacks the WAL that is asked for, this says nothing of the holder: it is left, and the holder asked.
    """
    tag, notes, leader = agent.node.follow, agent.notes.upstream, obs.store.leader if obs.store else None
    if not tag or obs.store is None or leader is None:
        return obs
    member = obs.store.members.get(tag)
    if member is not None and member.beat != notes.beat:
        notes.beat = member.beat
        notes.good_s = obs.now_s if upstream.is_good(member, leader) else notes.good_s
    notes.aim = obs.server.follows or notes.aim
    if obs.server.wal_gone and notes.aim == tag != leader.holder.node:
        notes.left_s = obs.now_s
        obs = replace(obs, server=replace(obs.server, wal_gone=False))
    obs = replace(obs, follow=tag, follow_good_s=notes.good_s, follow_left_s=notes.left_s)
    if upstream.is_there(obs) and upstream.is_away(obs):
        notes.left_s = obs.now_s
        agent.note("left", upstream=tag, because="it brings nothing")
    return replace(obs, follow_left_s=notes.left_s)


def held(agent: Agent, view: StoreView | None, *, primary: bool) -> frozenset[str]:
    """The nodes whose slot may hold WAL on this one. Each has one such place: an untagged node the primary, who is
    tagged the node that it streams from, or would."""
    me, members = agent.node.node, view.members if view is not None else {}
    tagged = {name: member for name, member in members.items() if member.follow}
    here = {name for name, member in tagged.items() if (member.follows or member.follow) == me}
    if primary:
        here |= {name for name in agent.node.nodes if name not in tagged or tagged[name].follow == me}
    return frozenset(here)
