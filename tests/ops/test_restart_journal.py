"""A restart of several nodes that was cut off: what is left in the store, and how the same command goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from pgha.core.planned import HAND, Planned
from pgha.errors import Busy, Exit, PghaError
from pgha.ops import node_orders, plans, restarting
from pgha.ops.restart_journal import FRESH_S
from pgha.ops.restarting import Plan, Wish
from pgha.ports import Write
from pgha.records_schedule import dump_planned
from tests.ops.cases import TARGET
from tests.ops.test_node_orders import Node
from tests.ops.test_switchover import ROOT

BOTH = Wish(("n2", "n3"))


def plan(node: Node, wish: Wish = BOTH) -> Plan:
    return restarting.plan(TARGET, node.world.look(), wish)


def records_of(node: Node) -> list[Planned]:
    return list(node.world.look().records.planned.values())


def obeys(node: Node, name: str, phase: str = "done") -> Callable[[], None]:
    def act() -> None:
        asked = node.order(name)
        assert asked is not None
        node.put(replace(asked, phase=phase), name)

    return act


def cut_off(node: Node, at: str) -> None:
    """The command is killed when it has told this."""

    def tell(text: str, _at: float) -> None:
        node.told.append(text)
        if text == at:
            raise KeyboardInterrupt

    with pytest.raises(PghaError) as ended:
        restarting.run(replace(node.desk, tell=tell), plan(node))
    assert ended.value.code == Exit.INTERRUPTED


def test_a_restart_that_comes_to_its_end_leaves_nothing() -> None:
    node = Node()
    node.later(0.5, obeys(node, "n2"))
    node.later(2.0, obeys(node, "n3"))
    assert set(restarting.run(node.desk, plan(node))) == {"n2", "n3"}
    assert not records_of(node)


def test_cut_off_between_two_nodes_the_same_command_goes_on_with_the_second() -> None:
    node = Node()
    node.later(0.5, obeys(node, "n2"))
    cut_off(node, "n3: asked")
    (left,) = records_of(node)
    assert (left.phase, left.done, left.nodes, left.step, left.asked_by) == (HAND, ("n2",), ("n3",), "n3", "anna@desk")
    again = plan(node)
    assert again.steps == ("n3",) and "goes on with what anna@desk has begun; restarted: n2" in again.lines("shop")[1]
    node.later(1.0, obeys(node, "n3"))
    assert set(restarting.run(node.desk, again)) == {"n3"}
    assert not records_of(node)


def test_a_turn_that_came_to_its_end_without_its_command_counts() -> None:
    node = Node()
    node.later(0.5, obeys(node, "n2", "begun"))
    cut_off(node, "n2: stopping, then starting")
    obeys(node, "n2")()
    assert plan(node).steps == ("n3",)


def test_a_primary_that_was_moved_without_its_command_counts() -> None:
    node = Node()
    put(node, Planned("restart", "p1", 0.0, nodes=("n1",), done=("n2", "n3"), phase=HAND, step="n1", epoch=2))
    again = restarting.plan(TARGET, node.world.look(), Wish())
    assert not again.steps and not again.is_empty
    assert restarting.run(node.desk, again) == {} and not records_of(node)
    put(node, Planned("restart", "p1", 0.0, nodes=("n1",), done=("n2", "n3"), phase=HAND, step="n1", epoch=3))
    assert restarting.plan(TARGET, node.world.look(), Wish()).steps == ("n1",)


def put(node: Node, left: Planned) -> None:
    left = replace(left, since=left.since or node.world.look().at)
    node.world.store.commit([], [Write(f"{ROOT}schedule/{left.ident}", dump_planned(left))], deadline_s=1e9)


@pytest.mark.parametrize(
    ("wish", "steps"),
    [
        (BOTH, ("n3",)),
        (Wish(), ("n2", "n3", "n1")),
        (Wish(("n2", "n3"), rolling=True), ("n2", "n3")),
        (Wish(("n2",)), ("n2",)),
    ],
)
def test_another_command_begins_anew(wish: Wish, steps: tuple[str, ...]) -> None:
    node = Node()
    put(node, Planned("restart", "p1", 0.0, nodes=("n3",), done=("n2",), phase=HAND))
    assert plan(node, wish).steps == steps


def test_what_was_left_a_day_ago_is_begun_anew() -> None:
    node = Node()
    since = node.world.look().at - FRESH_S - 1
    put(node, Planned("restart", "p1", 0.0, nodes=("n3",), done=("n2",), phase=HAND, since=since))
    assert plan(node).steps == ("n2", "n3")


def test_who_comes_second_to_what_was_left_is_refused() -> None:
    node = Node()
    put(node, Planned("restart", "p1", 0.0, nodes=("n3",), done=("n2",), phase=HAND))
    first = plan(node)
    put(node, Planned("restart", "p1", 0.0, nodes=("n3",), done=("n2",), phase=HAND, asked_by="bert@desk"))
    look = node.world.look()
    node.desk = replace(node.desk, seen=lambda: replace(look, records=replace(look.records, revisions={})))
    with pytest.raises(Busy, match="somebody else has this restart in hand"):
        restarting.run(node.desk, first)


def test_list_names_what_was_left_and_how_to_go_on() -> None:
    node = Node()
    left = Planned("restart", "p1", 0.0, nodes=("n3", "n1"), done=("n2",), phase=HAND, asked_by="anna@desk", step="n3")
    put(node, left)
    look = node.world.look()
    (line,) = plans.remarks(TARGET, look.records, look.at + 180)
    assert "last step 3m ago, n3 has its turn; done: n2; left: n3, n1; the same command goes on, pgha cancel p1" in line


def test_the_very_same_order_for_a_node_is_gone_on_with() -> None:
    node = Node()
    first = node_orders.place(node.desk, node.world.look(), "n2", "reinit", source="n3")
    assert node_orders.place(node.desk, node.world.look(), "n2", "reinit", source="n3") == first
    with pytest.raises(Busy):
        node_orders.place(node.desk, node.world.look(), "n2", "reinit", source="n1")
