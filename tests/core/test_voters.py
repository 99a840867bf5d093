"""Voters: how many, by which names, and each half-step of a change, one look at a time (walks: tests/model)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgha.core.model import Copy, Rule
from pgha.core.voters import (
    SILENT_S,
    AddEntry,
    ChangeNames,
    ClearEntries,
    DropEntries,
    Follower,
    ReadMark,
    Settled,
    VoterView,
    WaitFlush,
    barrier,
    copies_for,
    default_copies,
    names,
    next_step,
    parse_names,
    survivable_losses,
    wanted,
)

ME, A, B, C, D = (Copy(f"n{i}", f"d{i}") for i in range(1, 6))
EPOCH = 5
ALONE = Rule(ME, frozenset(), 0)


def rule(*voters: Copy, k: int = 1, holder: Copy = ME) -> Rule:
    return Rule(holder, frozenset(voters), k)


def follower(copy: Copy, flush: int = 100, priority: int = 1, epoch: int = EPOCH) -> Follower:
    return Follower(copy, epoch, True, flush, priority, 0.0, True)


def view(
    *sync: Rule,
    now: Rule | str | None = None,
    followers: tuple[Follower, ...] = (),
    missing: Mapping[Copy, float] | None = None,
    mark: int | None = None,
    durability: str = "quorum",
) -> VoterView:
    """A view whose setting in force is the last entry's unless `now` says otherwise."""
    if now is None:
        now = sync[-1]
    text = now if isinstance(now, str) else names(now, EPOCH)
    return VoterView(ME, EPOCH, sync, text, followers, missing or {}, 0, 3.0, durability, mark)


# -- how many -----------------------------------------------------------------------------------------------------
def test_the_default_copies_are_the_designs() -> None:
    assert [default_copies(n) for n in range(7)] == [0, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("n", range(1, 9))
def test_by_default_the_seals_needed_for_cover_are_a_majority_of_the_nodes_without_the_holder(n: int) -> None:
    seals = n - default_copies(n) + 1
    assert 2 * seals > n
    assert 2 * (seals - 1) <= n


def test_a_configured_number_is_never_above_the_voters_and_never_makes_copies_of_nothing() -> None:
    assert [copies_for(n, 2) for n in range(5)] == [0, 1, 2, 2, 2]
    assert [copies_for(n, 0) for n in range(5)] == [0, 1, 1, 2, 2]


# -- by which names -------------------------------------------------------------------------------------------------
def test_names_are_quoted_and_sorted_and_carry_the_epoch() -> None:
    assert names(rule(B, A, k=2), 5) == 'ANY 2 ("n2.d2.5", "n3.d3.5")'
    assert names(ALONE, 5) == ""
    assert barrier() == 'ANY 1 ("pgha-barrier")'


WORDS = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=40)
COPIES = st.builds(Copy, WORDS, WORDS)


@given(st.frozensets(COPIES, min_size=1, max_size=9), st.integers(0, 2**31 - 1), st.data())
def test_what_names_writes_parse_names_reads(voters: frozenset[Copy], epoch: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(1, len(voters)))
    holder = Copy("UPPER", "never a voter")
    parsed = parse_names(names(Rule(holder, voters, k), epoch))
    assert parsed == (k, frozenset(v.standby_name(epoch) for v in voters))


@pytest.mark.parametrize("name", ["*", "N2", "n 2", 'n"2', "n2;", "", "n2.x", "ñ", "n" * 41])
def test_a_name_that_could_be_misread_is_never_written(name: str) -> None:
    with pytest.raises(AssertionError):
        names(rule(Copy(name, "d")), 5)


@pytest.mark.parametrize(
    "text", ['any 2("n2.d2.5","n3.d3.5")', ' ANY  2 ( "n2.d2.5" , "n3.d3.5" ) ', 'Any 2 ("n3.d3.5", "n2.d2.5")']
)
def test_blanks_order_and_the_case_of_any_do_not_matter(text: str) -> None:
    assert parse_names(text) == (2, frozenset({"n2.d2.5", "n3.d3.5"}))


def test_the_empty_setting_and_the_barrier_are_read_too() -> None:
    assert parse_names("") == (0, frozenset())
    assert parse_names("  ") == (0, frozenset())
    assert parse_names(barrier()) == (1, frozenset({"pgha-barrier"}))


