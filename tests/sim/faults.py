"""What goes wrong: each seed draws which kinds it has and how often, then who is hit, when and for how long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from pgha import records
from pgha.core import cover
from pgha.core.model import Order, Settings, Tenure
from pgha.ports import Guard, Write
from tests.sim.pauses import Operator, ended
from tests.sim.store import STORE, Odds

if TYPE_CHECKING:
    from tests.sim.cluster import Cluster
    from tests.sim.node import Node

LOOK_S, LOOKS = 0.05, 200
KINDS = (
    "kill_server",
    "kill_postmaster",
    "kill_agent",
    "kill_guard",
    "power",
    "cut_store",
    "cut_nodes",
    "isolate",
    "stop_agent",
    "stall_store",
    "unknown",
    "freeze",
    "vm_pause",
    "hang_server",
    "switchover",
    "pause",
    "wipe",
    "clock_jump",
    "delusion",
)
BY_WORD = ("failover", "config")  # drawn by no seed: by an operator's word, what is promised changes
REJOINS = ("kill_server", "kill_postmaster", "kill_rewinder")  # the last one is drawn by no seed
LYING = ("clock_jump", "delusion")


class Faults:
    """The enemy of one run. `kinds` None: as the seed draws them."""

    def __init__(self, cluster: Cluster, *, until: float, kinds: tuple[str, ...] | None = None) -> None:
        self.cluster, self.world, self.until = cluster, cluster.world, until
        self.operator = Operator(cluster)
        rng = self.world.rng
        drawn = tuple(k for k in KINDS if rng.random() < (0.1 if k in LYING else 0.4)) or (rng.choice(KINDS),)
        self.kinds = drawn if kinds is None else kinds
        self.pause = rng.choice((2.0, 5.0, 5.0, 10.0, 20.0))
        self.orders = 0
        self.count = 0
        base = 0.02 if "unknown" in self.kinds else 0.0
        cluster.store.odds = Odds(base, base, base, base)
        if self.kinds:
            self.world.after(rng.choice((0.5, 6.0, 10.0)) + rng.random(), self._next)

    def _next(self) -> None:
        rng = self.world.rng
        if self.world.now >= self.until:
            return
        self.count += 1
        self._hit(rng.choice(self.kinds))
        while rng.random() < 0.15:  # misfortunes come together
            self._hit(rng.choice(self.kinds))
        self.world.after(rng.expovariate(1.0 / self.pause), self._next)

    def _hit(self, kind: str) -> None:
        node = self._victim()
        hits: dict[str, Callable[[Node], None]] = {
            "kill_server": lambda n: n.pg.kill_tree(),
            "kill_postmaster": lambda n: n.pg.later(0.0, n.pg.postmaster_dies, "signal 9"),
            "kill_agent": self._kill_agent,
            "kill_guard": lambda n: n.guard.dies() if n.guard and n.guard.alive else None,
            "power": self._power,
            "cut_store": self._cut_store,
            "cut_nodes": self._cut_nodes,
            "isolate": self._isolate,
            "stop_agent": self._stop_agent,
            "stall_store": lambda n: self._stall(),
            "unknown": lambda n: self._unknown(),
            "freeze": lambda n: self._freeze(n, clock_stops=False),
            "vm_pause": lambda n: self._freeze(n, clock_stops=True),
            "hang_server": self._hang,
            "switchover": lambda n: self._switchover(),
            "failover": lambda n: self._failover(),
            "config": lambda n: self._config(),
            "pause": lambda n: self.operator.pauses(),
            "wipe": self._wipe,
            "clock_jump": self._clock_jump,
            "delusion": lambda n: self._delusion(),
            "kill_rewinder": lambda n: self._kill_rewinder(LOOKS),
        }
        self.world.trace(node.name, "FAULT", kind)
        hits[kind](node)

    def _victim(self) -> Node:
        """The holder as often as all others together."""
        rng, nodes = self.world.rng, self.cluster.nodes
        leader = self.cluster.checks.leader
        if leader is not None and leader.holder.node in nodes and rng.random() < 0.5:
            return nodes[leader.holder.node]
        return rng.choice(list(nodes.values()))

    def _long(self) -> float:
        """How long something lasts: mostly about as long as the lease's times."""
        return self.world.rng.choice((0.3, 1.0, 3.0, 6.0, 8.0, 15.0)) * self.world.rng.uniform(0.5, 1.5)

    # -- processes and nodes -------------------------------------------------------------------------------------

    def _kill_agent(self, node: Node) -> None:
        if node.guard is not None and node.guard.alive and node.admit(self._kill_agent, node):
            node.guard.agent_dies()

    def _kill_rewinder(self, looks: int) -> None:
        """The agent of the first node that is seen at a rewind within the next seconds."""
        busy = [n for n in self.cluster.nodes.values() if n.pg.data is not None and n.pg.data.torn]
        if busy:
            self._kill_agent(busy[0])
        elif looks:
            self.world.after(LOOK_S, lambda: self._kill_rewinder(looks - 1))

    def _power(self, node: Node) -> None:
        node.power_off()
        self.world.after(self._long(), node.power_on)

    def _stop_agent(self, node: Node) -> None:
        agent = node.agent
        if agent is not None and not agent.held:
            agent.held = True
            node.trace("stopped")
            self.world.after(self._long(), lambda: agent.let_go(0.005) if agent.held else None)

    def _freeze(self, node: Node, *, clock_stops: bool) -> None:
        if node.held or not node.powered:
            return
        node.freeze()
        length, clock = self._long(), node.clock

        def thaw() -> None:
            if node.clock is clock:
                node.thaw(clock_missed=length if clock_stops else 0.0)

        self.world.after(length, thaw)

    def _hang(self, node: Node) -> None:
        pg, life = node.pg, node.pg.life
        if not pg.tree:
            return
        pg.hung = self.world.rng.choice(("all", "new"))

        def recover() -> None:
            if pg.life == life:
                pg.hung = ""
                for stream in pg.senders:
                    stream.pump()

        self.world.after(self._long(), recover)

    def _wipe(self, node: Node) -> None:
        """The disk of a node is lost, never the present holder's: who holds the key has all that was promised."""
        leader = self.cluster.checks.leader
        if leader is None or leader.holder.node == node.name or leader.tenure is Tenure.CLAIMED or leader.epoch == 1:
            return
        node.power_off()
        node.pg.data = None
        self.world.after(self._long(), node.power_on)

    def _clock_jump(self, node: Node) -> None:
        """Clocks that lie: the seals must hold without any clock. A node's own, or everybody's but the holder's."""
        leader, rng = self.cluster.checks.leader, self.world.rng
        self.cluster.checks.clocks_lie = True
        everybody = leader is not None and rng.random() < 0.6
        for other in self.cluster.nodes.values():
            if other is node or (everybody and leader is not None and other.name != leader.holder.node):
                other.clock.jump(rng.uniform(1.0, 12.0))

    def _delusion(self) -> None:
        """A standby that is behind thinks that the holder is silent, seals, and its agent dies; the holder is well."""
        leader, rng, nodes = self.cluster.checks.leader, self.world.rng, self.cluster.nodes
        if leader is None or leader.holder.node not in nodes:
            return
        holder = leader.holder.node
        victim = rng.choice([n for n in nodes.values() if n.name != holder])
        self.cluster.checks.clocks_lie = True
        self.cluster.links.cut.add((holder, victim.name))
        self.world.after(rng.uniform(0.8, 1.6), self._delude, victim, holder)
        self.world.after(6.0, self.cluster.links.heal, (holder, victim.name))

    def _delude(self, victim: Node, holder: str) -> None:
        rng, links = self.world.rng, self.cluster.links
        links.cut.update(((holder, STORE), (STORE, holder)))
        self.world.after(rng.uniform(2.5, 5.0), links.heal, (holder, STORE), (STORE, holder))
        victim.clock.jump(rng.uniform(6.0, 12.0))
        self._await_seal(victim, holder, self.world.now + 3.0)

    def _await_seal(self, victim: Node, holder: str, until: float) -> None:
        """Its agent is killed once the seal is out."""
        member = self.cluster.checks.members.get(victim.name)
        seal = member.seal if member else None
        if (seal is None or seal.revision != self.cluster.checks.leader_revision) and self.world.now < until:
            self.world.after(0.01, self._await_seal, victim, holder, until)
            return
        self._kill_agent(victim)
        self.world.after(0.05, self.cluster.links.heal, (holder, victim.name))

    # -- network and store ---------------------------------------------------------------------------------------

    def _cut(self, *links: tuple[str, str]) -> None:
        """Some or all of these one-way links."""
        rng = self.world.rng
        chosen = links if rng.random() < 0.6 else tuple(x for x in links if rng.random() < 0.5) or links[:1]
        self.cluster.links.cut.update(chosen)
        self.world.trace("-", "cut", " ".join(f"{a}>{b}" for a, b in chosen))
        self.world.after(self._long(), self.cluster.links.heal, *chosen)

    def _cut_store(self, node: Node) -> None:
        self._cut((node.name, STORE), (STORE, node.name))

    def _cut_nodes(self, node: Node) -> None:
        others = [n for n in self.cluster.nodes if n != node.name]
        other = self.world.rng.choice(others)
        self._cut((node.name, other), (other, node.name))

    def _isolate(self, node: Node) -> None:
        others = [STORE, *(n for n in self.cluster.nodes if n != node.name)]
        self._cut(*[(node.name, o) for o in others], *[(o, node.name) for o in others])

    def _stall(self) -> None:
        self.cluster.store.stalled_until = self.world.now + self._long()

    def _unknown(self) -> None:
        rate = self.world.rng.choice((0.1, 0.3, 0.6))
        self.cluster.store.odds = Odds(rate, rate / 2, rate / 2, rate / 2)
        self.world.after(self._long(), self._calm_store)

    def _calm_store(self) -> None:
        self.cluster.store.odds = Odds(0.02, 0.02, 0.02, 0.02)

    # -- the operator --------------------------------------------------------------------------------------------

    def _switchover(self) -> None:
        """Create-only over the remains of an ended one; withdrawn when nobody takes it up; sometimes two race."""
        store, rng = self.cluster.store, self.world.rng
        leader = self.cluster.checks.leader
        if leader is None:
            return
        key = records.prefix("sim") + "request"
        entry = store.keys.entries.get(key)
        if entry is not None and not ended(entry.value, leader):
            return
        self.orders += 1
        target = rng.choice(sorted(self.cluster.nodes))
        order = Order("switchover", f"o{self.orders}", leader.epoch, leader.holder.node, target, 30.0, "sim")
        guard, write = Guard(key, entry.revision if entry else 0), Write(key, records.dump_order(order))
        store.land("op", self.world.now, [guard], [write])
        revision = store.keys.entries[key].revision
        self.world.after(5.0, lambda: store.land("op", self.world.now, [Guard(key, revision)], [Write(key, None)]))

    def _config(self) -> None:
        """Another promise, while everything else goes on."""
        store, key = self.cluster.store, records.prefix("sim") + "config"
        entry = store.keys.entries[key]
        old = records.parse_value(key, entry.value, records.parse_settings)
        assert isinstance(old, Settings)
        chosen = self.world.rng.choice([d for d in ("quorum", "strict", "async") if d != old.durability])
        new = replace(old, revision=old.revision + 1, durability=chosen)
        self.cluster.checks.durability = ""
        store.land("op", self.world.now, [Guard(key, entry.revision)], [Write(key, records.dump_settings(new))])

    def _failover(self, looks: int = 60) -> None:
        """Of a sealed node that is not covered, once there is one; the order names what is missing, or less."""
        store, rng, checks = self.cluster.store, self.world.rng, self.cluster.checks
        leader, revision = checks.leader, checks.leader_revision
        key = records.prefix("sim") + "request"
        entry = store.keys.entries.get(key)
        seals = [m.seal for m in checks.members.values() if m.seal and m.seal.revision == revision]
        uncovered = [s for s in seals if leader is not None and cover.missing(s, seals, leader.sync)]
        if leader is None or not uncovered or (entry is not None and not ended(entry.value, leader)):
            if looks and self.world.now < self.until:
                self.world.after(0.25, self._failover, looks - 1)
            return
        seal = rng.choice(uncovered)
        missing = tuple(lack.rule for lack in cover.missing(seal, seals, leader.sync))
        named = missing if rng.random() < 0.6 else missing[1:]
        self.orders += 1
        order = Order(
            "failover", f"o{self.orders}", leader.epoch, leader.holder.node, seal.copy.node, 30.0, "sim",
            revision=revision, gives_up=named,
        )  # fmt: skip
        store.land(
            "op", self.world.now, [Guard(key, entry.revision if entry else 0)], [Write(key, records.dump_order(order))]
        )
        placed = store.keys.entries[key].revision
        self.world.after(5.0, lambda: store.land("op", self.world.now, [Guard(key, placed)], [Write(key, None)]))

    # -- the end -------------------------------------------------------------------------------------------------

    def heal(self) -> None:
        """Everything works again, and whoever is away comes back."""
        cluster = self.cluster
        self.until = 0.0
        cluster.store.stalled_until, cluster.store.odds = 0.0, Odds()
        cluster.links.cut.clear()
        cluster.links.healed()
        for node in cluster.nodes.values():
            node.thaw()
            node.power_on()
            for agent in [*node.orphans, *([node.agent] if node.agent else [])]:
                if agent.held:
                    agent.let_go(0.005)
            node.pg.hung = ""
            for stream in node.pg.senders:
                stream.pump()
            node.start_watchdog_after(0.5)
        self.operator.resumes_for_good()
        self.world.trace("-", "HEALED", "")
