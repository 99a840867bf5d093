"""What a node owes to an order for itself, and to newer settings."""

from __future__ import annotations

import pytest

from pgha.core.chores import is_named, kept_out, problem
from pgha.core.decide import Rule, choose
from pgha.core.following import voter_view
from pgha.core.model import Order, Pause, Tenure
from pgha.core.model import Rule as SyncRule
from pgha.core.observation import Observation
from pgha.core.server import Running
from pgha.core.situation import Duty
from tests.core.builders import N1, N2, N3, NOW, but, key, member, primary, situation, standby, walsender

UNNAMED = key(N2, sync=(SyncRule(N2, frozenset({N3}), 1),))
SINCE = NOW - 100


def asked(kind: str, obs: Observation | None = None, **order: object) -> Observation:
    """n1, a standby unless said otherwise, has an order of its own, just seen."""
    here = obs or standby()
    own = but(Order(kind, "o1", 5, "n1", "", 30.0), **order)
    return but(here, store__requests={"n1": own}, chore_seen_s=NOW)


def rule(obs: Observation) -> Rule:
    return choose(situation(obs))


# -- restart ------------------------------------------------------------------------------------------------------


def test_an_ordered_restart_stops_the_server_that_was_there_and_is_done_when_another_follows() -> None:
    assert rule(asked("restart")) is Rule.R545_RESTART
    begun = asked("restart", phase="begun", begun_s=SINCE)
    assert rule(begun) is Rule.R545_RESTART, "the agent died between the note and the stop"
    assert rule(but(begun, server__running=Running.STOPPING, server__stop_asked_s=NOW)) is Rule.R160_WAIT_STOP
    assert rule(but(begun, server__running=Running.DOWN)) is Rule.R510_START
    again = but(begun, server__since_s=NOW - 1)
    assert rule(but(again, server__upstream_epoch=0)) is Rule.R550_UNFOLLOW, "it is measured before it follows"
    assert rule(again) is Rule.R543_ANSWER


def test_a_restart_of_who_holds_the_key_is_answered_and_never_done() -> None:
    obs = asked("restart", primary())
    assert rule(obs) is Rule.R447_ANSWER
    assert obs.store is not None
    assert problem(obs, obs.store.requests["n1"]) == "n1 holds the leader key"


def test_a_standby_that_runs_with_less_than_its_primary_restarts_by_itself() -> None:
    assert rule(standby(short=True)) is Rule.R545_RESTART
    assert rule(primary(short=True)) is Rule.R450_HOLD


# -- reinit -------------------------------------------------------------------------------------------------------


def test_a_copy_that_a_rule_names_is_not_made_anew_before_the_holder_has_dropped_it() -> None:
    named = asked("reinit")
    assert is_named(named) and rule(named) is Rule.R540_FOLLOWING
    late = but(named, chore_seen_s=NOW - 31)
    assert rule(late) is Rule.R543_ANSWER
    assert late.store is not None
    assert "still names this copy" in problem(late, late.store.requests["n1"])
    assert rule(asked("reinit", standby(UNNAMED))) is Rule.R547_REINIT


def test_the_holder_keeps_a_copy_out_that_is_to_be_made_anew_or_is_tagged_nosync() -> None:
    order = Order("reinit", "o1", 5, "n2", "", 30.0)
    obs = primary(store__requests={"n2": order})
    assert obs.store is not None and kept_out(obs.store) == {N2}
    view = voter_view(obs)
    assert view is not None and view.keep_out == {N2}
    assert situation(obs).duty is Duty.VOTERS
    over = but(obs, store__requests={"n2": but(order, phase="refused")})
    assert situation(over).duty is Duty.NONE
    tagged = primary(store__members={"n1": member(N1), "n2": member(N2, nosync=True), "n3": member(N3)})
    assert tagged.store is not None and kept_out(tagged.store) == {N2}


