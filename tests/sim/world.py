"""The world: simulated time, a heap of events, and the tasks (greenlets) in which production code blocks.

One thread. Everything that happens is an event; a task runs inside an event until it waits. All chance comes from one
seeded generator, so a seed is a run. Knows nothing of pgha.
"""

from __future__ import annotations

import hashlib
import heapq
import random
from collections import deque
from collections.abc import Callable

from greenlet import GreenletExit, getcurrent, greenlet  # type: ignore[import-untyped,unused-ignore]

TAIL = 40
LEAST_S = 1e-5  # no call is free: time goes on also in a loop that waits for nothing


class World:
    """Simulated time and what is due when."""

    def __init__(self, seed: int, *, echo: Callable[[str], None] | None = None) -> None:
        self.rng = random.Random(seed)
        self.now = 0.0
        self.failed: tuple[str, str] | None = None
        self.current: Task | None = None
        self.killing = False
        self.hub: greenlet = getcurrent()
        self.tail: deque[str] = deque(maxlen=TAIL)
        self._heap: list[tuple[float, int, Callable[..., object], tuple[object, ...]]] = []
        self._count = 0
        self._hash = hashlib.sha256()
        self._echo = echo

    def after(self, delay: float, what: Callable[..., object], *args: object) -> None:
        """Call this so many true seconds from now."""
        self._count += 1
        heapq.heappush(self._heap, (self.now + delay, self._count, what, args))

    def run(self, until: float) -> bool:
        """Let time pass until then, or until an invariant is broken (False)."""
        self.hub = getcurrent()
        heap = self._heap
        while heap and heap[0][0] <= until and self.failed is None:
            self.now, _, what, args = heapq.heappop(heap)
            what(*args)
        if self.failed is None:
            self.now = until
        return self.failed is None

    def fail(self, invariant: str, what: str) -> None:
        """An invariant is broken: the run ends after this event. The first one counts."""
        if self.failed is None:
            self.failed = (invariant, what)
            self.trace("-", "VIOLATION", f"{invariant}: {what}")

    def trace(self, node: str, event: str, columns: str) -> None:
        """One line a change of state, in fixed columns; the hash of all lines is the run's fingerprint."""
        line = f"{self.now:10.4f} {node:<3} {event:<10} {columns}"
        self._hash.update(line.encode())
        self.tail.append(line)
        if self._echo is not None:
            self._echo(line)

    @property
    def fingerprint(self) -> str:
        """Of all that was traced so far."""
        return self._hash.hexdigest()[:16]

    # -- chance ------------------------------------------------------------------------------------------------

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.rng.random() < probability

    def span(self, low: float, high: float, *, tail: float = 0.0, upto: float = 0.0) -> float:
        """A duration: uniform; with probability `tail` somewhere between `high` and `upto`."""
        if tail and self.rng.random() < tail:
            return self.rng.uniform(high, upto)
        return self.rng.uniform(low, high)

    def me(self) -> Task:
        """The task that runs now."""
        assert self.current is not None, "only a task can wait"
        return self.current


class Place:
    """Where tasks and events live and may be held up: a node that freezes, a process that is stopped."""

    def __init__(self, world: World, outer: Place | None = None) -> None:
        self.world, self.outer = world, outer
        self.held = False
        self.parked: list[tuple[Callable[..., object], tuple[object, ...]]] = []

    def admit(self, what: Callable[..., object], *args: object) -> bool:
        """May it happen here now? If not it is kept for `let_go`."""
        place: Place | None = self
        while place is not None:
            if place.held:
                place.parked.append((what, args))
                return False
            place = place.outer
        return True

    def let_go(self, spread: float) -> None:
        """What was held up happens now, in an order that chance gives within `spread` seconds."""
        self.held = False
        waiting, self.parked = self.parked, []
        for what, args in waiting:
            self.world.after(self.world.rng.uniform(0.0, spread), what, *args)


class Process(Place):
    """Some tasks that die together."""

    def __init__(self, world: World, outer: Place) -> None:
        super().__init__(world, outer)
        self.alive = True
        self.doom: Doom | None = None
        self.tasks: list[Task] = []

    def spawn(self, name: str, body: Callable[[], object]) -> Task:
        """A new task, which begins at once."""
        task = Task(self, name, body)
        self.tasks.append(task)
        self.world.after(0.0, task.fire, 0, None)
        return task

    def kill(self) -> None:
        """Every task ends where it stands. Called by events, never by one of the tasks."""
        self.alive = False
        self.parked = []
        for task in self.tasks:
            task.end()
        self.tasks = []


class Doom:
    """Something happens at the n-th place from now at which a process waits: between two calls, or within one."""

    def __init__(self, world: World, steps: int, what: Callable[[], None]) -> None:
        self._world, self._left, self._what = world, steps, what

    def passes(self) -> None:
        """One place more."""
        self._left -= 1
        if self._left == 0:
            self._world.after(0.0, self._what)


class Task:
    """A piece of blocking code. `wait` gives control back until somebody fires it, or time is over."""

    def __init__(self, process: Process, name: str, body: Callable[[], object]) -> None:
        self.world, self.process, self.name = process.world, process, name
        self._token = 0
        self._value: object = None
        self._body = body
        self._run: greenlet = greenlet(self._main, parent=self.world.hub)

    def _main(self) -> None:
        self._body()

    @property
    def token(self) -> int:
        """Names the present wait: an answer to an older one is ignored."""
        return self._token

    def wait(self, seconds: float | None) -> object:
        """Wait for `fire`, at most so many true seconds; what it was fired with, None when time is over."""
        world = self.world
        if world.killing:
            raise GreenletExit
        assert world.current is self, "a task waits for itself only"
        if self.process.doom is not None:
            self.process.doom.passes()
        if seconds is not None:
            world.after(max(seconds, LEAST_S), self.fire, self._token, None)
        self._value = None
        world.hub.switch()
        return self._value

    def fire(self, token: int, value: object) -> None:
        """End the wait of this token."""
        if token != self._token or not self.process.alive:
            return
        if not self.process.admit(self.fire, token, value):
            return
        self._token += 1
        self._value = value
        world = self.world
        world.current = self
        self._run.switch()
        world.current = None

    def end(self) -> None:
        """Ends where it stands; its `finally` parts run but can't wait."""
        self._token = -1
        if self._run and not self._run.dead:
            self.world.killing = True
            self._run.throw(GreenletExit)
            self.world.killing = False


class Lock:
    """A re-entrant lock among tasks."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._owner: Task | None = None
        self._depth = 0
        self._waiting: deque[tuple[Task, int]] = deque()

    def __enter__(self) -> Lock:
        me = self._world.me()
        while self._owner is not None and self._owner is not me:
            self._waiting.append((me, me.token))
            me.wait(None)
        self._owner = me
        self._depth += 1
        return self

    def __exit__(self, *_: object) -> None:
        if self._world.killing:
            return  # the whole process dies
        self._depth -= 1
        if self._depth == 0:
            self._owner = None
            if self._waiting:
                task, token = self._waiting.popleft()
                self._world.after(0.0, task.fire, token, None)
