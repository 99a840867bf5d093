"""Choose: every one of the situations, and what must hold in all of them."""

from __future__ import annotations

import os
import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from math import prod
from pathlib import Path

import pytest

from pgha.core.decide import PAUSED, Action, Rule, choose, reasons
from pgha.core.situation import AXES, Bid, Budget, Duty, Holder, Server, Situation, Store, every_situation
from pgha.core.situation import Path as Way
from pgha.watchdog.act import ACTIONS
from tests.core.decisions import Decision, as_page, as_text, project
from tests.support import golden

PAGE = Path(__file__).resolve().parents[2] / "docs" / "decisions-table.md"
FRESH_HOLD = (Holder.MINE_CLAIMED, Holder.MINE_HELD, Holder.MINE_PAUSED)
MINE = (*FRESH_HOLD, Holder.MINE_LATE, Holder.MINE_EXPIRED)
LETS_GO = (Holder.MINE_LATE, Holder.MINE_EXPIRED, Holder.MINE_ENDED)
FREE = (Holder.RELEASED, Holder.SILENT, Holder.MINE_ENDED)
BEGINS = {
    *(Action.SEAL, Action.CLAIM, Action.PROMOTE, Action.ANNOUNCE, Action.FOLLOW, Action.UNFOLLOW, Action.PUBLISH),
    *(Action.RELEASE, Action.START, Action.UNTANGLE, Action.CLONE, Action.REWIND, Action.VOTERS, Action.RECORD),
    *(Action.PREPARE, Action.HAND_OVER, Action.REFUSE, Action.PAUSE, Action.LIFT),
    *(Action.CONFIGURE, Action.RESTART, Action.REINIT, Action.ANSWER),
}  # all that needs a present, trustworthy read; the others only end processes


@pytest.fixture(scope="module")
def table() -> list[Decision]:
    """Every situation with its rule."""
    return [(s, choose(s)) for s in every_situation()]


def with_action(table: Iterable[Decision], *actions: Action) -> list[Situation]:
    """The situations that lead to one of these actions; a sentence about none would say nothing."""
    found = [s for s, rule in table if rule.action in actions]
    assert found, f"no situation leads to {actions}"
    return found


def actions_where(table: Iterable[Decision], holds: Callable[[Situation], bool]) -> set[Action]:
    return {rule.action for s, rule in table if holds(s)}


def test_there_are_as_many_situations_as_the_page_says_each_once(table: list[Decision]) -> None:
    assert len({s for s, _ in table}) == len(table) == 967_680


# -- one writer -------------------------------------------------------------------------------------------------


def test_a_primary_without_a_fresh_hold_is_ended_whatever_the_store_says(table: list[Decision]) -> None:
    unheld = actions_where(table, lambda s: s.server is Server.PRIMARY and s.holder not in FRESH_HOLD)
    assert unheld == {Action.FENCE, Action.STOP}


def test_a_primary_is_only_stopped_slowly_while_its_lease_still_runs(table: list[Decision]) -> None:
    assert {s.holder for s in with_action(table, Action.STOP)} == {Holder.MINE_LATE}
    expired = actions_where(table, lambda s: s.server is Server.PRIMARY and s.holder is Holder.MINE_EXPIRED)
    assert expired == {Action.FENCE}


def test_what_stops_or_has_lost_its_postmaster_is_ended_when_its_time_is_over(table: list[Decision]) -> None:
    working = [(s, rule) for s, rule in table if s.holder not in PAUSED]
    assert actions_where(working, lambda s: s.server is Server.DYING) == {Action.FENCE}
    assert actions_where(working, lambda s: s.server is Server.HUNG) == {Action.FENCE}
    timed = (Server.STOPPING, Server.STARTING)
    assert actions_where(working, lambda s: s.server in timed and s.budget is Budget.SPENT) == {Action.FENCE}
    late_stop = actions_where(table, lambda s: s.server is Server.STOPPING and s.holder is Holder.MINE_EXPIRED)
    assert late_stop == {Action.FENCE}


def test_a_promotion_needs_the_claim_and_a_measured_server(table: list[Decision]) -> None:
    for s in with_action(table, Action.PROMOTE):
        assert (s.store, s.holder, s.server) == (Store.FRESH, Holder.MINE_CLAIMED, Server.SEALED)


def test_a_claim_needs_cover_a_seal_and_a_free_key(table: list[Decision]) -> None:
    for s in with_action(table, Action.CLAIM):
        assert (s.store, s.server) == (Store.FRESH, Server.SEALED)
        assert s.bid in (Bid.COVERED, Bid.ORDERED)
        assert s.holder in FREE


