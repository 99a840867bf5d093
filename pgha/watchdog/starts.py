"""The starts of this node's server that did not last: how long the next one waits, and what is told of them."""

from __future__ import annotations

from dataclasses import dataclass, field

from pgha.core.budget import RETRY_S, START_WINDOW_S, STARTS_FREE, STARTS_MAX, STEADY_S, start_delay_s
from pgha.core.server import Running, ServerView

SAID_MAX = 180


@dataclass(slots=True)
class Starts:
    """In this life of the agent. `said`: why the last one that has ended failed."""

    times: list[float] = field(default_factory=list)
    said: str = ""
    exits: int = 0  # of the server, as last seen

    def began(self, now_s: float) -> float:
        """One more. Gives the moment before which there is no other. Until it has ended, the reason of the last one
        that has stands."""
        self.times = [*self._recent(now_s), now_s]
        return now_s + start_delay_s(len(self.times))

    def look(self, server: ServerView, now_s: float) -> None:
        """All are forgotten once the server stays up, or has answered and is ended on order."""
        if server.running is Running.DOWN and server.exits != self.exits:
            self.said, self.exits = server.why, server.exits
        asked = server.running is Running.STOPPING or bool(server.job)
        if server.answered_s > 0.0 and (asked or now_s - server.since_s >= STEADY_S):
            self.times, self.said = [], ""

    def failed(self, now_s: float) -> int:
        """How many did not last."""
        return len(self._recent(now_s))

    def problem(self) -> str:
        """For list and explain; empty while it is nothing to speak of. Says the same until another start is made."""
        count = len(self.times)
        if count <= STARTS_FREE:
            return ""
        pace = f"; tried every {RETRY_S:g} s, at once by pgha watchdog --restart" if count >= STARTS_MAX else ""
        last = (self.said or "no answer yet")[:SAID_MAX]
        return f"started {count} times in {self.times[-1] - self.times[0]:.0f} s, last: {last}{pace}"

    def _recent(self, now_s: float) -> list[float]:
        return [s for s in self.times if now_s - s < START_WINDOW_S]
