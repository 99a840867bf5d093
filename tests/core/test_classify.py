"""Classify: where each number meets its threshold, on both sides of it, and what a seal is good for."""

from __future__ import annotations

from math import inf, nextafter

import pytest

from pgha.core import bids
from pgha.core import classify as limits
from pgha.core.following import voter_view
from pgha.core.model import Cluster, Copy, Leader, Pause, Position, Rule, Tenure
from pgha.core.observation import Tenancy
from pgha.core.server import Running
from pgha.core.situation import Bid, Budget, Duty, Holder, Path, Server, Situation, Store
from pgha.core.voters import AddEntry, next_step
from tests.core.builders import (
    COPIES,
    END,
    EPOCH,
    N1,
    N2,
    N3,
    NOW,
    REV,
    TIMING,
    but,
    key,
    member,
    primary,
    seal,
    sealed,
    situation,
    standby,
    store,
)

RELEASED = key(N2, tenure=Tenure.RELEASED)
CLAIMED = key(N2, tenure=Tenure.CLAIMED)


def around(limit: float) -> tuple[float, float, float]:
    """Just below, at, just above: with the event at 0.0 these are exact ages."""
    return nextafter(limit, -inf), limit, nextafter(limit, inf)


# -- store ------------------------------------------------------------------------------------------------------


def test_a_healthy_standby_follows_and_a_healthy_primary_holds() -> None:
    assert situation(standby()) == Situation(
        Store.FRESH, Holder.OTHER_HELD, Server.FOLLOWING, Bid.NONE, Path.UNKNOWN, Duty.NONE, Budget.WITHIN
    )
    assert situation(primary()) == Situation(
        Store.FRESH, Holder.MINE_HELD, Server.PRIMARY, Bid.NONE, Path.UNKNOWN, Duty.NONE, Budget.WITHIN
    )


def test_a_read_is_present_for_two_seconds_and_one_attempt() -> None:
    ages = around(limits.READ_FRESH_S + TIMING.a_s)
    found = [situation(standby(), now_s=age, store__sent_s=0.0).store for age in ages]
    assert found == [Store.FRESH, Store.FRESH, Store.SILENT]


def test_before_the_first_read_the_store_is_silent_and_nobody_holds() -> None:
    found = situation(standby(), store=None, server__upstream_epoch=EPOCH)
    assert (found.store, found.holder, found.server) == (Store.SILENT, Holder.ABSENT, Server.STRAY)
    assert (found.bid, found.path) == (Bid.NONE, Path.UNKNOWN)


def test_an_empty_prefix_is_a_restored_store_never_a_new_cluster() -> None:
    assert situation(standby(), store__cluster=None, store__leader=None).store is Store.RESTORED


def test_another_cluster_and_another_clusters_data_are_foreign() -> None:
    assert situation(standby(), store__cluster=Cluster("c2", "77")).store is Store.FOREIGN
    assert situation(standby(), system="78").store is Store.FOREIGN
    assert situation(standby(), system="78", store__revision=1).store is Store.FOREIGN, "before restored"
    assert situation(standby(), system="").store is Store.FRESH, "an empty directory belongs to nobody"


@pytest.mark.parametrize(("revision", "expected"), [(39, Store.RESTORED), (40, Store.FRESH), (41, Store.FRESH)])
def test_a_store_behind_the_remembered_revision_was_restored(revision: int, expected: Store) -> None:
    assert situation(standby(), memory__revision=40, store__revision=revision).store is expected


@pytest.mark.parametrize(
    ("epoch", "beat", "expected"),
    [(5, 9, Store.FRESH), (5, 10, Store.RESTORED), (6, 1, Store.RESTORED), (4, 99, Store.FRESH)],
)
def test_a_leader_key_behind_the_remembered_beat_was_restored(epoch: int, beat: int, expected: Store) -> None:
    assert situation(standby(), memory__epoch=epoch, memory__beat=beat).store is expected


def test_a_missing_leader_key_is_seen_as_such() -> None:
    found = situation(standby(), store__leader=None)
    assert (found.store, found.holder, found.server) == (Store.FRESH, Holder.ABSENT, Server.STRAY)


