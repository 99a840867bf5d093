"""A store in memory: for tests and the simulator; what etcd does, without etcd.

Duty: the semantics of `ports.Store` (revisions, guards, all-or-nothing) plus faults on demand. A `Keyspace` is the
data; each `MemoryStore` is one client's view of it, so that one node can lose the store while others keep it.
May import `pgha.ports` and the standard library.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from enum import Enum

from pgha.ports import (
    Clock,
    Committed,
    Conflict,
    Entry,
    Guard,
    MemberHealth,
    Snapshot,
    StoreDown,
    StoreHealth,
    Unknown,
    Write,
)


class Fault(Enum):
    """What goes wrong with one call. A read raises StoreDown for each of them; a commit never raises."""

    DOWN = "no answer, and a commit was not done"
    DENIED = "the store refuses our credentials; a commit was not done"
    APPLIED = "a commit was done, its answer got lost"
    LATE = "no answer, and a commit arrives only when `Keyspace.land` is called"


FaultOf = Callable[[str], Fault | None]
"""Asked at each call with its name (read, commit, wait, health): what goes wrong with it, or None."""


def no_fault(_call: str) -> Fault | None:
    """All is well."""
    return None


class Keyspace:
    """The data of a store: entries, the revision of each key's last change (deletes too), commits still under way."""

    def __init__(self) -> None:
        self.moved = threading.Condition()
        self.revision = 1
        self.entries: dict[str, Entry] = {}
        self.changed: dict[str, int] = {}
        self._late: list[tuple[tuple[Guard, ...], tuple[Write, ...]]] = []

    def snapshot(self, prefix: str) -> Snapshot:
        """The entries under a prefix and the store's revision."""
        with self.moved:
            found = {key: self.entries[key] for key in sorted(self.entries) if key.startswith(prefix)}
            return Snapshot(self.revision, found)

    def apply(self, guards: Sequence[Guard], writes: Sequence[Write]) -> Committed | Conflict:
        """One transaction. The revision moves only when something changed, as in etcd.

        ETCD02 to ETCD05 of tests/sim/assumptions.py: ETCD03, one revision for all; ETCD04, one winner of a guard.
        """
        with self.moved:
            if any(self._revision_of(guard.key) != guard.revision for guard in guards):
                return Conflict()
            # ETCD05: the delete of an absent key
            effective = [w for w in writes if w.value is not None or w.key in self.entries]
            if effective:
                self.revision += 1
            for write in effective:
                self._do(write)
            self.moved.notify_all()
            return Committed(self.revision)

    def moved_after(self, prefix: str, since: int) -> bool:
        """Whether a key under `prefix` was written or deleted after revision `since`."""
        with self.moved:
            return any(revision > since and key.startswith(prefix) for key, revision in self.changed.items())

    def delay(self, guards: Sequence[Guard], writes: Sequence[Write]) -> None:
        """Keep a commit under way until `land`."""
        with self.moved:
            self._late.append((tuple(guards), tuple(writes)))

    def land(self) -> tuple[Committed | Conflict, ...]:
        """Let the commits still under way arrive, in the order of their sending."""
        with self.moved:
            late, self._late = self._late, []
            return tuple(self.apply(guards, writes) for guards, writes in late)

    def _revision_of(self, key: str) -> int:
        entry = self.entries.get(key)
        return entry.revision if entry else 0

    def _do(self, write: Write) -> None:
        if write.value is None:
            del self.entries[write.key]
        else:
            self.entries[write.key] = Entry(write.value, self.revision)
        self.changed[write.key] = self.revision


class MemoryStore:
    """One client of a `Keyspace`; a `ports.Store`.

    fault: asked at every call, after the one-shot faults of `fail_next`.
    threaded: whether `wait` may block this thread until another one writes. False for the simulator, which has
    one thread: `wait` then sleeps on the clock (others run meanwhile) and looks again at the deadline.
    """

    def __init__(
        self, clock: Clock, keyspace: Keyspace | None = None, *, fault: FaultOf = no_fault, threaded: bool = True
    ) -> None:
        self.keyspace = keyspace or Keyspace()
        self.fault = fault
        self._clock, self._threaded = clock, threaded
        self._next: dict[str, list[Fault]] = {}

    def fail_next(self, call: str, *faults: Fault) -> None:
        """The next calls of that name (read, commit, wait, health) go wrong in these ways, one each."""
        with self.keyspace.moved:
            self._next.setdefault(call, []).extend(faults)

    def read(self, prefix: str, *, deadline_s: float) -> Snapshot:
        """All keys under `prefix`. Raises StoreDown when a fault says so."""
        fault = self._fault_of("read", deadline_s)
        if fault is None:
            return self.keyspace.snapshot(prefix)
        raise StoreDown(fault.value, denied=fault is Fault.DENIED)

    def commit(
        self, guards: Sequence[Guard], writes: Sequence[Write], *, deadline_s: float
    ) -> Committed | Conflict | Unknown:
        """One transaction. Raises ValueError for a key written twice."""
        if len({write.key for write in writes}) < len(writes):
            raise ValueError("a transaction can't write one key twice")
        fault = self._fault_of("commit", deadline_s)
        if fault is None:
            return self.keyspace.apply(guards, writes)
        if fault is Fault.APPLIED:
            self.keyspace.apply(guards, writes)
        elif fault is Fault.LATE:
            self.keyspace.delay(guards, writes)
        return Unknown("no answer" if fault is not Fault.DENIED else fault.value)

    def wait(self, prefix: str, since: int, *, deadline_s: float) -> bool:
        """True once a change under `prefix` after `since` is seen; False at the deadline, or when a fault says so."""
        blind = self._fault_of("wait", deadline_s) is not None
        if not self._threaded:
            return self._look_twice(prefix, since, deadline_s, blind=blind)
        with self.keyspace.moved:
            while blind or not self.keyspace.moved_after(prefix, since):
                left = deadline_s - self._clock.now_s()
                if left <= 0:
                    return False
                self.keyspace.moved.wait(left)
            return True

    def health(self, *, deadline_s: float) -> StoreHealth:
        """One member, in good health unless a fault says otherwise."""
        fault = self._fault_of("health", deadline_s)
        well, problem = fault is None, fault.value if fault else ""
        member = MemberHealth("memory", reachable=well, leader=well, version="memory", problem=problem)
        return StoreHealth(quorum=well, members=(member,))

    def close(self) -> None:
        """Nothing is held."""

    def _look_twice(self, prefix: str, since: int, deadline_s: float, *, blind: bool) -> bool:
        if not blind and self.keyspace.moved_after(prefix, since):
            return True
        self._clock.sleep(max(0.0, deadline_s - self._clock.now_s()))
        return not blind and self.keyspace.moved_after(prefix, since)

    def _fault_of(self, call: str, deadline_s: float) -> Fault | None:
        if self._clock.now_s() >= deadline_s:
            return Fault.DOWN  # no time left to ask anybody
        with self.keyspace.moved:
            planned = self._next.get(call)
            if planned:
                return planned.pop(0)
        return self.fault(call)
