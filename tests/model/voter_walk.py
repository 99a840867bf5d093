"""A model of one primary's synchronous commit: it walks `voters.next_step` through a world that moves meanwhile.

PostgreSQL as it is (redteam, findings 4 and 14): every walsender goes by the setting it has read itself, late; its
priority stands in shared memory for all to count; whether commits wait at all is the checkpointer's to know, late too.
The agent looks, the world moves, it acts; it may die within a step. What must hold after every event: the highest
commit that was ever acknowledged satisfies an entry of `sync`: the holder alone, or k of its voters have flushed it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from pgha.core.model import Copy, Rule
from pgha.core.voters import (
    AddEntry,
    ChangeNames,
    ClearEntries,
    DropEntries,
    Follower,
    ReadMark,
    Settled,
    Step,
    VoterView,
    WaitFlush,
    barrier,
    copies_for,
    names,
    next_step,
    parse_names,
)

ME, EPOCH, DROP_AFTER_S = Copy("me", "d0"), 3, 3.0


class Unlisted(Exception):
    """A commit was acknowledged that no entry of `sync` answers for."""


@dataclass(slots=True)
class Walsender:
    """setting: (k, names) as this process has read it. reported: the flush LSN its follower last told."""

    copy: Copy
    setting: tuple[int, frozenset[str]]
    reported: int

    @property
    def priority(self) -> int:
        return int(self.copy.standby_name(EPOCH) in self.setting[1])


class Walk:
    """One run. `bug` breaks the agent: no_barrier, no_wait, names_first, old_mark."""

    def __init__(self, seed: int, bug: str = "") -> None:
        self.random, self.bug = Random(seed), bug
        self.flushed = {Copy(f"n{i}", f"d{i}"): 0 for i in range(self.random.randint(1, 4))}
        self.clones, self.wal_end, self.acked = 0, 1, 0
        self.configured, self.durability = 0, self.random.choice(("quorum", "quorum", "strict"))
        self.keep_out: frozenset[Copy] = frozenset()
        self.missing = dict.fromkeys(self.flushed, 0.0)
        voters = frozenset(self.flushed)
        self.sync: tuple[Rule, ...] = (Rule(ME, voters, copies_for(len(voters), 0)),)
        self.text = names(self.sync[0], EPOCH)  # as the postmaster has it, and so each new process
        self.waits = True  # the checkpointer's word: are there synchronous standbys at all
        self.mark: int | None = None
        self.walsenders: dict[Copy, Walsender] = {}
        for copy in self.flushed:
            self.connect(copy)

    # -- the world ------------------------------------------------------------------------------------------------
    def setting(self) -> tuple[int, frozenset[str]]:
        parsed = parse_names(self.text)
        assert parsed is not None, self.text
        return parsed

    def connect(self, copy: Copy) -> None:
        if copy not in self.walsenders:
            self.walsenders[copy] = Walsender(copy, self.setting(), self.flushed[copy])

    def disconnect(self, copy: Copy) -> None:
        self.walsenders.pop(copy, None)

    def replicate(self, copy: Copy) -> None:
        if copy in self.walsenders:
            self.flushed[copy] = self.random.randint(self.flushed[copy], self.wal_end)

    def reload(self, copy: Copy) -> None:
        if copy in self.walsenders:
            self.walsenders[copy].setting = self.setting()

    def reply(self, copy: Copy) -> None:
        """A standby's reply: its walsender lets go whom its own setting lets go."""
        if copy not in self.walsenders:
            return
        walsender = self.walsenders[copy]
        walsender.reported = self.flushed[copy]
        counting = sorted((w.reported for w in self.walsenders.values() if w.priority), reverse=True)
        k = walsender.setting[0]
        if walsender.priority and len(counting) >= k:
            self.acked = max(self.acked, counting[k - 1])

    def checkpointer(self) -> None:
        self.waits = bool(self.text)

    def write(self) -> None:
        self.wal_end += 1

    def tick(self) -> None:
        for copy in self.flushed:
            self.missing[copy] = 0.0 if copy in self.walsenders else self.missing[copy] + 1.6

    def clone(self, copy: Copy) -> None:
        """The node comes back with another directory; the old one never does."""
        self.clones += 1
        self.disconnect(copy)
        new = Copy(copy.node, f"c{self.clones}")
        self.flushed[new], self.missing[new] = self.wal_end - 1, 0.0
        self.connect(new)

    def change_settings(self) -> None:
        self.configured = self.random.randint(0, 3)
        everyone = sorted(self.flushed)
        self.keep_out = frozenset(self.random.sample(everyone, 1) if self.random.random() < 0.5 else ())
        if self.random.random() < 0.3:
            self.durability = self.random.choice(("quorum", "strict", "async"))

    def event(self) -> None:
        copy = self.random.choice(sorted(self.flushed)[-6:])
        actions: dict[Callable[[], None], float] = {
            self.write: 4, self.checkpointer: 2, self.tick: 3, self.change_settings: 0.3,
            lambda: self.connect(copy): 3, lambda: self.replicate(copy): 6, lambda: self.reload(copy): 4,
            lambda: self.reply(copy): 6, lambda: self.clone(copy): 0.1,
            lambda: self.disconnect(copy): 2,
        }  # fmt: skip
        self.random.choices(list(actions), list(actions.values()))[0]()
        self.check()

    def check(self) -> None:
        """The invariant. Without a single entry (async) nothing is promised."""
        if not self.waits:
            self.acked = self.wal_end
        if not self.sync:
            self.acked = 0
        if self.acked and not any(self.satisfied(rule) for rule in self.sync):
            raise Unlisted(f"{self.acked} acknowledged, flushed {self.flushed}, sync {self.sync}")

    def satisfied(self, rule: Rule) -> bool:
        return sum(self.flushed[v] >= self.acked for v in rule.voters) >= rule.k

    # -- the agent --------------------------------------------------------------------------------------------------
    def look(self) -> VoterView:
        followers = tuple(
            Follower(w.copy, EPOCH, True, w.reported, w.priority, 0.0, w.reported >= self.wal_end - 3)
            for w in self.walsenders.values()
        )
        return VoterView(
            ME, EPOCH, self.sync, self.text, followers, dict(self.missing), self.configured, DROP_AFTER_S,
            self.durability, self.mark, self.keep_out,
        )  # fmt: skip

    def act(self, between: Callable[[], None]) -> Step:
        """One look and its half-step; `between` is what the world does meanwhile."""
        step = next_step(self.look())
        if self.bug == "no_wait" and isinstance(step, WaitFlush):
            step = DropEntries(self.sync[-1])
        between()
        match step:
            case AddEntry(rule):
                if self.bug == "names_first":
                    self.text = names(rule, EPOCH)
                    between()
                self.sync = (*self.sync, rule)
            case ChangeNames():
                self.change_names(step, between)
            case ReadMark():
                self.mark = self.wal_end
            case DropEntries(rule):
                assert rule == self.sync[-1]
                self.sync = (rule,)
            case ClearEntries():
                self.sync = ()
            case WaitFlush() | Settled():
                pass
        self.check()
        return step

    def change_names(self, step: ChangeNames, between: Callable[[], None]) -> None:
        if self.bug != "old_mark":
            self.mark = None
        if step.barrier and self.bug != "no_barrier":
            self.text = barrier()
            for _ in range(4):
                between()
            if not self.waits or any(w.priority for w in self.walsenders.values()):
                return  # it has not come through in time, or the agent died: the next look finds the barrier
        self.text = step.text

    def run(self, events: int) -> None:
        """Raises Unlisted."""
        for _ in range(events):
            self.event()
            if self.random.random() < 0.3:
                self.act(self.meanwhile)
            if self.random.random() < 0.02:
                self.mark = None  # a fresh agent knows no mark

    def meanwhile(self) -> None:
        for _ in range(self.random.choice((0, 0, 1, 3))):
            self.event()

    def calm(self) -> None:
        """Nobody comes or goes any more; who is connected does its duty."""
        self.checkpointer()
        self.tick()
        for copy in list(self.walsenders):
            self.reload(copy)
            self.flushed[copy] = self.wal_end
            self.reply(copy)
        self.check()

    def settle(self, looks: int) -> Step:
        """The world stands still: the last step of at most so many."""
        for _ in range(3):
            self.tick()  # who is missing is missing for good
        step: Step = ReadMark()
        for _ in range(looks):
            self.calm()
            step = self.act(self.calm)
            if step == Settled():
                break
        return step