@pytest.mark.parametrize(
    "text",
    [
        "*",
        'ANY 1 ("*")',
        "ANY 1 (*)",
        "n2.d2.5",
        '"n2.d2.5"',
        'FIRST 1 ("n2.d2.5")',
        '1 ("n2.d2.5")',
        'ANY 0 ("n2.d2.5")',
        'ANY 2 ("n2.d2.5")',  # waits for ever
        'ANY 01 ("n2.d2.5")',
        'ANY -1 ("n2.d2.5")',
        'ANY 99999999999999999999 ("n2.d2.5")',
        'ANY 1 ("n2.d2.5", "n2.d2.5")',  # two receivers of one name would count twice
        'ANY 1 ("n2.d2.5",)',
        "ANY 1 ()",
        'ANY 1 ("n2.d2.5"',
        'ANY 1 ("n2.d2.5") x',
        'ANY 1 ("N2.d2.5")',  # PostgreSQL compares without case
        'ANY 1 ("n2.d2")',
        'ANY 1 ("n2.d2.x")',
        'ANY 1 ("n2.d2.05")',
        'ANY 1 ("n2.d2.٥")',  # noqa: RUF001 - a decimal digit to Unicode, not to us
        'ANY ١ ("n2.d2.5")',  # noqa: RUF001
        'ANY 1 ("n2""x.d2.5")',
        'ANY 1 ("pgha-barrier", "n2.d2.5")',
        'ANY 1 ("n2.d2.5\n")',
    ],
)
def test_a_setting_that_pgha_would_not_write_is_not_read(text: str) -> None:
    assert parse_names(text) is None


@given(st.text(max_size=80))
def test_no_text_makes_parse_names_fail(text: str) -> None:
    parsed = parse_names(text)
    assert parsed is None or parsed[0] <= len(parsed[1])


# -- who should vote -------------------------------------------------------------------------------------------------
def test_a_voter_stays_until_it_has_been_missing_for_too_long() -> None:
    both = view(rule(A, B), followers=(follower(A),), missing={B: 3.0})
    assert wanted(both) == rule(A, B)
    assert wanted(replace(both, missing_s={B: 3.1})) == rule(A)
    silent = (follower(A), replace(follower(B), silent_s=SILENT_S + 0.1))
    assert wanted(replace(both, followers=silent, missing_s={B: 3.1})) == rule(A), "its walsender still stands"
    assert wanted(replace(both, followers=silent, missing_s={B: 2.9})) == rule(A, B)


@pytest.mark.parametrize(
    "newcomer",
    [
        replace(follower(B), streaming=False),
        replace(follower(B), caught_up=False),
        replace(follower(B), epoch=EPOCH - 1),
        follower(ME),
    ],
)
def test_who_does_not_stream_or_lags_or_follows_under_an_old_epoch_does_not_become_a_voter(newcomer: Follower) -> None:
    assert wanted(view(rule(A), followers=(follower(A), newcomer))) == rule(A)


def test_a_streaming_follower_that_caught_up_becomes_a_voter_and_k_follows_the_number() -> None:
    everyone = tuple(follower(c) for c in (A, B, C))
    assert wanted(view(rule(A), followers=everyone)) == rule(A, B, C, k=2)
    assert wanted(replace(view(rule(A), followers=everyone), configured_copies=3)) == rule(A, B, C, k=3)


def test_a_nodes_new_copy_takes_the_place_of_its_old_one() -> None:
    """With both of them among the voters every commit of three nodes would wait for two (found on loopback, F7)."""
    new = Copy(A.node, "clone")
    there = (follower(new), follower(B))
    assert wanted(view(rule(A, B), followers=there, missing={A: 0.5})) == rule(new, B)
    assert wanted(view(rule(A, B), followers=(*there, follower(A)))) == rule(A, B, new, k=2)


def test_who_is_to_be_kept_out_neither_becomes_nor_stays_a_voter() -> None:
    seen = view(rule(A), followers=(follower(A), follower(B)))
    assert wanted(replace(seen, keep_out=frozenset({A}))) == rule(B)
    assert wanted(replace(seen, keep_out=frozenset({B}))) == rule(A)


def test_with_no_voter_left_quorum_goes_on_alone_and_strict_keeps_the_last_rule() -> None:
    gone = view(rule(A), missing={A: 9.0})
    assert wanted(gone) == ALONE
    assert wanted(replace(gone, durability="strict")) == rule(A)
    assert wanted(replace(gone, durability="strict", sync=())) == ALONE