def test_only_a_writable_claimant_announces(table: list[Decision]) -> None:
    for s in with_action(table, Action.ANNOUNCE):
        assert (s.holder, s.server) == (Holder.MINE_CLAIMED, Server.PRIMARY)


def test_the_key_is_released_only_when_nothing_of_this_term_can_write(table: list[Decision]) -> None:
    for s in with_action(table, Action.RELEASE):
        assert s.server in (Server.NO_DATA, Server.DOWN)
        assert s.holder in (*MINE, Holder.MINE_ENDED, Holder.FORMER_LIFE), "nobody releases what another holds"
        assert s.server not in (Server.DYING, Server.STOPPING, Server.HUNG, Server.PRIMARY)


# -- no commit lost ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("store", [Store.SILENT, Store.FOREIGN, Store.RESTORED])
def test_without_a_trustworthy_present_read_nothing_is_begun(table: list[Decision], store: Store) -> None:
    unseen = {Action.START, Action.UNFOLLOW} if store is Store.SILENT else set()
    found = actions_where(table, lambda s: s.store is store)
    assert found & BEGINS == unseen
    assert found == {Action.NONE, Action.FENCE, Action.STOP} | unseen


def test_with_a_silent_store_who_had_to_stop_comes_up_cut_off_and_measures_which_nobody_else_sees(
    table: list[Decision],
) -> None:
    begun = [s for s, rule in table if s.store is not Store.FRESH and rule.action in BEGINS]
    assert {(s.store, choose(s).action) for s in begun} == {
        (Store.SILENT, Action.START),
        (Store.SILENT, Action.UNFOLLOW),
    }
    for s in begun:
        assert s.holder in LETS_GO and s.server in (Server.DOWN, Server.STRAY)
        assert s.server is Server.DOWN or s.holder is Holder.MINE_ENDED, "a lease that only ran out is let go first"


def test_every_action_either_ends_processes_or_is_among_what_a_trustworthy_read_may_begin() -> None:
    assert set(Action) - BEGINS == {Action.NONE, Action.FENCE, Action.STOP}


def test_following_needs_a_measured_position_on_the_holders_history_and_no_seal_that_could_count(
    table: list[Decision],
) -> None:
    for s in with_action(table, Action.FOLLOW):
        assert (s.server, s.bid, s.path) == (Server.SEALED, Bid.NONE, Way.FOLLOW)
        assert s.holder in FOLLOWED


def test_a_directory_is_replaced_or_rewound_only_with_a_holder_to_take_it_from(table: list[Decision]) -> None:
    for s in with_action(table, Action.REWIND, Action.CLONE):
        assert s.holder is Holder.OTHER_HELD
    for s in with_action(table, Action.REWIND):
        assert (s.server, s.bid, s.path) == (Server.SEALED, Bid.NONE, Way.REWIND)
    for s in with_action(table, Action.CLONE):
        assert s.server is Server.NO_DATA or (s.path is Way.CLONE and s.server in (Server.SEALED, Server.DOWN))
        assert s.server is not Server.SEALED or s.bid is Bid.NONE


def test_a_node_seals_only_for_a_free_key_and_only_a_server_that_runs(table: list[Decision]) -> None:
    for s in with_action(table, Action.SEAL):
        assert s.holder in FREE
        assert s.server in (Server.STRAY, Server.SEALED, Server.FOLLOWING)
    for s in with_action(table, Action.PUBLISH):
        assert (s.server, s.bid) == (Server.SEALED, Bid.UNPUBLISHED)


def test_a_barred_node_never_claims(table: list[Decision]) -> None:
    barred = actions_where(table, lambda s: s.bid is Bid.BARRED and s.holder not in MINE)
    assert not barred & {Action.CLAIM, Action.PROMOTE}


# -- one thing at a time ----------------------------------------------------------------------------------------


def test_nothing_is_begun_while_the_directory_is_rebuilt(table: list[Decision]) -> None:
    assert actions_where(table, lambda s: s.server is Server.BUSY) == {Action.NONE}


def test_a_missing_leader_key_is_no_vacancy(table: list[Decision]) -> None:
    assert actions_where(table, lambda s: s.holder is Holder.ABSENT) == {Action.NONE, Action.FENCE}


def test_a_server_is_started_only_when_no_process_of_it_runs_and_its_moment_is_over(table: list[Decision]) -> None:
    for s in with_action(table, Action.START):
        assert s.server is Server.DOWN and s.budget is not Budget.EARLY
        assert s.holder not in MINE or s.store is Store.SILENT, "who holds the key releases it first"


