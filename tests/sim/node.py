"""A node: its clock, disk, server, guard, and what can happen to all of them at once."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgha.nodefile import NodeFile, Peer, StoreAccess
from tests.sim.clock import SimClock
from tests.sim.guard import AgentProcess, SimGuard
from tests.sim.postgres import SimPg, State
from tests.sim.streaming import try_to_connect
from tests.sim.world import Place

if TYPE_CHECKING:
    from tests.sim.checks import Checks
    from tests.sim.cluster import Cluster

CLUSTER, IDENT = "sim", "c1"


@dataclass(slots=True)
class Moods:
    """How often a process is late to adopt a setting, a report late to arrive."""

    late_rules: float = 0.0
    late_reports: float = 0.0


class Node(Place):
    """One of them. `held` (of Place): frozen, nothing of it runs, the guard neither."""

    def __init__(self, cluster: Cluster, name: str, names: tuple[str, ...], *, rate: float, moods: Moods) -> None:
        super().__init__(cluster.world)
        self.cluster, self.name, self.moods = cluster, name, moods
        self.checks: Checks = cluster.checks
        self.rate = self.slowest = rate
        self.clock = SimClock(cluster.world, rate, cluster.world.span(1.0, 30.0))
        self.disk = json.dumps({"schema": 1, "cluster": IDENT})
        self._inodes: tuple[str, dict[str, int]] = ("", {})
        self.powered = True
        self.excused_until = -1.0
        self.excused_life = -1
        self.orphans: list[AgentProcess] = []
        self.ambush: Callable[[], None] | None = None  # waits for the next action
        self.guard: SimGuard | None = None
        self.pg = SimPg(self)
        self.file = NodeFile(
            cluster=CLUSTER,
            node=name,
            state_dir="",
            data_dir="",
            socket_dir="",
            bin_dir="",
            store=StoreAccess(()),
            nodes={n: Peer(n, 5432) for n in names},
        )
        try_to_connect(self)

    def new_inode(self) -> int:
        """Of a fresh directory."""
        self.cluster.inodes += 1
        return self.cluster.inodes

    def inode_of(self, data: str) -> int:
        """Of the directory that this node knows by that id; 0 when none."""
        if self._inodes[0] is not self.disk:
            found = {str(c["id"]): int(c["inode"]) for c in json.loads(self.disk).get("copies", [])}
            self._inodes = (self.disk, found)
        return self._inodes[1].get(data, 0)

    @property
    def agent(self) -> AgentProcess | None:
        """The one that is connected to the guard."""
        return self.guard.agent if self.guard else None

    # -- the watchdog's life -------------------------------------------------------------------------------------

    def start_watchdog_after(self, delay: float) -> None:
        """cron, or whoever starts one."""
        self.world.after(delay, self.start_watchdog)

    def start_watchdog(self) -> None:
        """Exits at once when one runs."""
        if not self.powered or (self.guard is not None and self.guard.alive):
            return
        if self.admit(self.start_watchdog):
            self.guard = SimGuard(self)

    def power_off(self) -> None:
        """Everything ends at once, and nobody hears a connection close."""
        if not self.powered:
            return
        self.powered, self.held, self.parked = False, False, []
        for agent in [*self.orphans, *([self.agent] if self.agent else [])]:
            agent.kill()
        self.orphans = []
        if self.guard is not None:
            self.guard.alive, self.guard = False, None
        self.pg.gone("power", silently=True)
        self.trace("power-off")

    def power_on(self) -> None:
        """A boot: the clock begins anew; the disk is as it was."""
        if self.powered:
            return
        self.powered = True
        self.clock = SimClock(self.world, self.rate, self.world.span(1.0, 30.0))
        self.trace("power-on")
        self.start_watchdog_after(self.world.span(0.1, 2.0))
        try_to_connect(self)

    def slew(self, rate: float) -> None:
        """Its clock runs at another rate from now on, within the bound that all are assumed to keep."""
        self.rate, self.slowest = rate, min(rate, self.slowest)
        self.clock.slew(rate)

    # -- freezing ------------------------------------------------------------------------------------------------

    def freeze(self) -> None:
        """Nothing of the node runs; its clock goes on."""
        if self.powered and not self.held:
            self.held = True
            self.trace("frozen")

    def thaw(self, *, clock_missed: float = 0.0) -> None:
        """All goes on within milliseconds, in any order. clock_missed: the node's clock stood still for so long."""
        if not self.powered or not self.held:
            return
        self.excused_until = self.world.now + 0.8
        if clock_missed:
            self.clock.missed(clock_missed)
            self.excused_life = self.pg.life
        self.trace("thawed")
        self.let_go(0.02)

    @property
    def excused(self) -> bool:
        """Was it frozen just now, so that it may do for a moment what it had a right to before?"""
        return self.held or self.world.now < self.excused_until or self.excused_life == self.pg.life

    # -- telling -------------------------------------------------------------------------------------------------

    def trace(self, event: str, detail: str = "") -> None:
        """role, epoch in the agent's hands, timeline:LSN, age of the lease, the rule decided last."""
        process = self.agent
        agent = process.agent if process else None
        epoch, age, rule = 0, -1.0, "-"
        if agent is not None:
            tenancy = agent.lease._tenancy
            epoch = tenancy.epoch
            age = self.clock.now_s() - tenancy.sent_s if epoch else -1.0
            rule = agent.rule.ident if agent.rule else "-"
        pg = self.pg
        role = "promoting" if pg.promoting else "stopping" if pg.stopping else pg.state.value
        if pg.tree and not pg.postmaster:
            role = "orphans"
        place = f"{pg.data.branch.timeline}:{pg.data.lsn}" if pg.data else "-"
        self.world.trace(self.name, event, f"{role:<9} e{epoch:<3} {place:<12} {age:6.2f} {rule:<4} {detail}")

    @property
    def is_primary(self) -> bool:
        """Writable at this moment."""
        return self.pg.state is State.PRIMARY and self.pg.postmaster != 0 and not self.pg.stopping
