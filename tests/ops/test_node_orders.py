"""Orders for one node, and restart, reload, reinit: what is refused, what is waited for, what is left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from pgha import records
from pgha.core.model import Order, Rule, Settings
from pgha.errors import Busy, Exit, PghaError, Refused, UsageError
from pgha.ops import node_orders, restarting
from pgha.ops.node_orders import Desk
from pgha.ops.restarting import Plan, Wish
from pgha.ops.status import SILENT_S, Seen
from pgha.ports import Write
from pgha.watchdog.configuring import LOWERED
from tests.ops.cases import NOW, PAUSE, TARGET, copy, leader, member, order, seen
from tests.ops.test_switchover import ROOT, World

WAITS = {"max_connections": ("100", "200")}
SILENT = member("n3", written_at=NOW - SILENT_S - 1)


def plan(look: Seen, *nodes: str, **wish: object) -> Plan:
    return restarting.plan(TARGET, look, Wish(nodes, **wish))  # type: ignore[arg-type]  # names are checked by Wish


class Node:
    """A world whose node does what an order asks, at its times."""

    def __init__(self) -> None:
        self.world = World()
        self.told: list[str] = []
        self.desk = Desk(
            store=self.world.store,
            clock=self.world.clock,
            target=TARGET,
            asked_by="anna@desk",
            tell=lambda text, _at: self.told.append(text),
            seen=self.world.look,
        )

    def put(self, found: Order | None, node: str = "n2") -> None:
        value = None if found is None else records.dump_order(found)
        self.world.store.commit([], [Write(f"{ROOT}requests/{node}", value)], deadline_s=self.world.clock.now + 1)

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        self.world.later(seconds, act)

    def order(self, node: str = "n2") -> Order | None:
        return self.world.look().records.requests.get(node)


# -- orders ---------------------------------------------------------------------------------------------------------


def test_an_order_is_watched_from_phase_to_phase_and_taken_away_when_it_is_done() -> None:
    node = Node()
    asked = node_orders.place(node.desk, node.world.look(), "n2", "restart")
    assert (asked.source, asked.asked_by, asked.phase) == ("n2", "anna@desk", "asked")
    node.later(1.0, lambda: node.put(replace(asked, phase="begun")))
    node.later(2.0, lambda: node.put(replace(asked, phase="done")))
    assert 1.9 < node_orders.watch(node.desk, asked) < 3.0
    assert node.told == ["n2: asked", "n2: stopping, then starting"] and node.order() is None


def test_a_refusal_is_told_with_the_nodes_reason_and_leaves_nothing() -> None:
    node = Node()
    asked = node_orders.place(node.desk, node.world.look(), "n2", "reinit", source="n3")
    node.later(0.5, lambda: node.put(replace(asked, phase="refused", answer="not enough room")))
    with pytest.raises(Refused) as refused:
        node_orders.watch(node.desk, asked)
    assert refused.value.because == "not enough room" and node.order() is None


def test_an_order_that_nobody_takes_up_is_withdrawn() -> None:
    node = Node()
    asked = node_orders.place(node.desk, node.world.look(), "n2", "restart")
    with pytest.raises(Refused) as refused:
        node_orders.watch(node.desk, asked)
    assert refused.value.what == "nothing was changed" and node.order() is None


def test_what_is_begun_is_not_withdrawn() -> None:
    node = Node()
    asked = node_orders.place(node.desk, node.world.look(), "n2", "restart")
    node.put(replace(asked, phase="begun"))
    with pytest.raises(PghaError) as unknown:
        node_orders.watch(node.desk, asked)
    assert unknown.value.code == Exit.UNKNOWN and node.order() is not None


def test_a_second_order_is_told_who_is_at_work_and_replaces_the_remains_of_one_that_is_over() -> None:
    node = Node()
    node.put(order(kind="restart", source="n2", target="", phase="begun"))
    with pytest.raises(Busy) as busy:
        node_orders.place(node.desk, node.world.look(), "n2", "reinit")
    assert "anna@desk 4 s ago, phase begun" in busy.value.because
    node.put(order(kind="restart", source="n2", target="", phase="done"))
    assert node_orders.place(node.desk, node.world.look(), "n2", "reinit").kind == "reinit"
    with pytest.raises(Busy):
        node_orders.place(node.desk, replace(node.world.look(), records=records.Records()), "n2", "restart")


@pytest.mark.parametrize(("phase", "left"), [("asked", False), ("begun", True)])
def test_ctrl_c_withdraws_what_nobody_has_taken_up_and_leaves_what_is_begun(phase: str, left: bool) -> None:
    node = Node()
    asked = node_orders.place(node.desk, node.world.look(), "n2", "restart")
    node.put(replace(asked, phase=phase))

    def interrupted(_text: str, _at: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(PghaError) as ended:
        node_orders.watch(replace(node.desk, tell=interrupted), asked)
    assert ended.value.code == Exit.INTERRUPTED and (node.order() is not None) is left
    assert ("goes on" in ended.value.what) is left


def test_a_reload_that_left_a_revision_says_so() -> None:
    node = Node()
    asked = node_orders.place(node.desk, node.world.look(), "n2", "reload")
    node.later(0.5, lambda: node.put(replace(asked, phase="done", answer="revision 5 is left")))
    with pytest.raises(PghaError) as partly:
        node_orders.watch(node.desk, asked)
    assert partly.value.code == Exit.PARTIAL and "revision 5 is left" in partly.value.what


# -- restart --------------------------------------------------------------------------------------------------------


def test_the_primary_comes_last_in_place_or_moved_first() -> None:
    assert plan(seen()) == Plan(("n2", "n3"), "n1", "")
    assert plan(seen(), rolling=True) == Plan(("n2", "n3"), "n1", "n2")
    assert plan(seen(), "n1", "n3") == Plan(("n3",), "n1", "")
    assert plan(seen(), role="standby") == Plan(("n2", "n3"))
    assert plan(seen(), role="primary") == Plan((), "n1")


def test_a_primary_that_is_given_less_of_what_standbys_need_comes_first_and_in_place() -> None:
    lower = {"max_connections": ("200", f"100 {LOWERED}")}
    chosen = plan(seen(member("n1", pending=lower), member("n2", pending=lower)), pending=True, rolling=True)
    assert chosen == Plan(("n2",), "n1", "", first=True)
    assert chosen.lines("shop")[0].startswith("plan: restart n1, n2 ")


def test_a_primary_that_is_given_less_of_anything_else_comes_last() -> None:
    lower = {"shared_buffers": ("200", "100")}
    chosen = plan(seen(member("n1", pending=lower), member("n2", pending=lower)), pending=True, rolling=True)
    assert not chosen.first and chosen.moves_to


def test_only_those_that_wait_are_chosen_when_asked_for_and_perhaps_nobody() -> None:
    assert plan(seen(), pending=True).is_empty
    assert plan(seen(member("n2", pending=WAITS)), pending=True) == Plan(("n2",))
    assert plan(seen(member("n1", pending=WAITS)), pending=True, rolling=True) == Plan((), "n1", "n2")


def test_who_is_silent_is_left_out_unless_it_is_named() -> None:
    assert plan(seen(SILENT)) == Plan(("n2",), "n1", "")
    with pytest.raises(Refused) as refused:
        plan(seen(SILENT), "n3")
    assert "n3" in refused.value.what


REFUSALS: dict[str, tuple[Seen, tuple[str, ...], type[PghaError], str]] = {
    "an unknown node": (seen(), ("n9",), UsageError, "there is no node 'n9'"),
    "another order": (seen(asked=order()), (), Busy, "in progress"),
    "a pause": (seen(key=leader(paused=PAUSE)), (), Refused, "paused"),
    "no primary": (seen(member("n1", primary=False)), (), Refused, "no healthy primary"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_restart_is_refused(case: str) -> None:
    look, nodes, kind, words = REFUSALS[case]
    with pytest.raises(kind) as refused:
        plan(look, *nodes)
    assert words in "\n".join(refused.value.lines())


def test_the_next_node_waits_until_all_that_voted_vote_again() -> None:
    node = Node()
    before = node.world.look()
    fewer = leader(sync=(Rule(copy("n1"), frozenset({copy("n2")}), 1),))
    node.world.put_leader(fewer)
    began = node.world.clock.now
    node.later(5.0, lambda: node.world.put_leader(leader()))
    restarting.await_voters(node.desk, before)
    assert 4.9 < node.world.clock.now - began < 7.0
    node.world.put_leader(fewer)
    with pytest.raises(PghaError) as partly:
        restarting.await_voters(node.desk, before)
    assert partly.value.code == Exit.PARTIAL and "n3 does not vote again" in partly.value.because


def test_of_several_restarts_those_that_are_done_are_named_when_one_fails() -> None:
    node = Node()

    def obeys(phase: str) -> None:
        asked = node.order()
        assert asked is not None
        node.put(replace(asked, phase=phase))

    def refuses() -> None:
        asked = node.order("n3")
        assert asked is not None
        node.put(replace(asked, phase="refused", answer="no"), "n3")

    node.later(0.5, lambda: obeys("done"))
    node.later(2.0, refuses)
    with pytest.raises(PghaError) as partly:
        restarting.run(node.desk, Plan(("n2", "n3")))
    assert partly.value.code == Exit.PARTIAL
    assert "restarted: n2" in partly.value.what and partly.value.because == "no"


def test_the_primarys_restart_tells_for_how_long_nobody_could_write() -> None:
    node = Node()
    world = node.world

    def moves(phase: str) -> None:
        asked = world.look().records.order
        assert asked is not None and (asked.kind, asked.target) == ("restart", "n1")
        world.put_order(replace(asked, phase=phase))

    node.later(1.0, lambda: moves("stopping"))
    node.later(1.8, lambda: world.put_order(None))
    node.later(1.8, lambda: world.put_leader(leader(epoch=4)))
    done = restarting.run(node.desk, Plan((), "n1"))
    assert 1.7 < done["n1"] < 2.6
    (told,) = (text for text in node.told if "writes stopped for" in text)
    assert 0.3 < float(told.split()[-2]) < 1.3


def test_ctrl_c_withdraws_a_restart_of_the_primary_that_nobody_has_taken_up() -> None:
    node = Node()

    def interrupted(_text: str, _at: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(PghaError) as ended:
        restarting.run(replace(node.desk, tell=interrupted), Plan((), "n1"))
    assert ended.value.code == Exit.INTERRUPTED and node.world.look().records.order is None


# -- reinit ---------------------------------------------------------------------------------------------------------


def test_a_copy_that_votes_is_told_to_leave_so_many_voters() -> None:
    page = restarting.plan_reinit(TARGET, seen(), "n2", "").lines("shop")
    assert "which leaves 1 voter" in "\n".join(page)
    alone = restarting.plan_reinit(TARGET, seen(key=leader("n2")), "n2", "").lines("shop")
    assert "no voter: commits exist once" in "\n".join(alone)
    other = restarting.plan_reinit(TARGET, seen(key=leader("n3")), "n2", "n3").lines("shop")
    assert "votes no more" not in "\n".join(other)


def strict(look: Seen) -> Seen:
    return replace(look, records=replace(look.records, settings=Settings(1, 6.0, "strict")))


NOT_ANEW: dict[str, tuple[Seen, str, str, type[PghaError], str]] = {
    "the primary": (seen(), "n1", "", Refused, "n1 is the primary"),
    "from itself": (seen(), "n2", "n2", UsageError, "no other node"),
    "from nobody": (seen(), "n2", "n9", UsageError, "no other node"),
    "from one that clones": (seen(member("n3", state="cloning")), "n2", "n3", Refused, "can't be cloned"),
    "a silent one": (seen(SILENT), "n3", "", Refused, "n3 can't be asked"),
    "an unknown one": (seen(), "n9", "", UsageError, "there is no node"),
    "the only voter under strict": (strict(seen(key=leader("n2"))), "n2", "", Refused, "its copy is needed"),
    "while paused": (seen(key=leader(paused=PAUSE)), "n2", "", Refused, "paused"),
}


@pytest.mark.parametrize("case", NOT_ANEW)
def test_a_copy_is_not_made_anew(case: str) -> None:
    look, node, source, kind, words = NOT_ANEW[case]
    with pytest.raises(kind) as refused:
        restarting.plan_reinit(TARGET, look, node, source)
    assert words in "\n".join(refused.value.lines())
