"""What goes wrong: a plan's faults strike; who is hit and for how long is decided by each one's own dice."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pgha import records
from pgha.core.model import Tenure
from pgha.ports import Write
from tests.sim import later
from tests.sim.operators import Operators
from tests.sim.plan import Fault, Plan
from tests.sim.store import STORE, Odds
from tests.sim.world import Doom

if TYPE_CHECKING:
    from tests.sim.cluster import Cluster
    from tests.sim.node import Node

LOOK_S, LOOKS = 0.05, 200
AMBUSH_S = 20.0
ELECTION_S = (0.3, 2.5)  # measured gaps: 1.0 to 2.3 s
FASTER, SLOWER = 1.005, 0.995


class Faults:
    """The enemy of one run."""

    def __init__(self, cluster: Cluster, plan: Plan) -> None:
        self.cluster, self.world, self.plan, self.until = cluster, cluster.world, plan, plan.until
        self.operators = Operators(cluster)
        self.rng = random.Random(0)
        self.count = 0
        cluster.store.odds = Odds(plan.odds, plan.odds, plan.odds, plan.odds)
        for fault in plan.faults:
            self.world.after(fault.at, self._strike, fault)

    def _strike(self, fault: Fault) -> None:
        self.rng = random.Random(fault.dice)
        self.count += 1
        node = self._victim()
        hits: dict[str, Callable[[Node], None]] = {
            "kill_server": lambda n: n.pg.kill_tree(),
            "kill_postmaster": lambda n: n.pg.later(0.0, n.pg.postmaster_dies, "signal 9"),
            "kill_agent": self._kill_agent,
            "kill_guard": self._kill_guard,
            "kill_young": lambda n: self._kill_young(),
            "midway": self._midway,
            "power": self._power,
            "cut_store": self._cut_store,
            "cut_nodes": self._cut_nodes,
            "flap": self._flap,
            "isolate": self._isolate,
            "stop_agent": self._stop_agent,
            "stall_store": lambda n: self.cluster.store.stall(self._long()),
            "election": lambda n: self.cluster.store.elect(self.rng.uniform(*ELECTION_S)),
            "unknown": lambda n: self._unknown(),
            "junk": self._junk,
            "freeze": lambda n: self._freeze(n, clock_stops=False),
            "vm_pause": lambda n: self._freeze(n, clock_stops=True),
            "hang_server": self._hang,
            "slew": lambda n: n.slew(self.rng.uniform(SLOWER, FASTER)),
            "switchover": lambda n: self.operators.switchover(self.rng),
            "failover": lambda n: self.operators.failover(self.rng, until=self.until),
            "restart": lambda n: self.operators.restart(self.rng),
            "chore": lambda n: self.operators.chore(self.rng),
            "later": lambda n: self.operators.later(self.rng),
            "config": lambda n: self.operators.config(self.rng),
            "pause": lambda n: self.operators.pause(self.rng),
            "node_order": lambda n: self.operators.node_order(self.rng),
            "race": lambda n: self.operators.race(self.rng, promises="config" in self.plan.kinds),
            "wipe": self._wipe,
            "clock_jump": self._clock_jump,
            "delusion": lambda n: self._delusion(self._await_seal),
            "snare": lambda n: self._delusion(self._snare),
            "kill_rewinder": lambda n: self._kill_rewinder(LOOKS),
        }
        self.world.trace(node.name, "FAULT", fault.kind)
        hits[fault.kind](node)

    def _victim(self) -> Node:
        """The holder as often as all others together."""
        rng, nodes = self.rng, self.cluster.nodes
        leader = self.cluster.checks.leader
        if leader is not None and leader.holder.node in nodes and rng.random() < 0.5:
            return nodes[leader.holder.node]
        return rng.choice(list(nodes.values()))

    def _long(self) -> float:
        """How long something lasts: mostly about as long as the lease's times."""
        return self.rng.choice((0.3, 1.0, 3.0, 6.0, 8.0, 15.0)) * self.rng.uniform(0.5, 1.5)

    # -- processes and nodes -------------------------------------------------------------------------------------

    def _kill_agent(self, node: Node) -> None:
        if node.guard is not None and node.guard.alive and node.admit(self._kill_agent, node):
            node.guard.agent_dies()

    def _kill_guard(self, node: Node) -> None:
        if node.guard is not None and node.guard.alive:
            node.guard.dies()

    def _midway(self, node: Node) -> None:
        """In the midst of the node's next action: between two of its calls, or within one. The agent dies, or its
        guard, or the node; or it stands still there and goes on much later."""
        rng, length = self.rng, self._long()
        what: Callable[[], None] = rng.choice(
            (
                lambda: self._kill_agent(node),
                lambda: self._kill_agent(node),
                lambda: self._kill_guard(node),
                lambda: self._hold(node, length),
                lambda: self._off(node, length),
            )
        )
        steps = rng.randrange(1, 24)

        def ambush() -> None:
            node.ambush = None
            if node.agent is not None:
                node.agent.doom = Doom(self.world, steps, what)

        node.ambush = ambush
        self.world.after(AMBUSH_S, lambda: setattr(node, "ambush", None))

    def _kill_young(self) -> None:
        """The next server that is promoted ends a moment later, or when the first one connects to it."""
        rng, cluster = self.rng, self.cluster
        at_first = rng.random() < 0.5
        delay, length, power = rng.uniform(0.0, 0.01 if at_first else 0.4), self._long(), rng.random() < 0.5

        def end(node: Node) -> None:
            cluster.promoted = cluster.connected = None
            self.world.after(delay, lambda: self._off(node, length) if power else node.pg.kill_tree())

        def promoted(node: Node) -> None:
            cluster.connected = lambda to: end(to) if to is node else None

        cluster.promoted = promoted if at_first else end

    def _kill_rewinder(self, looks: int) -> None:
        """The agent of the first node that is seen at a rewind within the next seconds."""
        busy = [n for n in self.cluster.nodes.values() if n.pg.data is not None and n.pg.data.torn]
        if busy:
            self._kill_agent(busy[0])
        elif looks:
            self.world.after(LOOK_S, lambda: self._kill_rewinder(looks - 1))

    def _power(self, node: Node) -> None:
        self._off(node, self._long())

    def _off(self, node: Node, length: float) -> None:
        node.power_off()
        self.world.after(length, node.power_on)

    def _stop_agent(self, node: Node) -> None:
        self._hold(node, self._long())

    def _hold(self, node: Node, length: float) -> None:
        agent = node.agent
        if agent is not None and not agent.held:
            agent.held = True
            node.trace("stopped")
            self.world.after(length, lambda: agent.let_go(0.005) if agent.held else None)

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
        pg.hung = self.rng.choice(("all", "new"))

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
        leader, rng = self.cluster.checks.leader, self.rng
        self.cluster.checks.clocks_lie = True
        everybody = leader is not None and rng.random() < 0.6
        for other in self.cluster.nodes.values():
            if other is node or (everybody and leader is not None and other.name != leader.holder.node):
                other.clock.jump(rng.uniform(1.0, 12.0))

    def _delusion(self, then: Callable[[Node, str, float], None]) -> None:
        """A standby that is behind thinks that the holder is silent, seals, and its agent dies; the holder is well."""
        leader, rng, nodes = self.cluster.checks.leader, self.rng, self.cluster.nodes
        if leader is None or leader.holder.node not in nodes:
            return
        holder = leader.holder.node
        victim = rng.choice([n for n in nodes.values() if n.name != holder])
        self.cluster.checks.clocks_lie = True
        self.cluster.links.cut.add((holder, victim.name))
        self.world.after(rng.uniform(0.8, 1.6), self._delude, victim, holder, then)
        self.world.after(6.0, self.cluster.links.heal, (holder, victim.name))

    def _delude(self, victim: Node, holder: str, then: Callable[[Node, str, float], None]) -> None:
        rng, links = self.rng, self.cluster.links
        if not self.until:
            return
        links.cut.update(((holder, STORE), (STORE, holder)))
        self.world.after(rng.uniform(2.5, 5.0), links.heal, (holder, STORE), (STORE, holder))
        victim.clock.jump(rng.uniform(6.0, 12.0))
        then(victim, holder, self.world.now + 3.0)

    def _await_seal(self, victim: Node, holder: str, until: float) -> None:
        """Its agent is killed once the seal is out."""
        member = self.cluster.checks.members.get(victim.name)
        seal = member.seal if member else None
        if (seal is None or seal.revision != self.cluster.checks.leader_revision) and self.world.now < until:
            self.world.after(0.01, self._await_seal, victim, holder, until)
            return
        self._kill_agent(victim)
        self.world.after(0.05, self.cluster.links.heal, (holder, victim.name))

    def _snare(self, victim: Node, holder: str, until: float) -> None:
        """Its agent is killed when the seal is on its way, and the seal arrives much later."""
        key, rng = f"{records.prefix('sim')}members/{victim.name}", self.rng

        def caught(writes: Sequence[Write]) -> float | None:
            if self.world.now > until:
                self.cluster.store.snare = None
            sealed = any(w.key == key and b'"seal":{' in (w.value or b"") for w in writes)
            if not sealed or self.world.now > until:
                return None
            self.cluster.store.snare = None
            self.world.after(0.0, self._kill_agent, victim)
            self.world.after(0.05, self.cluster.links.heal, (holder, victim.name))
            return rng.uniform(0.5, 2.5)

        self.cluster.store.snare = caught

    # -- network and store ---------------------------------------------------------------------------------------

    def _cut(self, *links: tuple[str, str]) -> None:
        """Some or all of these one-way links."""
        rng = self.rng
        chosen = links if rng.random() < 0.6 else tuple(x for x in links if rng.random() < 0.5) or links[:1]
        self.cluster.links.cut.update(chosen)
        self.world.trace("-", "cut", " ".join(f"{a}>{b}" for a, b in chosen))
        self.world.after(self._long(), self.cluster.links.heal, *chosen)

    def _cut_store(self, node: Node) -> None:
        self._cut((node.name, STORE), (STORE, node.name))

    def _cut_nodes(self, node: Node) -> None:
        others = [n for n in self.cluster.nodes if n != node.name]
        other = self.rng.choice(others)
        self._cut((node.name, other), (other, node.name))

    def _isolate(self, node: Node) -> None:
        others = [STORE, *(n for n in self.cluster.nodes if n != node.name)]
        self._cut(*[(node.name, o) for o in others], *[(o, node.name) for o in others])

    def _flap(self, node: Node) -> None:
        """One link goes and comes, several times."""
        rng = self.rng
        other = rng.choice([STORE, *(n for n in self.cluster.nodes if n != node.name)])
        links, at = [(node.name, other), (other, node.name)][: rng.choice((1, 2))], 0.0
        for _ in range(rng.randrange(3, 9)):
            self.world.after(at, self._flaps, links)
            at += rng.uniform(0.1, 1.5)
            self.world.after(at, self.cluster.links.heal, *links)
            at += rng.uniform(0.05, 1.0)

    def _flaps(self, links: list[tuple[str, str]]) -> None:
        if self.until:  # not after the end of all faults
            self.cluster.links.cut.update(links)

    def _junk(self, node: Node) -> None:
        """Somebody writes nonsense over what a node says of itself."""
        key = f"{records.prefix('sim')}members/{node.name}"
        value = self.rng.choice((b"", b"{", b"null", b'{"schema":1}', b'{"schema":2}', b"\xff"))
        self.cluster.store.land("op", self.world.now, (), [Write(key, value)])

    def _unknown(self) -> None:
        rate = self.rng.choice((0.1, 0.3, 0.6))
        self.cluster.store.odds = Odds(rate, rate / 2, rate / 2, rate / 2)
        self.world.after(self._long(), self._calm_store)

    def _calm_store(self) -> None:
        self.cluster.store.odds = Odds(0.02, 0.02, 0.02, 0.02)

    # -- the end -------------------------------------------------------------------------------------------------

    def heal(self) -> None:
        """Everything works again, and whoever is away comes back."""
        cluster = self.cluster
        self.until, cluster.promoted, cluster.connected = 0.0, None, None
        cluster.store.stalled_until, cluster.store.odds = 0.0, Odds()
        away = self._stays_away()
        cluster.links.cut.clear()
        cluster.links.healed()
        for node in cluster.nodes.values():
            node.ambush = None
            if node is away:
                continue
            node.thaw()
            node.power_on()
            for agent in [*node.orphans, *([node.agent] if node.agent else [])]:
                if agent.held:
                    agent.let_go(0.005)
            node.pg.hung = ""
            for stream in node.pg.senders:
                stream.pump()
            node.start_watchdog_after(0.5)
        self.operators.resumes_for_good()
        later.cancel_all(cluster)
        self.world.trace("-", "HEALED", "")

    def _stays_away(self) -> Node | None:
        """One whom nobody needs: never the holder, who covers everything."""
        cluster, leader = self.cluster, self.cluster.checks.leader
        others = [n for n in cluster.nodes.values() if leader is not None and n.name != leader.holder.node]
        if not self.plan.core or len(others) < 2:
            return None
        rng = random.Random(self.plan.seed)
        away = rng.choice(others)
        cluster.away.add(away.name)
        if rng.random() < 0.5:
            away.power_off()
        else:
            away.freeze()
        self.world.trace(away.name, "AWAY", "for ever")
        return away
