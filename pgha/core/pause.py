"""Pause: when it is over, who may be asked for it, and what an order for it must keep to. Pure.

A pause is a field of the leader key. Whoever reads that key waits for what is left of it and then H before it calls the
holder silent; the holder's guard has the same end (decision 10). May import core's values only.
"""

from __future__ import annotations

from pgha.core.model import Leader, Order
from pgha.core.observation import Observation

LEAST_S = 5.0
MOST_S = 7 * 86400.0
KINDS = ("pause", "resume")


def silent_after_s(obs: Observation, leader: Leader) -> float:
    """After so long without a change of the key its holder counts as silent."""
    return obs.timing.silent_after_s(leader.left_s)


def is_over(obs: Observation, leader: Leader) -> bool:
    """Counted by the holder from its last renewal, by a later life of its watchdog from when it first saw the key."""
    mine = leader.incarnation == obs.incarnation and obs.tenancy.epoch == leader.epoch
    if mine:
        return obs.now_s - obs.tenancy.sent_s >= obs.tenancy.left_s
    return obs.now_s - obs.key_seen_s >= leader.left_s


def is_to_end(obs: Observation, leader: Leader) -> bool:
    """It is over, or an order for this holder says so."""
    order = obs.store.order if obs.store else None
    if order is not None and order.kind == "resume" and order.phase == "asked":
        return (order.epoch == leader.epoch and order.source == obs.me) or is_over(obs, leader)
    return is_over(obs, leader)


def problem(leader: Leader, order: Order) -> str:
    """Why the holder can't do what a `pause` or `resume` asks; empty when it can."""
    if order.kind == "resume":
        return "" if leader.paused is not None else "the cluster is not paused"
    if leader.paused is not None:
        return f"the cluster is paused already, asked by {leader.paused.asked_by}"
    if not LEAST_S <= order.for_s <= MOST_S:
        return f"a pause lasts {LEAST_S:g} s to {MOST_S / 86400:g} days, not {order.for_s:g} s"
    return "" if order.reason else "a pause needs a reason"