# -- holder -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("leader", "expected"),
    [
        (key(N2), Holder.OTHER_HELD),
        (CLAIMED, Holder.OTHER_CLAIMED),
        (RELEASED, Holder.RELEASED),
        (key(N1, tenure=Tenure.RELEASED), Holder.RELEASED),
        (key(N1), Holder.MINE_HELD),
        (key(N1, tenure=Tenure.CLAIMED), Holder.MINE_CLAIMED),
        (key(N1, incarnation="before"), Holder.FORMER_LIFE),
        (key(N1, epoch=EPOCH + 1), Holder.FORMER_LIFE),
        (key(Copy("n1", "another")), Holder.MINE_HELD),
    ],
)
def test_whose_the_key_is(leader: Leader, expected: Holder) -> None:
    assert situation(primary(), store__leader=leader).holder is expected


@pytest.mark.parametrize("tenure", [Tenure.HELD, Tenure.CLAIMED])
def test_a_holder_is_silent_after_h_between_two_reads_that_show_the_same_revision(tenure: Tenure) -> None:
    other = Holder.OTHER_HELD if tenure is Tenure.HELD else Holder.OTHER_CLAIMED
    obs = standby(key(N2, tenure=tenure))
    found = [situation(obs, store__sent_s=s, key_seen_s=0.0).holder for s in around(TIMING.h_s)]
    assert found == [other, Holder.SILENT, Holder.SILENT]


def test_silence_is_counted_to_the_sending_of_the_read_not_to_now() -> None:
    obs = standby(now_s=8.0, store__sent_s=5.9, key_seen_s=0.0)
    assert (situation(obs).store, situation(obs).holder) == (Store.FRESH, Holder.OTHER_HELD)


def test_ones_own_hold_is_late_at_f_soft_and_over_at_f_hard() -> None:
    soft = [situation(primary(), now_s=s, tenancy__sent_s=0.0).holder for s in around(TIMING.f_soft_s)]
    hard = [situation(primary(), now_s=s, tenancy__sent_s=0.0).holder for s in around(TIMING.f_hard_s)]
    assert soft == [Holder.MINE_HELD, Holder.MINE_LATE, Holder.MINE_LATE]
    assert hard == [Holder.MINE_LATE, Holder.MINE_EXPIRED, Holder.MINE_EXPIRED]


def test_a_hold_let_go_is_ended_only_for_the_agent_that_let_it_go_and_only_without_a_pause() -> None:
    gone = primary(tenancy=Tenancy(), ended=EPOCH)
    assert situation(gone).holder is Holder.MINE_ENDED
    assert situation(gone, ended=EPOCH - 1).holder is Holder.FORMER_LIFE, "claimed again since"
    assert situation(gone, store__leader__incarnation="before").holder is Holder.FORMER_LIFE
    paused = key(N1, paused=Pause("p", "kernel", "anna", 0.0, 60.0, 0.0))
    assert situation(gone, store__leader=paused).holder is Holder.FORMER_LIFE, "what a pause has left is released"
    assert situation(gone, store__leader__tenure=Tenure.RELEASED).holder is Holder.RELEASED


def test_ones_own_hold_is_never_judged_by_the_observers_limit() -> None:
    obs = primary(store__leader=key(N1, tenure=Tenure.CLAIMED), key_seen_s=-100.0)
    assert situation(obs).holder is Holder.MINE_CLAIMED


# -- server -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("running", [Running.NO_DATA, Running.DOWN, Running.DYING, Running.STARTING, Running.STOPPING])
def test_what_does_not_answer_by_nature_is_taken_as_it_is(running: Running) -> None:
    assert situation(standby(), server__running=running, server__answered_s=0.0).server.name == running.name


@pytest.mark.parametrize("running", list(Running))
def test_a_running_job_hides_everything_but_orphans(running: Running) -> None:
    found = situation(standby(), server__running=running, server__job="cloning").server
    assert found is (Server.DYING if running is Running.DYING else Server.BUSY)


def test_a_standby_hangs_when_it_has_not_answered_for_too_long() -> None:
    ages = around(limits.STANDBY_SILENT * TIMING.h_s)
    for obs, well in ((standby(), Server.FOLLOWING), (sealed(END, RELEASED), Server.SEALED)):
        found = [situation(obs, now_s=s, server__answered_s=0.0).server for s in ages]
        assert found == [well, well, Server.HUNG]


def test_a_primary_hangs_without_an_answer_and_without_a_good_verdict() -> None:
    for stale in ("server__answered_s", "health_s"):
        ages = around(TIMING.health_fresh_s)
        found = [situation(primary(server__since_s=0.0), now_s=s, **{stale: 0.0}).server for s in ages]
        assert found == [Server.PRIMARY, Server.PRIMARY, Server.HUNG], stale


