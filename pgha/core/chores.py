"""What a node owes to an order for itself (`requests/<node>`), and to settings that its server does not have. Pure.

May import core's values. An order's phase and what is seen of the server tell what is left to do.
"""

from __future__ import annotations

from pgha.core.model import Copy, Order, Tenure
from pgha.core.observation import Observation, StoreView
from pgha.core.situation import Duty, Server

KINDS = ("restart", "reload", "reinit")
OPEN = ("asked", "begun")
_STANDS = (Server.FOLLOWING, Server.PRIMARY)


def order_of(obs: Observation) -> Order | None:
    """The order for this node that is not over yet."""
    order = obs.store.requests.get(obs.me) if obs.store else None
    return order if order is not None and order.phase in OPEN else None


def kept_out(view: StoreView) -> frozenset[Copy]:
    """The copies that must not be voters: tagged nosync, to follow another node, or about to be made anew."""
    anew = {name for name, order in view.requests.items() if order.kind == "reinit" and order.phase in OPEN}
    return frozenset(m.copy for m in view.members.values() if m.nosync or m.follow or m.node in anew)


def due(obs: Observation, server: Server) -> Duty:
    """What is to be done next."""
    order = order_of(obs)
    if order is None:
        return Duty.RESTART if obs.short and server is Server.FOLLOWING else _settings(obs)
    if is_done(obs, order, server) or problem(obs, order):
        return Duty.ANSWER
    if order.kind == "reload":
        return Duty.CONFIGURE
    if order.kind == "restart":
        left = order.phase == "asked" or order.begun_s == obs.server.since_s
        return Duty.RESTART if left else _settings(obs)
    if order.phase == "begun" and _is_another(obs, order):
        return _settings(obs)  # the clone is on its way up
    return Duty.NONE if is_named(obs) and order.phase == "asked" else Duty.REINIT


def _settings(obs: Observation) -> Duty:
    return Duty.CONFIGURE if obs.outdated else Duty.NONE


def is_named(obs: Observation) -> bool:
    """An entry of `sync` names this copy: the holder drops it from there first."""
    leader = obs.store.leader if obs.store else None
    return leader is not None and any(obs.copy in (rule.holder, *rule.voters) for rule in leader.sync)


def is_done(obs: Observation, order: Order, server: Server) -> bool:
    """A begun order's server is another one by now, or its copy, and it is back."""
    if order.phase != "begun" or server not in _STANDS:
        return False
    if order.kind == "restart":
        return obs.server.since_s != order.begun_s
    return order.kind == "reinit" and _is_another(obs, order)


def _is_another(obs: Observation, order: Order) -> bool:
    """What lies there is not the copy that was to go."""
    return obs.copy is not None and obs.copy.data != order.data


def problem(obs: Observation, order: Order) -> str:
    """Why it can't be carried out; empty when it can."""
    view = obs.store
    leader = view.leader if view else None
    if view is None or leader is None:
        return "no leader key"
    if order.kind not in KINDS:
        return f"unknown kind of order {order.kind!r}"
    if order.kind == "reload":
        return ""
    if leader.paused is not None:
        return "the cluster is paused"
    cloning = order.kind == "reinit" and order.phase == "begun"
    if not cloning and obs.now_s - obs.chore_seen_s > order.budget_s:
        named = "; the leader key's sync still names this copy" if order.kind == "reinit" and is_named(obs) else ""
        return f"not done within {order.budget_s:g} s{named}"
    if leader.tenure is not Tenure.RELEASED and leader.holder.node == obs.me:
        return f"{obs.me} holds the leader key"
    if cloning and obs.server.job_failed:
        return obs.server.job_failed
    if order.target and (order.target == obs.me or order.target not in view.members):
        return f"{order.target} is no node to clone from"
    return ""
