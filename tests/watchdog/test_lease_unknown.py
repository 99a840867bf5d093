"""Attempts to renew whose outcome is unknown: what counts, and from when."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgha.adapters.memory import Fault
from pgha.core.model import Leader
from pgha.core.observation import Tenancy
from pgha.ports import Committed, Unknown
from pgha.watchdog import lease
from tests.watchdog.lease_in_hand import KEY, MINE, Held


def test_an_unknown_renewal_counts_for_nothing_until_it_is_seen_and_then_from_its_sending() -> None:
    held = Held()
    held.due()
    held.store.fail_next("commit", Fault.APPLIED)
    assert held.renew() == 0.05
    assert (held.tenancy.sent_s, held.told) == (100.0, [])
    held.clock.at_s = 102.0
    held.store.fail_next("commit", Fault.DOWN)  # the next renewal, after it was seen
    held.renew()
    assert (held.tenancy.sent_s, held.told) == (100.75, [100.75])


def test_an_unknown_renewal_that_was_not_done_never_counts() -> None:
    held = Held()
    held.due()
    held.store.fail_next("commit", Fault.DOWN)
    held.renew()
    held.clock.at_s = 102.0
    held.renew()
    assert (held.tenancy.sent_s, held.told) == (102.0, [102.0])


def test_an_unknown_renewal_that_lands_late_still_counts_from_its_sending() -> None:
    held = Held()
    held.due()
    held.store.fail_next("commit", Fault.LATE)
    held.renew()
    held.clock.at_s = 102.0
    held.store.fail_next("commit", Fault.DOWN)
    held.renew()
    held.store.keyspace.land()
    held.clock.at_s = 103.0
    held.store.fail_next("commit", Fault.DOWN)
    held.renew()
    assert held.told == [100.75]


@pytest.mark.parametrize("lsns", [[1000], [1000, 1001], [1000, 1001, 1002]], ids=str)
@pytest.mark.parametrize("attempts", [2, 8, 80])
def test_the_first_of_many_unknown_attempts_may_be_the_one_that_was_done(attempts: int, lsns: list[int]) -> None:
    """Others count H from what they saw: counting a later attempt here would let two nodes write."""
    held = Held()
    held.due()
    held.store.fail_next("commit", Fault.APPLIED, *[Fault.DOWN] * attempts)
    held.store.fail_next("read", *[Fault.DOWN] * (attempts - 1))
    for n in range(attempts):
        held.renew(lsn=lsns[n % len(lsns)])
        held.clock.at_s += 0.125
    held.renew()  # reads again
    assert held.told == [100.75]


def test_no_two_attempts_are_equal_so_that_each_can_be_told_from_the_others() -> None:
    held = Held()
    held.due()
    held.store.fail_next("commit", *[Fault.LATE] * 3)
    for _ in range(3):
        held.renew()
    late = [writes[0].value for _, writes in held.store.keyspace._late]
    assert len(set(late)) == 3
    held.renew()
    assert held.stored().beat == MINE.beat + 4


def test_an_attempt_too_old_to_be_remembered_ends_the_tenancy_when_it_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "DOUBTS_MAX", 3)
    held = Held()
    held.due()
    held.store.fail_next("commit", Fault.APPLIED, *[Fault.DOWN] * 3)
    held.store.fail_next("read", *[Fault.DOWN] * 3)
    for _ in range(5):
        held.renew()
    assert (held.keeper.held()[0], held.told) == (None, [])


def test_while_the_store_is_silent_everything_stays_as_it_was_and_attempts_go_on() -> None:
    held = Held()
    held.due()
    held.store.fail_next("commit", Fault.DOWN, Fault.DOWN)
    held.store.fail_next("read", Fault.DOWN)
    held.renew()
    held.renew()
    assert (held.tenancy, held.told) == (Tenancy(5, 100.0, 100.0), [])
    assert held.keeper.held()[0] == MINE
    assert len(held.store.deadlines) == 2


def test_a_hedged_twin_that_was_done_first_is_no_conflict() -> None:
    held = Held()
    held.due()
    held.store.fail_next("commit", Fault.LATE)
    held.renew()
    held.store.keyspace.land()
    held.store.fail_next("read", Fault.DOWN)
    held.clock.at_s = 102.0
    held.renew()  # conflicts with the twin, and sees it
    assert (held.tenancy.sent_s, held.stored().beat) == (100.75, 10)


def test_a_change_after_an_unknown_one_sees_first_what_became_of_it() -> None:
    held = Held()
    held.store.fail_next("commit", Fault.APPLIED)
    assert isinstance(held.keeper.change(lambda leader: replace(leader, reason="x")), Unknown)
    given: list[str] = []

    def note(leader: Leader) -> Leader:
        given.append(leader.reason)
        return leader

    assert isinstance(held.keeper.change(note), Committed)
    assert (given, held.stored().beat, held.stored().reason) == (["x"], 11, "x")


STEPS = st.lists(
    st.tuples(st.sampled_from([None, *Fault]), st.sampled_from([None, Fault.DOWN]), st.booleans(), st.booleans()),
    max_size=30,
)


@given(STEPS, st.booleans())
def test_the_lease_never_claims_to_be_younger_than_the_last_write_that_others_can_see(
    steps: list[tuple[Fault | None, Fault | None, bool, bool]], busy: bool
) -> None:
    """Whatever gets lost or late: others count from when a write came to be, never before its sending."""
    held, came_at = Held(), {2: 100.0}
    keyspace = held.store.keyspace
    for n, (commit, read, land, change) in enumerate(steps):
        held.clock.at_s += 0.5
        held.store.fail_next("commit", *[commit] if commit else [])
        held.store.fail_next("read", *[read] if read else [])
        if change:
            held.keeper.change(lambda leader: replace(leader, checkpointed=not leader.checkpointed))
        else:
            held.renew(lsn=1000 + n * busy)
        came_at.setdefault(keyspace.entries[KEY].revision, held.clock.at_s)
        if land:
            keyspace.land()
            came_at.setdefault(keyspace.entries[KEY].revision, held.clock.at_s)
        leader, revision, tenancy = held.keeper.held()
        if leader is not None:
            assert tenancy.sent_s <= came_at[revision]
        held.store._next.clear()