def test_a_primary_that_has_just_started_has_time_for_its_first_verdict() -> None:
    found = [situation(primary(health_s=-50.0), now_s=s, server__since_s=0.0).server for s in around(3.0)]
    assert found == [Server.PRIMARY, Server.PRIMARY, Server.HUNG]


def test_a_standby_that_is_cut_off_is_sealed_only_once_measured() -> None:
    assert situation(sealed(END, RELEASED)).server is Server.SEALED
    assert situation(sealed(END, RELEASED), sealed=None).server is Server.STRAY
    assert situation(standby(), sealed=Position(EPOCH, END)).server is Server.FOLLOWING, "it streams again"


@pytest.mark.parametrize("upstream", [EPOCH - 1, EPOCH + 1, -1])
def test_a_standby_under_another_epochs_name_or_nobodys_is_astray(upstream: int) -> None:
    assert situation(standby(), server__upstream_epoch=upstream).server is Server.STRAY


# -- bid --------------------------------------------------------------------------------------------------------


def test_a_seal_counts_only_at_the_present_revision_of_this_copy_and_while_measured() -> None:
    obs = sealed(END, key(N2, tenure=Tenure.RELEASED, sync=(Rule(N2, frozenset({N1, N3}), 2),)))
    assert situation(obs).bid is Bid.COVERED
    for changes in (
        {"memory__seal": None},
        {"memory__seal": seal(N1, revision=REV - 1)},
        {"memory__seal": seal(Copy("n1", "old"))},
        {"store__leader_revision": REV + 1},
        {"store__leader": None},
        {"sealed": None},
        {"copy": None},
    ):
        assert situation(obs, **changes).bid is Bid.NONE, changes


def test_a_seal_is_unpublished_until_this_very_seal_is_in_the_store() -> None:
    for published in (None, seal(N1, 900), seal(N1, revision=REV - 1)):
        obs = sealed(END, RELEASED, store__members={"n1": member(N1, published)})
        assert situation(obs).bid is Bid.UNPUBLISHED
    assert situation(sealed(END, RELEASED), store__members={}).bid is Bid.UNPUBLISHED


def test_who_is_handed_the_key_after_a_clean_stop_asks_nobody_else() -> None:
    """Its own seal need not be in the store: nobody else may claim this very revision better."""
    sync = (Rule(N2, frozenset({N1, N3}), 1),)
    handed = key(N2, tenure=Tenure.RELEASED, clean=True, target="n1", sync=sync)
    obs = sealed(END, handed, store__members={"n1": member(N1, None), "n3": member(N3, None)}, bid_s=0.0, now_s=0.0)
    assert situation(obs).bid is Bid.COVERED
    assert situation(obs, nofailover=True).bid is Bid.BARRED
    for changes in ({"clean": False}, {"target": "n3"}, {"target": ""}, {"sync": ()}):
        assert situation(obs, **{f"store__leader__{k}": v for k, v in changes.items()}).bid is Bid.UNPUBLISHED, changes
    behind = sealed(END - 1, handed, store__members={"n1": member(N1, None)})
    assert situation(behind).bid is Bid.UNPUBLISHED, "it lacks what the stopped one had"


def test_who_may_not_lead_is_barred_whatever_it_covers() -> None:
    assert situation(sealed(END, RELEASED), nofailover=True).bid is Bid.BARRED


def test_without_enough_seals_it_waits_and_with_them_it_is_covered() -> None:
    leader = key(N2, tenure=Tenure.RELEASED, sync=(Rule(N2, frozenset({N1, N3}), 1),))
    both = key(N2, tenure=Tenure.RELEASED, sync=(Rule(N2, frozenset({N1, N3}), 2),))
    assert situation(sealed(END, leader)).bid is Bid.WAITING, "n3 may have what n1 lacks"
    assert situation(sealed(END, both)).bid is Bid.COVERED, "each of the two has everything"
    assert situation(sealed(END, leader, member(N3, seal(N3, END)))).bid is Bid.COVERED
    assert situation(sealed(END, leader, member(N3, seal(N3, END + 1)))).bid is Bid.WAITING


