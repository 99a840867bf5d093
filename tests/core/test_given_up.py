"""A timeline that was given up: whose server may aim at it, and is started anew without its history."""

from __future__ import annotations

from math import inf, nextafter

import pytest

from pgha.core import classify as limits
from pgha.core.classify import given_up
from pgha.core.decide import Rule, choose
from pgha.core.model import Leader, Position, Tenure
from pgha.core.model import Rule as SyncRule
from pgha.core.observation import Observation
from pgha.core.situation import Holder, Path, Server
from tests.core.builders import END, EPOCH, N1, N2, but, key, sealed, situation, standby

OLD = EPOCH - 2  # the holder's timeline forked from here; the epoch between was claimed and never written
FORKED = key(N2, forks=((OLD, END),), position=Position(EPOCH, END))


def measured(leader: Leader, histories: tuple[int, ...], timeline: int = OLD) -> Observation:
    """Cut off on this timeline, with these history files."""
    return sealed(
        END, leader, sealed=Position(timeline, END), server__histories=histories, memory__seal=None, key_seen_s=1000.0
    )


@pytest.mark.parametrize(
    ("histories", "expected"),
    [
        ((), Server.SEALED),
        ((OLD,), Server.SEALED),
        ((OLD - 1, OLD, EPOCH), Server.SEALED),
        ((EPOCH - 1,), Server.ASTRAY),
        ((OLD, EPOCH - 1, EPOCH), Server.ASTRAY),
        ((EPOCH + 1,), Server.ASTRAY),
    ],
)
def test_beside_a_holder_only_its_own_line_may_be_aimed_at(histories: tuple[int, ...], expected: Server) -> None:
    found = situation(measured(FORKED, histories))
    assert (found.holder, found.server, found.path) == (Holder.OTHER_HELD, expected, Path.FOLLOW)
    assert choose(found) is (Rule.R565_UNTANGLE if expected is Server.ASTRAY else Rule.R570_FOLLOW)


def test_who_could_claim_aims_at_no_timeline_beyond_its_own() -> None:
    """Its promotion would name the one it aims at as the parent."""
    free = key(N2, tenure=Tenure.RELEASED)
    assert situation(measured(free, (OLD - 1, OLD))).server is Server.SEALED
    assert situation(measured(free, (EPOCH,))).server is Server.ASTRAY, (
        "the released epoch itself, of which it has no WAL"
    )
    assert choose(situation(measured(free, (EPOCH,)))) is Rule.R565_UNTANGLE
    assert given_up(measured(free, (OLD, EPOCH - 1, EPOCH)), OLD + 1) == (EPOCH - 1, EPOCH)
    silent = measured(key(N2), (EPOCH,))
    assert situation(but(silent, key_seen_s=-1000.0)).holder is Holder.SILENT
    assert situation(but(silent, key_seen_s=-1000.0)).server is Server.ASTRAY


def test_beside_a_claimant_whoever_lies_on_its_timeline_may_aim_at_its_epoch_alone() -> None:
    claimed = key(N2, tenure=Tenure.CLAIMED, position=Position(OLD, END))
    assert situation(measured(claimed, (EPOCH,))).server is Server.SEALED
    assert situation(measured(claimed, (EPOCH - 1, EPOCH))).server is Server.ASTRAY
    elsewhere = measured(claimed, (EPOCH - 1, EPOCH), timeline=OLD - 1)
    assert situation(elsewhere).server is Server.SEALED, "what lies between is not known here"


def test_an_own_claim_or_no_key_gives_nothing_up() -> None:
    for leader in (key(N1, tenure=Tenure.CLAIMED), key(N1)):
        assert given_up(measured(leader, (EPOCH - 1,)), OLD + 1) == ()
    assert given_up(but(measured(FORKED, (EPOCH - 1,)), store__leader=None), OLD + 1) == ()


def test_a_follower_that_receives_nothing_is_measured_again_once_it_may_aim_elsewhere() -> None:
    obs = standby(
        store__leader=FORKED,
        server__receiving=False,
        server__position=Position(OLD, END),
        server__histories=(OLD, EPOCH - 1, EPOCH),
        server__heard_s=0.0,
        server__since_s=-1000.0,
        server__answered_s=0.0,
    )
    ages = (limits.ASTRAY_S, nextafter(limits.ASTRAY_S, inf))
    fresh = {"store__sent_s": 0.0, "key_seen_s": 0.0}
    found = [situation(obs, now_s=age, **fresh).server for age in ages]
    assert found == [Server.FOLLOWING, Server.STRAY]
    for well in (
        {"server__receiving": True},
        {"server__histories": (OLD, EPOCH)},
        {"server__position": Position(EPOCH, END)},
        {"server__since_s": 1.0},
    ):
        assert situation(obs, now_s=ages[1], **fresh, **well).server is Server.FOLLOWING, well


def test_a_follower_told_that_its_wal_is_gone_believes_it_after_a_while_and_is_cloned() -> None:
    """It asks for it again and again, and never gets it."""
    obs = standby(
        server__receiving=False,
        server__wal_gone=True,
        server__heard_s=0.0,
        server__since_s=-9.0,
        server__answered_s=0.0,
    )
    fresh = {"store__sent_s": 0.0, "key_seen_s": 0.0}
    ages = (limits.WAL_GONE_S, nextafter(limits.WAL_GONE_S, inf))
    assert [situation(obs, now_s=s, **fresh).server for s in ages] == [Server.FOLLOWING, Server.STRAY]
    assert situation(obs, now_s=ages[1], **fresh, server__receiving=True).server is Server.FOLLOWING
    assert situation(obs, now_s=ages[1], **fresh, server__wal_gone=False).server is Server.FOLLOWING
    here = measured(key(N2, forks=FORKED.forks, sync=()), ())
    assert choose(situation(here)) is Rule.R570_FOLLOW
    assert choose(situation(here, server__wal_gone=True)) is Rule.R590_CLONE
    named = key(N2, forks=FORKED.forks, sync=(SyncRule(N2, frozenset({N1}), 1),))
    assert choose(situation(measured(named, ()), server__wal_gone=True)) is Rule.R597_KEEP, (
        "sync may need what this copy has"
    )
