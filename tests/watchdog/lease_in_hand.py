"""A lease in hand: a keeper that has just claimed, its store, and a clock that moves when it is told to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pgha import records
from pgha.adapters.memory import Keyspace, MemoryStore
from pgha.core.model import Copy, Leader, Position, Rule, Tenure
from pgha.core.observation import Tenancy
from pgha.core.timing import timing_for
from pgha.ports import Committed, Conflict, Guard, Unknown, Write
from pgha.watchdog.lease import LeaseKeeper

KEY, OTHER = "/pgha/c/leader", "/pgha/c/request"
T = timing_for(6.0)
MINE = Leader(Copy("n1", "d1"), "life", 5, 9, Tenure.HELD, (Rule(Copy("n1", "d1"), frozenset(), 0),), Position(5, 1000))


class HandClock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.at_s = 100.0

    def now_s(self) -> float:
        """As set."""
        return self.at_s

    def sleep(self, seconds: float) -> None:
        """Only the time passes."""
        self.at_s += seconds


class SlowStore(MemoryStore):
    """Each commit takes `takes_s` on the clock, after it was sent, and does `during`; `deadlines` holds its own."""

    def __init__(self, clock: HandClock, keyspace: Keyspace | None = None) -> None:
        super().__init__(clock, keyspace, threaded=False)
        self.hand, self.takes_s, self.deadlines = clock, 0.0, list[float]()
        self.during: Callable[[], object] = lambda: None

    def commit(
        self, guards: Sequence[Guard], writes: Sequence[Write], *, deadline_s: float
    ) -> Committed | Conflict | Unknown:
        self.deadlines.append(deadline_s)
        outcome = super().commit(guards, writes, deadline_s=deadline_s)
        self.hand.at_s += self.takes_s
        self.during()
        return outcome


@dataclass
class Held:
    """A keeper that has just claimed at 100.0, and everything around it."""

    clock: HandClock = field(default_factory=HandClock)
    told: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = SlowStore(self.clock)
        self.keeper = LeaseKeeper(
            self.store, self.clock, KEY, timing=T, lock=threading.Lock(), renewed=self.told.append
        )
        self.keeper.adopt(MINE, self.put(MINE), sent_s=100.0, claimed_s=100.0)

    def put(self, leader: Leader, key: str = KEY) -> int:
        """Somebody else's write, without asking."""
        outcome = self.store.keyspace.apply([], [Write(key, records.dump_leader(leader))])
        assert isinstance(outcome, Committed)
        return outcome.revision

    def stored(self) -> Leader:
        """What the store says."""
        parsed = records.parse_value(KEY, self.store.keyspace.entries[KEY].value, records.parse_leader)
        assert isinstance(parsed, Leader)
        return parsed

    def due(self, at_s: float | None = None) -> None:
        """The next renewal is due (or it is that late)."""
        self.clock.at_s = at_s if at_s is not None else self.clock.at_s + T.k_s

    def renew(self, lsn: int = 1000, *, healthy: bool = True) -> float:
        """One round of the keeper."""
        return self.keeper.renew(healthy=healthy, position_lsn=lsn)

    @property
    def tenancy(self) -> Tenancy:
        """What is held, and since when."""
        return self.keeper.held()[2]
