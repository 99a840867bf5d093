"""The guard of a node, the agent's end of the pipe to it, and the agent's process with its loops.

The loops are those of pgha/watchdog/agent_main.py, in tasks instead of threads; `Agent` is the production class.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from pgha.core.model import Tenure
from pgha.errors import Refused
from pgha.ports import GuardState, ServerStart, ToolResult
from pgha.watchdog.agent import Agent, Ports
from tests.sim.later import WALL
from tests.sim.parameters import SimParameters
from tests.sim.server import SimServer
from tests.sim.store import STORE, SimStore
from tests.sim.world import Lock, Process, Task

if TYPE_CHECKING:
    from tests.sim.node import Node

T = TypeVar("T")
YOUNG_S = 5.0
DELAYS_S = (0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0)
AGENT_START_S = (0.15, 0.5)


class SimGuard:
    """One life of the guard. Its deadline stands whatever the agent does."""

    def __init__(self, node: Node) -> None:
        self.node, self.world = node, node.world
        self.incarnation = f"{node.world.rng.getrandbits(48):012x}"
        self.alive = True
        self.agent: AgentProcess | None = None
        self.exits, self.exit_status = 0, ""
        self._order = 0
        self._young = 0
        node.pg.on_exit = self._exited
        node.trace("guard-up", self.incarnation)
        self._spawn_after(0.0)

    def later(self, delay: float, what: Callable[[], None]) -> None:
        """In this life, when the node runs."""

        def due() -> None:
            if self.alive and self.node.admit(due):
                what()

        self.world.after(delay, due)

    def state(self) -> GuardState:
        """As the agent is told."""
        pg = self.node.pg
        return GuardState(self.incarnation, pg.postmaster, pg.tree, pg.started_s, self.exits, self.exit_status)

    def _exited(self, status: str) -> None:
        if self.alive:
            self.exits, self.exit_status = self.exits + 1, status
            if self.node.pg.tree:
                self.later(self.world.span(0.001, 0.02), self.node.pg.kill_tree)
            if self.agent is not None:
                self.agent.wake()

    # -- the deadline --------------------------------------------------------------------------------------------

    def set_deadline(self, at_s: float | None) -> None:
        """Absolute, on the node's clock."""
        self._order += 1
        if at_s is not None:
            self._arm(at_s, self._order, late=self.world.span(0.0, 0.002, tail=0.02, upto=0.2))

    def _arm(self, at_s: float, order: int, *, late: float) -> None:
        self.later(self.node.clock.true_delay(at_s) + late, lambda: self._overdue(at_s, order))

    def _overdue(self, at_s: float, order: int) -> None:
        if order != self._order:
            return
        if self.node.clock.now_s() < at_s:
            self._arm(at_s, order, late=1e-6)  # a rounding error's worth of time would not move the world's clock
            return
        self.node.trace("deadline", "server and agent killed")
        self.node.pg.kill_tree()
        self.agent_dies(fenced=True)

    # -- the agent -----------------------------------------------------------------------------------------------

    def _spawn_after(self, delay: float) -> None:
        self.later(delay + self.world.span(*AGENT_START_S), self._spawn)

    def _spawn(self) -> None:
        if self.agent is None:
            self.agent = AgentProcess(self)
            self.node.trace("agent-up")

    def agent_dies(self, *, fenced: bool = False) -> None:
        """Killed, or ended; the next one comes at once, later if they die young."""
        agent, self.agent = self.agent, None
        if agent is None:
            return
        agent.kill()
        delay = 0.0
        if self.world.now - agent.born >= YOUNG_S:
            self._young = 0
        elif not fenced:
            delay = DELAYS_S[min(self._young, len(DELAYS_S) - 1)]
            self._young += 1
        self._spawn_after(delay)

    def dies(self) -> None:
        """SIGKILL: the server gets its parent-death signal, the agent sees the pipe end, cron starts another one."""
        self.alive = False
        self.node.trace("guard-dead")
        agent, self.agent = self.agent, None
        if agent is not None:
            agent.link.closed = True
            self.node.orphans.append(agent)
            agent.wake()
        self.node.pg.kill_tree()
        self.node.start_watchdog_after(self.world.span(1.0, 20.0))


class SimLink:
    """`ports.GuardLink`."""

    def __init__(self, guard: SimGuard) -> None:
        self.guard, self.world = guard, guard.world
        self.closed = False
        self._last = guard.state()

    def state(self) -> GuardState:
        """The newest one."""
        if self.guard.alive:
            self._last = self.guard.state()
        return self._last

    def _ask(self, order: Callable[[], T]) -> T:
        self.world.me().wait(self.world.span(0.0001, 0.001, tail=0.01, upto=0.05))
        if self.closed:
            raise ConnectionError("the guard is dead")
        answer = order()
        self.world.me().wait(self.world.span(0.0001, 0.0005))
        return answer

    def deadline(self, at_s: float | None) -> None:
        """In force when it returns."""
        self._ask(lambda: self.guard.set_deadline(at_s))

    def start(self, order: ServerStart) -> None:
        """Refused while a tree is left."""
        self._ask(self._start)

    def _start(self) -> None:
        pg = self.guard.node.pg
        if pg.tree or pg.data is None:
            raise Refused("the guard refused to start", because=f"{pg.tree} processes are left")
        pg.start()

    def signal(self, name: str) -> None:
        """Nothing happens when none runs. SIGHUP does nothing here: `SimServer` tells the server what changed."""
        self._ask(lambda: self._signal(name))

    def _signal(self, name: str) -> None:
        pg = self.guard.node.pg
        if name == "SIGINT" and pg.hung != "all":
            pg.fast_stop()

    def kill_tree(self, *, deadline_s: float) -> bool:
        """True once nothing is left."""
        pg = self.guard.node.pg
        self._ask(pg.kill_tree)
        while pg.tree and self.guard.node.clock.now_s() < deadline_s and not self.closed:
            self.world.me().wait(0.003)
        return pg.tree == 0

    def run_tool(self, argv: Sequence[str], env: Mapping[str, str], *, deadline_s: float) -> ToolResult:
        """The fakes need no programs."""
        return ToolResult(1, "not in the simulator")


