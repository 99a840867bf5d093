"""The budget of clones: the first from a holder at once, the next at growing distance."""

from __future__ import annotations

from pgha.watchdog.attempts import PAUSE_MAX_S, PAUSE_S, Attempts


def begins_at(attempts: Attempts, epoch: int, now_s: float) -> float:
    """Asked every tenth of a second from now on: when it may begin."""
    steps = 0
    while not attempts.begin(epoch, now_s + steps / 10):
        steps += 1
        assert steps < 10_000
    return now_s + steps / 10


def test_the_first_clone_begins_at_once_and_each_further_one_waits_twice_as_long() -> None:
    attempts, waited = Attempts(), []
    now_s = 100.0
    for _ in range(10):
        at_s = begins_at(attempts, 3, now_s)
        waited.append(at_s - now_s)
        now_s = at_s + 600.0  # so long the clone took before it failed: no part of the pause
    assert waited[0] == 0.0 and abs(waited[1] - PAUSE_S) < 0.11 and abs(waited[2] - 2 * PAUSE_S) < 0.11
    assert abs(waited[-1] - PAUSE_MAX_S) < 0.11


def test_another_holder_is_cloned_at_once() -> None:
    attempts = Attempts()
    for _ in range(6):
        begins_at(attempts, 3, 100.0)
    assert not attempts.begin(3, 101.0)
    assert attempts.begin(4, 101.0)
