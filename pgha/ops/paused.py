"""What the store shows of a pause: who asked for it, why, how long it still lasts, and what ends it. Pure.

May import core and ops.target only.
"""

from __future__ import annotations

from dataclasses import dataclass

from pgha.core.model import Leader, Member, Pause
from pgha.errors import Exit
from pgha.ops.target import Target


@dataclass(frozen=True, slots=True)
class Paused:
    """holder: whose key is paused. reports: it does so now. left_s: as the holder said, less the age of its report."""

    pause: Pause
    holder: str
    reports: bool
    left_s: float
    ago_s: float

    @property
    def text(self) -> str:
        """Why, by whom, how long."""
        asked = f"asked by {self.pause.asked_by or 'somebody'} {span_text(self.ago_s)} ago"
        return f"{self.pause.reason}; {asked}, {span_text(self.left_s)} left"

    def resume(self, target: Target) -> str:
        """The command that ends it: with its holder, or without it when that is silent."""
        return target.command("resume" if self.reports else f"resume --holder-down {self.holder}")

    def judged(self, verdict: str, code: Exit, notes: list[str]) -> tuple[str, Exit, list[str]]:
        """The verdict on a cluster that is paused besides."""
        said = f"PAUSED: {self.text}"
        if code in (Exit.OK, Exit.DEGRADED):
            return "PAUSED", Exit.DEGRADED, [said, *notes]
        return f"PAUSED, {verdict}", code, [*notes[:1], said, *notes[1:]]

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        pause = self.pause
        facts = {"holder": self.holder, "reports": self.reports, "left_s": round(self.left_s, 1)}
        return {"reason": pause.reason, "asked_by": pause.asked_by, "at": pause.at, "for_s": pause.for_s} | facts


def paused(leader: Leader | None, member: Member | None, at: float, *, reports: bool) -> Paused | None:
    """member: the holder's record. at: wall clock of the look. None when nothing is paused."""
    if leader is None or leader.paused is None:
        return None
    age = max(0.0, at - member.written_at) if member is not None else 0.0
    left_s = max(0.0, leader.left_s - age)
    return Paused(leader.paused, leader.holder.node, reports, left_s, max(0.0, at - leader.paused.at))


def span_text(seconds: float) -> str:
    """A time as people say it: 40s, 12m, 3h05m, 2d04h."""
    if seconds < 120:
        return f"{seconds:.0f}s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes}m"
    hours = round(seconds / 3600)
    return f"{minutes // 60}h{minutes % 60:02d}m" if hours < 48 else f"{hours // 24}d{hours % 24:02d}h"