class SimKeep:
    """`ports.Keep`: what is on the node's disk survives everything; a write is done or not done."""

    def __init__(self, node: Node) -> None:
        self.node = node

    def load(self) -> Mapping[str, object]:
        """What was saved last."""
        self.node.world.me().wait(0.0002)
        body: Mapping[str, object] = json.loads(self.node.disk)
        return body

    def save(self, body: Mapping[str, object]) -> None:
        """On disk when it returns."""
        text, world = json.dumps(body), self.node.world
        world.me().wait(world.span(0.0005, 0.005, tail=0.02, upto=0.3))
        self.node.disk = text
        world.me().wait(world.span(0.0001, 0.001))


class AgentProcess(Process):
    """One agent: the production class, its loops, and its end of the pipe."""

    def __init__(self, guard: SimGuard) -> None:
        super().__init__(guard.world, guard.node)
        self.guard, self.node, self.link = guard, guard.node, SimLink(guard)
        self.born = guard.world.now
        self.agent: Agent | None = None
        self.changed = 0
        self._woken_for = 0
        self._wake, self._hinted = False, True
        self._idle: int | None = None
        self._main = self.spawn("main", self._run)

    def _say(self, facts: Mapping[str, object]) -> None:
        self.node.checks.on_said(self.node, facts)

    def _start(self) -> Agent:
        node, world = self.node, self.world
        store = SimStore(node.cluster.store, node.name, node.clock)
        server = SimServer(node, self.link, self)
        ports = Ports(
            store=store,
            clock=node.clock,
            link=self.link,
            server=server,
            parameters=SimParameters(),
            keep=SimKeep(node),
            wall=lambda: WALL + world.now,
            new_id=lambda: f"{world.rng.getrandbits(24):06x}",
            new_lock=lambda: Lock(world),
            say=self._say,
        )
        agent = Agent(node.file, ports, "sim")
        server.on_clone = lambda identity: agent.memory.add_copy(identity)
        return agent

    def _run(self) -> None:
        try:
            self.agent = agent = self._start()
        except ConnectionError:
            return self._guard_is_dead(None)
        self.spawn("lease", lambda: self._beat(agent.renew))
        self.spawn("health", lambda: self._beat(agent.check_health))
        while not self.link.closed:
            hint, self._hinted = self._hinted, False
            pause_s = self._guarded(lambda: agent.tick(hint=hint))  # noqa: B023  # called at once
            self._rest(agent, pause_s)
        return self._guard_is_dead(agent)

    def _rest(self, agent: Agent, pause_s: float) -> None:
        seen = agent.view.revision if agent.view else 0
        if self.changed > seen and self.changed > self._woken_for:
            self._woken_for, self._wake, self._hinted = self.changed, True, True
        if not self._wake:
            self._idle = self._main.token
            self._main.wait(pause_s / self.node.clock.rate)
            self._idle = None
        self._wake = False

    def wake(self) -> None:
        """The guard has news."""
        if not self.alive or not self.admit(self.wake):
            return
        self._wake = True
        if self._idle is not None:
            self._main.fire(self._idle, True)

    def hint(self, revision: int) -> None:
        """The store has something newer."""
        if not self.alive or not self.admit(self.hint, revision):
            return
        self.changed = max(self.changed, revision)
        view = self.agent.view if self.agent else None
        if self._idle is not None and self.changed > (view.revision if view else 0) and self.changed > self._woken_for:
            self._woken_for, self._hinted = self.changed, True
            self.wake()

    def _guarded(self, body: Callable[[], float]) -> float:
        try:
            return body()
        except Exception as e:  # noqa: BLE001  # as agent_main does: the loop goes on
            if not self.link.closed:
                self.node.checks.on_bug(self.node, e)
            return 0.5

    def _beat(self, body: Callable[[], float]) -> None:
        while not self.link.closed:
            self.node.clock.sleep(self._guarded(body))

    def _guard_is_dead(self, agent: Agent | None) -> None:
        """agent_main._guard_is_dead: the tree by its directory, whoever started it; release; a new watchdog."""
        node, until = self.node, self.world.now + 5.0
        node.pg.kill_tree()
        while node.pg.tree and self.world.now < until:
            self._main.wait(0.005)
        held = agent.lease.held()[0] if agent is not None else None
        if agent is not None and node.pg.tree == 0 and held is not None and held.paused is None:
            try:
                agent.lease.change(
                    lambda key: replace(key, tenure=Tenure.RELEASED, clean=False, reason="its guard was killed")
                )
            except ConnectionError:
                node.trace("link-gone")
        node.start_watchdog_after(self.world.span(0.1, 0.4))
        self.world.after(0.0, self.kill)

    @property
    def main(self) -> Task:
        """Its main task."""
        return self._main

    @property
    def reaches_store(self) -> bool:
        """Can a hint come through?"""
        return self.node.cluster.links.up(STORE, self.node.name)
