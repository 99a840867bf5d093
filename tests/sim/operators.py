"""Operators of a simulated cluster: orders as the CLI writes them, several at once, none of whom waits for another.

Each reads, thinks for a moment, and writes by CAS on what was read: create-only over the remains of an ended order. An
order that nobody takes up is withdrawn. What must hold while a cluster is paused is `broken` (I13).
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING

from pgha import records
from pgha.core import cover
from pgha.core.chores import OPEN
from pgha.core.model import Leader, Order, Settings, Tenure
from pgha.ports import Guard, Write
from tests.sim import later

if TYPE_CHECKING:
    from tests.sim.cluster import Cluster

KEY, CONFIG = records.prefix("sim") + "request", records.prefix("sim") + "config"
REQUESTS = records.prefix("sim") + "requests/"
FASTEST = 1.005  # of all clocks
THINKS_S = (0.001, 0.03)
WITHDRAWN_S = 5.0
ORDERS = ("restart", "restart", "reload", "reinit")
RACES = ("switchover", "switchover", "pause", "resume", "node_order", "config", "failover")


class Operators:
    """Whoever types `pgha switchover`, `failover`, `pause`, `resume` and `config set`."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster, self.world, self.store = cluster, cluster.world, cluster.store
        self.count = 0

    def _asks(self, order: Order, rng: random.Random, *, over: bool = False) -> None:
        """over: whatever lies there is replaced."""
        leader, entry = self.cluster.checks.leader, self.store.keys.entries.get(KEY)
        if leader is None or (entry is not None and not over and not ended(entry.value, leader)):
            return
        self.count += 1
        order = replace(order, ident=f"o{self.count}", epoch=leader.epoch, source=leader.holder.node)
        guard = Guard(KEY, entry.revision if entry else 0)
        self.world.after(rng.uniform(*THINKS_S), self._writes, guard, records.dump_order(order))

    def _writes(self, guard: Guard, value: bytes) -> None:
        self._lands(guard, Write(KEY, value))
        entry = self.store.keys.entries.get(KEY)
        if entry is not None and entry.value == value:
            self.world.after(WITHDRAWN_S, self._lands, Guard(KEY, entry.revision), Write(KEY, None))

    def _lands(self, guard: Guard, write: Write) -> None:
        self.store.land("op", self.world.now, [guard], [write])

    # -- the orders ----------------------------------------------------------------------------------------------

    def switchover(self, rng: random.Random) -> None:
        """To anybody."""
        self.switch(rng.choice(sorted(self.cluster.nodes)), rng)

    def switch(self, target: str, rng: random.Random) -> None:
        """To this node."""
        self._asks(_order("switchover", target), rng)

    def restart(self, rng: random.Random) -> None:
        """Of the primary, in place."""
        leader = self.cluster.checks.leader
        if leader is not None:
            self._asks(_order("restart", leader.holder.node), rng)

    def chore(self, rng: random.Random) -> None:
        """For one node alone: whoever has the key by then refuses it."""
        self.count += 1
        kind, name = rng.choice(("restart", "reinit", "reinit", "reload")), rng.choice(sorted(self.cluster.nodes))
        source = rng.choice(("", *sorted(self.cluster.nodes)))
        order = Order(kind, f"o{self.count}", 0, name, source if kind == "reinit" else "", 30.0, "sim")
        key = f"{REQUESTS}{name}"
        entry = self.store.keys.entries.get(key)
        guard = Guard(key, entry.revision if entry else 0)
        self.world.after(rng.uniform(*THINKS_S), self._lands, guard, Write(key, records.dump_order(order)))

    def later(self, rng: random.Random) -> None:
        """An order for a moment from now."""
        self.count += 1
        later.lay(self.cluster, f"p{self.count}", rng)

    def pause(self, rng: random.Random) -> None:
        """For a while; perhaps it is resumed before its time."""
        for_s = rng.choice((5.0, 8.0, 15.0, 40.0))
        self._asks(replace(_order("pause"), for_s=for_s, reason="why not"), rng)
        if rng.random() < 0.5:
            self.world.after(rng.uniform(0.1, for_s), self.resume, rng)

    def resume(self, rng: random.Random) -> None:
        """Before its time, or for nothing."""
        self._asks(_order("resume"), rng)

    def config(self, rng: random.Random) -> None:
        """Another promise, while everything else goes on."""
        entry = self.store.keys.entries[CONFIG]
        old = records.parse_value(CONFIG, entry.value, records.parse_settings)
        assert isinstance(old, Settings)
        chosen = rng.choice([d for d in ("quorum", "strict", "async") if d != old.durability])
        new = replace(old, revision=old.revision + 1, durability=chosen)
        self.cluster.checks.durability = ""
        write = Write(CONFIG, records.dump_settings(new))
        self.world.after(rng.uniform(*THINKS_S), self._lands, Guard(CONFIG, entry.revision), write)

    def failover(self, rng: random.Random, looks: int = 60, until: float = 0.0) -> None:
        """Of a sealed node that is not covered, once there is one; the order names what is missing, or less."""
        checks = self.cluster.checks
        leader, revision = checks.leader, checks.leader_revision
        entry = self.store.keys.entries.get(KEY)
        seals = [m.seal for m in checks.members.values() if m.seal and m.seal.revision == revision]
        uncovered = [s for s in seals if leader is not None and cover.missing(s, seals, leader.sync)]
        if leader is None or not uncovered or (entry is not None and not ended(entry.value, leader)):
            if looks and self.world.now < until:
                self.world.after(0.25, self.failover, rng, looks - 1, until)
            return
        seal = rng.choice(uncovered)
        missing = tuple(lack.rule for lack in cover.missing(seal, seals, leader.sync))
        named = missing if rng.random() < 0.6 else missing[1:]
        self._asks(replace(_order("failover", seal.copy.node), revision=revision, gives_up=named), rng)

    def race(self, rng: random.Random, *, promises: bool) -> None:
        """Two to four of them within a few hundredths of a second. promises: also orders that change what is safe."""
        mild = [kind for kind in RACES if promises or kind not in ("config", "failover")]
        for _ in range(rng.choice((2, 2, 3, 4))):
            order = getattr(self, rng.choice(mild))
            self.world.after(rng.uniform(0.0, 0.05), order, random.Random(rng.getrandbits(24)))

    def node_order(self, rng: random.Random) -> None:
        """For one node: restart, reload, make its copy anew."""
        node, leader = rng.choice(sorted(self.cluster.nodes)), self.cluster.checks.leader
        key = f"{records.prefix('sim')}requests/{node}"
        entry = self.store.keys.entries.get(key)
        old = records.parse_value(key, entry.value, records.parse_order) if entry else None
        if leader is None or (isinstance(old, Order) and old.phase in OPEN):
            return
        self.count += 1
        order = replace(_order(rng.choice(ORDERS)), ident=f"o{self.count}", epoch=leader.epoch, source=node)
        guard = Guard(key, entry.revision if entry else 0)
        self.world.after(rng.uniform(*THINKS_S), self._lands, guard, Write(key, records.dump_order(order)))

    # -- the end -------------------------------------------------------------------------------------------------

    def resumes_for_good(self) -> None:
        """The end of all faults: what is paused, or becomes so by an order of before, is resumed."""
        for delay_s in (0.5, 3.0, 6.0):
            self.world.after(delay_s, self._resumes)

    def _resumes(self) -> None:
        leader = self.cluster.checks.leader
        if leader is not None and leader.paused is not None:
            self._asks(_order("resume"), random.Random(0), over=True)


def _order(kind: str, target: str = "") -> Order:
    """As it is asked for; whose epoch it is, is said when it is written."""
    return Order(kind, "", 0, "", target, 30.0, "sim")


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
