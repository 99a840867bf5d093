"""Primaries, anybody's, that crashed right after their take-over: counted by what the leader key shows."""

from __future__ import annotations

from dataclasses import dataclass, field

from pgha.core.budget import CRASH_WINDOW_S, SHORT_LIFE_S
from pgha.core.model import Leader, Tenure

KEPT = 100


@dataclass(slots=True)
class Crashes:
    """In this life of the agent. One that crashes now and then is no reason to wait, and does not count."""

    epoch: int = 0
    born_s: float = 0.0
    planned: bool = False
    at_s: dict[int, float] = field(default_factory=dict)  # by epoch

    def look(self, leader: Leader, now_s: float) -> None:
        """The key as it is now; epochs that came and went between two looks have not lived long."""
        if leader.epoch > self.epoch:
            if self.epoch:
                gone = range(self.epoch if self._is_short(now_s) else self.epoch + 1, leader.epoch)
                self._count(gone[-KEPT:], now_s)
            self.epoch, self.born_s, self.planned = leader.epoch, now_s, False
        if leader.tenure is Tenure.RELEASED:
            self.planned = leader.clean
            if self._is_short(now_s):
                self._count((leader.epoch,), now_s)

    def recent(self, now_s: float) -> int:
        """How many, within the window; 0 when the present epoch is none of them."""
        if self.epoch not in self.at_s:
            return 0
        return sum(1 for at_s in self.at_s.values() if now_s - at_s < CRASH_WINDOW_S)

    def _is_short(self, now_s: float) -> bool:
        return not self.planned and now_s - self.born_s < SHORT_LIFE_S

    def _count(self, epochs: range | tuple[int, ...], now_s: float) -> None:
        for epoch in epochs:
            self.at_s.setdefault(epoch, now_s)
        for epoch in sorted(self.at_s)[:-KEPT]:
            del self.at_s[epoch]
