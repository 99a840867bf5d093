"""What a holder owes: orders with each refusal's text, the stop on order, followers, its voters, the history."""

from __future__ import annotations

from math import inf, nextafter

import pytest

from pgha.core import classify as limits
from pgha.core.classify import order_problem, stops_on_order
from pgha.core.following import LAG_MAX, UNHEARD_S, followers, hanging, holding_up, unheard, voter_view
from pgha.core.model import Copy, Position, Rule
from pgha.core.observation import Observation
from pgha.core.server import Running, Walsender
from pgha.core.situation import Duty, Holder, Path, Server
from pgha.core.voters import ClearEntries, Settled, barrier, next_step
from tests.core.builders import (
    END,
    EPOCH,
    N1,
    N2,
    N3,
    NOW,
    but,
    key,
    measured,
    member,
    order,
    primary,
    situation,
    standby,
    store,
    walsender,
)


def ordered(**changes: object) -> Observation:
    """The healthy primary, asked to hand over to n2 a moment ago."""
    return but(primary(store__order=order(), order_seen_s=1000.0), **changes)


def problem(obs: Observation) -> str:
    assert obs.store is not None and obs.store.order is not None
    return order_problem(obs, obs.store.order)


# -- what is refused --------------------------------------------------------------------------------------------


def test_an_order_that_can_be_carried_out_has_no_problem() -> None:
    assert problem(ordered()) == ""


REFUSALS: dict[str, dict[str, object]] = {
    "no leader key": {"store__leader": None},
    "unknown kind of order 'dance'": {"store__order__kind": "dance"},
    "made for epoch 4 and n1, this is epoch 5 and n1": {"store__order__epoch": 4},
    "made for epoch 5 and n3, this is epoch 5 and n1": {"store__order__source": "n3"},
    "n1 is the primary already": {"store__order__target": "n1"},
    "n1 holds the leader key and is healthy": {"store__order__kind": "failover"},
    "n9 is not a member": {"store__order__target": "n9"},
    "n2 is tagged nofailover": {"store__members": {"n2": member(N2, nofailover=True)}},
    "n2 is no voter": {"store__leader__sync": (Rule(N1, frozenset({N3}), 1),)},
    "n2 does not stream": {"server__walsenders": (walsender(N2, state="catchup"), walsender(N3))},
}


@pytest.mark.parametrize("why", REFUSALS)
def test_each_refusal_says_why(why: str) -> None:
    assert problem(ordered(**REFUSALS[why])) == why


@pytest.mark.parametrize(
    "walsenders", [(walsender(N3),), (walsender(N2, epoch=EPOCH - 1),), (walsender(N2), walsender(N2))], ids=str
)
def test_only_the_one_walsender_under_this_epochs_name_streams(walsenders: tuple[Walsender, ...]) -> None:
    assert problem(ordered(server__walsenders=walsenders)) == "n2 does not stream"


def test_without_promises_the_target_need_not_vote() -> None:
    nothing_promised = ordered(store__leader__sync=())
    assert problem(nothing_promised) == "n2 is no voter"
    assert problem(but(nothing_promised, store__settings__durability="async")) == ""


@pytest.mark.parametrize(("over", "expected"), [(-1, ""), (0, ""), (1, "behind")])
def test_a_target_may_be_so_far_behind_and_no_further(over: int, expected: str) -> None:
    behind = LAG_MAX + over
    end = Position(EPOCH, END + behind)
    obs = ordered(server__position=end, server__walsenders=(walsender(N2), walsender(N3)))
    if expected:
        expected = f"n2 is {behind} bytes behind, the limit is 16777216"
    assert problem(obs) == expected


def test_an_order_is_void_when_its_time_is_over() -> None:
    found = [problem(ordered(now_s=s, order_seen_s=0.0)) for s in (30.0, nextafter(30.0, inf))]
    assert found == ["", "not done within 30 s"]


# -- what the holder owes an order ------------------------------------------------------------------------------


@pytest.mark.parametrize("phase", ["asked", "accepted", "stopping"])
def test_an_open_order_comes_before_every_other_duty(phase: str) -> None:
    obs = ordered(store__order__phase=phase, server__names="", store__history={})
    assert situation(obs).duty is Duty.PREPARE
    assert situation(obs, prepared="o1").duty is Duty.HAND_OVER
    assert situation(obs, prepared="another").duty is Duty.PREPARE
    assert situation(obs, store__order__target="n9", prepared="o1").duty is Duty.REFUSE


def test_an_order_handed_in_an_older_epoch_is_ended_by_the_new_holder() -> None:
    """Another node than its target took over: left alone, it would keep every later order out (simulator, F1)."""
    assert situation(ordered(store__order__phase="handed", store__order__epoch=EPOCH - 1)).duty is Duty.REFUSE


