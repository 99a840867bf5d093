"""The store: linearizable, with links that can be cut one way, elections, and outcomes nobody knows.

The data and its semantics are `pgha.adapters.memory.Keyspace`, the one the contract tests know. A write travels on its
own: it lands (once, late, or never) whatever happens to its sender.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pgha.adapters.memory import Keyspace
from pgha.ports import Committed, Conflict, Entry, Guard, Snapshot, StoreDown, StoreHealth, Unknown, Write
from tests.sim.clock import SimClock
from tests.sim.world import Task, World

STORE = "store"


@dataclass(slots=True)
class Odds:
    """How often a commit goes wrong: its answer is lost, it lands late, it is lost itself."""

    reply_lost: float = 0.0
    late: float = 0.0
    lost: float = 0.0
    slow: float = 0.0


class Links:
    """Which one-way links are cut: (from, to)."""

    def __init__(self) -> None:
        self.cut: set[tuple[str, str]] = set()
        self.healed: Callable[[], None] = lambda: None

    def up(self, a: str, b: str) -> bool:
        """Does what a sends reach b?"""
        return (a, b) not in self.cut

    def heal(self, *links: tuple[str, str]) -> None:
        """These carry again; what waited for them goes on."""
        self.cut.difference_update(links)
        self.healed()


Landed = Callable[[str, float, Sequence[Guard], Sequence[Write], dict[str, Entry], int], None]


class StoreService:
    """The store itself. on_landed: told of each write that took effect, with the entries before it."""

    def __init__(self, world: World, links: Links) -> None:
        self.world, self.links = world, links
        self.keys = Keyspace()
        self.odds = Odds()
        self.stalled_until = 0.0
        self.term = 1
        self.snare: Callable[[Sequence[Write]], float | None] | None = None  # how late these writes are to land
        self.on_landed: Landed = lambda *_: None
        self.on_change: Callable[[], None] = lambda: None

    def stall(self, seconds: float) -> None:
        """Nothing is answered for so long (ETCD07); what is sent meanwhile is lost or lands afterwards."""
        self.stalled_until = max(self.stalled_until, self.world.now + seconds)

    def elect(self, seconds: float) -> None:
        """Its leader is gone, with the answers that it had not sent; another one is elected (ETCD06)."""
        self.term += 1
        self.stall(seconds)

    def land(self, sender: str, sent: float, guards: Sequence[Guard], writes: Sequence[Write]) -> Committed | Conflict:
        """A write arrives."""
        before = {w.key: self.keys.entries[w.key] for w in writes if w.key in self.keys.entries}
        outcome = self.keys.apply(guards, writes)
        if isinstance(outcome, Committed):
            self.on_landed(sender, sent, guards, writes, before, outcome.revision)
            self.on_change()
        return outcome


class SimStore:
    """One node's client: `ports.Store`."""

    def __init__(self, service: StoreService, node: str, clock: SimClock) -> None:
        self.service, self.node, self.clock = service, node, clock
        self.world = service.world

    def _left(self, deadline_s: float) -> float:
        return (deadline_s - self.clock.now_s()) / self.clock.rate

    def _hop(self) -> float:
        return self.world.span(0.0002, 0.002, tail=0.01 + self.service.odds.slow, upto=0.3)

    def read(self, prefix: str, *, deadline_s: float) -> Snapshot:
        """All keys under the prefix. Raises StoreDown."""
        answer = self._ask(self._left(deadline_s), lambda: self.service.keys.snapshot(prefix), None)
        if not isinstance(answer, Snapshot):
            raise StoreDown("no answer")
        return answer

    def commit(
        self, guards: Sequence[Guard], writes: Sequence[Write], *, deadline_s: float
    ) -> Committed | Conflict | Unknown:
        """One transaction; it may land later than its deadline, or after the death of its sender (ETCD01)."""
        world, sent = self.world, self.world.now
        odds, draw = self.service.odds, world.rng.random()
        fate = "late" if draw < odds.late else "lost" if draw < odds.late + odds.lost else None
        if fate is None and world.chance(odds.reply_lost):
            fate = "reply"
        late = self.service.snare(writes) if self.service.snare is not None else None
        what = (tuple(guards), tuple(writes))
        if late is not None:
            world.after(late, self.service.land, self.node, sent, *what)
            fate = "lost"
        answer = self._ask(self._left(deadline_s), lambda: self.service.land(self.node, sent, *what), fate or "ok")
        return answer if isinstance(answer, Committed | Conflict) else Unknown("no answer")

    def _ask(self, left: float, act: Callable[[], object], fate: str | None) -> object:
        """Send, and wait for the answer. fate None: a read, which leaves nothing behind."""
        world, me = self.world, self.world.me()
        if left <= 0:
            return None
        hop = self._hop()
        if not self.service.links.up(self.node, STORE):
            hop = -1.0 if fate is None or not world.chance(0.2) else world.span(0.0, 8.0)
        elif fate == "late":
            hop = world.span(0.0, 8.0)
        elif fate == "lost":
            hop = -1.0
        if hop >= 0.0:
            world.after(hop, self._arrive, me, me.token, act, fate)
        return me.wait(left)

    def _arrive(self, me: Task, token: int, act: Callable[[], object], fate: str | None) -> None:
        world, service = self.world, self.service
        if world.now < service.stalled_until:
            if world.chance(0.5):
                world.after(service.stalled_until - world.now + self._hop(), self._arrive, me, token, act, fate)
            return
        answer = act()
        if fate != "reply" and service.links.up(STORE, self.node):
            world.after(self._hop(), self._answers, me, token, answer, service.term)

    def _answers(self, me: Task, token: int, answer: object, term: int) -> None:
        if term == self.service.term:
            me.fire(token, answer)

    def wait(self, prefix: str, since: int, *, deadline_s: float) -> bool:
        """A hint; here a poll of 5 ms."""
        me = self.world.me()
        while self._left(deadline_s) > 0:
            if self.service.links.up(STORE, self.node) and self.service.keys.moved_after(prefix, since):
                return True
            me.wait(min(0.005, self._left(deadline_s)))
        return False

    def health(self, *, deadline_s: float) -> StoreHealth:
        """Not asked by the agent."""
        return StoreHealth(quorum=self.world.now >= self.service.stalled_until)
