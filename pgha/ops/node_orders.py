"""Orders for one node (`requests/<node>`), the operator's half: place, watch, take away what is over.

The node's agent carries them out (core.chores): phases asked, begun, done, refused. May import core, records and its
neighbours in ops.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pgha import records
from pgha.core.chores import OPEN
from pgha.core.model import Order
from pgha.errors import Busy, Exit, OutcomeUnknown, PghaError, Refused
from pgha.ops.status import Seen
from pgha.ops.switchover import Tell, look
from pgha.ops.target import Target
from pgha.ports import Clock, Committed, Conflict, Guard, Store, Unknown, Write

READ_S = 2.0
TAKE_UP_S = 10.0  # an order that no agent took up by then is withdrawn
RESTART_S = 120.0
RELOAD_S = 10.0
REINIT_S = 30.0  # until it is begun
CLONE_S = 6 * 3600.0


@dataclass(frozen=True, slots=True)
class Desk:
    """Where orders are given: the store, this machine's clock, the cluster, who asks, where progress is told, and how
    to look again."""

    store: Store
    clock: Clock
    target: Target
    asked_by: str
    tell: Tell
    seen: Callable[[], Seen]


def place(desk: Desk, seen: Seen, node: str, kind: str, *, source: str = "") -> Order:
    """Write the order, over the remains of one that is over; the very same one that lies there is gone on with.

    Raises Busy, OutcomeUnknown.
    """
    old, name = seen.records.requests.get(node), f"requests/{node}"
    if old is not None and old.phase in OPEN and (old.kind, old.target) == (kind, source):
        desk.tell(f"{node}: {old.asked_by or 'somebody'} has asked for it already", 0.0)
        return old
    if old is not None and old.phase in OPEN:
        why = f"asked by {old.asked_by or 'somebody'} {max(0.0, seen.at - old.asked_at):.0f} s ago, phase {old.phase}"
        raise Busy(f"a {old.kind} of {node} is in progress", why, desk.target.command("list"))
    leader = seen.records.leader
    order = Order(
        kind=kind,
        ident=secrets.token_hex(8),
        epoch=leader.epoch if leader else 0,
        source=node,
        target=source,
        budget_s={"restart": RESTART_S, "reload": RELOAD_S}.get(kind, REINIT_S),
        asked_by=desk.asked_by,
        asked_at=round(seen.at, 3),
    )
    key = records.prefix(desk.target.cluster) + name
    guard, write = Guard(key, seen.records.rev(name)), Write(key, records.dump_order(order))
    done = desk.store.commit([guard], [write], deadline_s=desk.clock.now_s() + READ_S)
    if isinstance(done, Conflict):
        raise Busy(f"another order for {node} came first", "", desk.target.command("list"))
    if isinstance(done, Unknown):
        raise OutcomeUnknown(f"the order for {node} may or may not lie there", done.why, desk.target.command("list"))
    return order


def take_away(desk: Desk, node: str, found: records.Records) -> bool:
    """Delete the order as it was read; False when somebody has moved it."""
    key = f"requests/{node}"
    full = records.prefix(desk.target.cluster) + key
    done = desk.store.commit([Guard(full, found.rev(key))], [Write(full, None)], deadline_s=desk.clock.now_s() + READ_S)
    return isinstance(done, Committed)


PHASES = {
    ("restart", "asked"): "asked",
    ("restart", "begun"): "stopping, then starting",
    ("reinit", "asked"): "asked; its copy must be named by no rule first",
    ("reinit", "begun"): "its copy is made anew",
}


def watch(desk: Desk, order: Order) -> float:
    """Until the node says that it is done; the seconds it took. Raises Refused, OutcomeUnknown, PghaError when
    interrupted."""
    began, told = desk.clock.now_s(), ""
    end, since = began + (CLONE_S if order.kind == "reinit" else order.budget_s + TAKE_UP_S), 0
    try:
        while desk.clock.now_s() < end:
            found = look(desk.store, desk.clock, desk.target, since, end=end)
            if found is None:
                continue
            since = found.revision
            mine = found.requests.get(order.source)
            if mine is None or mine.ident != order.ident:
                raise Refused(f"the {order.kind} of {order.source} was withdrawn", "", desk.target.command("list"))
            if _is_over(desk, mine, found, late=desk.clock.now_s() > began + TAKE_UP_S + _patience(order)):
                return desk.clock.now_s() - began
            if mine.phase != told and (mine.kind, mine.phase) in PHASES:
                told = mine.phase
                desk.tell(f"{mine.source}: {PHASES[mine.kind, mine.phase]}", desk.clock.now_s() - began)
    except KeyboardInterrupt:
        raise _interrupted(desk, order) from None
    why = f"its phase was {told or 'unknown'}"
    raise OutcomeUnknown(f"the {order.kind} of {order.source} is not over", why, desk.target.command("list"))


def _patience(order: Order) -> float:
    """A copy that is to be made anew is first taken out of the rules."""
    return order.budget_s if order.kind == "reinit" else 0.0


def _is_over(desk: Desk, mine: Order, found: records.Records, *, late: bool) -> bool:
    """Done. Raises Refused for the other ends."""
    if mine.phase == "done":
        take_away(desk, mine.source, found)
        if mine.answer:
            raise PghaError(f"{mine.source}: {mine.answer}", "", desk.target.command("config show"), code=Exit.PARTIAL)
        return True
    if mine.phase == "refused":
        take_away(desk, mine.source, found)
        raise Refused(f"the {mine.kind} of {mine.source} is refused", mine.answer, desk.target.command("list"))
    if late and mine.phase == "asked" and take_away(desk, mine.source, found):
        why = f"{mine.source} did not take it up in time; the order is withdrawn"
        raise Refused("nothing was changed", why, desk.target.command("list"))
    return False


def _interrupted(desk: Desk, order: Order) -> PghaError:
    """What Ctrl-C leaves: withdrawn while nobody has taken it up, else it goes on."""
    found = look(desk.store, desk.clock, desk.target, 0, end=desk.clock.now_s() + READ_S)
    mine = found.requests.get(order.source) if found is not None else None
    if found is not None and mine is not None and mine.phase == "asked" and take_away(desk, order.source, found):
        return PghaError("interrupted; the order is withdrawn, nothing was changed", code=Exit.INTERRUPTED)
    state = f"interrupted; the {order.kind} of {order.source} goes on without this command"
    return PghaError(state, "", desk.target.command("list -w"), code=Exit.INTERRUPTED)


def all_of(desk: Desk, seen: Seen, nodes: Sequence[str], kind: str) -> dict[str, float]:
    """The same order to several nodes, all at once; the seconds of each. Raises what `place` and `watch` raise."""
    placed = [place(desk, seen, node, kind) for node in nodes]
    return {order.source: watch(replace(desk), order) for order in placed}
