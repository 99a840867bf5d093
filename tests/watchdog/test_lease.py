"""The lease in its holder's hands: what a renewal writes and what ends it (unknown outcomes: test_lease_unknown)."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import pytest

from pgha.adapters.memory import Fault
from pgha.core.model import Copy, Leader, Position, Tenure
from pgha.core.observation import Tenancy
from pgha.ports import Committed, Conflict, Guard, Write
from pgha.watchdog.margin import Margin
from tests.watchdog.lease_in_hand import KEY, MINE, OTHER, Held, T

THEIRS = replace(MINE, holder=Copy("n2", "d2"), epoch=6, beat=10)


# -- a renewal --------------------------------------------------------------------------------------------------


def test_a_renewal_counts_from_its_sending_and_the_guard_is_told_that_time() -> None:
    held = Held()
    held.due()
    held.store.takes_s = 0.5
    held.renew()
    assert held.tenancy == Tenancy(5, 100.75, 100.0)
    assert held.told == [100.75]
    assert held.store.deadlines == [100.75 + T.a_s]


def test_a_renewal_is_one_beat_later_and_nothing_else_but_the_position() -> None:
    held = Held()
    held.due()
    held.renew(lsn=1500)
    assert held.stored() == replace(MINE, beat=10, position=Position(5, 1500))
    assert held.keeper.held()[:2] == (held.stored(), held.store.keyspace.entries[KEY].revision)


@pytest.mark.parametrize(
    ("leader", "lsn"),
    [
        (MINE, 900),  # a look that is older than the last write
        (replace(MINE, tenure=Tenure.CLAIMED), 1500),  # the position is that of the seal
        (replace(MINE, position=Position(4, 1000)), 1500),  # of another timeline
    ],
)
def test_the_position_only_rises_and_only_a_holders_own(leader: Leader, lsn: int) -> None:
    held = Held()
    held.keeper.adopt(leader, held.put(leader), sent_s=100.0, claimed_s=100.0)
    held.due()
    held.renew(lsn=lsn)
    assert held.stored() == replace(leader, beat=10)


def test_nothing_is_written_before_k_has_passed() -> None:
    held = Held()
    held.clock.at_s = 100.0 + T.k_s - 0.25
    assert held.renew() == 0.25
    assert held.stored() == MINE
    held.due(100.0 + T.k_s)
    assert held.renew() == T.k_s
    assert held.stored().beat == 10


def test_the_next_renewal_is_due_k_after_the_sending_of_this_one() -> None:
    held = Held()
    held.due()
    held.store.takes_s = 0.25
    assert held.renew() == T.k_s - 0.25
    held.due()
    held.store.takes_s = T.k_s + 1
    assert held.renew() == 0.0


def test_nothing_is_renewed_without_health_and_its_time_runs_on() -> None:
    held = Held()
    held.due()
    assert 0 < held.renew(healthy=False) <= 0.1
    assert (held.stored(), held.told, held.tenancy.sent_s) == (MINE, [], 100.0)


def test_beats_rise_by_one_whatever_is_written() -> None:
    held = Held()
    for _ in range(3):
        held.due()
        held.renew()
        held.keeper.change(lambda leader: replace(leader, reason="x", beat=99))
    assert held.stored().beat == MINE.beat + 6


def test_the_smallest_margin_is_kept_for_near_misses() -> None:
    held = Held()
    held.due(102.0)
    held.renew()
    held.due(103.0)
    held.renew()
    assert held.keeper.margin.least_s == pytest.approx(100.0 + T.f_soft_s - 102.0)
    assert (held.keeper.margin.least_at_s, held.keeper.margin.near(103.0)) == (102.0, 0)


def test_a_renewal_that_lands_late_is_a_near_miss_by_what_was_left_when_its_answer_came() -> None:
    held = Held()
    held.due(102.0)
    held.store.takes_s = 1.2
    held.renew()
    left_s = 100.0 + T.f_soft_s - 103.2
    assert held.keeper.margin.least_s == pytest.approx(left_s) and left_s < T.f_soft_s / 3
    assert held.keeper.margin.untold() == [pytest.approx(left_s)] and held.keeper.margin.untold() == []
    assert (held.keeper.margin.near(103.2), held.keeper.margin.near(103.2 + 86401.0)) == (1, 0)


def test_the_least_of_days_ago_gives_way_to_a_newer_one() -> None:
    margin = Margin(3.0)
    margin.renewed(0.4, 10.0)
    margin.renewed(2.5, 20.0)
    assert (margin.least_s, margin.least_at_s) == (0.4, 10.0)
    margin.renewed(2.5, 10.0 + 86401.0)
    assert (margin.least_s, margin.least_at_s) == (2.5, 10.0 + 86401.0)


def test_who_holds_nothing_writes_nothing() -> None:
    held = Held()
    held.keeper.forget()
    held.due()
    assert held.renew() == T.k_s / 2
    assert isinstance(held.keeper.change(lambda leader: leader), Conflict)
    assert (held.stored(), held.keeper.held()) == (MINE, (None, 0, Tenancy()))
    assert held.store.deadlines == []


# -- conflicts --------------------------------------------------------------------------------------------------


def test_somebody_elses_key_ends_the_tenancy() -> None:
    held = Held()
    held.put(THEIRS)
    held.due()
    held.renew()
    assert held.keeper.held() == (None, 0, Tenancy())
    assert (held.stored(), held.told) == (THEIRS, [])


def test_somebody_elses_key_after_an_unknown_outcome_ends_it_without_another_write() -> None:
    held = Held()
    held.due()
    held.store.fail_next("commit", Fault.DOWN)
    held.renew()
    held.put(THEIRS)
    assert held.renew() == T.k_s / 2
    assert held.keeper.held()[0] is None
    assert len(held.store.deadlines) == 1


@pytest.mark.parametrize("value", [b"\x00", b"{}", b""])
def test_a_key_that_can_not_be_read_ends_it_too(value: bytes) -> None:
    held = Held()
    held.store.keyspace.apply([], [Write(KEY, value)])
    held.due()
    held.renew()
    assert held.keeper.held()[0] is None


def test_a_key_that_is_gone_ends_it_too() -> None:
    held = Held()
    held.store.keyspace.apply([], [Write(KEY, None)])
    held.due()
    held.renew()
    assert held.keeper.held()[0] is None
    assert KEY not in held.store.keyspace.entries


def test_a_conflict_whose_cause_can_not_be_read_leaves_everything_and_is_tried_again() -> None:
    held = Held()
    held.put(THEIRS)
    held.store.fail_next("read", Fault.DOWN)
    held.due()
    held.renew()
    assert held.keeper.held()[0] == MINE
    held.renew()
    assert (held.keeper.held()[0], held.told) == (None, [])


def test_ones_own_value_in_anothers_hand_is_not_ones_own_write() -> None:
    """An equal value counts only when this keeper has sent it: here nothing was ever unknown."""
    held = Held()
    held.put(replace(MINE, beat=10))
    held.due()
    held.renew()
    assert held.keeper.held()[0] is None


# -- other writes of the key ------------------------------------------------------------------------------------


def test_a_change_is_a_renewal_and_can_write_other_keys_under_their_guards() -> None:
    held = Held()
    revision = held.put(MINE, OTHER)
    held.clock.at_s = 100.5
    outcome = held.keeper.change(
        lambda leader: replace(leader, reason="x"), guards=[Guard(OTHER, revision)], writes=[Write(OTHER, None)]
    )
    assert isinstance(outcome, Committed)
    assert held.stored() == replace(MINE, beat=10, reason="x")
    assert OTHER not in held.store.keyspace.entries
    assert (held.told, held.tenancy.sent_s) == ([100.5], 100.5)


def test_a_guard_of_another_key_that_does_not_hold_ends_nothing() -> None:
    held = Held()
    held.put(MINE, OTHER)
    outcome = held.keeper.change(lambda leader: leader, guards=[Guard(OTHER, 0)], writes=[Write(OTHER, None)])
    assert isinstance(outcome, Conflict)
    assert held.keeper.held()[0] == held.stored() == MINE
    held.due()
    held.renew()
    assert held.stored().beat == 10


def test_a_change_that_is_not_wanted_any_more_writes_nothing() -> None:
    held = Held()
    assert isinstance(held.keeper.change(lambda _leader: None), Conflict)
    assert held.store.deadlines == []


@pytest.mark.parametrize("fault", [None, Fault.APPLIED])
def test_a_released_key_ends_the_tenancy_and_arms_no_deadline(fault: Fault | None) -> None:
    held = Held()
    if fault:
        held.store.fail_next("commit", fault)
    held.keeper.change(lambda leader: replace(leader, tenure=Tenure.RELEASED))
    held.due()
    held.renew()
    assert (held.keeper.held(), held.told) == ((None, 0, Tenancy()), [])
    assert held.stored() == replace(MINE, beat=10, tenure=Tenure.RELEASED)


# -- adopting ---------------------------------------------------------------------------------------------------


def test_an_adopted_key_is_renewed_from_its_own_sending_and_old_doubts_are_over() -> None:
    held = Held()
    held.due()
    held.store.fail_next("commit", Fault.LATE)
    held.renew()
    newer = replace(MINE, epoch=7, beat=20)
    held.keeper.adopt(newer, held.put(newer), sent_s=102.0, claimed_s=101.0)
    assert held.tenancy == Tenancy(7, 102.0, 101.0)
    held.due(102.0 + T.k_s)
    held.renew()
    assert (held.stored().beat, held.told) == (21, [102.75])


def test_what_a_fresh_agent_has_only_found_is_not_confirmed_before_a_renewal_of_its_own() -> None:
    held = Held()
    assert held.keeper.confirmed
    held.keeper.adopt(MINE, held.put(MINE), sent_s=101.0, claimed_s=101.0, found=True)
    assert not held.keeper.confirmed
    held.due(102.0)
    held.renew()
    assert held.keeper.confirmed
    held.keeper.forget()
    assert not held.keeper.confirmed


# -- what never waits -------------------------------------------------------------------------------------------


def test_what_is_held_is_told_while_an_attempt_is_under_way() -> None:
    held = Held()
    held.due()
    asked: list[Tenancy] = []
    held.store.during = lambda: asked.append(held.tenancy)
    held.renew()
    assert asked == [Tenancy(5, 100.0, 100.0)], "as it was before the attempt"
    assert held.keeper.soft_s == 100.75 + T.f_soft_s


def test_an_attempt_under_way_while_the_hold_is_let_go_counts_for_nothing() -> None:
    held = Held()
    held.due()
    held.store.during = held.keeper.let_go
    held.renew()
    assert held.stored().beat == 10, "it landed"
    assert (held.keeper.held(), held.told, held.keeper.soft_s) == ((None, 0, Tenancy()), [], inf)
    assert isinstance(held.keeper.change(lambda leader: leader), Conflict)
    held.due()
    held.renew()
    assert held.stored().beat == 10
    held.keeper.adopt(MINE, held.put(MINE), sent_s=102.0, claimed_s=102.0)
    assert held.tenancy == Tenancy(5, 102.0, 102.0), "what is claimed anew is held"