def test_async_has_no_voters() -> None:
    assert wanted(view(rule(A), followers=(follower(A),), durability="async")) == ALONE


# -- the half-steps ---------------------------------------------------------------------------------------------------
BOTH = (follower(A), follower(B))


def test_one_entry_in_force_as_wanted_is_settled() -> None:
    assert next_step(view(rule(A, B), followers=BOTH)) == Settled()
    assert next_step(view(ALONE)) == Settled()


def test_a_change_of_voters_goes_entry_barrier_mark_flush_drop() -> None:
    old, new = rule(A), rule(A, B)
    lagging = (follower(A), follower(B, flush=50))
    assert next_step(view(old, followers=lagging)) == AddEntry(new)
    assert next_step(view(old, new, now=old, followers=lagging)) == ChangeNames(new, True, names(new, EPOCH))
    assert next_step(view(old, new, followers=lagging)) == ReadMark()
    assert next_step(view(old, new, followers=lagging, mark=101)) == WaitFlush(101, 0, 1)
    assert next_step(view(old, new, followers=lagging, mark=100)) == DropEntries(new)


def test_an_interrupted_barrier_is_done_again() -> None:
    seen = view(rule(A), rule(A, B), now=barrier(), followers=BOTH)
    assert next_step(seen) == ChangeNames(rule(A, B), True, names(rule(A, B), EPOCH))


def test_removing_a_voter_needs_no_barrier_once_its_walsender_is_gone_or_does_not_count() -> None:
    old, new = rule(A, B), rule(A)
    gone = view(old, new, now=old, followers=(follower(A),), missing={B: 9.0})
    assert next_step(gone) == ChangeNames(new, False, names(new, EPOCH))
    for priority, needed in ((1, True), (0, False)):
        kept_out = replace(gone, followers=(follower(A), follower(B, priority=priority)), keep_out=frozenset({B}))
        assert next_step(kept_out) == ChangeNames(new, needed, names(new, EPOCH))


def test_removing_a_voter_needs_the_barrier_when_k_changes() -> None:
    old, new = rule(A, B, C, k=2), rule(A, B)
    seen = view(old, new, now=old, followers=BOTH, missing={C: 9.0})
    assert next_step(seen) == ChangeNames(new, True, names(new, EPOCH))


def test_a_removed_follower_that_still_counts_calls_for_the_barrier_even_with_the_names_in_place() -> None:
    late = replace(view(rule(A, B), rule(A), followers=BOTH, mark=1), keep_out=frozenset({B}))
    assert next_step(late) == ChangeNames(rule(A), True, names(rule(A), EPOCH))
    stale = view(rule(A), followers=(follower(A), follower(A, epoch=EPOCH - 1)))
    assert next_step(stale) == ChangeNames(rule(A), True, names(rule(A), EPOCH))


def test_going_on_alone_needs_neither_barrier_nor_flush() -> None:
    seen = view(rule(A), ALONE, now=rule(A), followers=(), missing={A: 9.0})
    assert next_step(seen) == ChangeNames(ALONE, False, "")
    assert next_step(replace(seen, names_now="")) == DropEntries(ALONE)


def test_a_copy_with_two_walsenders_flushes_once() -> None:
    twice = (follower(A), follower(A), follower(B, 1), follower(C, 1))
    seen = view(rule(A), rule(A, B, C, k=2), followers=twice, mark=9)
    assert next_step(seen) == WaitFlush(9, 1, 2)


def test_a_confirmation_under_an_old_epoch_does_not_count() -> None:
    seen = view(rule(A), rule(A, B), followers=(follower(B, 1), follower(A, priority=0, epoch=EPOCH - 1)), mark=9)
    assert next_step(seen) == WaitFlush(9, 0, 1)


FOUR = (rule(A), rule(A, B), rule(A), rule(A, B))


def test_with_four_entries_a_change_is_finished_before_another_one_starts() -> None:
    three = (*BOTH, follower(C, priority=0))
    assert next_step(view(*FOUR[:3], followers=three)) == AddEntry(rule(A, B, C, k=2))
    assert next_step(view(*FOUR, followers=three)) == ReadMark()