def test_a_key_released_after_a_clean_stop_is_its_holders_own_seal() -> None:
    leader = key(N2, tenure=Tenure.RELEASED, clean=True)
    assert situation(sealed(END, leader)).bid is Bid.COVERED
    assert situation(sealed(END - 1, leader)).bid is Bid.WAITING
    assert situation(sealed(END, key(N2, tenure=Tenure.RELEASED, clean=False))).bid is Bid.WAITING
    held = sealed(END, key(N2, clean=True), key_seen_s=-10.0)
    assert (situation(held).holder, situation(held).bid) == (Holder.SILENT, Bid.WAITING), "only a released one is"


JUNK = [
    *(seal(c, 1, revision=r) for c in COPIES for r in (0, REV - 1, REV + 1)),
    *(seal(Copy(c.node, "old"), 1) for c in COPIES),
]


@pytest.mark.parametrize("junk", JUNK, ids=str)
def test_a_seal_of_another_revision_or_another_copy_covers_nothing(junk: object) -> None:
    obs = sealed(END, RELEASED, member(N2, junk), member(N3, junk))  # type: ignore[arg-type]
    assert situation(obs).bid is Bid.WAITING


def test_the_seals_that_count_are_those_of_the_present_revision_and_a_clean_holders() -> None:
    view = store(RELEASED, member(N1, seal(N1)), member(N2, seal(N2, revision=REV - 1)), member(N3, seal(N3, 7)))
    assert limits.seals_at(view) == (seal(N1), seal(N3, 7))
    assert limits.seals_at(but(view, leader__clean=True)) == (seal(N1), seal(N3, 7), seal(N2))
    assert limits.seals_at(but(view, leader=None)) == (seal(N1), seal(N3, 7))


def covered(lsn: int = END, n3: int = END, *, now_s: float, leader: Leader = RELEASED, **more: object) -> Situation:
    """n1 sealed and covered by n3's seal, `now_s` after its own was published."""
    return situation(sealed(lsn, leader, member(N3, seal(N3, n3))), bid_s=0.0, now_s=now_s, **more)


def test_a_better_candidate_goes_first_for_a_moment() -> None:
    better = sealed(END, RELEASED, member(N3, seal(N3, END), priority=1), bid_s=0.0)
    found = [situation(better, now_s=s).bid for s in around(limits.YIELD_S)]
    assert found == [Bid.YIELDING, Bid.COVERED, Bid.COVERED]
    assert covered(now_s=0.0).bid is Bid.COVERED, "n1 comes before n3"
    barred = sealed(END, RELEASED, member(N3, seal(N3, END), priority=1, nofailover=True), bid_s=0.0)
    assert situation(barred, now_s=0.0).bid is Bid.COVERED
    leader = key(N2, tenure=Tenure.RELEASED, sync=(Rule(N2, frozenset({N1}), 1),))
    stale = sealed(END, leader, member(N3, seal(N3, END + 9, revision=REV - 1)), bid_s=0.0)
    assert situation(stale, now_s=0.0).bid is Bid.COVERED, "a seal of another revision is no candidate"


def test_the_target_of_a_switchover_gives_way_to_nobody_and_everybody_to_it() -> None:
    to_n1, to_n2 = (key(N2, tenure=Tenure.RELEASED, target=name) for name in ("n1", "n2"))
    better = sealed(END, to_n1, member(N3, seal(N3, END), priority=1), bid_s=0.0, now_s=0.0)
    assert situation(better).bid is Bid.COVERED
    found = [covered(now_s=s, leader=to_n2).bid for s in around(limits.TARGET_S)]
    assert found == [Bid.YIELDING, Bid.COVERED, Bid.COVERED]
    silent = key(N2, target="n2")
    assert covered(now_s=0.0, leader=silent, key_seen_s=-10.0).bid is Bid.COVERED, "a target is named by a release"