def test_duties_are_those_of_a_writable_holder(table: list[Decision]) -> None:
    kept = (Duty.VOTERS, Duty.RECORD, Duty.CONFIGURE, Duty.ANSWER)  # what a pause does not keep from being done
    duties = (Action.VOTERS, Action.RECORD, Action.PREPARE, Action.HAND_OVER, Action.PAUSE)
    for s in with_action(table, *duties):
        assert (s.store, s.server) == (Store.FRESH, Server.PRIMARY)
        assert s.holder is Holder.MINE_HELD or (s.holder is Holder.MINE_PAUSED and s.duty in kept)


def test_what_a_node_does_for_itself_it_does_beside_a_holder_or_as_one(table: list[Decision]) -> None:
    for s in with_action(table, Action.CONFIGURE, Action.ANSWER):
        assert s.store is Store.FRESH
        assert s.holder is Holder.OTHER_HELD or (
            s.server is Server.PRIMARY and s.holder in (Holder.MINE_HELD, Holder.MINE_PAUSED)
        )


def test_a_server_that_is_restarted_on_order_is_a_standbys(table: list[Decision]) -> None:
    for s in with_action(table, Action.RESTART):
        assert (s.store, s.holder, s.duty) == (Store.FRESH, Holder.OTHER_HELD, Duty.RESTART)
        assert s.server in (Server.STRAY, Server.SEALED, Server.FOLLOWING)


def test_a_copy_is_made_anew_on_order_only_with_a_holder_to_take_it_from(table: list[Decision]) -> None:
    for s in with_action(table, Action.REINIT):
        assert (s.store, s.holder, s.duty) == (Store.FRESH, Holder.OTHER_HELD, Duty.REINIT)
        assert s.server not in (Server.PRIMARY, Server.STOPPING, Server.DYING, Server.HUNG, Server.BUSY)


# -- pause ------------------------------------------------------------------------------------------------------


def test_while_paused_nobody_is_promoted_demoted_started_released_or_rebuilt(table: list[Decision]) -> None:
    moves = {Action.STOP, Action.START, Action.RELEASE, Action.SEAL, Action.PUBLISH, Action.CLAIM, Action.PROMOTE}
    moves |= {Action.ANNOUNCE, Action.REWIND, Action.CLONE, Action.PREPARE, Action.HAND_OVER, Action.PAUSE}
    moves |= {Action.RESTART, Action.REINIT}
    assert not actions_where(table, lambda s: s.holder in PAUSED) & moves
    fenced = [s for s in with_action(table, Action.FENCE) if s.holder in PAUSED]
    assert {s.server for s in fenced} == {Server.PRIMARY}, "only who is writable beside the holder"
    assert {s.holder for s in fenced} == {Holder.OTHER_PAUSED, Holder.FORMER_PAUSED}


def test_only_the_holder_lifts_a_pause_whatever_its_server_does(table: list[Decision]) -> None:
    for s in with_action(table, Action.LIFT):
        assert (s.store, s.duty) == (Store.FRESH, Duty.LIFT)
    due = [s for s, _ in table if (s.store, s.holder, s.duty) == (Store.FRESH, Holder.MINE_PAUSED, Duty.LIFT)]
    lifted = {s.server for s in due if choose(s) is Rule.R370_LIFT}
    assert lifted == set(Server) - {Server.BUSY}


def test_a_healthy_pair_is_left_alone() -> None:
    for duty in set(Duty) - {Duty.CONFIGURE, Duty.RESTART, Duty.REINIT, Duty.ANSWER}:
        s = Situation(Store.FRESH, Holder.OTHER_HELD, Server.FOLLOWING, Bid.NONE, Way.UNKNOWN, duty, Budget.WITHIN)
        assert choose(s) is Rule.R540_FOLLOWING
    s = Situation(Store.FRESH, Holder.MINE_HELD, Server.PRIMARY, Bid.NONE, Way.UNKNOWN, Duty.NONE, Budget.WITHIN)
    assert choose(s) is Rule.R450_HOLD


def test_a_primary_that_is_borne_with_goes_only_on_an_order_and_does_its_duties_all_the_while() -> None:
    def found(duty: Duty, budget: Budget) -> Rule:
        return choose(Situation(Store.FRESH, Holder.MINE_HELD, Server.PRIMARY, Bid.NONE, Way.UNKNOWN, duty, budget))

    assert found(Duty.NONE, Budget.SPENT) is Rule.R449_BEAR
    moves = (Duty.PREPARE, Duty.HAND_OVER)
    assert {found(duty, Budget.SPENT) for duty in moves} == {Rule.R130_FENCE_HUNG}, "nothing can be prepared there"
    for duty in set(Duty) - {Duty.NONE, *moves}:
        assert found(duty, Budget.SPENT) is found(duty, Budget.WITHIN)