@pytest.mark.parametrize("phase", ["done", "refused", "a newer word"])
def test_an_order_that_is_over_is_nobodys_duty(phase: str) -> None:
    assert situation(ordered(store__order__phase=phase, store__order__target="n9")).duty is Duty.NONE


# -- the stop that a standby waits for --------------------------------------------------------------------------


def test_a_holder_stops_on_order_from_the_word_stopping_until_the_orders_time_is_over() -> None:
    obs = standby(store__order=order(source="n2", target="n1", phase="stopping"))
    assert [stops_on_order(but(obs, now_s=s, order_seen_s=0.0)) for s in (30.0, nextafter(30.0, inf))] == [True, False]
    for changes in (
        {"store": None},
        {"store__leader": None},
        {"store__order": None},
        {"store__order__phase": "accepted"},
        {"store__order__epoch": EPOCH - 1},
    ):
        assert not stops_on_order(but(obs, order_seen_s=1000.0, **changes)), changes


def test_a_standby_left_by_a_holder_that_stops_on_order_measures_and_follows_nobody() -> None:
    stopping = order(source="n2", target="n1", phase="stopping")
    obs = standby(store__order=stopping, order_seen_s=1000.0)
    assert situation(obs).server is Server.FOLLOWING
    assert situation(obs, server__receiving=False).server is Server.STRAY
    assert situation(standby(), server__receiving=False).server is Server.FOLLOWING, "a cut connection comes back"
    left = measured(END, key(N2), store__order=stopping, order_seen_s=1000.0)
    assert (situation(left).holder, situation(left).path) == (Holder.OTHER_HELD, Path.UNKNOWN)
    assert situation(left, order_seen_s=0.0).path is Path.FOLLOW


# -- followers --------------------------------------------------------------------------------------------------


def test_a_name_that_is_not_pghas_is_no_follower_and_a_double_one_is_not_believed() -> None:
    strangers = (Walsender("pg_receivewal", "streaming", END, 0), Walsender("n2.d2", "streaming", END, 1))
    assert followers(primary(server__walsenders=strangers)) == ()
    twins = followers(primary(server__walsenders=(walsender(N2), walsender(N2), walsender(N3))))
    assert [(f.copy, f.streaming, f.caught_up) for f in twins] == [
        (N2, False, False),
        (N2, False, False),
        (N3, True, True),
    ]


def test_a_follower_has_caught_up_when_it_streams_and_is_near() -> None:
    far = LAG_MAX
    for behind, state, expected in ((far, "streaming", True), (far + 1, "streaming", False), (0, "catchup", False)):
        obs = primary(server__walsenders=(walsender(N2, behind=behind, state=state),))
        assert [f.caught_up for f in followers(obs)] == [expected]


def test_a_follower_keeps_its_epoch_flush_and_priority() -> None:
    (found,) = followers(primary(server__walsenders=(walsender(N2, behind=7, epoch=4),)))
    assert (found.copy, found.epoch, found.flush, found.sync_priority) == (N2, 4, END - 7, 1)


def silent(since_s: float, *copies: Copy, **changes: object) -> Observation:
    """These followers have shown the same reply since then."""
    names = {copy.standby_name(EPOCH): NOW - since_s for copy in copies}
    return primary(silent_s=names, **changes)


def test_who_has_replied_since_is_heard_and_who_does_not_stream_is_not_asked() -> None:
    obs = silent(NOW - 5.0, N3)
    assert unheard(obs, NOW - 5.0) == {N3}
    assert unheard(obs, NOW - 6.0) == frozenset(), "its last reply came after that"
    gone = but(obs, server__walsenders=(walsender(N2), walsender(N3, state="catchup")))
    assert unheard(gone, NOW - 5.0) == frozenset()
    back = but(obs, server__walsenders=(walsender(N2), walsender(N3), walsender(N3, state="startup")))
    assert unheard(back, NOW - 5.0) == {N3}, "its standby tries to connect anew"
    strange = Walsender("pg_receivewal", "streaming", END, 0)
    assert unheard(primary(server__walsenders=(strange,), silent_s={"pg_receivewal": 9.0}), NOW - 5.0) == frozenset()


def test_a_walsender_stands_still_when_nothing_has_ended_it() -> None:
    for waited_s, expected in ((UNHEARD_S - 0.1, ""), (UNHEARD_S + 0.1, "n3")):
        assert hanging(silent(NOW - waited_s, N3), NOW - waited_s) == expected
    both = NOW - UNHEARD_S - 0.1
    assert hanging(silent(both, N2, N3), both) == "n2, n3"
    assert hanging(silent(NOW, N3), both) == ""


