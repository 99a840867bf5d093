"""The budget of clones: how soon the next one may begin. Pure; the agent keeps it for its life."""

from __future__ import annotations

from dataclasses import dataclass

PAUSE_S = 0.5  # before the second clone from one holder; doubled with each further one
PAUSE_MAX_S = 60.0


@dataclass(slots=True)
class Attempts:
    """Clones from one holder (an epoch). `paused`: the attempt after which the pause was counted."""

    epoch: int = 0
    count: int = 0
    paused: int = 0
    after_s: float = 0.0

    def begin(self, epoch: int, now_s: float) -> bool:
        """Count one more attempt; False while the pause after the one before lasts. Another holder is tried at once.

        The pause begins when the next attempt is first asked for, which is after the end of the one before.
        """
        if epoch != self.epoch:
            self.epoch, self.count, self.paused, self.after_s = epoch, 0, 0, 0.0
        if self.paused != self.count:
            self.paused = self.count
            self.after_s = now_s + min(PAUSE_S * 2.0 ** (self.count - 1), PAUSE_MAX_S)
        if now_s < self.after_s:
            return False
        self.count += 1
        return True