# -- choose looks at nothing it does not name ------------------------------------------------------------------


FOLLOWED = (Holder.OTHER_HELD, Holder.OTHER_PAUSED, Holder.OTHER_CLAIMED)
RELEVANT: dict[str, Callable[[Situation], bool]] = {
    "bid": lambda s: s.server is Server.SEALED and s.holder in (*FREE, *FOLLOWED),
    "path": lambda s: s.holder in FOLLOWED and s.server in (Server.SEALED, Server.STARTING, Server.DOWN),
    "duty": lambda s: (
        (s.holder is Holder.MINE_HELD and s.server is Server.PRIMARY)
        or s.holder is Holder.MINE_PAUSED
        or (s.holder is Holder.OTHER_HELD and s.server not in (Server.PRIMARY, Server.BUSY, Server.NO_DATA))
    ),
    "budget": lambda s: (
        s.server in (Server.DOWN, Server.STARTING, Server.STOPPING)
        or s.holder is Holder.MINE_CLAIMED
        or (s.holder is Holder.MINE_HELD and s.server is Server.PRIMARY)
    ),
    "holder": lambda s: s.server is not Server.BUSY,
    "store": lambda s: s.server not in (Server.DYING, Server.HUNG, Server.STOPPING) or s.holder in PAUSED,
    "server": lambda s: True,
}


@pytest.mark.parametrize("axis", AXES)
def test_an_axis_decides_only_where_it_means_something(table: list[Decision], axis: str) -> None:
    size = len(AXES[axis])
    stride = prod(len(values) for name, values in list(AXES.items())[list(AXES).index(axis) + 1 :])
    decides, wrongly = 0, []
    for first in (i for i in range(len(table)) if (i // stride) % size == 0):
        line = table[first : first + size * stride : stride]  # situations that differ in this axis alone
        if len({rule for _, rule in line}) > 1:
            decides += 1
            if not any(RELEVANT[axis](s) for s, _ in line):
                wrongly.append(line[0][0])
    assert decides and not wrongly


# -- rules, actions, reasons ------------------------------------------------------------------------------------


def test_every_rule_is_reached(table: list[Decision]) -> None:
    assert {rule for _, rule in table} == set(Rule)


def test_every_action_has_one_function_and_some_rule() -> None:
    assert set(ACTIONS) == set(Action) == {rule.action for rule in Rule}
    assert len(set(ACTIONS.values())) == len(ACTIONS)


def test_rules_are_named_by_unique_numbers_in_their_order() -> None:
    idents = [rule.ident for rule in Rule]
    assert all(len(i) == 4 and i[0] == "R" and i[1:].isdecimal() for i in idents)
    assert idents == sorted(set(idents))
    sentences = [rule.sentence for rule in Rule]
    assert len(set(sentences)) == len(sentences)
    assert len({(rule.action, rule.sentence) for rule in Rule}) == len(Rule.__members__), "no rule is another's alias"


def test_the_reasons_are_the_axes_that_flipped_would_change_the_rule(table: list[Decision]) -> None:
    by_rule: dict[Rule, list[Situation]] = defaultdict(list)
    for s, rule in table:
        by_rule[rule].append(s)
    pick = random.Random(0)
    for rule, situations in by_rule.items():
        for s in pick.sample(situations, min(40, len(situations))):
            given = {reason.axis: reason for reason in reasons(s)}
            assert given, f"{rule.name} has no reason in {s}"
            for axis, values in AXES.items():
                flips = {v: choose(_with(s, axis, v)) for v in values}
                changed = {v: other for v, other in flips.items() if other is not rule}
                assert dict(given[axis].instead) == changed if axis in given else not changed
            assert all(reason.value is getattr(s, axis) for axis, reason in given.items())


def _with(s: Situation, axis: str, value: object) -> Situation:
    return replace(s, **{axis: value})  # type: ignore[arg-type]  # AXES pairs each name with its type


# -- what people read -------------------------------------------------------------------------------------------


def test_the_decisions_are_what_they_were(table: list[Decision]) -> None:
    golden.check(as_text(project(table)), "decisions.txt", beside=__file__)


def test_the_page_of_decisions_is_generated_from_them(table: list[Decision]) -> None:
    page = as_page(project(table))
    if os.environ.get(golden.REWRITE) == "1":
        PAGE.write_text(page, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == page, f"set {golden.REWRITE}=1 to write it, then read the difference"
