"""A minor upgrade: what is refused, in which order nodes are worked on, how it goes on after an interruption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from pgha.core.model import Member, Position, Rule
from pgha.errors import Exit, PghaError, Refused, RolledBack, UsageError
from pgha.ops import upgrading
from pgha.ops.programs import Package, Programs, Reach
from pgha.ops.upgrading import Plan, Wish
from tests.ops.cases import LSN, NAMES, TARGET, copy, leader, member, seen
from tests.ops.test_node_orders import Node

OLD, NEW = "15.18-0+deb12u1", "15.20-0+deb12u1"


def said(version: str) -> str:
    """By the server and its program."""
    return f"{version.partition('-')[0]} (Debian {version})"


def programs(installed: str = OLD, candidate: str = NEW) -> Programs:
    packages = [Package(name, installed, candidate, (NEW, OLD)) for name in ("postgresql-15", "libpq5")]
    return Programs(said(installed), tuple(packages))


class Host:
    """`programs.Reach` to a node whose apt is a stand-in."""

    def __init__(self, hosts: Hosts, name: str) -> None:
        self.hosts, self.name, self.has = hosts, name, programs()

    def look(self, *, packages: bool) -> Programs:
        return self.has if packages else Programs(self.has.installed)

    def bring(self, packages: Sequence[Package]) -> None:
        assert {p.candidate for p in packages} == {NEW}
        if self.name in self.hosts.broken:
            raise RolledBack(f"{self.name}: apt-get install failed", "no room")
        self.has = programs(NEW)
        self.hosts.happened.append(f"{self.name} {self.hosts.role(self.name)}: packages")
        if self.hosts.cut_off == self.name:
            self.hosts.cut_off = ""
            raise KeyboardInterrupt


class Hosts:
    """Three nodes whose agents obey at once: a server that is restarted runs what is installed."""

    def __init__(self) -> None:
        self.node = Node()
        self.reaches: dict[str, Host] = {name: Host(self, name) for name in NAMES}
        self.members: dict[str, Member] = {}
        self.happened: list[str] = []
        self.primary, self.epoch, self.cut_off = "n1", 3, ""
        self.broken: set[str] = set()
        for name in NAMES:
            self.put(member(name, postgres=said(OLD)))
        self._obey()

    def role(self, name: str) -> str:
        return "primary" if name == self.primary else "standby"

    def put(self, found: Member) -> None:
        self.members[found.node] = found
        self.node.world.put_member(found)

    def _obey(self) -> None:
        look = self.node.world.look().records
        for name, order in look.requests.items():
            if order.phase == "asked":
                self.happened.append(f"{name} {self.role(name)}: restart")
                self.put(replace(self.members[name], postgres=self.reaches[name].has.installed))
                self.node.put(replace(order, phase="done"), name)
        if look.order is not None and look.order.phase == "asked":
            assert look.leader is not None and look.order.source == self.primary
            self.happened.append(f"{self.primary} primary: moves to {look.order.target}")
            self.lead(look.order.target)
            self.node.world.put_order(None)
        self.node.later(0.05, self._obey)

    def lead(self, name: str) -> None:
        """A new primary, its standbys streaming; the old one runs what is installed on it."""
        old, self.primary, self.epoch = self.primary, name, self.epoch + 1
        others = frozenset(copy(n) for n in NAMES if n != name)
        for one in NAMES:
            runs = self.reaches[one].has.installed if one == old else self.members[one].postgres
            body = member(one, postgres=runs, primary=one == name, upstream_epoch=0 if one == name else self.epoch)
            state = "primary" if one == name else "streaming"
            followers = {c.standby_name(self.epoch): ("streaming", LSN) for c in others} if one == name else {}
            self.put(replace(body, state=state, position=Position(self.epoch, LSN), standbys=followers))
        rule = Rule(copy(name), others, 1)
        key = leader(holder=copy(name), epoch=self.epoch, position=Position(self.epoch, LSN))
        self.node.world.put_leader(replace(key, sync=(rule,)))

    def upgrade(self, wish: Wish = Wish()) -> dict[str, float]:  # noqa: B008  # a value
        reaches: dict[str, Reach] = dict(self.reaches)
        have = upgrading.look(reaches, wish)
        upgrading.plan(TARGET, upgrading.healthy(self.node.desk), have, wish)
        return upgrading.run(self.node.desk, reaches, have)


WHOLE = [
    "n2 standby: packages",
    "n2 standby: restart",
    "n3 standby: packages",
    "n3 standby: restart",
    "n1 primary: moves to n2",
    "n1 standby: packages",
    "n1 standby: restart",
]


def plan(wish: Wish = Wish(), running: str = OLD, **have: Programs) -> Plan:  # noqa: B008  # a value
    look = seen(*(member(name, postgres=said(running)) for name in NAMES))
    return upgrading.plan(TARGET, look, {name: have.get(name, programs()) for name in NAMES}, wish)


# -- the plan ----------------------------------------------------------------------------------------------------


def test_the_plan_names_versions_and_order_with_the_primary_last() -> None:
    found = plan()
    assert [row.node for row in found.rows] == ["n2", "n3", "n1"] and found.moves_to == "n2"
    page = found.lines("shop")
    assert page[0] == "plan: upgrade PostgreSQL to 15.20  (cluster shop)"
    assert page[2].split() == ["n2", "standby", "15.18", "15.18", "15.20", "packages,", "restart"]
    assert page[4].endswith("moves to n2, then packages, restart") and "pause once" in page[5]


def test_who_has_the_packages_is_only_restarted_and_who_runs_them_is_skipped() -> None:
    look = seen(*(member(n, postgres=said(OLD if n == "n3" else NEW)) for n in NAMES))
    found = upgrading.plan(TARGET, look, dict.fromkeys(NAMES, programs(NEW)), Wish())
    assert [row.steps(found.moves_to) for row in found.rows] == ["up to date", "restart", "up to date"]
    assert found.moves_to == "" and not found.is_empty


def test_a_rebuild_of_the_same_release_is_an_upgrade_and_shown_in_full() -> None:
    rebuilt = OLD.replace("u1", "u2")
    found = plan(n2=programs(OLD, rebuilt), n3=programs(OLD, rebuilt), n1=programs(OLD, rebuilt))
    assert not found.is_empty and rebuilt in found.lines("shop")[2]


def test_another_major_release_is_refused() -> None:
    with pytest.raises(UsageError, match="another major release") as refused:
        plan(Wish("16.2"))
    assert "pg_upgrade" in refused.value.because
    with pytest.raises(UsageError):
        plan(running="14.9-1")


def test_no_node_goes_back_to_an_older_release() -> None:
    with pytest.raises(Refused, match="n2 would go back"):
        plan(running=NEW, n1=programs(OLD, OLD), n2=programs(OLD, OLD), n3=programs(OLD, OLD))
    with pytest.raises(Refused, match="n3 would go back"):
        plan(n3=programs(NEW, OLD), n2=programs(NEW, NEW))


def test_different_offers_are_refused_with_each_nodes() -> None:
    with pytest.raises(Refused, match="offered different versions") as refused:
        plan(n3=programs(OLD, OLD))
    assert f"n3 {OLD}" in refused.value.because and f"n2 {NEW}" in refused.value.because


def test_a_release_that_is_not_offered_is_refused_for_each_node() -> None:
    reaches: dict[str, Reach] = dict(Hosts().reaches)
    with pytest.raises(PghaError) as refused:
        upgrading.look(reaches, Wish("15.19"))
    assert [line for line in refused.value.lines() if "n3" in line] == ["error: n3 can't have PostgreSQL 15.19"]


# -- health ------------------------------------------------------------------------------------------------------


def test_a_cluster_that_is_not_whole_is_refused_with_what_is_wrong() -> None:
    hosts = Hosts()
    hosts.put(member("n3", postgres=said(OLD), state="cloning"))
    with pytest.raises(Refused, match="the cluster is degraded") as refused:
        hosts.upgrade()
    assert "n3: cloning" in refused.value.because and not hosts.happened


def test_one_that_becomes_whole_within_a_moment_is_waited_for() -> None:
    hosts = Hosts()
    hosts.put(member("n3", postgres=said(OLD), state="starting"))
    hosts.node.later(5.0, lambda: hosts.put(member("n3", postgres=said(OLD))))
    hosts.upgrade()
    assert hosts.happened == WHOLE


# -- the work ----------------------------------------------------------------------------------------------------


def test_standbys_come_first_then_the_switchover_then_the_old_primary() -> None:
    hosts = Hosts()
    assert set(hosts.upgrade()) == set(NAMES)
    assert hosts.happened == WHOLE
    assert all(found.postgres == said(NEW) for found in hosts.members.values())
    hosts.happened.clear()
    assert hosts.upgrade() == {} and not hosts.happened


@pytest.mark.parametrize("where", NAMES)
def test_typed_again_after_an_interruption_it_goes_on_there(where: str) -> None:
    hosts = Hosts()
    hosts.cut_off = where
    with pytest.raises(PghaError) as ended:
        hosts.upgrade()
    assert ended.value.code == Exit.INTERRUPTED
    hosts.upgrade()
    assert hosts.happened == WHOLE


def test_packages_that_are_there_already_need_one_restart_each() -> None:
    hosts = Hosts()
    for reach in hosts.reaches.values():
        reach.has = programs(NEW)
    hosts.upgrade()
    assert hosts.happened == ["n2 standby: restart", "n3 standby: restart", "n1 primary: moves to n2"]


def test_a_node_that_fails_ends_it_with_what_is_done() -> None:
    hosts = Hosts()
    hosts.broken.add("n3")
    with pytest.raises(PghaError) as ended:
        hosts.upgrade()
    assert ended.value.code == Exit.PARTIAL and ended.value.what == "upgraded: n2; then: n3: apt-get install failed"
    assert hosts.happened == WHOLE[:2]
    hosts.broken.clear()
    hosts.upgrade()
    assert hosts.happened == WHOLE


def test_a_failover_in_between_changes_the_order_of_the_rest() -> None:
    hosts = Hosts()
    hosts.cut_off = "n2"
    with pytest.raises(PghaError):
        hosts.upgrade()
    hosts.lead("n3")
    hosts.happened.clear()
    hosts.upgrade()
    assert hosts.happened[0] == "n1 standby: packages" and hosts.happened[-3:] == [
        "n3 primary: moves to n1",
        "n3 standby: packages",
        "n3 standby: restart",
    ]


def test_a_server_that_does_not_come_with_the_new_release_is_told() -> None:
    hosts = Hosts()
    hosts.reaches["n2"].bring = lambda packages: None  # type: ignore[method-assign]  # apt says yes and does nothing
    with pytest.raises(Refused, match="n2 has not got"):
        hosts.upgrade()
    assert not hosts.happened