def test_with_four_entries_a_last_one_that_nobody_can_finish_still_shrinks() -> None:
    assert next_step(view(*FOUR, followers=(follower(B), follower(C)), missing={A: 9.0})) == AddEntry(rule(B))
    assert next_step(view(*FOUR, followers=(follower(C),), missing={A: 9.0, B: 9.0})) == AddEntry(ALONE)


def test_strict_replaces_the_voters_of_a_full_list_when_all_of_them_are_gone() -> None:
    gone = view(*FOUR, followers=(follower(C),), missing={A: 9.0, B: 9.0}, durability="strict")
    assert next_step(gone) == AddEntry(rule(C))
    assert next_step(replace(gone, followers=())) == ReadMark()  # and then waits for A or B


def test_strict_without_voters_lets_nothing_through() -> None:
    seen = view(ALONE, now="", durability="strict")
    assert next_step(seen) == ChangeNames(ALONE, False, barrier())
    assert next_step(replace(seen, names_now=barrier())) == Settled()


@pytest.mark.parametrize("text", ["", 'FIRST 1 ("n2.d2.5")', "*", 'ANY 1 ("n2.d2.4")', names(rule(B), EPOCH)])
def test_a_setting_that_no_entry_describes_is_answered_by_asking_for_the_holder_alone(text: str) -> None:
    seen = view(rule(A), now=text, followers=(follower(A),))
    assert next_step(seen) == AddEntry(ALONE)
    described = replace(seen, sync=(rule(A), ALONE))
    assert next_step(described) == AddEntry(rule(A))


def test_an_entry_from_before_another_holder_does_not_describe_what_is_in_force_now() -> None:
    seen = view(rule(A, B), rule(B, holder=A), rule(B), now=rule(A, B), followers=(follower(B),))
    assert next_step(seen) == AddEntry(ALONE)


def test_the_entries_of_earlier_holders_go_with_the_first_change() -> None:
    seen = view(rule(ME, B, holder=A), rule(B), followers=(follower(B, 200),), mark=150)
    assert next_step(seen) == DropEntries(rule(B))


def test_a_node_whose_entry_is_not_the_last_has_no_business_here() -> None:
    with pytest.raises(AssertionError, match="the last entry is"):
        next_step(view(rule(B, holder=A), now=""))


def test_async_gives_the_promises_up_and_then_waits_for_nobody() -> None:
    seen = view(rule(A), followers=(follower(A),), durability="async")
    assert next_step(seen) == ClearEntries()
    assert next_step(replace(seen, sync=())) == ChangeNames(ALONE, False, "")
    assert next_step(replace(seen, sync=(), names_now="")) == Settled()


@pytest.mark.parametrize("in_force", ["", barrier()])
def test_leaving_async_begins_with_the_holder_alone(in_force: str) -> None:
    seen = replace(view(rule(A), followers=(follower(A),)), sync=(), names_now=in_force)
    assert next_step(seen) == AddEntry(ALONE)
    assert next_step(replace(seen, sync=(ALONE,))) == AddEntry(rule(A))


# -- what may still be lost ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("n", range(5))
@pytest.mark.parametrize("configured", range(5))
def test_with_everybody_there_k_nodes_may_die_at_once(n: int, configured: int) -> None:
    voters = (A, B, C, D)[:n]
    k = copies_for(n, configured)
    assert survivable_losses([Rule(ME, frozenset(voters), k)], voters) == k


def test_each_voter_that_is_gone_is_one_loss_less() -> None:
    five = rule(A, B, C, D, k=2)
    for size in range(5):
        for alive in combinations((A, B, C, D), size):
            assert survivable_losses([five], alive) == max(0, size - 2)


def test_during_a_change_the_weaker_entry_decides() -> None:
    assert survivable_losses([rule(A, B, C, k=2)], [A, B, C]) == 2
    assert survivable_losses([rule(A), rule(A, B, C, k=2)], [A, B, C]) == 1


def test_an_earlier_holder_that_is_back_covers_its_own_entries_and_those_before() -> None:
    sync = [rule(C, D, holder=B), rule(B, C, holder=A), rule(A)]
    assert survivable_losses(sync, [B]) == 0
    assert survivable_losses(sync, [A]) == 1


def test_without_rules_anybody_left_may_go_on() -> None:
    assert survivable_losses([], [A, B]) == 2
    assert survivable_losses([], []) == 0
    assert survivable_losses([ALONE], [A, B]) == 0
    assert survivable_losses([rule(A)], [A, ME]) == 1  # the primary itself is not one of the others
