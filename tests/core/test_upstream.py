"""Whom a standby streams from: its tag's node while that one is as good as the holder, the holder otherwise."""

from __future__ import annotations

import pytest

from pgha.core import upstream
from pgha.core.chores import kept_out
from pgha.core.classify import classify
from pgha.core.decide import Rule, choose
from pgha.core.model import Member, Position
from pgha.core.observation import Observation
from pgha.core.situation import Path, Server
from tests.core.builders import EPOCH, N1, N2, N3, NOW, but, key, measured, member, primary, seal, sealed, situation
from tests.core.builders import standby as plain

ALONE = key(sync=())  # no entry names n1: it is no voter


def n3(**more: object) -> Member:
    """It streams the holder's timeline."""
    good = {"state": "streaming", "upstream_epoch": EPOCH, "position": Position(EPOCH, 900)}
    return but(member(N3), **{**good, **more})


def tagged(**more: object) -> Observation:
    """n1 is to follow n3 and streams from n2, the holder; n3 has just been heard."""
    return but(plain(ALONE, n3(), follow="n3", follow_good_s=NOW - 1, server__follows="n2"), **more)


def there(**more: object) -> Observation:
    """n1 streams from n3."""
    return but(tagged(server__follows="n3", follow_good_s=NOW - 9), **more)


def test_without_a_tag_the_holder_is_followed() -> None:
    assert upstream.wanted(tagged(follow="")) == "n2"
    assert upstream.wanted(but(tagged(), store__leader=None)) == ""
    assert upstream.wanted(but(tagged(), store=None)) == ""


def test_who_follows_another_than_it_is_to_is_cut_off_measured_and_follows_anew() -> None:
    assert upstream.wanted(tagged()) == "n3"
    assert situation(tagged()).server is Server.STRAY and choose(classify(tagged())) is Rule.R550_UNFOLLOW
    assert situation(there()).server is Server.FOLLOWING
    assert situation(there(follow="")).server is Server.STRAY, "the tag was taken away"
    assert situation(tagged(server__follows="")).server is Server.FOLLOWING, "whom it follows is not known"
    cut = but(measured(900, ALONE, follow="n3", follow_good_s=NOW), store__members=tagged().store.members)  # type: ignore[union-attr]
    assert situation(cut).path is Path.FOLLOW and choose(classify(cut)) is Rule.R570_FOLLOW
    assert upstream.wanted(cut) == "n3"


def test_whether_it_may_follow_is_decided_by_its_position_on_the_holders_history_alone() -> None:
    beyond = but(measured(2000, ALONE, timeline=4, follow="n3", follow_good_s=NOW), store__leader__forks=((4, 1500),))
    assert upstream.wanted(beyond) == "n3" and situation(beyond).path is Path.REWIND


@pytest.mark.parametrize(
    "changes",
    [
        {"follow": "n1"},
        {"follow": "n2"},
        {"follow": "n9"},
        {"nodes": frozenset({"n1", "n2"})},
        {"store__leader": key()},
        {"follow_good_s": NOW - upstream.HEARD_S - 1},
        {"follow_left_s": NOW - upstream.BACK_S + 1},
    ],
    ids=["itself", "the holder", "unknown", "removed", "a voter still", "not heard of", "left just now"],
)
def test_the_tag_is_left_aside(changes: dict[str, object]) -> None:
    assert upstream.wanted(tagged(**changes)) == "n2"


def test_a_node_that_was_left_is_tried_again_later() -> None:
    assert upstream.wanted(tagged(follow_left_s=NOW - upstream.BACK_S)) == "n3"
    assert upstream.wanted(tagged(nodes=frozenset({"n1", "n2", "n3"}))) == "n3"


def test_an_upstream_that_brings_nothing_is_left() -> None:
    quiet = there(server__receiving=False, server__heard_s=NOW - upstream.AWAY_S - 1)
    assert upstream.is_away(quiet) and upstream.wanted(quiet) == "n2"
    assert situation(quiet).server is Server.STRAY
    assert upstream.wanted(but(quiet, server__heard_s=NOW - 5)) == "n3", "it restarts"
    deaf = there(follow_good_s=NOW - upstream.AWAY_S - 1)
    assert upstream.wanted(deaf) == "n2", "it has nothing itself"
    assert upstream.wanted(but(deaf, answers_s=NOW - 1)) == "n3", "nobody was heard of while the store was silent"


def test_an_upstream_of_an_older_epoch_is_not_the_one_that_is_followed() -> None:
    assert not upstream.is_there(there(server__upstream_epoch=EPOCH - 1))
    assert not upstream.is_there(but(there(), store__leader=None)) and not upstream.is_there(but(there(), store=None))


@pytest.mark.parametrize(
    "changes", [{"state": "following"}, {"upstream_epoch": EPOCH - 1}, {"position": Position(EPOCH - 1, 900)}]
)
def test_only_who_streams_the_holders_timeline_passes_it_on(changes: dict[str, object]) -> None:
    assert upstream.is_good(n3(), ALONE) and not upstream.is_good(n3(**changes), ALONE)


def test_a_chain_is_followed_and_a_circle_is_not() -> None:
    def wanted(*others: Member) -> str:
        return upstream.wanted(
            but(tagged(), store__members={"n1": member(N1), "n2": member(N2), **{o.node: o for o in others}})
        )

    n4 = but(member(N3), node="n4")
    assert wanted(n3(follow="n4"), n4) == "n3"
    assert wanted(n3(follow="n9")) == "n3", "of a node that nobody knows"
    assert wanted(n3(follow="n1")) == "n2"
    assert wanted(n3(follow="n4"), but(n4, follow="n1")) == "n2"
    assert wanted(n3(follow="n4"), but(n4, follow="n3")) == "n3", "theirs, not this one's"
    assert wanted(n3(follow="n2"), member(N2, follow="n1")) == "n3", "the holder follows nobody"


def test_who_follows_another_node_is_no_voter() -> None:
    view = primary(store__members={"n1": member(N1), "n2": member(N2, follow="n3"), "n3": member(N3)}).store
    assert view is not None and kept_out(view) == {N2}


def test_among_equals_who_follows_another_node_leads_last() -> None:
    released = key(tenure=key().tenure.__class__.RELEASED)
    first = sealed(1000, released, member(N3, seal(N3), follow="n1", priority=900), bid_s=NOW)
    assert member(N3, follow="n1", priority=900).precedence < member(N1).precedence == 0
    assert situation(first) == situation(sealed(1000, released, member(N3, seal(N3)), bid_s=NOW))
    last = sealed(1000, released, member(N1, seal(N1), follow="n3", priority=900), member(N3, seal(N3)), bid_s=NOW)
    assert situation(last).bid.name == "YIELDING"
