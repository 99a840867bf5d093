"""Orders for later: what the primary's agent orders at their time, one step after another, or why it drops them. Pure.

The wall clock says that a time has come, and no more: what is done is an order like any other, which is judged like any
other, so a wrong clock asks at a wrong time and can do no harm (decision 22). May import core.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from pgha.core import chores, limits
from pgha.core.classify import order_problem
from pgha.core.following import followers
from pgha.core.model import Leader, Order, Tenure
from pgha.core.observation import Observation, StoreView
from pgha.core.planned import OPEN, Planned

LATE_S = 300.0  # so long after its time it may begin
GATE_S = 60.0  # so long the next step waits for what the one before has moved
STANDBY_S, PRIMARY_S = 120.0, 30.0  # of a restart, as its command gives it
TAKE_UP_S = 10.0
REQUEST = "request"


@dataclass(frozen=True, slots=True)
class Move:
    """One commit: the plan as it is from now on, perhaps an order to give, perhaps the remains of one to take away."""

    plan: Planned
    place: tuple[str, Order] | None = None
    remove: str = ""


def due(plans: Iterable[Planned], wall: float) -> Planned | None:
    """The one that is at work, else the first whose time has come."""
    open_now = [p for p in plans if p.phase in OPEN and (p.phase == "begun" or p.at <= wall)]
    return min(open_now, key=lambda p: (p.phase != "begun", p.at, p.ident), default=None)


def next_move(obs: Observation, plan: Planned, wall: float) -> Move | None:
    """What the holder does about it now; None: it waits."""
    view = obs.store
    leader = view.leader if view else None
    if view is None or leader is None or leader.tenure is not Tenure.HELD or leader.holder.node != obs.me:
        return None
    if plan.phase == "waiting":
        return _begin(obs, view, leader, plan, wall)
    if plan.step:
        at_primary = plan.epoch > 0
        return _moved(view, leader, plan, wall) if at_primary else _restarted(view, plan, wall)
    return _step(obs, view, leader, plan, wall)


def _dropped(plan: Planned, why: str, remove: str = "") -> Move:
    said = f"after {', '.join(plan.done)}: {why}" if plan.done else why
    return Move(replace(plan, phase="dropped", answer=said[:300], step="", order=""), remove=remove)


def _begin(obs: Observation, view: StoreView, leader: Leader, plan: Planned, wall: float) -> Move | None:
    if wall - plan.at > LATE_S:
        return _dropped(plan, f"nobody could begin it within {LATE_S / 60:g} minutes of its time")
    if leader.paused is not None:
        return _dropped(plan, f"skipped: the cluster was paused ({leader.paused.reason})")
    if _is_busy(view):
        return None
    why = unhealthy(obs, view, leader)
    if why:
        return _dropped(plan, f"refused: {why}")
    return _step(obs, view, leader, replace(plan, phase="begun", since=wall), wall)


def _is_busy(view: StoreView) -> bool:
    order = view.order
    others = any(o.phase in chores.OPEN for o in view.requests.values())
    return others or (order is not None and order.phase not in ("done", "refused"))


def unhealthy(obs: Observation, view: StoreView, leader: Leader) -> str:
    """Why nothing is begun without somebody who looks at it; empty when all is well."""
    if len(leader.sync) > 1:
        return "the voters are being changed"
    there = {f.copy.node for f in followers(obs) if f.streaming and f.epoch == leader.epoch}
    missing = sorted(name for name in view.members if name != obs.me and name not in there)
    if missing:
        return f"{', '.join(missing)} did not stream"
    if view.settings.durability == "async":
        return ""
    out, voting = chores.kept_out(view), leader.sync[-1].voters if leader.sync else frozenset()
    missing = sorted(m.node for m in view.members.values() if m.node != obs.me and m.copy not in voting | out)
    return f"{', '.join(missing)} did not vote" if missing else ""


def _step(obs: Observation, view: StoreView, leader: Leader, plan: Planned, wall: float) -> Move | None:
    """The next order, once all that the one before has moved is back."""
    if leader.paused is not None:
        return _dropped(plan, f"the cluster was paused ({leader.paused.reason})")
    why = "another order was at work" if _is_busy(view) else unhealthy(obs, view, leader)
    if why:
        return _dropped(plan, why) if wall - plan.since > GATE_S else None
    if plan.kind == "switchover":
        return _switchover(obs, leader, plan, wall)
    if plan.kind != "restart":
        return _dropped(plan, f"unknown kind of order {plan.kind!r}")
    gone = sorted(set(plan.nodes) - set(view.members))
    if gone:
        return _dropped(plan, f"{', '.join(gone)} is no member any more")
    left = [n for n in plan.nodes if view.members[n].pending or not plan.pending]
    if not left:
        said = f"restarted {', '.join(plan.done)}" if plan.done else "nothing waited for a restart"
        return Move(replace(plan, phase="done", answer=said, nodes=()))
    standbys = [n for n in left if n != obs.me]
    first = obs.me in left and plan.pending and limits.is_lowered(view.members[obs.me].pending)
    if standbys and not first:
        return _standby(leader, plan, standbys[0], wall)
    heir = _best(obs, leader) if plan.rolling and not first else ""
    kind = "switchover" if heir else "restart"
    return _primary(obs, leader, plan, kind, heir or obs.me, wall)


def _standby(leader: Leader, plan: Planned, node: str, wall: float) -> Move:
    order = _order(plan, "restart", leader.epoch, node, "", STANDBY_S, wall)
    return Move(replace(plan, step=node, since=wall, epoch=0), place=(f"requests/{node}", order))


def _switchover(obs: Observation, leader: Leader, plan: Planned, wall: float) -> Move:
    if plan.done:
        return Move(replace(plan, phase="done", answer=f"{plan.heir} leads epoch {leader.epoch}"))
    if plan.source != obs.me:
        return _dropped(plan, f"{plan.source} was not the primary any more, {obs.me} was")
    heir = plan.target or _best(obs, leader)
    if not heir:
        return _dropped(plan, "refused: nobody could take over")
    return _primary(obs, leader, plan, "switchover", heir, wall)


def _primary(obs: Observation, leader: Leader, plan: Planned, kind: str, heir: str, wall: float) -> Move:
    order = _order(plan, kind, leader.epoch, obs.me, heir, PRIMARY_S, wall)
    why = order_problem(replace(obs, order_seen_s=obs.now_s), order)
    if why:
        return _dropped(plan, f"refused: {why}")
    new = replace(plan, step=obs.me, since=wall, epoch=leader.epoch, heir=heir)
    return Move(new, place=(REQUEST, order))


def _order(plan: Planned, kind: str, epoch: int, source: str, target: str, budget_s: float, wall: float) -> Order:
    return Order(kind, "", epoch, source, target, budget_s, asked_by=plan.asked_by, asked_at=round(wall, 3))


def _best(obs: Observation, leader: Leader) -> str:
    """Who would take over at once: of the highest priority, then of the most WAL; "" for nobody."""
    there = {f.copy.node: f.flush for f in followers(obs) if f.streaming}
    fit = [
        name
        for name in there
        if not order_problem(
            replace(obs, order_seen_s=obs.now_s), Order("switchover", "", leader.epoch, obs.me, name, PRIMARY_S)
        )
    ]
    members = obs.store.members if obs.store else {}
    return min(fit, key=lambda n: (-members[n].priority, -there[n], n), default="")


def _over(plan: Planned, wall: float, remove: str = "") -> Move:
    """This node had its turn."""
    left, done = tuple(n for n in plan.nodes if n != plan.step), (*plan.done, plan.step)
    return Move(replace(plan, nodes=left, done=done, step="", order="", epoch=0, since=wall), remove=remove)


def _moved(view: StoreView, leader: Leader, plan: Planned, wall: float) -> Move | None:
    """An order to the primary: over when a later epoch is led."""
    if leader.epoch > plan.epoch:
        in_place = plan.heir == plan.step  # whoever leads now, its server was started anew
        if leader.holder.node == plan.heir or in_place:
            return _over(plan, wall)
        return _dropped(plan, f"{leader.holder.node} leads epoch {leader.epoch} instead of {plan.heir}")
    order = view.order
    if order is None or order.ident != plan.order:
        return _dropped(plan, "its order was withdrawn")
    return _dropped(plan, f"refused: {order.answer}", REQUEST) if order.phase == "refused" else None


def _restarted(view: StoreView, plan: Planned, wall: float) -> Move | None:
    """An order to a standby: over when that says so."""
    key, order = f"requests/{plan.step}", view.requests.get(plan.step)
    if order is None or order.ident != plan.order:
        return _dropped(plan, f"the order for {plan.step} was withdrawn")
    if order.phase == "done":
        return _over(plan, wall, key)
    if order.phase == "refused":
        return _dropped(plan, f"{plan.step} refused: {order.answer}", key)
    late = wall - plan.since > (TAKE_UP_S if order.phase == "asked" else 0.0) + STANDBY_S
    if not late:
        return None
    return _dropped(plan, f"{plan.step} was not back after {STANDBY_S:g} s", key if order.phase == "asked" else "")
