"""What the agent remembers in this life only. Values; may import core and the watchdog's own counters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

from pgha.core.model import Copy, Leader, Position
from pgha.core.server import Walsender
from pgha.watchdog.attempts import Attempts
from pgha.watchdog.configuring import Configuring
from pgha.watchdog.crashes import Crashes
from pgha.watchdog.starts import Starts
from pgha.watchdog.upstreams import Upstream


@dataclass(slots=True)
class Notes:
    """A fresh agent begins with nothing and is none the less safe."""

    key: tuple[int, float] = (0, 0.0)  # revision of the leader key, when it was first seen
    sealed: tuple[float, Position] | None = None  # start of the server, measured position
    bid: tuple[int, float] = (0, 0.0)
    missing: dict[Copy, float] = field(default_factory=dict)
    replies: dict[str, tuple[str, float]] = field(default_factory=dict)  # the last one, when it was first seen
    greeted: frozenset[Copy] = frozenset()
    mark: tuple[str, int] | None = None
    order: tuple[str, float] = ("", 0.0)
    chore: tuple[str, float] = ("", 0.0)  # the order for this node alone
    configuring: Configuring = field(default_factory=Configuring)
    prepared: str = ""
    preparing: tuple[str, int] = ("", 0)
    switched: tuple[str, float, int] = ("", 0.0, 0)  # an order; when its switch of WAL was seen to be done, and where
    rewound: tuple[int, int] = (0, 0)
    start_after_s: float = 0.0
    forget: tuple[int, ...] = ()  # timelines that were given up: the next start is without their history
    starts: Starts = field(default_factory=Starts)
    crashes: Crashes = field(default_factory=Crashes)
    answers_s: float = -inf  # when the store answered again after a silence
    silent: bool = False  # the last read of it failed
    ended: int = 0  # the epoch that was let go while the store was silent
    unwell: int = 0  # the epoch whose server was ended because it did not answer
    unwell_why: str = ""  # when it was for another reason
    ailment: str = ""  # what makes this node one that nobody reaches
    clones: Attempts = field(default_factory=Attempts)
    rung: str = ""  # which rung of a rejoin is at work, and why
    health_s: float = 0.0
    excused_until_s: float = 0.0
    claim: tuple[Leader, float] | None = None
    settled: tuple[int, bool, frozenset[str]] = (0, False, frozenset())  # epoch, primary, who reports
    problem: str = ""
    trouble: str = ""  # the last one that went into the log
    phases: dict[str, float] = field(default_factory=dict)
    free_s: float = 0.0
    checkpoint_base: int = 0
    kept: tuple[str, ...] = ()
    upstream: Upstream = field(default_factory=Upstream)

    def heard(self, walsenders: Sequence[Walsender], now_s: float) -> dict[str, float]:
        """For how long each walsender has shown the same reply, by its name; by this node's clock, never by the
        standby's. The first look begins anew, and who tells no time of a reply is not silent."""
        before = self.replies
        self.replies = {w.name: (w.replied, now_s) for w in walsenders if w.replied}
        for name, (replied, at_s) in before.items():
            if self.replies.get(name, ("", 0.0))[0] == replied:
                self.replies[name] = (replied, at_s)
        return {name: now_s - at_s for name, (_, at_s) in self.replies.items()}