def test_a_clone_is_over_when_another_copy_follows_or_the_job_has_failed() -> None:
    begun = asked("reinit", standby(UNNAMED), phase="begun", data="d1")
    assert rule(begun) is Rule.R547_REINIT
    assert rule(but(begun, server__job="cloning")) is Rule.R230_BUSY
    other = but(begun, copy=but(N1, data="new"))
    assert rule(but(other, server__running=Running.DOWN)) is Rule.R510_START, "the clone comes up"
    assert rule(but(other, server__upstream_epoch=0)) is Rule.R550_UNFOLLOW
    assert rule(other) is Rule.R543_ANSWER
    failed = but(begun, server__job_failed="not enough room")
    assert rule(failed) is Rule.R543_ANSWER
    assert failed.store is not None
    assert problem(failed, failed.store.requests["n1"]) == "not enough room"


def test_a_server_that_does_not_come_up_can_be_made_anew() -> None:
    down = asked("reinit", standby(UNNAMED, server__running=Running.DOWN))
    assert rule(down) is Rule.R547_REINIT


@pytest.mark.parametrize("source", ["n1", "n9"])
def test_nobody_is_cloned_from_itself_or_from_who_is_not_there(source: str) -> None:
    obs = asked("reinit", standby(UNNAMED), target=source)
    assert obs.store is not None
    assert problem(obs, obs.store.requests["n1"]) == f"{source} is no node to clone from"


# -- all of them ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["restart", "reinit"])
def test_nothing_is_begun_while_paused_or_without_a_holder(kind: str) -> None:
    pause = Pause("p", "why", "anna", 0.0, 60.0, 60.0)
    paused = asked(kind, standby(but(UNNAMED, paused=pause)))
    assert rule(paused) is Rule.R540_FOLLOWING
    assert paused.store is not None and problem(paused, paused.store.requests["n1"]) == "the cluster is paused"
    free = asked(kind, standby(but(UNNAMED, tenure=Tenure.RELEASED)))
    assert rule(free) is Rule.R620_SEAL


@pytest.mark.parametrize("phase", ["done", "refused", "nonsense"])
def test_an_order_that_is_over_is_nobodys_duty(phase: str) -> None:
    assert rule(asked("restart", phase=phase)) is Rule.R540_FOLLOWING


def test_without_a_leader_key_an_order_is_answered_with_that() -> None:
    obs = asked("restart")
    assert obs.store is not None
    order = obs.store.requests["n1"]
    assert problem(but(obs, store__leader=None), order) == problem(but(obs, store=None), order) == "no leader key"


def test_an_unknown_kind_of_order_is_answered() -> None:
    assert rule(asked("dance")) is Rule.R543_ANSWER


def test_newer_settings_are_written_by_standbys_and_by_a_holder_that_owes_nothing_else() -> None:
    assert rule(standby(outdated=True)) is Rule.R541_CONFIGURE
    assert rule(primary(outdated=True)) is Rule.R445_CONFIGURE
    assert rule(primary(outdated=True, server__names="?")) is Rule.R430_VOTERS
    gone = primary(outdated=True, server__walsenders=(walsender(N3),), missing_s={N2: 9.0})
    assert rule(gone) is Rule.R430_VOTERS
    assert rule(standby(but(UNNAMED, tenure=Tenure.RELEASED), outdated=True)) is Rule.R620_SEAL


def test_a_reload_is_a_configuration_that_is_answered_with_it() -> None:
    assert rule(asked("reload")) is Rule.R541_CONFIGURE
    assert rule(asked("reload", primary())) is Rule.R445_CONFIGURE


# -- a primary in place ---------------------------------------------------------------------------------------------


def test_a_primarys_restart_in_place_is_a_hand_over_to_itself() -> None:
    own = Order("restart", "o1", 5, "n1", "n1", 30.0)
    obs = primary(store__order=own, order_seen_s=NOW)
    assert rule(obs) is Rule.R410_PREPARE
    assert rule(but(obs, prepared="o1")) is Rule.R400_HAND_OVER
    assert rule(but(obs, prepared="o1", store__order__target="n2")) is Rule.R420_REFUSE
    assert rule(but(obs, order_seen_s=NOW - 31)) is Rule.R420_REFUSE
