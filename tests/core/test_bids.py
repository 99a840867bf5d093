"""Take-overs where cover is not the question: nothing was promised, or an operator gave it up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pgha.core import bids, cover
from pgha.core.classify import classify, seals_at
from pgha.core.decide import Rule as Decision
from pgha.core.decide import choose
from pgha.core.model import Copy, Leader, Member, Position, Rule, Settings, Tenure
from pgha.core.observation import Observation
from pgha.core.situation import Bid, Path
from tests.core.builders import (
    END,
    EPOCH,
    N1,
    N2,
    N3,
    REV,
    but,
    key,
    measured,
    member,
    order,
    seal,
    sealed,
    situation,
)

NOTHING = key(N2, tenure=Tenure.RELEASED, sync=())  # n2 crashed, durability async
PROMISED = key(N2, tenure=Tenure.RELEASED)
LONG = 60.0


def free(lsn: int, *others: Member, leader: Leader = NOTHING, waited: float = LONG, **more: object) -> Observation:
    """n1 has sealed at `lsn` and waits for so long."""
    return but(sealed(lsn, leader, *others, bid_s=0.0, now_s=waited, store__sent_s=waited), **more)


# -- how far behind ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("timeline", "lsn", "lost"),
    [
        (5, 1000, 0),
        (5, 1001, 0),
        (5, 900, 100),
        (6, 10, 0),  # a claimant that was promoted and never said so
        (4, 800, 200),
        (4, 950, 150),  # beyond the fork at 850: what lies there is of no use
        (3, 950, 1000),  # nothing is known to be in common
    ],
)
def test_what_a_position_lacks_is_counted_from_where_it_left_the_history(timeline: int, lsn: int, lost: int) -> None:
    assert cover.behind(Position(timeline, lsn), Position(5, 1000), ((4, 850),)) == lost


def test_of_a_new_cluster_nothing_is_lost() -> None:
    assert cover.behind(Position(1, 0x2000000), Position(1, 0), ()) == 0


# -- nothing is promised ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("behind", [0, 1, 100, 101])
def test_who_lacks_more_than_max_lag_of_what_the_key_has_shown_does_not_take_over(behind: int) -> None:
    found = situation(free(END - behind), store__settings=Settings(max_lag=100)).bid
    assert found is (Bid.BARRED if behind > 100 else Bid.COVERED)


def test_max_lag_is_no_matter_where_cover_shows_that_nothing_is_lost() -> None:
    covered = key(N2, tenure=Tenure.RELEASED, sync=(Rule(N2, frozenset({N1}), 1),))
    assert (
        situation(free(1, leader=covered), store__settings=Settings(durability="async", max_lag=0)).bid is Bid.COVERED
    )


def test_what_was_promised_before_async_still_needs_cover_until_the_holder_has_given_it_up() -> None:
    assert situation(free(END, leader=PROMISED), store__settings=Settings(durability="async")).bid is Bid.WAITING


@pytest.mark.parametrize("waited", [0.0, bids.MORE_S - 0.001, bids.MORE_S])
def test_a_node_that_is_ahead_goes_first_for_a_moment(waited: float) -> None:
    found = situation(free(END, member(N3, seal(N3, END + 1)), waited=waited)).bid
    assert found is (Bid.COVERED if waited >= bids.MORE_S else Bid.YIELDING)


def test_nobody_waits_for_a_node_that_is_ahead_and_may_not_lead() -> None:
    barred = member(N3, seal(N3, END + 1), nofailover=True)
    assert situation(free(END, barred, waited=bids.OTHERS_S)).bid is Bid.COVERED


def test_an_old_holder_that_stopped_cleanly_with_more_has_a_moment_to_come_back() -> None:
    stopped = replace(NOTHING, clean=True, position=Position(EPOCH, END + 50), target="n1")
    assert situation(free(END, leader=stopped, waited=1.0)).bid is Bid.YIELDING
    assert situation(free(END + 50, leader=stopped, waited=0.0)).bid is Bid.COVERED, "the target has all of it"


def test_a_majority_of_the_known_members_is_heard_for_a_moment() -> None:
    alone = [situation(free(END, waited=s)).bid for s in (0.0, bids.MORE_S - 0.001, bids.MORE_S)]
    assert alone == [Bid.YIELDING, Bid.YIELDING, Bid.COVERED]
    two = [situation(free(END, member(N3, seal(N3, END)), waited=s)).bid for s in (0.0, bids.OTHERS_S)]
    assert two == [Bid.COVERED, Bid.COVERED]
    half = free(END, waited=1.0, store__members={"n1": member(N1, seal(N1, END)), "n2": member(N2)})
    assert situation(half).bid is Bid.YIELDING, "one of two is no majority"
    n4 = Copy("n4", "d4")
    four = free(END, member(N3, seal(N3, END)), member(n4, seal(n4, END)), member(Copy("n5", "d5")), waited=0.0)
    assert situation(four).bid is Bid.YIELDING, "n5 is about to seal"
    assert situation(but(four, now_s=bids.OTHERS_S)).bid is Bid.COVERED


# -- a failover by an operator's word ---------------------------------------------------------------------------


def ordered(leader: Leader = PROMISED, lsn: int = END, **changes: object) -> Observation:
    """n1 is to take over without what n2 and n3 may have; the order was seen a while ago."""
    asked = order(kind="failover", source="n2", target="n1", revision=REV, gives_up=leader.sync)
    obs = free(lsn, leader=leader, store__order=asked, store__order_revision=55, order_seen_s=LONG - 5.0)
    return but(obs, **changes)


def test_an_order_that_names_what_is_missing_lets_its_target_claim() -> None:
    assert classify(ordered()).bid is Bid.ORDERED
    assert choose(classify(ordered())) is Decision.R680_CLAIM_ORDERED


OTHER = Rule(N2, frozenset({N1, N3}), 2)
VOID: dict[str, dict[str, object]] = {
    "no order": {"store__order": None},
    "a switchover": {"store__order__kind": "switchover"},
    "taken up already": {"store__order__phase": "handed"},
    "refused": {"store__order__phase": "refused"},
    "for another node": {"store__order__target": "n3"},
    "of another epoch": {"store__order__epoch": EPOCH - 1},
    "the key has moved": {"store__order__revision": REV - 1},
    "too old": {"order_seen_s": LONG - 30.1},
    "another entry is missing": {"store__order__gives_up": (OTHER,)},
    "one of two that are missing": {"store__leader__sync": (key().sync[0], Rule(N2, frozenset({N3}), 1))},
    "nothing given up": {"store__order__gives_up": ()},
}


@pytest.mark.parametrize("why", VOID)
def test_any_other_order_does_not(why: str) -> None:
    assert situation(ordered(), **VOID[why]).bid is Bid.WAITING


def test_an_order_may_give_up_more_than_turns_out_to_be_missing() -> None:
    asked = ordered()
    assert asked.store is not None and asked.store.order is not None
    assert classify(but(asked, store__order__gives_up=(OTHER, *PROMISED.sync))).bid is Bid.ORDERED


def test_who_may_lead_without_a_loss_has_a_moment_to_do_so() -> None:
    """n3 is back with all there was: it takes over by itself, unless it does not get there."""
    back = {"n1": member(N1, seal(N1, END - 9)), "n2": member(N2), "n3": member(N3, seal(N3, END))}
    behind = ordered(lsn=END - 9, store__members=back)
    assert classify(but(behind, order_seen_s=LONG - bids.MORE_S + 0.1)).bid is Bid.WAITING
    assert classify(but(behind, order_seen_s=LONG - bids.MORE_S)).bid is Bid.ORDERED
    barred = {**back, "n3": member(N3, seal(N3, END), nofailover=True)}
    assert classify(but(behind, store__members=barred, order_seen_s=LONG)).bid is Bid.ORDERED


def test_an_order_lets_a_node_claim_that_lags_more_than_max_lag() -> None:
    lagging = ordered(leader=NOTHING, lsn=END - 101, store__settings=Settings(durability="async", max_lag=100))
    assert classify(lagging).bid is Bid.ORDERED
    assert classify(but(lagging, store__order=None)).bid is Bid.BARRED


# -- what is kept -----------------------------------------------------------------------------------------------


def kept_by(obs: Observation) -> tuple[Copy, ...]:
    assert obs.store is not None and obs.memory.seal is not None
    return bids.to_keep(obs.store, obs.memory.seal, seals_at(obs.store))


def test_every_copy_that_may_alone_have_what_was_given_up_is_kept() -> None:
    assert kept_by(ordered()) == (N2, N3)
    assert kept_by(ordered(store__leader__kept=(Copy("n4", "d4"),))) == (N2, N3, Copy("n4", "d4"))
    below = {"n1": member(N1, seal(N1)), "n3": member(N3, seal(N3, END - 1))}
    assert kept_by(ordered(store__members=below)) == (N2,), "n1 has all that n3 has"
    assert kept_by(ordered(leader=NOTHING)) == (N2, N3), "n3 has not sealed, so nobody knows"
    ahead = {"n1": member(N1, seal(N1)), "n3": member(N3, seal(N3, END + 1))}
    assert kept_by(ordered(leader=NOTHING, store__members=ahead)) == (N2, N3)


def test_a_kept_copy_stays_so_until_its_node_has_another_directory() -> None:
    old = Copy("n3", "before")
    there = ordered(store__leader__kept=(N3, old))
    assert there.store is not None
    assert bids.still_kept(there.store) == (N3,)
    gone = but(there, store__members={"n1": member(N1, seal(N1))})
    assert gone.store is not None and bids.still_kept(gone.store) == (N3, old), "nobody knows"


def test_a_kept_copy_that_has_diverged_is_cloned_and_never_rewound() -> None:
    forked = key(N2, sync=(Rule(N2, frozenset({N3}), 1),), position=Position(EPOCH, END + 500), forks=((4, END),))
    diverged = measured(END + 1, forked, timeline=4)
    assert situation(diverged).path is Path.REWIND
    assert situation(diverged, store__leader__kept=(N1,)).path is Path.CLONE
    assert situation(diverged, store__leader__kept=(N3,)).path is Path.REWIND
    level = measured(END, forked, timeline=4, store__leader__kept=(N1,))
    assert situation(level).path is Path.FOLLOW, "nothing lies beyond the fork"
