"""A pause as the nodes see it: whose it is, when it is over, what may be asked of it."""

from __future__ import annotations

from math import inf, nextafter

import pytest

from pgha.core import pause
from pgha.core.classify import classify, order_problem
from pgha.core.decide import Rule, choose
from pgha.core.model import Leader, Pause, Tenure
from pgha.core.observation import Observation
from pgha.core.server import Running
from pgha.core.situation import Duty, Holder, Server
from tests.core.builders import EPOCH, N1, N2, NOW, TIMING, but, key, order, primary, situation, standby

PAUSE = Pause("p1", "new kernel", "anna@desk", 1.7e9, 600.0, 60.0)


def paused(holder: object = N1, **changes: object) -> Leader:
    return but(key(holder, paused=PAUSE), **changes)  # type: ignore[arg-type]


def holding(**changes: object) -> Observation:
    """n1 holds the paused key, its server writable."""
    return but(primary(store__leader=paused(), tenancy__left_s=60.0), **changes)


def asked(kind: str, **changes: object) -> dict[str, object]:
    """An order of this kind for n1, just seen."""
    plain = order(kind=kind, target="", reason="new kernel", for_s=600.0)
    return {"store__order": but(plain, **changes), "order_seen_s": NOW}


# -- whose it is ------------------------------------------------------------------------------------------------


def test_a_paused_key_is_its_holders_a_former_lifes_or_anothers() -> None:
    assert classify(holding()).holder is Holder.MINE_PAUSED
    assert classify(holding(incarnation="new")).holder is Holder.FORMER_PAUSED
    assert situation(standby(paused(N2))).holder is Holder.OTHER_PAUSED


@pytest.mark.parametrize("tenure", [Tenure.RELEASED, Tenure.CLAIMED])
def test_only_a_key_that_is_held_can_be_paused(tenure: Tenure) -> None:
    assert paused(tenure=tenure).left_s == 0.0


def test_a_holder_that_can_not_renew_keeps_its_server_until_the_pause_and_its_lease_have_run_out() -> None:
    def at(age_s: float) -> Holder:
        return situation(holding(tenancy__sent_s=0.0), now_s=age_s, store__sent_s=age_s).holder

    soft, hard = 60.0 + TIMING.f_soft_s, 60.0 + TIMING.f_hard_s
    assert at(59.9) is at(60.0) is Holder.MINE_PAUSED
    assert (at(nextafter(soft, 0)), at(soft)) == (Holder.MINE_PAUSED, Holder.MINE_LATE)
    assert (at(nextafter(hard, 0)), at(nextafter(hard, inf))) == (Holder.MINE_LATE, Holder.MINE_EXPIRED)


def test_others_call_a_paused_holder_silent_only_after_the_rest_of_the_pause_on_the_slowest_clock_and_h() -> None:
    limit = 60.0 * 1.01 + TIMING.h_s
    seen = [
        situation(standby(paused(N2), key_seen_s=0.0), now_s=at, store__sent_s=at).holder
        for at in (TIMING.h_s + 1, nextafter(limit, 0), nextafter(limit, inf))
    ]
    assert seen == [Holder.OTHER_PAUSED, Holder.OTHER_PAUSED, Holder.SILENT]


@pytest.mark.parametrize("left_s", [0.0, 5.0, 60.0, 3600.0, pause.MOST_S])
def test_the_old_server_is_gone_before_anybody_calls_the_holder_silent(left_s: float) -> None:
    end = (left_s + TIMING.f_hard_s + TIMING.kill_s + TIMING.poll_s) * 1.0
    assert end + TIMING.rate * (left_s + TIMING.h_s) <= TIMING.silent_after_s(left_s) + 1e-6


# -- when it is over --------------------------------------------------------------------------------------------


def test_the_holder_lifts_it_when_its_own_clock_says_so_whatever_its_server_does() -> None:
    for running in Running:
        late = holding(server__running=running, tenancy__sent_s=NOW - 60.0, server__answered_s=NOW, health_s=NOW)
        early = but(late, tenancy__sent_s=NOW - 59.0)
        assert (classify(late).duty, classify(early).duty is Duty.LIFT) == (Duty.LIFT, False)
        assert choose(classify(late)) is Rule.R370_LIFT


def test_a_later_life_of_the_holder_counts_from_when_it_first_saw_the_key_and_releases() -> None:
    down = holding(incarnation="new", server__running=Running.DOWN, key_seen_s=NOW - 59.0)
    assert choose(classify(down)) is Rule.R380_PAUSED_FORMER
    assert choose(situation(down, key_seen_s=NOW - 60.0)) is Rule.R320_RELEASE_FORMER


def test_a_later_life_of_the_holder_obeys_an_order_to_resume() -> None:
    down = holding(incarnation="new", server__running=Running.DOWN, key_seen_s=NOW)
    assert situation(down, **asked("resume")).holder is Holder.FORMER_LIFE
    assert situation(down, **asked("pause")).holder is Holder.FORMER_PAUSED
    for other in ({"epoch": EPOCH - 1}, {"source": "n2"}, {"phase": "refused"}):
        assert situation(down, **asked("resume", **other)).holder is Holder.FORMER_PAUSED


# -- orders -----------------------------------------------------------------------------------------------------


def test_a_healthy_holder_pauses_when_asked_and_lifts_when_asked() -> None:
    assert choose(situation(primary(), **asked("pause"))) is Rule.R415_PAUSE
    assert choose(situation(holding(), **asked("resume"))) is Rule.R370_LIFT


REFUSALS: dict[str, tuple[Observation, dict[str, object]]] = {
    "the cluster is paused already, asked by anna@desk": (holding(), asked("pause")),
    "the cluster is not paused": (primary(), asked("resume")),
    "a pause needs a reason": (primary(), asked("pause", reason="")),
    "a pause lasts 5 s to 7 days, not 4 s": (primary(), asked("pause", for_s=4.0)),
    "a pause lasts 5 s to 7 days, not 604801 s": (primary(), asked("pause", for_s=604801.0)),
    "the cluster is paused": (holding(), {"store__order": order(), "order_seen_s": NOW}),
}


@pytest.mark.parametrize("why", REFUSALS)
def test_it_is_refused(why: str) -> None:
    obs, changes = REFUSALS[why]
    full = but(obs, **changes)
    assert full.store is not None and full.store.order is not None
    assert order_problem(full, full.store.order) == why
    assert choose(classify(full)) is Rule.R420_REFUSE


def test_a_holder_whose_server_is_down_refuses_what_it_can_not_do_while_paused() -> None:
    down = holding(server__running=Running.DOWN)
    assert choose(situation(down, store__order=order(), order_seen_s=NOW)) is Rule.R420_REFUSE


# -- the rest goes on -------------------------------------------------------------------------------------------


def test_voters_come_and_go_while_paused_and_nothing_is_owed_by_a_server_that_is_not_writable() -> None:
    assert situation(holding(), server__names="?").duty is Duty.VOTERS
    assert situation(holding(), server__names="?", server__running=Running.STANDBY).duty is Duty.NONE


def test_a_standby_that_its_operator_restarted_follows_again_and_one_that_is_down_stays_down() -> None:
    assert choose(situation(standby(paused(N2), server__upstream_epoch=4))) is Rule.R550_UNFOLLOW
    down = situation(standby(paused(N2), server__running=Running.DOWN))
    assert down.server is Server.DOWN and choose(down) is Rule.R615_PAUSED_STANDBY
