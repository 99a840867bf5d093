"""The lease's times, all from one knob, and the two inequalities that make them right. docs/timings.md derives them.

Duty: numbers only. May import nothing of pgha. All times are seconds on one clock that runs through suspend
(CLOCK_BOOTTIME); nobody compares two clocks, only how fast they run (design, section 5).
"""

from __future__ import annotations

from dataclasses import dataclass

H_MIN_S = 5.0  # below, an ordinary election of etcd (gaps of 1.0 to 2.3 s) would interrupt writes
H_MAX_S = 300.0
FAST_STOP_S = 1.2  # what PostgreSQL gets for a fast stop, between F_soft and F_hard
_ROUNDING_S = 1e-9  # F_hard uses up the safety inequality exactly; floats do not add up exactly


@dataclass(frozen=True, slots=True)
class Timing:
    """The times that follow from `h_s` (the setting `failover_after`), counted from the sending of the last renewal
    that succeeded.

    The deadlines are fixed fractions of H. `kill_s`, `poll_s` and `rate` are what they were made for: how long the
    guard needs to end a process tree, how late it may wake up, and by how much two hosts' clocks may differ in rate.
    Give measured values, and `problems` says whether the deadlines still hold.
    """

    h_s: float
    kill_s: float = 0.5
    poll_s: float = 0.25
    rate: float = 0.01

    @property
    def k_s(self) -> float:
        """K: from one renewal of the leader key to the next."""
        return self.h_s / 8

    @property
    def a_s(self) -> float:
        """A: the budget of one attempt to renew; after it another member of the store has been asked too."""
        return self.h_s / 8

    @property
    def f_soft_s(self) -> float:
        """F_soft: without a renewal for so long the holder stops its server (fast)."""
        return self.f_hard_s - FAST_STOP_S

    @property
    def f_hard_s(self) -> float:
        """F_hard: without a renewal for so long the guard kills the process tree."""
        return 0.99 * self.h_s - 0.75

    @property
    def voter_drop_s(self) -> float:
        """A voter that has not been streaming for so long is dropped (design, section 6)."""
        return max(2.0, self.h_s / 2)

    @property
    def health_fresh_s(self) -> float:
        """The holder renews only while its last good health verdict is younger than this (design, section 3)."""
        return max(2.0, self.h_s / 2)

    @property
    def fenced_s(self) -> float:
        """When the holder's tree is gone at the latest, in seconds of the observer's clock."""
        return self.f_hard_s + self.kill_s + self.rate * self.h_s + self.poll_s

    def silent_after_s(self, left_s: float) -> float:
        """Silence after which another node may take over: H, and before it what is left of a pause, on a slow clock."""
        return self.h_s + left_s * (1.0 + self.rate)

    @property
    def two_attempts_s(self) -> float:
        """When the second attempt to renew is over: one lost attempt must not end a term."""
        return self.k_s + 2 * self.a_s

    def problems(self) -> tuple[str, ...]:
        """Each inequality that does not hold, with its numbers; empty when all is well."""
        if not H_MIN_S <= self.h_s <= H_MAX_S:
            return (f"range: failover_after is {self.h_s:g} s, must be {H_MIN_S:g} to {H_MAX_S:g} s",)
        found = []
        if not self.fenced_s <= self.h_s + _ROUNDING_S:
            found.append(
                f"safety: F_hard {self.f_hard_s:.3f} + kill {self.kill_s:g} + {self.rate:.1%} of H"
                f" {self.rate * self.h_s:.3f} + polling {self.poll_s:g} = {self.fenced_s:.3f} s, must be at most"
                f" H = {self.h_s:g} s"
            )
        if not self.two_attempts_s <= self.f_soft_s + _ROUNDING_S:
            found.append(
                f"liveness: K {self.k_s:.3f} + 2 x A {self.a_s:.3f} = {self.two_attempts_s:.3f} s, must be at most"
                f" F_soft = {self.f_soft_s:.3f} s"
            )
        return tuple(found)

    def explain(self) -> list[str]:
        """The numbers and the inequalities, a line each, for `pgha check`."""
        return [
            f"H       {self.h_s:8.3f} s  silence after which another node may take over (failover_after)",
            f"K       {self.k_s:8.3f} s  between two renewals of the leader key",
            f"A       {self.a_s:8.3f} s  budget of one attempt to renew",
            f"F_soft  {self.f_soft_s:8.3f} s  without renewal: the primary stops (fast)",
            f"F_hard  {self.f_hard_s:8.3f} s  without renewal: the guard kills the process tree",
            f"voters  {self.voter_drop_s:8.3f} s  without streaming: a voter is dropped",
            f"health  {self.health_fresh_s:8.3f} s  age at which a health verdict no longer allows a renewal",
            f"safety    F_hard + kill + {self.rate:.1%} of H + polling = {self.fenced_s:.3f} <= H = {self.h_s:.3f}",
            f"liveness  K + 2 A = {self.two_attempts_s:.3f} <= F_soft = {self.f_soft_s:.3f}",
            *(f"violated  {problem}" for problem in self.problems()),
        ]


def timing_for(h_s: float) -> Timing:
    """The times for this H. Raises ValueError with every violated inequality."""
    timing = Timing(h_s)
    problems = timing.problems()
    if problems:
        raise ValueError("; ".join(problems))
    return timing
