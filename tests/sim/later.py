"""Orders for later in a simulated cluster: who lays and cancels them, and what must hold of them (I14).

I14: a plan is carried out by agents, never before its time, each step of it is ordered once, together with the plan's
own note of it, and one that has ended stays as it is (decision 22).
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pgha import records
from pgha.core.model import Order
from pgha.core.planned import OPEN, Planned
from pgha.ports import Guard, Write
from pgha.records_schedule import dump_planned, parse_planned
from tests.sim.world import World

if TYPE_CHECKING:
    from tests.sim.cluster import Cluster

WALL = 1.7e9  # of every node when the world begins
AHEAD_S = (0.2, 6.0)
CANCELLED_S = (0.1, 12.0)
SCHEDULE = records.prefix("sim") + "schedule/"
TOGETHER = (records.prefix("sim") + "request", records.prefix("sim") + "requests/")


class PlanChecks:
    """Sees every write of a plan, and is seen by nobody."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.known: dict[str, Planned] = {}
        self.ordered: dict[str, set[tuple[str, int]]] = {}

    def on_landed(self, sender: str, writes: Sequence[Write]) -> None:
        """One commit; only agents are judged."""
        given = [order for w in writes if w.value and w.key.startswith(TOGETHER) and (order := _order(w))]
        if sender != "op" and any(o.phase == "asked" for o in given) and not any(SCHEDULE in w.key for w in writes):
            self._fails("", f"{sender} orders {given[0].ident} and notes it in no plan")
        for write in writes:
            if not write.key.startswith(SCHEDULE):
                continue
            ident = write.key.removeprefix(SCHEDULE)
            old = self.known.pop(ident, None)
            if write.value is None:
                if sender != "op":
                    self._fails(ident, f"{sender} took it away")
                continue
            new = records.parse_value(write.key, write.value, parse_planned)
            assert isinstance(new, Planned), new
            self.known[ident] = new
            if sender != "op":
                self._judge(sender, old, new, [order.ident for order in given])

    def _judge(self, sender: str, old: Planned | None, new: Planned, given: Sequence[str]) -> None:
        if old is None or old.phase not in OPEN:
            self._fails(new.ident, f"{sender} goes on with what is {'gone' if old is None else old.phase}")
            return
        if old.phase == "waiting" and self.world.now + WALL < old.at:
            self._fails(new.ident, f"{sender} touches it {old.at - self.world.now - WALL:.2f} s before its time")
        if not new.order or new.order == old.order:
            return
        if new.order not in given:
            self._fails(new.ident, f"{sender} notes order {new.order}, which is not there")
        turn = (new.step, new.epoch)
        if turn in self.ordered.setdefault(new.ident, set()):
            self._fails(new.ident, f"{sender} orders the step of {new.step} a second time")
        self.ordered[new.ident].add(turn)

    def _fails(self, ident: str, what: str) -> None:
        self.world.fail("I14", f"the plan {ident}: {what}")


def _order(write: Write) -> Order | None:
    found = records.parse_value(write.key, write.value or b"", records.parse_order)
    return found if isinstance(found, Order) else None


def lay(cluster: Cluster, ident: str, rng: random.Random) -> None:
    """A switchover or a restart of several for a moment from now; perhaps somebody takes it back."""
    leader = cluster.checks.leader
    if leader is None:
        return
    source, names = leader.holder.node, sorted(cluster.nodes)
    at = WALL + cluster.world.now + rng.uniform(*AHEAD_S)
    if rng.random() < 0.5:
        others = [n for n in names if n != source]
        plan = Planned("switchover", ident, at, source=source, target=rng.choice(["", *others]))
    else:
        nodes = tuple(rng.sample(names, rng.randrange(1, len(names) + 1)))
        plan = Planned("restart", ident, at, nodes=nodes, rolling=rng.random() < 0.5)
    key = SCHEDULE + ident
    write = Write(key, dump_planned(replace(plan, asked_by="sim")))
    cluster.store.land("op", cluster.world.now, [Guard(key, 0)], [write])
    if rng.random() < 0.4:
        cluster.world.after(rng.uniform(*CANCELLED_S), cancel, cluster, ident)


def cancel(cluster: Cluster, ident: str) -> None:
    """Take it back, at whatever step it is, as `pgha cancel` does: what has begun is told as dropped."""
    plan, key = cluster.checks.plans.known.get(ident), SCHEDULE + ident
    if plan is None or plan.phase not in OPEN:
        return
    value = dump_planned(replace(plan, phase="dropped", answer="cancelled")) if plan.phase == "begun" else None
    guard = Guard(key, cluster.store.keys.entries[key].revision)
    cluster.store.land("op", cluster.world.now, [guard], [Write(key, value)])


def cancel_all(cluster: Cluster) -> None:
    """What still lies there when all faults have ended: a leader that changes by plan is no fault of liveness."""
    for ident in sorted(cluster.checks.plans.known):
        cancel(cluster, ident)
