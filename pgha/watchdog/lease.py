"""The leader key in the hands of its holder: renewals and every other write of it, one at a time.

No disk, no SQL, no subprocess here: a hang of those can't keep the holder from seeing that its time runs out
(faults.md R4). The time of a renewal is that of its sending, on CLOCK_BOOTTIME.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from math import inf

from pgha.core.model import Leader, Tenure
from pgha.core.observation import Tenancy
from pgha.core.timing import Timing
from pgha.ports import Clock, Committed, Conflict, Guard, Store, StoreDown, Unknown, Write
from pgha.records import Problem, dump_leader, parse_leader, parse_value
from pgha.watchdog.margin import Margin

Outcome = Committed | Conflict | Unknown
Held = tuple[Leader | None, int, Tenancy]
DOUBTS_MAX = 1000  # attempts of unknown outcome that are remembered; an older one that is seen ends the tenancy


class LeaseKeeper:
    """What this node holds. `lock` guards all of it.

    renewed(base_s): the guard's deadline is F_hard after it. Called after each success: with its sending, and while
    paused with what is left of the pause after that. Called *before* an attempt that ends sooner than what was told
    before (a pause that is lifted), and never to allow more before a success (decision 10).
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        key: str,
        *,
        timing: Timing,
        lock: AbstractContextManager[object],
        renewed: Callable[[float], None],
    ) -> None:
        self.store, self.clock, self.key, self.timing = store, clock, key, timing
        self._lock, self._renewed = lock, renewed
        self._leader: Leader | None = None
        self._revision = 0
        self._tenancy = Tenancy()
        self._shown: Held = (None, 0, Tenancy())
        self._let_go = False
        self._doubts: list[tuple[Leader, float]] = []
        self._next_s = 0.0
        self._told_s: float | None = None
        self._own = False  # the present revision was written by this keeper
        self.margin = Margin(timing.f_soft_s)

    def held(self) -> Held:
        """The key as last written by this node, its revision, and the tenancy. Never waits for an attempt under way:
        whoever asks may have a server to stop."""
        return self._shown

    @property
    def soft_s(self) -> float:
        """When F_soft is reached (BOOTTIME); infinite when nothing is held."""
        tenancy = self._shown[2]
        return tenancy.sent_s + tenancy.left_s + self.timing.f_soft_s if tenancy.epoch else inf

    @property
    def in_doubt(self) -> bool:
        """The last attempts had no answer: what else is written now would only be waited for."""
        return bool(self._doubts)

    @property
    def confirmed(self) -> bool:
        """The key as it is was written by this very keeper: what a fresh agent only found may be old."""
        with self._lock:
            return self._leader is not None and self._own

    def adopt(self, leader: Leader, revision: int, *, sent_s: float, claimed_s: float, found: bool = False) -> None:
        """This node's claim succeeded, or a fresh agent found its own key: then at `sent_s` it was surely there."""
        with self._lock:
            self._leader, self._revision, self._doubts = leader, revision, []
            self._tenancy, self._told_s, self._own = (
                Tenancy(leader.epoch, sent_s, claimed_s, leader.left_s),
                None,
                not found,
            )
            self._next_s = sent_s + self.timing.k_s
            self._let_go = False
            self._show()

    def let_go(self) -> None:
        """Nothing is held any more, at once: what an attempt under way brings counts for nothing."""
        self._let_go = True
        self._shown = (None, 0, Tenancy())

    def forget(self) -> None:
        """Nothing is held any more."""
        with self._lock:
            self._drop()

    def _drop(self) -> None:
        self._leader, self._revision, self._tenancy, self._doubts, self._told_s = None, 0, Tenancy(), [], None
        self._show()

    def _show(self) -> None:
        if not self._let_go:
            self._shown = (self._leader, self._revision, self._tenancy)

    def _lose(self) -> None:
        """Somebody else has the key. Of a pause the guard may have been told a far end: it is now."""
        paused = self._leader is not None and self._leader.paused is not None
        self._drop()
        if paused:
            self._renewed(self.clock.now_s() - self.timing.f_hard_s)

    def change(
        self, change: Callable[[Leader], Leader | None], *, guards: Sequence[Guard] = (), writes: Sequence[Write] = ()
    ) -> Outcome:
        """Write the key changed (the beat is set here), with these further guards and writes in one transaction.

        Conflict also when nothing is held or `change` gives None. Unknown: a later look at `held` tells.
        """
        with self._lock:
            self._settle()
            if self._let_go or self._leader is None or (wanted := change(self._leader)) is None:
                return Conflict()
            if self._leader.paused is not None and wanted.paused is None and not self._own:
                first = self._commit(replace(self._leader, beat=self._beat(self._leader)), (), ())
                if not isinstance(first, Committed) or self._leader is None or (wanted := change(self._leader)) is None:
                    return Conflict()  # what an earlier agent sent can't land any more only once this one has renewed
            return self._commit(replace(wanted, beat=self._beat(self._leader)), guards, writes)

    def renew(self, *, healthy: bool, position_lsn: int) -> float:
        """One renewal when it is due; seconds until the next look. Without `healthy` nothing is renewed."""
        with self._lock:
            now_s = self.clock.now_s()
            if self._let_go:
                self._drop()
            if self._leader is None:
                return self.timing.k_s / 2
            if now_s < self._next_s:
                return self._next_s - now_s
            if not healthy:
                return 0.1
            self._settle()
            if self._leader is None:
                return self.timing.k_s / 2
            self._commit(self._renewal(self._leader, position_lsn), (), ())
            if self._leader is not None and self._doubts:
                return 0.05
            return max(0.0, self._next_s - self.clock.now_s())

    def _beat(self, held: Leader) -> int:
        """Of the next attempt. No two attempts are equal: the one that is seen in the store tells when it was sent
        (the time of a later one would be too young, and others count H from what they saw)."""
        return 1 + max(leader.beat for leader in (held, *(doubt for doubt, _ in self._doubts)))

    def _renewal(self, leader: Leader, lsn: int) -> Leader:
        position = leader.position
        if leader.tenure is Tenure.HELD and position.timeline == leader.epoch:
            position = replace(position, lsn=max(position.lsn, lsn))
        return replace(leader, beat=self._beat(leader), position=position)

    def _commit(self, new: Leader, guards: Sequence[Guard], writes: Sequence[Write]) -> Outcome:
        sent_s = self.clock.now_s()
        new = self._counted(new, sent_s)
        if self._told_s is not None and sent_s + new.left_s < self._told_s:
            self._tell(sent_s + new.left_s)
        outcome = self.store.commit(
            [Guard(self.key, self._revision), *guards],
            [Write(self.key, dump_leader(new)), *writes],
            deadline_s=sent_s + self.timing.a_s,
        )
        if isinstance(outcome, Committed):
            self._landed(new, outcome.revision, sent_s)
        elif isinstance(outcome, Unknown):
            self._doubts = [*self._doubts, (new, sent_s)][-DOUBTS_MAX:]
        else:
            self._settle(moved=True)
        return outcome

    def _counted(self, new: Leader, sent_s: float) -> Leader:
        """What is left of a pause goes down by itself, whatever is written. A fresh agent begins where the key stands:
        it does not know how much of that has passed, and the guard's end must not lie beyond what it writes."""
        old = self._leader
        if old is None or old.paused is None or new.paused is None or not self._own:
            return new
        left_s = max(0.0, self._tenancy.sent_s + self._tenancy.left_s - sent_s)
        return replace(new, paused=replace(new.paused, left_s=min(left_s, old.paused.left_s)))

    def _tell(self, base_s: float) -> None:
        if self._let_go:
            return
        if self._told_s is None or base_s > self._told_s:
            self._told_s = base_s  # it may be in force also when the answer is lost
        self._renewed(base_s)
        self._told_s = base_s

    def _landed(self, new: Leader, revision: int, sent_s: float) -> None:
        now_s, before = self.clock.now_s(), self._tenancy
        self.margin.renewed(before.sent_s + before.left_s + self.timing.f_soft_s - now_s, now_s)
        self._leader, self._revision, self._doubts, self._own = new, revision, [], True
        self._tenancy = replace(self._tenancy, sent_s=max(sent_s, self._tenancy.sent_s), left_s=new.left_s)
        self._next_s = self._tenancy.sent_s + self.timing.k_s
        self._show()
        if new.tenure is Tenure.RELEASED:
            self._drop()
        else:
            self._tell(max(sent_s + new.left_s, self._tenancy.sent_s))

    def _settle(self, *, moved: bool = False) -> None:
        """After an unknown outcome or a conflict: what does the key say? A write of ours that is seen there counts
        from its sending; somebody else's ends the tenancy; no answer leaves everything as it was."""
        if self._leader is None or not (self._doubts or moved):
            return
        try:
            snapshot = self.store.read(self.key, deadline_s=self.clock.now_s() + self.timing.a_s)
        except StoreDown:
            return
        entry = snapshot.entries.get(self.key)
        if entry is None:
            self._lose()
            return
        if entry.revision == self._revision:
            return
        seen = parse_value(self.key, entry.value, parse_leader)
        mine = [sent_s for leader, sent_s in self._doubts if leader == seen]
        if isinstance(seen, Problem) or not mine:
            self._lose()
            return
        if not self._own:  # an earlier agent's late attempt may be equal to this one's: it landed after the adoption
            mine.append(self._tenancy.sent_s)
        self._landed(seen, entry.revision, min(mine))
