"""Figures of the bench: medians and their like, and the lines of its table. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median


@dataclass(frozen=True, slots=True)
class Spread:
    """Several measurements of one thing, in its unit."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle one."""
        return float(median(self.values))

    @property
    def p90(self) -> float:
        """Nine of ten are not greater (nearest rank)."""
        ordered = sorted(self.values)
        return ordered[max(0, -(-9 * len(ordered) // 10) - 1)]

    @property
    def max(self) -> float:
        """The greatest."""
        return max(self.values)


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table. limit None: printed only. `unit` is appended to every number.

    Judged is the median. rows_lost and two_writers are -1 where that can't happen; broken: not all rounds were done.
    """

    name: str
    spread: Spread
    unit: str
    limit: float | None = None
    why: str = ""
    rows_lost: int = -1
    two_writers: int = -1
    ratio: float | None = None
    broken: bool = False

    @property
    def good(self) -> bool:
        """All rounds done, within the limit, nothing lost, one writer."""
        if self.broken or max(self.rows_lost, self.two_writers) > 0:
            return False
        return self.limit is None or self.spread.median <= self.limit

    def beside(self, base: float) -> Line:
        """The same with its ratio to a baseline."""
        return replace(self, ratio=self.spread.median / base)

    @property
    def verdict(self) -> str:
        """A word for the last column."""
        if self.limit is None and self.good:
            return "-"
        return "ok" if self.good else "MISSED"

    def cells(self) -> list[str]:
        """Text for each column."""
        whole, digits = self.spread, 3 if self.unit == "s" else 1
        number = [f"{x:.{digits}f}" for x in (whole.median, whole.p90, whole.max)]
        return [
            self.name,
            str(len(whole.values)),
            *number,
            self.unit,
            "" if self.limit is None else f"<= {self.limit:.{digits}f}",
            "" if self.ratio is None else f"{self.ratio:.2f}",
            *("" if n < 0 else str(n) for n in (self.rows_lost, self.two_writers)),
            self.verdict,
            self.why,
        ]


HEADS = ["figure", "n", "median", "p90", "max", "unit", "target", "x base", "lost", "two", "verdict", ""]


def table(lines: Sequence[Line]) -> str:
    """Aligned plain text."""
    rows = [HEADS, *(line.cells() for line in lines)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADS))]
    return "\n".join(
        "  ".join(c.ljust(w) if i in (0, 11) else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        .rstrip()
        for row in rows
    )  # fmt: skip
