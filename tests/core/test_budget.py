"""What fails again and again comes slower and slower, and never stops for good."""

from __future__ import annotations

from itertools import pairwise

from pgha.core import classify as limits
from pgha.core.budget import BRAKE_MAX_S, CRASHES_FREE, RETRY_S, STARTS_FREE, STARTS_MAX, brake_s, start_delay_s
from pgha.core.model import Leader, Tenure
from pgha.core.server import Running
from pgha.core.situation import Bid, Budget, Server
from tests.core.builders import END, EPOCH, N1, N2, N3, TIMING, but, key, member, primary, seal, sealed, situation


def test_starts_come_at_growing_distance_and_then_once_a_minute_for_ever() -> None:
    waits = [start_delay_s(n) for n in range(1, 40)]
    assert waits[:STARTS_FREE] == [0.0] * STARTS_FREE
    assert all(a <= b for a, b in pairwise(waits))
    assert 0 < waits[STARTS_FREE] <= 1.0, "a third start is not kept waiting for long"
    assert set(waits[STARTS_MAX - 1 :]) == {RETRY_S}


def test_take_overs_wait_longer_with_each_crash_and_never_longer_than_the_limit() -> None:
    waits = [brake_s(n) for n in range(60)]
    assert waits[: CRASHES_FREE + 1] == [0.0] * (CRASHES_FREE + 1)
    assert all(a <= b for a, b in pairwise(waits)) and waits[CRASHES_FREE + 1] >= 1.0
    assert waits[-1] == BRAKE_MAX_S


def test_a_server_that_does_not_answer_is_borne_with_for_ten_h_after_a_hand_over_for_the_same_reason() -> None:
    limit = limits.UNWELL_H * TIMING.h_s
    silent = primary(health_s=0.0, server__answered_s=0.0, server__since_s=0.0)
    ages = [limit - 1.0, limit + 1.0]

    def found(age_s: float, **more: object) -> Server:
        now_s = silent.now_s
        obs = but(silent, tenancy__claimed_s=now_s - age_s, tenancy__sent_s=now_s, store__sent_s=now_s)
        return situation(obs, **more).server

    assert [found(age) for age in ages] == [Server.HUNG, Server.HUNG]
    assert [found(age, store__leader=key(N1, unwell=True)) for age in ages] == [Server.PRIMARY, Server.HUNG]
    assert (
        situation(silent, store__leader=key(N1, unwell=True), tenancy__claimed_s=silent.now_s - 1.0).budget
        is Budget.SPENT
    )
    assert situation(primary(), store__leader=key(N1, unwell=True)).budget is Budget.WITHIN
    assert found(1.0, store__leader=key(N1, unwell=True), server__running=Running.DOWN) is Server.DOWN
    assert found(1.0, store__leader=key(N1, unwell=True), tenancy__epoch=EPOCH - 1) is Server.HUNG


def test_after_many_crashes_a_key_released_by_one_more_is_not_taken_at_once() -> None:
    crashed = key(N2, tenure=Tenure.RELEASED)
    covered = sealed(END, crashed, member(N3, seal(N3, END)))
    crashes = CRASHES_FREE + 2
    wait_s = brake_s(crashes)
    ages = [wait_s - 0.01, wait_s + 0.01]

    def found(age_s: float, crashes: int, leader: Leader) -> Bid:
        return situation(but(covered, key_seen_s=covered.now_s - age_s), crashes=crashes, store__leader=leader).bid

    assert [found(age, crashes, crashed) for age in ages] == [Bid.BRAKED, Bid.COVERED]
    assert found(ages[0], CRASHES_FREE, crashed) is Bid.COVERED
    clean = key(N2, tenure=Tenure.RELEASED, clean=True)
    assert found(ages[0], crashes, clean) is Bid.COVERED, "a planned stop"
