"""Primaries that crash right after their take-over are counted, and no others."""

from __future__ import annotations

from dataclasses import replace

from pgha.core.budget import CRASH_WINDOW_S, SHORT_LIFE_S
from pgha.core.model import Copy, Leader, Tenure
from pgha.watchdog.crashes import Crashes

HELD = Leader(Copy("n1", "a"), "life", 5, 1, Tenure.HELD, ())
LONG_S = SHORT_LIFE_S + 1.0


def seen(*looks: tuple[float, Leader]) -> int:
    """How many are counted after these looks."""
    crashes = Crashes()
    for at_s, leader in looks:
        crashes.look(leader, at_s)
    return len(crashes.at_s)


def freed(leader: Leader, *, clean: bool = False) -> Leader:
    return replace(leader, tenure=Tenure.RELEASED, clean=clean)


def after(leader: Leader, epochs: int = 1) -> Leader:
    return replace(leader, epoch=leader.epoch + epochs)


def test_a_short_life_that_ends_in_a_crash_counts_once_however_often_it_is_seen() -> None:
    looks = [(0.0, HELD), (1.0, freed(HELD)), (1.1, freed(HELD)), (1.2, after(HELD))]
    assert seen(*looks) == 1


def test_a_long_life_and_a_planned_end_do_not_count() -> None:
    assert seen((0.0, HELD), (LONG_S, freed(HELD)), (LONG_S, after(HELD))) == 0
    assert seen((0.0, HELD), (1.0, freed(HELD, clean=True)), (1.1, after(HELD))) == 0


def test_a_life_whose_end_was_not_seen_counts_by_the_next_one() -> None:
    assert seen((0.0, HELD), (1.0, after(HELD))) == 1
    assert seen((0.0, HELD), (LONG_S, after(HELD))) == 0
    assert seen((0.0, HELD), (LONG_S, after(HELD, 4))) == 3, "three came and went between two looks"


def test_a_crash_after_a_long_life_is_not_held_up_by_those_before() -> None:
    crashes = Crashes()
    crashes.look(HELD, 0.0)
    crashes.look(freed(HELD), 1.0)
    assert crashes.recent(1.0) == 1
    crashes.look(after(HELD), 2.0)
    crashes.look(freed(after(HELD)), 2.0 + LONG_S)
    assert crashes.recent(2.0 + LONG_S) == 0


def test_they_are_forgotten_after_the_window_and_a_fresh_agent_knows_none() -> None:
    crashes = Crashes()
    crashes.look(HELD, 0.0)
    crashes.look(freed(HELD), 1.0)
    assert [crashes.recent(s) for s in (1.0 + CRASH_WINDOW_S - 0.1, 1.0 + CRASH_WINDOW_S)] == [1, 0]
    assert seen((0.0, after(HELD, 100))) == 0


def test_a_store_that_shows_an_epoch_far_ahead_costs_nothing() -> None:
    assert seen((0.0, HELD), (1.0, after(HELD, 10**15))) == 100
