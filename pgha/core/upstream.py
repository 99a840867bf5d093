"""Whom a standby streams from: the holder, or the node of its own tag `follow` while that one is as good. Pure.

May import core's values. Whether this node may follow at all is decided by its position on the holder's history
(`classify`), whoever it streams from then: who streams under the present epoch's name was measured on that history
itself, so that what it passes on is the holder's WAL and nothing else (decision 26).
"""

from __future__ import annotations

from pgha.core.chores import is_named
from pgha.core.model import Leader, Member
from pgha.core.observation import Observation, StoreView

HEARD_S = 6.0  # a record is written every two seconds
AWAY_S = 10.0  # an upstream that brings nothing for so long is left; its restart takes less
BACK_S = 60.0  # and is not tried again before this


def wanted(obs: Observation) -> str:
    """The node to stream from at this moment; "" without a leader key."""
    leader = obs.store.leader if obs.store else None
    if obs.store is None or leader is None:
        return ""
    holder = leader.holder.node
    if not _is_free(obs, obs.store, leader) or obs.now_s - obs.follow_left_s < BACK_S:
        return holder
    good = not is_away(obs) if is_there(obs) else obs.now_s - obs.follow_good_s <= HEARD_S
    return obs.follow if good else holder


def is_there(obs: Observation) -> bool:
    """It streams from the node of its tag, or tries to, under the present epoch's name."""
    leader, server = obs.store.leader if obs.store else None, obs.server
    return leader is not None and server.follows == obs.follow != "" and server.upstream_epoch == leader.epoch


def is_away(obs: Observation) -> bool:
    """What it follows brings nothing: no walreceiver streams, or what is streamed from has nothing itself."""
    server = obs.server
    quiet_s = 0.0 if server.receiving else obs.now_s - max(server.heard_s, server.since_s)
    return max(quiet_s, obs.now_s - max(obs.follow_good_s, obs.answers_s)) > AWAY_S


def is_good(member: Member, leader: Leader) -> bool:
    """By its record it streams the holder's timeline, so whoever lies on the holder's history may follow it."""
    streams = member.state == "streaming" and member.upstream_epoch == leader.epoch
    return streams and member.position.timeline == leader.epoch


def _is_free(obs: Observation, view: StoreView, leader: Leader) -> bool:
    """The tag names another standby of the cluster that does not follow this very node in the end; and no entry of
    `sync` counts on this node's replies to the holder."""
    tag = obs.follow
    if tag in ("", obs.me, leader.holder.node) or tag not in view.members or (obs.nodes and tag not in obs.nodes):
        return False
    return not is_named(obs) and not circle(view, obs.me, tag, leader.holder.node)


def circle(view: StoreView, me: str, tag: str, holder: str) -> bool:
    """The tags lead from there back to this node (of two inventories, for a moment). The holder follows nobody."""
    seen, at = set[str](), tag
    while at not in ("", me, holder) and at not in seen:
        seen.add(at)
        at = view.members[at].follow if at in view.members else ""
    return at == me
