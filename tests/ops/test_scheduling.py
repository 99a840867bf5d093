"""Orders for later, the operator's half: which times are read, what is laid, shown and taken back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pgha import records
from pgha.core.planned import Planned
from pgha.errors import Busy, Refused, StoreUnreachable, UsageError
from pgha.ops import history, plans, scheduling, status
from pgha.ops.restarting import Wish
from pgha.ops.status import Seen
from pgha.ports import Write
from pgha.records_schedule import dump_planned
from tests.ops.cases import NOW, PAUSE, TARGET, leader, seen
from tests.ops.test_node_orders import Node
from tests.ops.test_switchover import ROOT

AT = NOW + 3600.0  # 2023-11-14 23:13:20 UTC
PLAN = Planned("switchover", "3fa9c1", AT, source="n1", target="n2", asked_by="anna@desk", asked_at=NOW)


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2023-11-14T23:13:20Z", AT),
        ("2023-11-14 23:13:20+00:00", AT),
        ("2023-11-15T00:13:20+01:00", AT),
        ("2023-11-14T17:43:20-05:30", AT),
        ("2023-11-14T23:14Z", AT + 40),
    ],
)
def test_a_time_is_read_with_its_zone(text: str, at: float) -> None:
    assert scheduling.time_of(text, NOW) == at


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("2023-11-14T23:13", "can't be read"),
        ("23:13Z", "can't be read"),
        ("tomorrow", "can't be read"),
        ("", "can't be read"),
        ("20231114T2313Z", "can't be read"),
        ("2023-11-14T23:13 Europe/Berlin", "can't be read"),
        ("2023-11-14T23:13:20+15:00", "can't be read"),
        ("\uff12\uff10\uff12\uff13-11-14T23:13:20Z", "can't be read"),
        ("2023-11-14T23:13:20Z; reboot", "can't be read"),
        ("2023-02-30T23:13Z", "is no time"),
        ("2023-11-14T24:13Z", "is no time"),
        ("2023-11-14T23:13+25:00", "is no time"),
        ("2023-11-14T22:13:20Z", "is past"),
        ("2023-11-14T23:13:20+14:00", "is past"),
        ("2025-11-14T23:13:20Z", "too far ahead"),
    ],
)
def test_another_form_and_a_time_that_is_past_are_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        scheduling.time_of(text, NOW)


def test_names_are_checked_when_it_is_planned_and_the_rest_then() -> None:
    assert scheduling.plan_switchover(TARGET, seen(), "n2", AT) == Planned("switchover", "", AT, "n1", "n2")
    with pytest.raises(UsageError, match="no node 'n9'"):
        scheduling.plan_switchover(TARGET, seen(), "n9", AT)
    with pytest.raises(Refused, match="n1 is the primary already"):
        scheduling.plan_switchover(TARGET, seen(), "n1", AT)
    with pytest.raises(StoreUnreachable):
        scheduling.plan_switchover(TARGET, replace(seen(), down="silent"), "", AT)
    paused = seen(key=leader(paused=PAUSE))
    plan = scheduling.plan_switchover(TARGET, paused, "n2", AT)
    assert "as things are now it would be refused: the cluster is paused" in scheduling.lines(TARGET, paused, plan)[-1]
    assert not scheduling.now_refused(TARGET, seen(), plan)


def test_the_nodes_of_a_restart_are_those_of_now() -> None:
    def nodes(*names: str, **wish: object) -> tuple[str, ...]:
        return scheduling.plan_restart(TARGET, seen(), Wish(names, **wish), AT).nodes  # type: ignore[arg-type]

    assert nodes() == ("n1", "n2", "n3")
    assert nodes(role="standby") == ("n2", "n3")
    assert nodes(role="primary") == ("n1",)
    assert nodes("n3", "n3") == ("n3",)
    with pytest.raises(UsageError, match="no node 'n9'"):
        nodes("n9")
    with pytest.raises(Refused):
        nodes("n1", role="standby")


def test_it_is_laid_into_the_store_and_what_ended_long_ago_goes() -> None:
    node = Node()
    old = replace(PLAN, ident="old", at=NOW - scheduling.KEPT_S - 1, phase="dropped")
    young = replace(old, ident="young", at=NOW - 60)
    put(node, old)
    put(node, young)
    laid = scheduling.place(node.desk, node.world.look(), replace(PLAN, ident=""))
    assert laid.asked_by == "anna@desk" and laid.ident
    assert node.world.look().records.planned == {laid.ident: laid, "young": young}


def test_there_is_a_limit() -> None:
    node = Node()
    for i in range(scheduling.MOST):
        put(node, replace(PLAN, ident=f"p{i}"))
    with pytest.raises(Refused, match="too many"):
        scheduling.place(node.desk, node.world.look(), PLAN)


def put(node: Node, plan: Planned) -> None:
    write = Write(f"{ROOT}schedule/{plan.ident}", dump_planned(plan))
    node.world.store.commit([], [write], deadline_s=node.world.clock.now + 1)


def test_the_only_plan_is_taken_back_without_a_name_and_one_of_several_by_its_name() -> None:
    node = Node()
    with pytest.raises(Refused, match="not one plan"):
        scheduling.to_cancel(TARGET, node.world.look(), "")
    put(node, PLAN)
    assert scheduling.to_cancel(TARGET, node.world.look(), "") == PLAN
    put(node, replace(PLAN, ident="other"))
    with pytest.raises(Refused) as refused:
        scheduling.to_cancel(TARGET, node.world.look(), "")
    assert "3fa9c1, other" in refused.value.because
    with pytest.raises(UsageError, match="no plan 'x'"):
        scheduling.to_cancel(TARGET, node.world.look(), "x")
    chosen = scheduling.to_cancel(TARGET, node.world.look(), "other")
    assert scheduling.cancel(node.desk, node.world.look(), chosen) == ""
    assert set(node.world.look().records.planned) == {"3fa9c1"}


def test_one_that_has_begun_does_no_further_step_and_one_that_moves_meanwhile_is_left() -> None:
    node = Node()
    put(node, replace(PLAN, phase="begun", step="n1"))
    look = node.world.look()
    assert "the order for n1" in scheduling.cancel(node.desk, look, look.records.planned["3fa9c1"])
    found = node.world.look().records.planned["3fa9c1"]
    assert (found.phase, found.answer) == ("dropped", "cancelled by anna@desk")
    with pytest.raises(Busy):
        scheduling.cancel(node.desk, look, look.records.planned["3fa9c1"])


def told(plan: Planned, at: float = NOW) -> tuple[str, ...]:
    return plans.remarks(TARGET, records.Records(planned={plan.ident: plan}), at)


def test_list_shows_what_is_to_come_what_is_at_work_and_for_a_day_what_was_dropped() -> None:
    (line,) = told(PLAN)
    assert line == (
        "plan 3fa9c1: switchover n1 to n2 at 2023-11-14 23:13:20 UTC (in 60m), by anna@desk; pgha cancel 3fa9c1"
    )
    assert "(due for 90s, nobody has begun)" in told(PLAN, AT + 90)[0]
    work = Planned("restart", "p2", AT, nodes=("n1", "n3"), done=("n2",), phase="begun", step="n3", since=AT)
    assert told(work) == ("plan p2: restart n2, n1, n3: at work, n3 has its turn, left: n1, n3; pgha cancel p2",)
    no = replace(PLAN, phase="dropped", answer="skipped: the cluster was paused")
    assert told(no, AT + 60)[0].endswith("was dropped: skipped: the cluster was paused")
    assert told(no, AT + plans.DAY_S + 1) == ()
    assert told(replace(PLAN, phase="done"), AT) == ()


def with_plan(look: Seen, plan: Planned) -> Seen:
    return replace(look, records=replace(look.records, planned={plan.ident: plan}))


def test_a_plan_is_no_fault_and_history_has_a_word_on_what_was_dropped() -> None:
    look = with_plan(seen(), PLAN)
    found = status.judge(TARGET, look)
    assert found.verdict == "healthy" and any("plan 3fa9c1" in r for r in found.remarks)
    no = with_plan(seen(), replace(PLAN, phase="dropped", answer="late"))
    assert history.history(TARGET, no.records, 9).notes == (
        "switchover n1 to n2 planned for 2023-11-14 23:13:20 UTC: late",
    )
