"""etcd members of a store that runs: let in one at a time, the stale one out before, none restarted for nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest

from pgha.errors import RolledBack
from pgha.ops import etcd_changes, host_nodes
from pgha.ops.etcd_members import existing_argv, member_argv, option
from pgha.ops.fleet import Marker, Place, Ready
from pgha.ops.progress import Silent
from pgha.ports import StoreDown, StoreMember
from tests.ops.host_cases import hosts
from tests.ops.stand_in import Clock

NODES: tuple[Place, ...] = tuple(seen.node for seen in hosts().values())
TLS = {"--cert-file": "c"}
ARGVS = {n.name: member_argv("/usr/bin/etcd", n, NODES, "ab12", TLS) for n in NODES}
URLS = {n.name: f"https://{n.host}:{n.etcd_peer_port}" for n in NODES}


def listed(*names: str, first: int = 1) -> list[StoreMember]:
    return [StoreMember(first + i, name, (URLS[name],), True) for i, name in enumerate(names)]


@dataclass
class World:
    """A fleet and its etcd: who has data, who is listed; everything that is done is noted."""

    with_data: set[str]
    seats: list[StoreMember]
    down: str = ""
    starts: bool = True
    done: list[str] = field(default_factory=list)
    clock: Clock = field(default_factory=Clock)
    ready: Ready = field(default_factory=lambda: Ready(NODES, "/b", "/usr/bin/etcd", Marker("shop", "ab12"), False))

    def has_member(self, node: Place) -> bool:
        return node.name in self.with_data

    def start_store(self, argvs: Mapping[str, Sequence[str]]) -> None:
        for name, argv in argvs.items():
            state = option(argv, "--initial-cluster-state")
            self.done.append(f"start {name} {state}")
            if state == "existing":
                everybody = {pair.partition("=")[0] for pair in option(argv, "--initial-cluster").split(",")}
                assert everybody == {m.name or name for m in self.seats}, "etcd takes exactly those it lists"
                if self.starts:
                    self.seats = [m if m.name else replace(m, name=name, started=True) for m in self.seats]

    def leaver(self, node: Place) -> World:
        self.done.append(f"leaver {node.name}")
        return self

    def stop_member(self) -> None:
        self.done.append("stop")

    def put_member_away(self, stamp: str) -> None:
        self.done.append(f"away {stamp.partition('-')[0]}")

    def logs(self, node: Place) -> str:
        return "its journal"

    def list(self, *, deadline_s: float) -> tuple[StoreMember, ...]:
        if self.down == "list":
            raise StoreDown("no quorum")
        return tuple(self.seats)

    def add(self, peer_url: str, *, deadline_s: float) -> None:
        if self.down == "add":
            raise StoreDown("etcdserver: unhealthy cluster")
        self.done.append("add")
        self.seats.append(StoreMember(99, "", (peer_url,), False))

    def remove(self, ident: int, *, deadline_s: float) -> None:
        self.done.append(f"remove {ident}")
        self.seats = [m for m in self.seats if m.ident != ident]

    def close(self) -> None:
        pass

    def let_in(self) -> Sequence[str]:
        etcd_changes.let_in(self, lambda: self, self.clock, ARGVS, Silent())  # type: ignore[arg-type]
        return self.done


RUNNING = ["start n1 new", "start n2 new"]
CASES: dict[str, tuple[World, list[str]]] = {
    "a first bootstrap": (World(set(), []), []),
    "nothing lacks": (World({"n1", "n2", "n3"}, listed("n1", "n2", "n3")), [*RUNNING, "start n3 new"]),
    "a host set up anew": (
        World({"n1", "n2"}, listed("n1", "n2", "n3")),
        [*RUNNING, "remove 3", "add", "start n3 existing"],
    ),
    "a member more": (World({"n1", "n2"}, listed("n1", "n2")), [*RUNNING, "add", "start n3 existing"]),
    "let in before, not started": (
        World({"n1", "n2"}, [*listed("n1", "n2"), StoreMember(9, "", (URLS["n3"],), False)]),
        [*RUNNING, "start n3 existing"],
    ),
    "a member that was taken out comes back with its data": (
        World({"n1", "n2", "n3"}, listed("n1", "n2")),
        [*RUNNING, "start n3 new", "leaver n3", "stop", "away former", "add", "start n3 existing"],
    ),
    "a first bootstrap that was interrupted": (World({"n1"}, [], down="list"), ["start n1 new"]),
}


@pytest.mark.parametrize("case", CASES)
def test_each_is_brought_to_where_it_belongs(case: str) -> None:
    world, done = CASES[case]
    assert world.let_in() == done


def test_two_are_let_in_one_after_the_other_the_first_up_before_the_second() -> None:
    world = World({"n1"}, listed("n1"))
    assert world.let_in() == ["start n1 new", "add", "start n2 existing", "add", "start n3 existing"]
    assert all(m.started for m in world.seats)


def test_what_etcd_refuses_is_told_with_its_reason() -> None:
    with pytest.raises(RolledBack, match="does not let the member of n3 in") as refused:
        World({"n1", "n2"}, listed("n1", "n2"), down="add").let_in()
    assert "unhealthy cluster" in refused.value.because


def test_a_member_that_does_not_come_up_is_told_and_the_next_is_not_let_in() -> None:
    world = World({"n1"}, listed("n1"), starts=False)
    with pytest.raises(RolledBack, match="n2 is not up after 30 s"):
        world.let_in()
    assert world.done.count("add") == 1


def test_how_a_member_began_is_no_difference_and_everything_else_is() -> None:
    node = hosts()["n1"].node
    plain = host_nodes.etcd_unit(node, ARGVS["n1"])
    joined = host_nodes.etcd_unit(node, existing_argv(ARGVS["n1"], "n1", listed("n1", "n2", "n3")))
    other = host_nodes.etcd_unit(node, [*ARGVS["n1"], "--quota-backend-bytes=1"])
    assert plain != joined and host_nodes.is_same_member(plain, joined) and not host_nodes.is_same_member(plain, other)