def test_after_a_silence_of_the_store_its_holder_has_a_moment_to_come() -> None:
    silent = key(N2, sync=(Rule(N2, frozenset({N1}), 1),))
    back = sealed(END, silent, key_seen_s=-40.0, answers_s=0.0)
    found = [situation(back, now_s=s, bid_s=-1.0).bid for s in around(TIMING.a_s + bids.HOLDER_S)]
    assert found == [Bid.YIELDING, Bid.COVERED, Bid.COVERED]
    now = but(back, now_s=0.0, bid_s=-1.0)
    assert situation(now, answers_s=-inf).bid is Bid.COVERED, "the store was there all the time"
    assert situation(now, key_seen_s=1.0).bid is Bid.COVERED, "the key has moved since"
    assert situation(now, store__leader__tenure=Tenure.RELEASED).bid is Bid.COVERED
    barred = {"n1": member(N1, seal(N1)), "n2": member(N2, nofailover=True)}
    assert situation(now, store__members=barred).bid is Bid.COVERED
    come = sealed(END, silent, member(N2, seal(N2, END - 9)), key_seen_s=-40.0, answers_s=0.0, now_s=0.0, bid_s=-1.0)
    assert situation(come).bid is Bid.COVERED, "it is there, and behind"
    level = sealed(END, silent, member(N2, seal(N2, END)), key_seen_s=-40.0, answers_s=0.0, now_s=1.0, bid_s=-1.0)
    assert situation(level).bid is Bid.YIELDING, "it is there, and about to claim"


def test_among_equals_the_holder_of_the_key_goes_first() -> None:
    silent = key(N2, sync=(Rule(N2, frozenset({N1}), 1),))
    equal = sealed(END, silent, member(N2, seal(N2, END)), key_seen_s=-40.0, now_s=0.0, bid_s=0.0)
    assert situation(equal).bid is Bid.YIELDING
    assert situation(equal, store__leader__tenure=Tenure.RELEASED).bid is Bid.COVERED, "n1 comes before n2"


def test_who_takes_its_own_key_back_waits_for_no_voter() -> None:
    both = (Rule(N1, frozenset({N2, N3}), 1),)
    found = situation(sealed(END, key(N1, sync=both), ended=EPOCH, bid_s=NOW, key_seen_s=-40.0))
    assert (found.holder, found.bid) == (Holder.MINE_ENDED, Bid.COVERED)


def test_other_voters_that_live_have_a_moment_to_be_named_in_the_claim() -> None:
    leader = key(N2, tenure=Tenure.RELEASED, clean=True)
    found = [situation(sealed(END, leader), bid_s=0.0, now_s=s).bid for s in around(limits.GATHER_S)]
    assert found == [Bid.YIELDING, Bid.COVERED, Bid.COVERED]
    without_n3 = sealed(END, leader, bid_s=0.0, now_s=0.0, store__members={"n1": member(N1, seal(N1))})
    assert situation(without_n3).bid is Bid.COVERED, "who is no member is not waited for"


# -- budget -----------------------------------------------------------------------------------------------------


def test_a_server_that_is_down_waits_until_its_start_may_come() -> None:
    down = standby(server__running=Running.DOWN, now_s=0.0)
    found = [situation(down, start_after_s=s).budget for s in (5e-324, 0.0, -1.0)]
    assert found == [Budget.EARLY, Budget.WITHIN, Budget.WITHIN]


@pytest.mark.parametrize(
    ("running", "moment", "limit"),
    [
        (Running.STARTING, "server__since_s", limits.START_S),
        (Running.STOPPING, "server__stop_asked_s", limits.STOP_S),
        (Running.STANDBY, "tenancy__claimed_s", limits.CLAIM_S),
    ],
)
def test_a_claim_a_start_and_a_stop_have_their_time(running: Running, moment: str, limit: float) -> None:
    obs = primary(server__running=running)
    if running is Running.STANDBY:
        obs = primary(server__running=running, store__leader__tenure=Tenure.CLAIMED)
    found = [situation(obs, now_s=s, **{moment: 0.0}).budget for s in around(limit)]
    assert found == [Budget.WITHIN, Budget.WITHIN, Budget.SPENT]


def test_only_a_claim_has_the_claims_budget() -> None:
    assert situation(primary(), now_s=1000.0, tenancy__claimed_s=0.0).budget is Budget.WITHIN


# -- a node that is removed ---------------------------------------------------------------------------------------


def test_a_voter_whose_node_is_no_longer_the_clusters_leaves_the_rule_while_it_still_streams() -> None:
    obs = primary(nodes=frozenset({"n1", "n2"}))
    view = voter_view(obs)
    assert view is not None and view.keep_out == {N3}
    assert next_step(view) == AddEntry(Rule(N1, frozenset({N2}), 1))
    assert situation(obs).duty is Duty.VOTERS
    for told in (frozenset[str](), frozenset({"n1", "n2", "n3"})):
        kept = voter_view(primary(nodes=told))
        assert kept is not None and not kept.keep_out
