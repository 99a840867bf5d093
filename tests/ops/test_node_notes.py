"""What `list` says of tags, settings that wait or were left, orders for one node; whom `dsn --ro` leaves out."""

from __future__ import annotations

from dataclasses import replace

from pgha import render_explain
from pgha.errors import Exit
from pgha.ops import connect, node_notes
from pgha.ops.explain import explain
from pgha.ops.status import Seen, judge
from pgha.ops.target import NodeRef
from tests.ops.cases import TARGET, leader, member, order, seen


def with_order(look: Seen, **changes: object) -> Seen:
    asked = order(kind="restart", source="n2", target="", **changes)
    return replace(look, records=replace(look.records, requests={"n2": asked}))


def test_tags_and_what_waits_for_a_restart_are_shown_of_a_healthy_cluster() -> None:
    waits = {"max_connections": ("100", "200")}
    found = judge(TARGET, seen(member("n2", nofailover=True, priority=5), member("n3", clonefrom=True, pending=waits)))
    assert found.exit == Exit.OK
    assert [row.tags for row in found.rows] == [(), ("nofailover", "priority 5"), ("clonefrom",)]
    assert found.rows[2].pending == (("max_connections", "100", "200"),)
    assert found.remarks == ("n3 waits for a restart: max_connections 100 -> 200",)
    assert found.next_step == "pgha restart --rolling --pending"


def test_a_server_that_was_taken_over_is_shown_with_what_arms_its_fence() -> None:
    found = judge(TARGET, seen(member("n2", pending={"fence": ("not armed", "armed"), "max_connections": ("1", "2")})))
    assert found.exit == Exit.OK and found.next_step == "pgha restart --rolling --pending"
    assert [remark.partition(":")[0] for remark in found.remarks] == ["n2 waits for a restart", "n2"]
    assert "fence is not armed" in found.remarks[1] and "restart --rolling --pending" in found.remarks[1]
    assert node_notes.unarmed(seen().records) == []


def test_a_node_that_left_the_settings_makes_the_cluster_degraded() -> None:
    found = judge(TARGET, seen(member("n3", refused="revision 5 is left")))
    assert found.exit == Exit.DEGRADED and "n3: revision 5 is left" in found.notes


def test_a_nosync_standby_that_does_not_vote_is_as_it_should_be() -> None:
    apart = seen(member("n3", nosync=True), key=leader("n2"))
    assert judge(TARGET, apart).exit == Exit.OK
    assert judge(TARGET, seen(key=leader("n2"))).exit == Exit.DEGRADED


def test_who_follows_a_standby_is_as_it_should_be_and_a_remark_says_when_it_does_not() -> None:
    there = {"state": "streaming", "follow": "n2"}
    one = member("n1", standbys={"n2.d2.3": ("streaming", 1000)})
    apart = seen(one, member("n3", **there, follows="n2"), key=leader("n2"))
    found = judge(TARGET, apart)
    assert found.exit == Exit.OK and found.rows[2].tags == ("follow n2",) and not found.remarks, found
    assert found.rows[2].lag_bytes is not None and found.rows[2].as_dict()["follows"] == "n2"
    assert "standby, streaming from n2, seen" in "\n".join(render_explain.lines(explain(TARGET, apart), 80))
    back = judge(TARGET, seen(member("n3", **there, follows="n1"), key=leader("n2")))
    assert back.remarks == ("n3 streams from n1 while n2 can't be followed",)


def test_what_waits_for_a_restart_is_said_once_for_all_nodes_of_the_same_change() -> None:
    more, other = {"max_connections": ("100", "200")}, {"max_connections": ("100", "150"), "shared_buffers": ("1", "2")}
    found = judge(TARGET, seen(member("n1", pending=more), member("n2", pending=more), member("n3", pending=other)))
    assert found.remarks == (
        "n3 waits for a restart: max_connections 100 -> 150",
        "n1, n2 wait for a restart: max_connections 100 -> 200",
        "n3 waits for a restart: shared_buffers 1 -> 2",
    )


def test_several_versions_at_once_are_a_remark_and_no_fault() -> None:
    one = {"postgres": "15.18 (Debian 15.18-0+deb12u1)", "version": "0.1.0"}
    found = judge(TARGET, seen(*(member(name, **one) for name in ("n1", "n2")), member("n3", postgres="15.20 (X)")))
    assert found.exit == Exit.OK and found.remarks == (
        "several versions of PostgreSQL run: 15.18 on n1, n2; 15.20 on n3",
    )
    same = judge(TARGET, seen(member("n1", postgres="15.18 (a)"), member("n2", postgres="15.18 (b)")))
    assert same.remarks == ("several versions of PostgreSQL run: 15.18 (a) on n1; 15.18 (b) on n2",)


def test_an_order_for_one_node_is_shown_while_it_is_open() -> None:
    assert judge(TARGET, with_order(seen())).order == "restart n2: asked, asked 4 s ago by anna@desk"
    assert judge(TARGET, with_order(seen(), phase="done")).order == ""
    both = judge(TARGET, with_order(seen(asked=order())))
    assert both.order.startswith("switchover n1 to n2: asked") and "; restart n2: asked" in both.order
    assert node_notes.orders(seen().records, 0.0) == []


def test_readers_are_not_sent_to_who_is_tagged_noloadbalance_unless_nobody_else_is_there() -> None:
    nodes = [NodeRef("n1", "h1", 1), NodeRef("n2", "h2", 2, noloadbalance=True), NodeRef("n3", "h3", 3)]
    assert "@h3:3,h1:1/" in connect.uri(nodes, "n1", connect.Wish(user="u", read_only=True))
    assert "h2:2" in connect.uri(nodes, "n1", connect.Wish())
    assert "h2:2" in connect.uri(nodes, "n2", connect.Wish(read_only=True)), "it is the primary now"
    assert "h2:2" in connect.uri(nodes[1:2], "n1", connect.Wish(read_only=True))
