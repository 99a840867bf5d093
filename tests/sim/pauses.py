"""The operator pauses and resumes a simulated cluster, and what must hold meanwhile (I13)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgha import records
from pgha.core.model import Leader, Order, Tenure
from pgha.ports import Guard, Write

if TYPE_CHECKING:
    from tests.sim.cluster import Cluster

KEY = records.prefix("sim") + "request"
FASTEST = 1.005  # of all clocks


class Operator:
    """Orders as the CLI writes them: create-only over the remains of an ended one, withdrawn when nobody acts."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.world, self.count = cluster, cluster.world, 0

    def pauses(self) -> None:
        """For a while; perhaps it is resumed before its time."""
        for_s = self.world.rng.choice((5.0, 8.0, 15.0, 40.0))
        self._asks("pause", for_s)
        if self.world.rng.random() < 0.5:
            self.world.after(self.world.rng.uniform(0.1, for_s), self._asks, "resume", 0.0)

    def _asks(self, kind: str, for_s: float, *, over: bool = False) -> None:
        store, leader = self.cluster.store, self.cluster.checks.leader
        entry = store.keys.entries.get(KEY)
        if leader is None or (entry is not None and not over and not ended(entry.value, leader)):
            return
        self.count += 1
        order = Order(
            kind, f"p{self.count}", leader.epoch, leader.holder.node, "", 30.0, "sim", reason="why not", for_s=for_s
        )
        store.land(
            "op", self.world.now, [Guard(KEY, entry.revision if entry else 0)], [Write(KEY, records.dump_order(order))]
        )
        revision = store.keys.entries[KEY].revision
        self.world.after(5.0, lambda: store.land("op", self.world.now, [Guard(KEY, revision)], [Write(KEY, None)]))

    def resumes_for_good(self) -> None:
        """The end of all faults: what is paused, or becomes so by an order of before, is resumed."""
        for delay_s in (0.5, 3.0, 6.0):
            self.world.after(delay_s, self._resumes)

    def _resumes(self) -> None:
        leader = self.cluster.checks.leader
        if leader is not None and leader.paused is not None:
            self._asks("resume", 0.0, over=True)


def ended(value: bytes, leader: Leader) -> bool:
    """Is this order one that may be replaced?"""
    order = records.parse_value("request", value, records.parse_order)
    return isinstance(order, Order) and (order.phase in ("done", "refused") or order.epoch < leader.epoch)


def broken(old: Leader, new: Leader, *, held_s: float, asked: Order | None) -> str:
    """I13: who is paused is neither released nor taken over before its time, unless an operator says so.

    held_s: for how long nothing had been written to the key. asked: the order that lies in the store.
    """
    if old.paused is None or (new.epoch == old.epoch and new.tenure is Tenure.HELD):
        return ""
    if asked is not None and asked.kind == "resume" and asked.epoch == old.epoch:
        return ""
    if held_s * FASTEST >= old.left_s:
        return ""
    what = f"epoch {new.epoch} of {new.holder} ({new.tenure.value})"
    return f"{what} came {held_s:.1f} s after a key that is paused for another {old.left_s:.1f} s"
