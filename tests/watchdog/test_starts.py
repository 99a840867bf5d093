"""Starts that do not last are counted, told, and come slower; everyday stops are not held against a server."""

from __future__ import annotations

from dataclasses import replace

from pgha.core.budget import RETRY_S, START_WINDOW_S, STARTS_MAX, STEADY_S
from pgha.core.server import Running, ServerView
from pgha.watchdog.starts import Starts

DOWN = ServerView(Running.DOWN, why="exit 1: FATAL: lock file is empty")


def crash_loop(starts: Starts, count: int) -> float:
    """So many starts, each as soon as it is allowed, each ended at once; gives the moment of the last one."""
    now_s = next_s = 1000.0
    for _ in range(count):
        now_s = next_s
        next_s = starts.began(now_s)
        ends(starts, now_s)
    return now_s


def ends(starts: Starts, now_s: float) -> None:
    """The server ends once more."""
    starts.look(replace(DOWN, exits=starts.exits + 1), now_s)


def test_six_starts_in_a_row_take_their_time_and_then_it_stays_down_for_a_minute() -> None:
    starts = Starts()
    now_s = crash_loop(starts, STARTS_MAX - 1)
    assert now_s < 1000.0 + RETRY_S
    assert starts.began(now_s) == now_s + RETRY_S
    ends(starts, now_s)
    assert starts.problem() == (
        f"started 6 times in {now_s - 1000:.0f} s, last: exit 1: FATAL: lock file is empty;"
        " tried every 60 s, at once by pgha watchdog --restart"
    )


def test_the_problem_reads_the_same_while_nothing_new_happens() -> None:
    starts = Starts()
    now_s = crash_loop(starts, 4)
    before = starts.problem()
    starts.look(replace(DOWN, exits=starts.exits), now_s + 50.0)
    assert before and starts.problem() == before


def test_while_a_start_is_under_way_the_reason_of_the_one_before_stands() -> None:
    starts = Starts()
    now_s = crash_loop(starts, 4)
    starts.began(now_s)
    assert "started 5 times" in starts.problem() and starts.problem().endswith("lock file is empty")


def test_a_start_that_was_not_even_tried_tells_its_own_reason_not_that_of_the_exit_before() -> None:
    starts = Starts()
    now_s = crash_loop(starts, 3)
    starts.began(now_s)
    starts.said = "no room for standby.signal"
    starts.look(replace(DOWN, exits=starts.exits), now_s + 0.1)
    assert starts.problem().endswith("last: no room for standby.signal")


def test_a_server_that_stays_up_or_is_stopped_on_order_has_no_past() -> None:
    up = ServerView(Running.STANDBY, answered_s=1.0, since_s=1000.0)
    for view, now_s in (
        (up, 1000.0 + STEADY_S),
        (ServerView(Running.STOPPING, answered_s=1.0, since_s=1000.0), 1001.0),
        (ServerView(Running.STANDBY, answered_s=1.0, since_s=1000.0, job="rewinding"), 1001.0),
    ):
        starts = Starts()
        crash_loop(starts, 4)
        starts.look(view, now_s)
        assert (starts.failed(now_s), starts.problem()) == (0, "")


def test_a_server_that_answers_and_crashes_within_seconds_is_held_to_its_budget() -> None:
    starts = Starts()
    crash_loop(starts, 4)
    starts.look(ServerView(Running.PRIMARY, answered_s=1.0, since_s=1000.0), 1000.0 + STEADY_S - 0.1)
    assert starts.failed(1010.0) == 4


def test_starts_of_long_ago_are_forgotten() -> None:
    starts = Starts()
    now_s = crash_loop(starts, 4)
    assert starts.failed(now_s + START_WINDOW_S) == 0
