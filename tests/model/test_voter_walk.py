"""Changes of voters, interrupted everywhere: what was acknowledged is always listed, and a change always ends."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgha.core import voters
from pgha.core.voters import MAX_ENTRIES, Settled, wanted
from tests.model.voter_walk import Unlisted, Walk

EVENTS = 150


def finishes(walk: Walk) -> None:
    step = walk.settle(looks=40)
    if walk.durability == "strict" and not set(walk.walsenders) - walk.keep_out:
        return  # it blocks, as asked, until a voter is back
    assert step == Settled(), step
    assert walk.sync == (() if walk.durability == "async" else (wanted(walk.look()),))
    walk.write()
    for _ in range(2):
        walk.calm()
    assert walk.acked == (walk.wal_end if walk.sync else 0), "commits do not come through"


@pytest.mark.parametrize("block", range(4))
def test_through_any_interrupted_change_every_acknowledged_commit_is_listed_and_the_change_ends(block: int) -> None:
    longest = 0
    for seed in range(block * 300, block * 300 + 300):
        walk = Walk(seed)
        for _ in range(EVENTS // 10):
            walk.run(10)
            longest = max(longest, len(walk.sync))
        finishes(walk)
    assert longest >= MAX_ENTRIES  # the limit was reached, or this proves little


@given(st.integers(min_value=10_000), st.integers(1, 400))
@settings(max_examples=100, deadline=None)
def test_the_same_from_any_moment_of_any_run(seed: int, events: int) -> None:
    walk = Walk(seed)
    walk.run(events)
    assert len(walk.sync) <= MAX_ENTRIES + len(walk.flushed)
    finishes(walk)


def found_within(runs: int, bug: str = "") -> bool:
    for seed in range(runs):
        try:
            Walk(seed, bug).run(EVENTS)
        except Unlisted:
            return True
    return False


@pytest.mark.parametrize("bug", ["no_barrier", "no_wait", "names_first", "old_mark"])
def test_an_agent_that_skips_a_half_step_is_caught(bug: str) -> None:
    assert found_within(600, bug)


@pytest.mark.parametrize(
    ("function", "answer", "first"), [("_needs_no_barrier", True, 0), ("_removed_still_count", False, 1800)]
)
def test_a_decision_without_one_of_its_checks_is_caught(
    function: str, answer: bool, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(voters, function, lambda *_: answer)
    with pytest.raises(Unlisted):
        for seed in range(first, first + 3500):
            Walk(seed).run(EVENTS)
