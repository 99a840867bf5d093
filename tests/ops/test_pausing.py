"""The operator's half of pause and resume: who may, what is asked, and every end it can have."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pgha.adapters.memory import Fault
from pgha.core.model import Leader, Pause, Tenure
from pgha.errors import Busy, Exit, OutcomeUnknown, PghaError, Refused, StoreUnreachable, UsageError
from pgha.ops import failover, pausing, switchover
from pgha.ops.paused import span_text
from pgha.ops.status import SILENT_S, Seen, judge
from tests.ops.cases import NOW, PAUSE, TARGET, copy, leader, member, order, seen
from tests.ops.test_switchover import NEW, World
from tests.support import golden

PAUSED = leader(paused=PAUSE)
GONE = member("n1", written_at=NOW - SILENT_S - 5.0)
DOWN = member("n1", primary=False, state="stopped", standbys={})


def to_pause(look: Seen, reason: str = "new kernel") -> pausing.PausePlan:
    return pausing.plan_pause(TARGET, look, for_s=1800.0, reason=reason)


def to_resume(look: Seen, holder_down: str | None = None) -> pausing.ResumePlan:
    return pausing.plan_resume(TARGET, look, holder_down)


# -- what may be asked for --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "seconds"), [("30m", 1800), ("2h", 7200), ("90s", 90), ("1.5h", 5400), ("7d", 604800)]
)
def test_a_length_has_a_unit(text: str, seconds: float) -> None:
    assert pausing.seconds_of(text) == seconds


@pytest.mark.parametrize("text", ["30", "", "1y", "-5m", "4s", "8d", "5m5", "0s", "nan", "1e3s"])
def test_what_is_no_length_of_a_pause_is_a_usage_error_that_says_what_is(text: str) -> None:
    with pytest.raises(UsageError) as refused:
        pausing.seconds_of(text)
    assert "5s to 7d" in refused.value.because


REFUSALS: dict[str, tuple[Seen, type[PghaError], str]] = {
    "paused already": (seen(key=PAUSED), Refused, "new kernel on n1; asked by anna@desk 2m ago, 28m left"),
    "no primary": (seen(key=leader(tenure=Tenure.RELEASED)), Refused, "no healthy primary"),
    "a silent primary": (seen(GONE), Refused, "no healthy primary"),
    "one that is not writable": (seen(DOWN), Refused, "no healthy primary"),
    "another order": (seen(asked=order()), Busy, "a switchover is in progress: n1 to n2"),
    "another pause": (seen(asked=order(kind="pause", target="")), Busy, "a pause is in progress: n1"),
    "no store": (replace(seen(), down="silent"), StoreUnreachable, "no answer"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_pause_is_refused(case: str) -> None:
    look, kind, words = REFUSALS[case]
    with pytest.raises(kind) as refused:
        to_pause(look)
    assert words in "\n".join(refused.value.lines())


@pytest.mark.parametrize("reason", ["", "  ", "x" * 201, "two\nlines", "\x1b[2J"])
def test_a_pause_needs_a_reason_that_others_can_read(reason: str) -> None:
    with pytest.raises(UsageError):
        to_pause(seen(), reason)


def test_a_resume_is_refused_when_nothing_is_paused() -> None:
    with pytest.raises(Refused) as refused:
        to_resume(seen())
    assert refused.value.what == "the cluster is not paused"


def test_a_silent_holder_can_not_be_asked_and_the_message_says_what_the_operator_has_to_make_sure_of() -> None:
    with pytest.raises(Refused) as refused:
        to_resume(seen(GONE, key=PAUSED))
    text = "\n".join(refused.value.lines())
    assert "not reported for 15s" in text and "may still take writes for 28m" in text
    assert refused.value.next_step == "pgha resume --holder-down n1"


def test_the_operator_vouches_for_the_holder_and_nobody_else_and_only_when_it_is_silent() -> None:
    assert to_resume(seen(GONE, key=PAUSED), "n1").down
    with pytest.raises(UsageError):
        to_resume(seen(GONE, key=PAUSED), "n2")
    with pytest.raises(Refused) as refused:
        to_resume(seen(key=PAUSED), "n1")
    assert refused.value.what == "n1 is not down" and refused.value.next_step == "pgha resume"


@pytest.mark.parametrize("move", [switchover.plan, failover.plan])
@pytest.mark.parametrize(("here", "step"), [(member("n1"), "resume"), (GONE, "resume --holder-down n1")])
def test_nobody_is_moved_while_paused_and_the_next_step_ends_the_pause(move: object, here: object, step: str) -> None:
    assert callable(move)
    with pytest.raises(Refused) as refused:
        move(TARGET, seen(here, key=PAUSED), None)  # type: ignore[arg-type]
    assert (refused.value.what, refused.value.next_step) == ("the cluster is paused", f"pgha {step}")


# -- what people read -------------------------------------------------------------------------------------------

PLANS = {
    "pause": to_pause(seen()).lines("shop"),
    "resume": to_resume(seen(key=PAUSED)).lines("shop"),
    "resume-not-writable": to_resume(seen(DOWN, key=PAUSED)).lines("shop"),
    "resume-holder-down": to_resume(seen(GONE, key=PAUSED), "n1").lines("shop"),
}


@pytest.mark.parametrize("name", PLANS)
def test_the_plan_is_as_kept(name: str) -> None:
    golden.check("\n".join(PLANS[name]) + "\n", f"plan-{name}.txt", beside=__file__)


def test_list_says_who_paused_why_and_for_how_long_and_is_not_content() -> None:
    found = judge(TARGET, seen(key=PAUSED))
    assert (found.verdict, found.exit, found.next_step) == ("PAUSED", Exit.DEGRADED, "pgha resume")
    assert found.notes == ("PAUSED: new kernel on n1; asked by anna@desk 2m ago, 28m left",)
    assert found.as_dict()["paused"] == {
        "reason": "new kernel on n1", "asked_by": "anna@desk", "at": NOW - 120.0, "for_s": 1800.0,
        "holder": "n1", "reports": True, "left_s": 1679.5,
    }  # fmt: skip


@pytest.mark.parametrize(("here", "why"), [(GONE, "has not reported for 15 s"), (DOWN, "is not writable (stopped)")])
def test_list_says_that_a_paused_cluster_has_no_primary(here: object, why: str) -> None:
    found = judge(TARGET, seen(here, key=PAUSED))  # type: ignore[arg-type]
    assert (found.verdict, found.exit, found.leader) == ("PAUSED, no primary", Exit.NO_PRIMARY, "")
    assert why in found.notes[0] and found.notes[1].startswith("PAUSED: ")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (119, "119s"), (120, "2m"), (7140, "119m"), (7200, "2h00m"), (180000, "2d02h")]
)
def test_spans_are_short(seconds: float, text: str) -> None:
    assert span_text(seconds) == text


# -- asking and watching ----------------------------------------------------------------------------------------


def _tell(world: World) -> switchover.Tell:
    return lambda text, _at: world.told.append(text)


def ask(world: World, chosen: pausing.PausePlan | pausing.ResumePlan) -> switchover.Asked:
    return pausing.ask(world.store, world.clock, TARGET, chosen, asked_by="bert@desk")


def watch(world: World, asked: switchover.Asked) -> float:
    return pausing.watch(world.store, world.clock, TARGET, asked, _tell(world))


def paused_by(asked: switchover.Asked) -> Leader:
    said = asked.order
    return leader(paused=Pause(said.ident, said.reason, said.asked_by, NOW, said.for_s, said.for_s))


def test_a_pause_is_over_when_the_key_says_this_very_one() -> None:
    world = World()
    asked = ask(world, to_pause(world.look()))
    assert (asked.order.kind, asked.order.source, asked.order.target, asked.order.for_s) == ("pause", "n1", "", 1800.0)
    world.later(0.5, lambda: world.put_order(None))
    world.later(0.5, lambda: world.put_leader(paused_by(asked)))
    assert 0.4 < watch(world, asked) < 1.2
    assert world.told == [pausing.WAITING["pause"]]


def test_somebody_elses_pause_is_not_mine() -> None:
    world = World()
    asked = ask(world, to_pause(world.look()))
    world.later(0.2, lambda: world.put_order(None))
    world.later(0.2, lambda: world.put_leader(PAUSED))
    with pytest.raises(Refused) as refused:
        watch(world, asked)
    assert refused.value.because == "the order was withdrawn"


@pytest.mark.parametrize("after", [leader(), NEW], ids=["by its holder", "by another epoch"])
def test_a_resume_is_over_when_the_key_is_paused_no_more_and_leaves_no_order(after: Leader) -> None:
    world = World()
    world.put_leader(PAUSED)
    asked = ask(world, to_resume(world.look()))
    world.later(0.3, lambda: world.put_leader(after))
    watch(world, asked)
    assert world.look().records.order is None


def test_an_agents_no_is_a_refusal_with_its_reason_and_leaves_no_order() -> None:
    world = World()
    asked = ask(world, to_pause(world.look()))
    world.later(0.2, lambda: world.put_order(replace(asked.order, phase="refused", answer="it is Monday")))
    with pytest.raises(Refused) as refused:
        watch(world, asked)
    assert refused.value.because == "it is Monday" and world.look().records.order is None


def test_an_order_that_nobody_takes_up_is_withdrawn_after_five_seconds() -> None:
    world = World()
    with pytest.raises(Refused) as refused:
        watch(world, ask(world, to_pause(world.look())))
    assert "n1 did not take it up within 5 s" in refused.value.because
    assert world.look().records.order is None


def test_two_operators_at_one_moment_get_one_order_and_one_busy() -> None:
    world = World()
    chosen = to_pause(world.look())
    ask(world, chosen)
    with pytest.raises(Busy):
        ask(world, chosen)


def test_when_the_budget_is_over_the_outcome_is_unknown() -> None:
    world = World()
    asked = ask(world, to_pause(world.look()))
    world.later(0.1, lambda: world.put_order(replace(asked.order, phase="accepted")))
    world.later(4.0, lambda: world.store.fail_next("commit", *[Fault.DOWN] * 999))
    with pytest.raises(OutcomeUnknown):
        watch(world, asked)


# -- without the holder -----------------------------------------------------------------------------------------


def silent(world: World) -> pausing.ResumePlan:
    world.put_leader(PAUSED)
    world.put_member(GONE)
    return to_resume(world.look(), "n1")


def lift(world: World, chosen: pausing.ResumePlan) -> None:
    pausing.lift(world.store, world.clock, TARGET, chosen, _tell(world))


def test_the_pause_of_a_silent_holder_is_lifted_after_h_and_nothing_else_of_its_key_changes() -> None:
    world = World()
    chosen, began = silent(world), world.clock.now
    lift(world, chosen)
    assert world.look().records.leader == replace(PAUSED, paused=None, beat=PAUSED.beat + 1)
    assert 6.0 <= world.clock.now - began < 7.0


def test_a_holder_that_renews_meanwhile_is_not_silent_and_keeps_its_pause() -> None:
    world = World()
    chosen = silent(world)
    renewed = replace(PAUSED, beat=PAUSED.beat + 1)
    world.later(5.5, lambda: world.put_leader(renewed))
    with pytest.raises(Refused) as refused:
        lift(world, chosen)
    assert refused.value.what == "n1 is not silent" and world.look().records.leader == renewed


def test_a_lift_whose_answer_got_lost_is_an_unknown_outcome() -> None:
    world = World()
    chosen = silent(world)
    world.store.fail_next("commit", Fault.APPLIED)
    with pytest.raises(OutcomeUnknown):
        lift(world, chosen)


def test_a_store_that_is_silent_for_long_lifts_nothing() -> None:
    world = World()
    chosen = silent(world)
    world.store.fail_next("read", *[Fault.DOWN] * 999)
    with pytest.raises(StoreUnreachable):
        lift(world, chosen)
    world.store._next.clear()
    assert world.look().records.leader == PAUSED


def test_the_end_is_awaited_until_somebody_is_writable() -> None:
    world = World()
    world.put_leader(leader(tenure=Tenure.RELEASED))
    here = member("n2", primary=True, state="primary")
    world.later(3.0, lambda: world.put_leader(NEW))
    world.later(4.0, lambda: world.put_member(replace(here, position=replace(here.position, timeline=4))))
    began = world.clock.now
    assert pausing.await_primary(world.store, world.clock, TARGET, 6.0, _tell(world)) == copy("n2").node
    assert world.clock.now - began > 3.9
    assert world.told == ["waiting for a writable primary"]


def test_without_anybody_writable_in_the_end_the_outcome_is_unknown_and_explain_says_why() -> None:
    world = World()
    world.put_leader(leader(tenure=Tenure.RELEASED))
    with pytest.raises(OutcomeUnknown) as unknown:
        pausing.await_primary(world.store, world.clock, TARGET, 6.0, _tell(world))
    assert unknown.value.next_step == "pgha explain"
