"""A simulated cluster, as bootstrap leaves it: one node with data, the others empty, three keys in the store."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace

from pgha import records
from pgha.core.model import Cluster as ClusterRecord
from pgha.core.model import Copy, Leader, Order, Position, Rule, Settings, Tenure
from pgha.ports import Write
from tests.sim.checks import MAX_LAG, Checks
from tests.sim.node import IDENT, Moods, Node
from tests.sim.postgres import Row, State
from tests.sim.store import STORE, Links, StoreService
from tests.sim.streaming import Stream
from tests.sim.wal import Branch, Data
from tests.sim.world import World

FIRST_LSN = 100_000
SLOW_S = 2.5  # longer than a message and its answer that are both late
WRITES_S = ((0.03, 0.07), (0.06, 0.14), (0.1, 0.3))  # between two writes of one client


class Cluster:
    """World, store, nodes, clients and the checks."""

    def __init__(
        self,
        seed: int,
        *,
        echo: Callable[[str], None] | None = None,
        durability: str = "quorum",
        follow: Mapping[str, str] | None = None,
    ) -> None:
        """follow: tags of nodes; each such node is there, and two without a tag beside them."""
        self.world = world = World(seed, echo=echo)
        rng = world.rng
        size = rng.choices((3, 5, 2), (80, 10, 10))[0]
        size = max(size, 4, len(follow) + 2) if follow else size
        self.h_s = rng.choice((5.0, 6.0, 6.0, 8.0))
        self.links = Links()
        self.store = StoreService(world, self.links)
        self.durability = durability
        self.checks = Checks(world, self.h_s, durability)
        self.inodes = 1
        self.away: set[str] = set()  # nodes that stay away for ever
        self.promoted: Callable[[Node], None] | None = None  # told of the next promotion
        self.connected: Callable[[Node], None] | None = None  # told of whom the next walreceiver connects to
        self.rows = 0
        names = tuple(f"n{i + 1}" for i in range(size))
        late_rules, late_reports = rng.choice((0.0, 0.02, 0.2)), rng.choice((0.0, 0.01, 0.05))
        self.write_s = rng.choice(WRITES_S)
        self.nodes: dict[str, Node] = {}
        for name in names:
            moods = Moods(late_rules, late_reports)
            self.nodes[name] = Node(self, name, names, rate=1.0 + rng.uniform(-0.005, 0.005), moods=moods)
            self.nodes[name].file = replace(self.nodes[name].file, follow=(follow or {}).get(name, ""))
        self.checks.nodes = self.nodes
        self.links.healed = self._healed
        self.store.on_landed = self.checks.on_landed
        self.store.on_change = self._changed
        self._bootstrap()

    def _bootstrap(self) -> None:
        first, root = self.nodes["n1"], records.prefix("sim")
        data = Data(self.inodes, Branch(1, None, 0, FIRST_LSN, "n1"), FIRST_LSN)
        data.learn(data.branch)
        first.pg.data = data
        copy = Copy("n1", "d00001")
        first.disk = json.dumps(
            {
                "schema": 1,
                "cluster": IDENT,
                "copies": [{"id": copy.data, "device": 1, "inode": data.inode, "system": "system"}],
            }
        )
        leader = Leader(copy, "bootstrap", 1, 1, Tenure.RELEASED, (Rule(copy, frozenset(), 0),), Position(1, 0))
        writes = [
            Write(root + "cluster", records.dump_cluster(ClusterRecord(IDENT, "system"))),
            Write(root + "config", records.dump_settings(Settings(1, self.h_s, self.durability, max_lag=MAX_LAG))),
            Write(root + "leader", records.dump_leader(leader)),
        ]
        self.store.land("op", 0.0, (), writes)
        for node in self.nodes.values():
            node.start_watchdog_after(self.world.span(0.0, 0.5))
            self.world.after(self.world.span(*self.write_s), self._client, node)

    # -- clients -------------------------------------------------------------------------------------------------

    def _client(self, node: Node) -> None:
        """A writer pinned to this node; it never gives up and never goes elsewhere."""
        if node.powered and node.pg.state is State.PRIMARY:
            self.rows += 1
            row = Row(self.rows, node.name, self.world.now)
            self.world.after(0.0004, self._arrives, node, row)
        self.world.after(self.world.rng.uniform(*self.write_s), self._client, node)

    def _arrives(self, node: Node, row: Row) -> None:
        if node.powered and node.admit(self._arrives, node, row):
            node.pg.write(row)

    # -- the network ---------------------------------------------------------------------------------------------

    def _changed(self) -> None:
        """Hints go out to all agents that the store can reach."""
        revision = self.store.keys.revision
        for node in self.nodes.values():
            agent = node.agent
            if agent is not None and self.links.up(STORE, node.name):
                self.world.after(self.world.rng.uniform(0.0004, 0.002), agent.hint, revision)

    def streams(self) -> list[Stream]:
        """Every connection that is open at one end at least."""
        found: dict[int, Stream] = {}
        for node in self.nodes.values():
            for stream in [*node.pg.senders, *([node.pg.receiver] if node.pg.receiver else [])]:
                found.setdefault(id(stream), stream)
        return list(found.values())

    def _healed(self) -> None:
        for stream in self.streams():
            stream.link_healed()

    # -- judging -------------------------------------------------------------------------------------------------

    def primary(self) -> Node | None:
        """The node that holds the key, is writable and says so; None when there is none, or another one beside it."""
        leader = self.checks.leader
        writable = [n for n in self.nodes.values() if n.is_primary and n.name not in self.away]
        if leader is None or leader.tenure is not Tenure.HELD or len(writable) != 1:
            return None
        return writable[0] if writable[0].name == leader.holder.node else None

    def order(self) -> Order | None:
        """What lies in the store."""
        entry = self.store.keys.entries.get(self.checks.root + "request")
        order = records.parse_value("request", entry.value, records.parse_order) if entry else None
        return order if isinstance(order, Order) else None

    def stuck_order(self) -> bool:
        """An order of an older epoch that nobody has ended: later ones are refused as long as it lies there."""
        order, leader = self.order(), self.checks.leader
        ended = order is None or leader is None or order.phase in ("done", "refused")
        return not ended and order is not None and leader is not None and order.epoch < leader.epoch

    def complaint(self) -> str:
        """Why the cluster is not as it should be; empty when it is."""
        primary, leader = self.primary(), self.checks.leader
        if primary is None or leader is None:
            states = ", ".join(f"{n.name} {n.pg.state.value}" for n in self.nodes.values())
            return f"no primary ({states}; key {leader.tenure.value if leader else 'absent'})"
        for node in self.nodes.values():
            stream = node.pg.receiver
            if node is primary or node.name in self.away:
                continue
            sources = (primary.name, node.file.follow)
            if stream is None or stream.sender.node.name not in sources or not stream.streaming:
                return f"{node.name} does not stream from {primary.name}"
        order = self.order()
        if order is not None and order.epoch >= leader.epoch and order.phase not in ("done", "refused"):
            return f"an order is still {order.phase}"
        if self.world.now - self.checks.last_ack > SLOW_S:
            return f"{primary.name} acknowledges nothing"
        return ""