@pytest.mark.parametrize("sync", [(Rule(N1, frozenset({N2, N3}), 2),), (Rule(N1, frozenset({N3}), 1),)])
def test_commits_do_not_wait_longer_for_a_silent_voter_than_it_is_kept(sync: tuple[Rule, ...]) -> None:
    since_s = NOW - primary().timing.voter_drop_s - 0.1
    assert hanging(silent(since_s, N3, store__leader=key(N1, sync=sync)), since_s) == "n3"
    assert hanging(silent(since_s, N3), since_s) == "", "n2 confirms meanwhile"
    assert hanging(silent(since_s, N3, store__leader=None), since_s) == ""


def test_a_walsender_that_holds_up_a_change_of_voters_and_so_all_commits_is_a_hang_of_the_server() -> None:
    late = NOW - UNHEARD_S - 0.1
    stuck = silent(late, N3, server__names=barrier())
    assert holding_up(stuck) == "n3" and situation(stuck).server is Server.HUNG
    for other in (silent(late, N3), silent(NOW - UNHEARD_S + 0.1, N3, server__names=barrier())):
        assert holding_up(other) == "" and situation(other).server is Server.PRIMARY
    gone = but(stuck, server__walsenders=(walsender(N2), walsender(N3, state="catchup")))
    assert holding_up(gone) == "", "the next one goes by the new rule"


# -- the holder's view of its voters ----------------------------------------------------------------------------


def test_only_the_holding_copy_looks_after_voters() -> None:
    assert voter_view(primary()) is not None
    for changes in ({"store": None}, {"store__leader": None}, {"copy": None}, {"store__leader__holder": N2}):
        assert voter_view(but(primary(), **changes)) is None, changes


def test_a_mark_counts_only_under_the_names_it_was_read_under() -> None:
    names = primary().server.names
    marks = [voter_view(primary(mark=mark)) for mark in (None, (names, 7), ("other", 7))]
    assert [view and view.marked_lsn for view in marks] == [None, 7, None]


def test_after_async_the_entries_and_then_the_names_are_cleared_and_back_again_one_is_listed_first() -> None:
    durable = voter_view(primary(store__settings__durability="async"))
    assert durable is not None and isinstance(next_step(durable), ClearEntries)
    cleared = primary(store__settings__durability="async", store__leader__sync=())
    assert situation(cleared).duty is Duty.VOTERS, "commits still wait for the old names"
    assert situation(cleared, server__names="").duty is Duty.NONE
    back = primary(store__leader__sync=(), server__names="")
    assert situation(back).duty is Duty.VOTERS, "quorum again: nobody votes yet"


def test_a_healthy_view_is_settled() -> None:
    view = voter_view(primary())
    assert view is not None and next_step(view) == Settled()


# -- the holder's duty ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Duty.NONE),
        ({"store__history": {}}, Duty.RECORD),
        ({"store__leader__checkpointed": False}, Duty.RECORD),
        ({"server__names": ""}, Duty.VOTERS),
        ({"server__names": "", "store__history": {}}, Duty.VOTERS),
        ({"server__walsenders": (), "missing_s": {N2: 9.0}}, Duty.VOTERS),
        ({"store__leader__holder": Copy("n1", "old"), "server__names": ""}, Duty.NONE),
    ],
)
def test_what_a_holder_owes_its_voters_and_the_history(changes: dict[str, object], expected: Duty) -> None:
    assert situation(primary(), **changes).duty is expected


def test_history_and_the_first_checkpoint_wait_until_clients_are_back() -> None:
    limit = limits.CLIENTS_FIRST_S
    ages = (limit, nextafter(limit, inf))
    found = [situation(primary(store__history={}), now_s=s, tenancy__claimed_s=0.0).duty for s in ages]
    assert found == [Duty.NONE, Duty.RECORD]


def test_the_take_over_is_recorded_while_voters_only_have_to_catch_up() -> None:
    names = primary().server.names
    sync = (Rule(N1, frozenset({N2}), 1), Rule(N1, frozenset({N2, N3}), 1))
    waits = primary(store__leader__sync=sync, mark=(names, END + 1))
    assert situation(waits).duty is Duty.VOTERS
    assert situation(waits, store__history={}).duty is Duty.RECORD
    assert situation(waits, store__history={}, mark=None).duty is Duty.VOTERS, "there is a step to do"


def test_only_a_writable_holder_owes_anything() -> None:
    assert situation(primary(), server__names="", server__running=Running.STARTING).duty is Duty.NONE
    assert situation(primary(), server__names="", now_s=1004.5).duty is Duty.NONE
    assert situation(standby(), store=store(key(N2), history={})).duty is Duty.NONE
