"""Orders for later: what the primary orders at their time, what it waits for, and why it drops them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pgha.core.following import LAG_MAX
from pgha.core.model import Order, Pause
from pgha.core.planned import Planned
from pgha.core.schedule import GATE_S, LATE_S, STANDBY_S, TAKE_UP_S, Move, due, next_move
from tests.core.builders import EPOCH, N2, N3, but, key, member, order, primary, standby, walsender

AT = 1.7e9
MOVE = Planned("switchover", "p1", AT, source="n1", target="n2", asked_by="anna@desk")
ALL = Planned("restart", "p2", AT, nodes=("n1", "n2", "n3"), asked_by="anna@desk")
WAITS = {"shared_buffers": ("16384", "32768")}


def moved(plan: Planned, *, wall: float = AT + 1.0, **changes: object) -> Move:
    found = next_move(but(primary(), **changes), plan, wall)
    assert found is not None
    return found


def at_work(step: str, **more: object) -> Planned:
    plain = replace(ALL, phase="begun", step=step, order="o1", since=AT)
    return replace(plain, **more)  # type: ignore[arg-type]  # names are checked by replace


def test_what_is_at_work_comes_first_and_then_the_first_of_those_whose_time_has_come() -> None:
    begun, early, later = replace(ALL, phase="begun"), replace(MOVE, at=AT - 9), replace(MOVE, ident="p3", at=AT + 9)
    over = replace(MOVE, ident="p4", at=AT - 99, phase="done")
    assert due([over, later, early, begun], AT) is begun
    assert due([over, later, early], AT) is early
    assert due([over, later], AT) is None
    assert due([later], AT + 9) is later


def test_a_switchover_becomes_an_order_like_any_other_in_the_name_of_who_planned_it() -> None:
    found = moved(MOVE)
    assert found.place == ("request", Order("switchover", "", EPOCH, "n1", "n2", 30.0, "anna@desk", AT + 1.0))
    assert (found.plan.phase, found.plan.step, found.plan.epoch, found.plan.heir) == ("begun", "n1", EPOCH, "n2")


def test_without_a_name_the_best_voter_of_that_time_is_chosen() -> None:
    far = (walsender(N2, behind=100), walsender(N3))
    assert moved(replace(MOVE, target=""), server__walsenders=far).plan.heir == "n3"
    assert moved(replace(MOVE, target="")).plan.heir == "n2"
    first = primary(store__members={**primary().store.members, "n3": member(N3, priority=5)})  # type: ignore[union-attr]
    found = next_move(first, replace(MOVE, target=""), AT)
    assert found is not None and found.plan.heir == "n3"


PAUSED = Pause("p1", "new kernel", "anna@desk", AT, 60.0, 60.0)
FAR = (walsender(N2, behind=LAG_MAX + 1), walsender(N3, behind=LAG_MAX + 1))
DROPPED: dict[str, tuple[Planned, float, dict[str, object], str]] = {
    "late": (MOVE, AT + LATE_S + 1, {}, "within 5 minutes"),
    "paused": (MOVE, AT, {"store__leader__paused": PAUSED}, "skipped: the cluster was paused (new kernel)"),
    "a standby is gone": (ALL, AT, {"server__walsenders": (walsender(N2),)}, "refused: n3 did not stream"),
    "one catches up": (ALL, AT, {"server__walsenders": (walsender(N2), walsender(N3, state="catchup"))}, "n3 did not"),
    "one does not vote": (ALL, AT, {"store__leader__sync": key(N2, sync=()).sync}, "n2, n3 did not vote"),
    "voters change": (ALL, AT, {"store__leader__sync": key(N2).sync * 2}, "the voters are being changed"),
    "all lag": (replace(MOVE, target=""), AT, {"server__walsenders": FAR}, "refused: nobody could take over"),
    "another primary": (replace(MOVE, source="n3"), AT, {}, "n3 was not the primary any more, n1 was"),
    "to the primary itself": (replace(MOVE, target="n1"), AT, {}, "n1 is the primary already"),
    "to nobody": (replace(MOVE, target="n9"), AT, {}, "n9 is not a member"),
    "of nobody": (replace(ALL, nodes=("n9",)), AT, {}, "n9 is no member any more"),
    "of another kind": (replace(ALL, kind="dance"), AT, {}, "unknown kind of order 'dance'"),
}


@pytest.mark.parametrize("case", DROPPED)
def test_it_is_dropped_with_a_reason_and_nothing_is_ordered(case: str) -> None:
    plan, wall, changes, words = DROPPED[case]
    found = moved(plan, wall=wall, **changes)
    assert found.place is None and found.plan.phase == "dropped" and words in found.plan.answer


def test_in_async_nobody_votes_and_it_begins() -> None:
    assert moved(ALL, store__settings__durability="async", store__leader__sync=()).plan.phase == "begun"


def test_the_last_moment_is_in_time() -> None:
    assert moved(MOVE, wall=AT + LATE_S).plan.phase == "begun"


@pytest.mark.parametrize("phase", ["asked", "accepted", "stopping", "handed"])
def test_another_order_is_waited_for(phase: str) -> None:
    assert next_move(primary(store__order=order(phase=phase)), MOVE, AT) is None
    other = Order("restart", "o9", EPOCH, "n2", "", 30.0, phase="begun")
    assert next_move(primary(store__requests={"n2": other}), MOVE, AT) is None
    over = primary(store__order=order(phase="refused"), store__requests={"n2": replace(other, phase="done")})
    assert next_move(over, MOVE, AT) is not None


def test_who_does_not_hold_the_key_does_nothing() -> None:
    assert next_move(standby(), MOVE, AT + LATE_S + 1) is None
    assert next_move(primary(store=None), MOVE, AT) is None


def test_the_standbys_come_first_and_the_primary_last_in_place_or_moved() -> None:
    assert moved(ALL).place == ("requests/n2", Order("restart", "", EPOCH, "n2", "", 120.0, "anna@desk", AT + 1.0))
    last = replace(ALL, phase="begun", nodes=("n1",), done=("n2", "n3"), since=AT)
    place = moved(last).place
    assert place is not None and (place[1].kind, place[1].source, place[1].target) == ("restart", "n1", "n1")
    place = moved(replace(last, rolling=True)).place
    assert place is not None and (place[1].kind, place[1].source, place[1].target) == ("switchover", "n1", "n2")
    done = moved(replace(last, nodes=(), done=("n2", "n3", "n1"))).plan
    assert (done.phase, done.answer) == ("done", "restarted n2, n3, n1")


def test_only_those_that_wait_are_restarted_and_who_is_given_less_of_the_five_first() -> None:
    def waiting(**nodes: dict[str, tuple[str, str]]) -> Planned:
        obs = primary()
        assert obs.store is not None
        there = {name: replace(m, pending=nodes.get(name, {})) for name, m in obs.store.members.items()}
        found = next_move(but(obs, store__members=there), replace(ALL, pending=True, rolling=True), AT)
        assert found is not None
        return found.plan

    assert waiting(n3=WAITS).step == "n3"
    assert (waiting(n1=WAITS).step, waiting(n1=WAITS).heir) == ("n1", "n2")
    lower = {"max_connections": ("100", "50 once the primary is restarted in place")}
    assert (waiting(n1=lower, n2=lower).step, waiting(n1=lower, n2=lower).heir) == ("n1", "n1")
    assert waiting().answer == "nothing waited for a restart"


def test_the_next_step_waits_until_all_are_back_and_not_for_ever() -> None:
    between = replace(ALL, phase="begun", nodes=("n1", "n3"), done=("n2",), since=AT)
    away = {"server__walsenders": (walsender(N3),)}
    assert next_move(primary(**away), between, AT + GATE_S) is None
    stopped = moved(between, wall=AT + GATE_S + 1, **away).plan
    assert (stopped.phase, stopped.answer) == ("dropped", "after n2: n2 did not stream")
    assert moved(between).plan.step == "n3"
    paused = moved(between, store__leader__paused=PAUSED).plan
    assert paused.phase == "dropped" and "paused" in paused.answer


def test_a_standbys_turn_is_over_when_it_says_so_and_its_order_is_taken_away() -> None:
    def told(wall: float = AT, **changes: object) -> Move | None:
        order = replace(Order("restart", "o1", EPOCH, "n2", "", 120.0), **changes)  # type: ignore[arg-type]
        return next_move(primary(store__requests={"n2": order}), at_work("n2"), wall)

    over = told(phase="done")
    assert over is not None and over.remove == "requests/n2"
    assert (over.plan.step, over.plan.nodes, over.plan.done) == ("", ("n1", "n3"), ("n2",))
    no = told(phase="refused", answer="the cluster is paused")
    assert no is not None and no.plan.answer == "n2 refused: the cluster is paused" and no.remove == "requests/n2"
    gone = told(ident="another")
    assert gone is not None and gone.plan.answer == "the order for n2 was withdrawn" and not gone.remove
    assert told(AT + STANDBY_S + TAKE_UP_S) is None
    late = told(AT + STANDBY_S + TAKE_UP_S + 1)
    assert late is not None and late.plan.phase == "dropped" and late.remove == "requests/n2"


def test_the_primarys_turn_is_over_when_the_one_that_was_to_lead_leads_a_later_epoch() -> None:
    turn = at_work("n3", epoch=EPOCH - 1, heir="n1")
    over = moved(turn)
    assert (over.plan.done, over.plan.nodes, over.plan.epoch) == (("n3",), ("n1", "n2"), 0)
    other = moved(replace(turn, heir="n2")).plan
    assert (other.phase, other.answer) == ("dropped", f"n1 leads epoch {EPOCH} instead of n2")
    assert moved(at_work("n3", epoch=EPOCH - 1, heir="n3")).plan.done == ("n3",), "in place: its server is another now"
    assert next_move(primary(store__order=order(phase="accepted")), at_work("n1", epoch=EPOCH, heir="n2"), AT) is None
    no = moved(at_work("n1", epoch=EPOCH, heir="n2"), store__order=order(phase="refused", answer="n2 is no voter"))
    assert (no.plan.answer, no.remove) == ("refused: n2 is no voter", "request")
    assert moved(at_work("n1", epoch=EPOCH, heir="n2")).plan.answer == "its order was withdrawn"


def test_a_switchover_that_was_carried_out_is_done() -> None:
    turn = replace(MOVE, phase="begun", step="n3", order="o1", since=AT, epoch=EPOCH - 1, heir="n1")
    over = moved(turn).plan
    assert over.done == ("n3",)
    assert (moved(over).plan.phase, moved(over).plan.answer) == ("done", f"n1 leads epoch {EPOCH}")
