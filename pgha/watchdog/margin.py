"""How close the holder came to stopping: what was left of its lease at each renewal. For people; decides nothing."""

from __future__ import annotations

from collections import deque
from math import inf

NEAR = 1 / 3  # of F_soft: less than that was left
DAY_S = 86400.0
KEPT = 1000  # near misses that are counted


class Margin:
    """Of one keeper: the smallest rest within the last day, and how often little was left. Times are BOOTTIME."""

    def __init__(self, f_soft_s: float) -> None:
        self.limit_s = f_soft_s * NEAR
        self.least_s, self.least_at_s = inf, 0.0
        self._near: deque[tuple[float, float]] = deque(maxlen=KEPT)
        self._untold: deque[float] = deque(maxlen=KEPT)

    def renewed(self, left_s: float, now_s: float) -> None:
        """The holder knows at `now_s` that a renewal landed; without it, it would have stopped in `left_s`."""
        if left_s <= self.least_s or now_s - self.least_at_s > DAY_S:
            self.least_s, self.least_at_s = left_s, now_s
        if left_s < self.limit_s:
            self._near.append((now_s, left_s))
            self._untold.append(left_s)

    def near(self, now_s: float) -> int:
        """Near misses of the last day."""
        return sum(1 for at_s, _ in list(self._near) if now_s - at_s <= DAY_S)

    def untold(self) -> list[float]:
        """The rests of near misses that nobody has asked for yet, in seconds."""
        found = []
        while self._untold:
            found.append(self._untold.popleft())
        return found
