"""A pause in the holder's hands: when the guard's end moves, and that it never lies beyond what others may count on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pgha.adapters.memory import Fault
from pgha.core.model import Leader, Pause
from pgha.ports import Committed, Conflict, Unknown
from pgha.watchdog.lease import LeaseKeeper
from tests.watchdog.lease_in_hand import KEY, MINE, Held, T

PAUSE = Pause("p1", "new kernel", "anna@desk", 1.7e9, 60.0, 60.0)


def pause(held: Held) -> Committed | Conflict | Unknown:
    return held.keeper.change(lambda leader: replace(leader, paused=PAUSE) if leader.paused is None else None)


def lift(held: Held) -> Committed | Conflict | Unknown:
    return held.keeper.change(lambda leader: replace(leader, paused=None) if leader.paused is not None else None)


def respawn(held: Held) -> None:
    """Another agent, which finds the key as it is now."""
    keeper = LeaseKeeper(
        held.store, held.clock, KEY, timing=T, lock=threading.Lock(), renewed=held.told.append
    )  # fmt: skip
    entry = held.store.keyspace.entries[KEY]
    keeper.adopt(held.stored(), entry.revision, sent_s=held.clock.at_s - T.k_s, claimed_s=held.clock.at_s, found=True)
    held.keeper = keeper


def test_a_pause_moves_the_guards_end_once_it_has_succeeded() -> None:
    held = Held()
    held.clock.at_s = 101.0
    assert isinstance(pause(held), Committed)
    assert held.stored().paused == PAUSE
    assert held.told == [161.0]


def test_a_pause_of_unknown_outcome_moves_nothing_until_it_is_seen() -> None:
    held = Held()
    held.clock.at_s = 101.0
    held.store.fail_next("commit", Fault.APPLIED)
    assert isinstance(pause(held), Unknown)
    assert held.told == []
    held.due()
    held.renew()
    assert held.told[0] == 161.0


def test_what_is_left_goes_down_with_every_renewal_and_the_guards_end_stays() -> None:
    held = Held()
    pause(held)
    for _ in range(8):
        held.due()
        held.renew()
    left = held.stored().left_s
    assert left == pytest.approx(160.0 - held.clock.at_s)
    assert all(told == pytest.approx(160.0) for told in held.told)
    held.due(200.0)
    held.renew()
    assert held.stored().left_s == 0.0 and held.told[-1] == 200.0


def test_the_guards_end_moves_back_before_a_pause_is_lifted() -> None:
    held = Held()
    pause(held)
    held.clock.at_s = 110.0
    sent: list[int] = []
    held.store.takes_s = 0.5

    def note(base_s: float) -> None:
        held.told.append(base_s)
        sent.append(len(held.store.deadlines))

    held.keeper._renewed = note
    assert isinstance(lift(held), Committed)
    assert held.told == [160.0, 110.0, 110.0]
    assert sent == [1, 2], "told once before the attempt was sent, and once it had succeeded"
    assert held.stored().paused is None


def test_a_guard_that_does_not_answer_keeps_a_pause_from_being_lifted() -> None:
    held = Held()
    pause(held)

    def silent(_base_s: float) -> None:
        raise ConnectionError("the guard is silent")

    held.keeper._renewed = silent
    with pytest.raises(ConnectionError):
        lift(held)
    assert held.stored().paused is not None and len(held.store.deadlines) == 1


def test_a_lift_of_unknown_outcome_leaves_the_nearer_end_and_further_attempts_do_not_extend_it() -> None:
    held = Held()
    pause(held)
    held.clock.at_s = 110.0
    held.store.fail_next("commit", Fault.LATE, Fault.DOWN)
    lift(held)
    held.clock.at_s = 112.0
    lift(held)
    assert held.told == [160.0, 110.0]
    held.store.keyspace.land()
    held.clock.at_s = 113.0
    held.renew()
    assert held.told[:3] == [160.0, 110.0, 110.0], "the first one landed: it counts from its sending"


def test_a_fresh_agent_renews_before_it_lifts_so_that_nothing_older_can_land() -> None:
    held = Held()
    pause(held)
    held.clock.at_s = 110.0
    held.store.fail_next("commit", Fault.LATE)
    lift(held)  # under way when its agent dies
    respawn(held)
    held.clock.at_s = 114.0
    assert isinstance(lift(held), Committed)
    assert (held.stored().beat, held.stored().paused) == (MINE.beat + 3, None)
    assert [type(done) for done in held.store.keyspace.land()] == [Conflict]
    assert held.told[-1] == 114.0


def test_a_fresh_agent_that_can_not_renew_lifts_nothing() -> None:
    held = Held()
    pause(held)
    respawn(held)
    held.store.fail_next("commit", Fault.DOWN)
    assert isinstance(lift(held), Conflict)
    assert held.stored().paused is not None


def test_a_fresh_agent_goes_on_counting_where_the_key_says() -> None:
    held = Held()
    pause(held)
    held.due(130.0)
    held.renew()
    respawn(held)
    held.due(140.0)
    held.renew()
    assert held.stored().left_s == 30.0, "how much of it has passed since it does not know"
    held.due(150.0)
    held.renew()
    assert held.stored().left_s == pytest.approx(20.0)


def test_who_loses_a_paused_key_is_ended_at_once() -> None:
    held = Held()
    pause(held)
    held.put(replace(held.stored(), paused=None, beat=99))
    held.clock.at_s = 120.0
    held.due()
    held.renew()
    assert held.keeper.held()[0] is None
    assert held.told[-1] + T.f_hard_s == held.clock.at_s


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["renew", "renew", "pause", "lift", "respawn"]),
        st.sampled_from([None, None, *Fault]),
        st.sampled_from([None, Fault.DOWN]),
        st.booleans(),
        st.sampled_from([0.25, 1.0, 7.0, 40.0]),
    ),
    max_size=30,
)


@given(STEPS)
@example(
    [
        ("renew", Fault.LATE, None, False, 1.0),
        ("respawn", None, None, True, 0.25),
        *[("renew", Fault.DOWN, None, False, 1.0), ("renew", None, Fault.DOWN, False, 1.0)],
    ]
)
@settings(max_examples=300)
@example([("pause", None, None, False, 1.0), ("lift", Fault.LATE, None, False, 7.0), ("lift", None, None, True, 1.0)])
@example(
    [
        ("pause", None, None, False, 1.0),
        ("lift", Fault.LATE, None, False, 7.0),
        ("respawn", None, None, False, 7.0),
        ("lift", Fault.DOWN, None, True, 7.0),
    ]
)
def test_the_guards_end_never_lies_beyond_what_the_key_in_the_store_allows(
    steps: list[tuple[str, Fault | None, Fault | None, bool, float]],
) -> None:
    """Others call the holder silent when what is left of a pause, and then H, have passed since they saw the key."""
    held, came_at = Held(), {2: 100.0}
    keyspace = held.store.keyspace

    def check() -> None:
        entry = keyspace.entries[KEY]
        seen_s = came_at.setdefault(entry.revision, held.clock.at_s)
        key: Leader = held.stored()
        told = [100.0, *held.told][-1]
        if told + T.f_hard_s <= held.clock.at_s:
            return  # at once
        assert told <= seen_s + key.left_s + 1e-6, f"the guard's end counts from {told}, the key allows {seen_s}"

    for what, commit, read, land, after_s in steps:
        held.clock.at_s += after_s
        held.store.fail_next("commit", *[commit] if commit else [])
        held.store.fail_next("read", *[read] if read else [])
        act: Callable[[Held], object] = {"pause": pause, "lift": lift, "respawn": respawn}.get(what, Held.renew)
        act(held)
        check()
        if land:
            keyspace.land()
            check()
        held.store._next.clear()
