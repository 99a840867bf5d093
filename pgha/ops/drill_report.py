"""What a drill found: a round, the report, and whether it passed. Pure.

May import the errors' exit codes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import median
from xml.sax.saxutils import escape, quoteattr

from pgha.errors import Exit


@dataclass(frozen=True, slots=True)
class Round:
    """One fault. outage_s: the longest time without an acknowledgement; whole_s: from the fault until healthy again.

    acked, lost and two_writers are those of all rounds so far.
    """

    number: int
    source: str
    target: str
    epoch: int
    outage_s: float
    whole_s: float
    acked: int
    lost: int | None
    two_writers: int
    store_leader: bool = False

    def line(self, of: int) -> str:
        """One plain line."""
        lost = "lost unknown" if self.lost is None else f"lost {self.lost}"
        return (
            f"round {self.number}/{of}: {self.source} -> {self.target} (epoch {self.epoch}), writes stopped "
            f"{self.outage_s:.3f} s, acknowledged {self.acked}, {lost}, two writers {self.two_writers}, "
            f"whole again after {self.whole_s:.1f} s"
        )


@dataclass(frozen=True, slots=True)
class DrillReport:
    """All rounds of one fault. `problem`: why the drill ended early, "" when it did not."""

    cluster: str
    fault: str
    budget_s: float
    rounds: tuple[Round, ...]
    acked: int
    unsure: int
    lost: int | None
    duplicates: int
    two_writers: int
    history: str = ""
    problem: str = ""

    @property
    def outage_p50_s(self) -> float:
        """The median round."""
        return float(median(r.outage_s for r in self.rounds)) if self.rounds else 0.0

    @property
    def outage_max_s(self) -> float:
        """The worst round."""
        return max((r.outage_s for r in self.rounds), default=0.0)

    def failures(self) -> list[str]:
        """Why it failed; nothing when it passed."""
        found = [self.problem] if self.problem else []
        if self.outage_max_s > self.budget_s:
            found.append(f"writes stopped for {self.outage_max_s:.3f} s, the budget is {self.budget_s:g} s")
        if self.lost is None:
            found.append("the surviving rows could not be read, so nothing is known about losses")
        elif self.lost:
            found.append(f"{self.lost} acknowledged rows are missing")
        if self.two_writers:
            found.append(f"{self.two_writers} rows were acknowledged by a second writer")
        if self.duplicates:
            found.append(f"{self.duplicates} rows are there twice")
        return found

    @property
    def exit(self) -> Exit:
        """0 for PASS, 5 for FAIL."""
        return Exit.ROLLED_BACK if self.failures() else Exit.OK

    def lines(self) -> list[str]:
        """The totals, and PASS or FAIL with its reasons."""
        lost = "unknown" if self.lost is None else str(self.lost)
        head = f"{self.fault}, {len(self.rounds)} rounds: writes stopped {self.outage_p50_s:.3f} s (median), "
        head += (
            f"{self.outage_max_s:.3f} s (worst); acknowledged {self.acked}, lost {lost}, two writers {self.two_writers}"
        )
        failures = self.failures()
        return [head, *(f"FAIL: {why}" for why in failures)] if failures else [head, "PASS"]

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return {
            "schema_version": 1,
            **asdict(self),
            "outage_p50_s": self.outage_p50_s,
            "outage_max_s": self.outage_max_s,
            "passed": not self.failures(),
            "failures": self.failures(),
        }

    def as_junit(self) -> str:
        """One case a round, and one for the whole; its failures are the drill's."""
        name = quoteattr(f"pgha drill {self.fault} on {self.cluster}")
        failures = self.failures()
        cases = [
            f'  <testcase classname={name} name={quoteattr(r.line(len(self.rounds)))} time="{r.whole_s:.3f}"/>'
            for r in self.rounds
        ]
        told = "".join(f"<failure message={quoteattr(why)}>{escape(why)}</failure>" for why in failures)
        cases.append(f"  <testcase classname={name} name={quoteattr(self.lines()[0])}>{told}</testcase>")
        head = f'<testsuite name={name} tests="{len(cases)}" failures="{int(bool(failures))}">'
        return "\n".join(['<?xml version="1.0" encoding="UTF-8"?>', head, *cases, "</testsuite>", ""])


def from_verdict(verdict: Mapping[str, object], report: DrillReport) -> DrillReport:
    """The same report with the judge's last numbers."""
    lost = verdict["lost"]
    numbers = {name: int(str(verdict[name])) for name in ("acked", "unsure", "duplicates", "two_writers")}
    return DrillReport(
        report.cluster,
        report.fault,
        report.budget_s,
        report.rounds,
        lost=None if lost is None else int(str(lost)),
        history=report.history,
        problem=report.problem,
        **numbers,
    )
