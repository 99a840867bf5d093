"""The lease's times: both inequalities hold for every allowed H, and a violated one says so with its numbers."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pgha.core.timing import H_MAX_S, H_MIN_S, Timing, timing_for

ALLOWED = st.floats(min_value=H_MIN_S, max_value=H_MAX_S)


@given(ALLOWED)
@example(5.0)
@example(6.0)
@example(300.0)
def test_a_fenced_primary_is_dead_before_anybody_else_may_write(h: float) -> None:
    timing = timing_for(h)
    # The holder's clock may run slow and the observer's fast, by 1 % of H together; kill 0.5 s, polling 0.25 s.
    assert timing.f_hard_s + 0.5 + 0.01 * h + 0.25 <= h + 1e-9


@given(ALLOWED)
@example(5.0)
@example(300.0)
def test_one_lost_renewal_never_ends_a_term(h: float) -> None:
    timing = timing_for(h)
    assert timing.k_s + 2 * timing.a_s <= timing.f_soft_s


@given(ALLOWED)
def test_the_deadlines_come_in_order(h: float) -> None:
    timing = timing_for(h)
    assert 0 < timing.k_s < timing.f_soft_s < timing.f_hard_s < timing.h_s
    assert timing.k_s < timing.health_fresh_s  # a verdict outlives one renewal
    assert timing.voter_drop_s >= 2.0


def test_the_default_of_six_seconds_has_the_designs_numbers() -> None:
    timing = timing_for(6.0)
    assert timing.problems() == ()
    assert (timing.k_s, timing.a_s) == (0.75, 0.75)
    assert timing.f_hard_s == pytest.approx(5.19)
    assert timing.f_soft_s == pytest.approx(3.99)
    assert (timing.voter_drop_s, timing.health_fresh_s) == (3.0, 3.0)


@pytest.mark.parametrize("h", [4.999, 300.001, 0.0, -6.0, float("nan"), float("inf")])
def test_an_h_out_of_range_is_refused_with_the_range(h: float) -> None:
    with pytest.raises(ValueError, match="must be 5 to 300 s"):
        timing_for(h)


@pytest.mark.parametrize("h", [5.0, 300.0])
def test_the_ends_of_the_range_are_allowed(h: float) -> None:
    assert timing_for(h).h_s == h


def test_a_measured_kill_time_that_is_too_long_violates_safety() -> None:
    (problem,) = Timing(6.0, kill_s=0.8).problems()
    assert problem.startswith("safety: F_hard 5.190 + kill 0.8 ")
    assert problem.endswith("= 6.300 s, must be at most H = 6 s")


@pytest.mark.parametrize("timing", [Timing(6.0, kill_s=0.501), Timing(6.0, poll_s=0.251), Timing(6.0, rate=0.0102)])
def test_there_is_no_slack_in_the_safety_inequality(timing: Timing) -> None:
    assert len(timing.problems()) == 1


def test_deadlines_that_leave_no_time_for_a_second_attempt_violate_liveness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pgha.core.timing.FAST_STOP_S", 3.0)
    (problem,) = Timing(6.0).problems()
    assert problem == "liveness: K 0.750 + 2 x A 0.750 = 2.250 s, must be at most F_soft = 2.190 s"


def test_explain_prints_the_numbers_and_what_is_violated() -> None:
    good = timing_for(6.0).explain()
    assert any(line.split()[:2] == ["F_hard", "5.190"] for line in good)
    assert any("= 6.000 <= H = 6.000" in line for line in good)
    assert not any("violated" in line for line in good)
    assert any("violated  safety" in line for line in Timing(6.0, kill_s=1.0).explain())
