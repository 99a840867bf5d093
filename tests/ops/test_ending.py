"""A cluster ends: the primary last, the store's keys before etcd, everything again after an interruption."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import pytest

from pgha import inventory
from pgha.adapters.memory import MemoryStore
from pgha.core.model import Tenure
from pgha.errors import Exit, OutcomeUnknown, PghaError, Refused, StoreUnreachable, Unreachable, UsageError
from pgha.ops import ending
from pgha.ops.leaving import Leaver
from pgha.ops.progress import Silent
from pgha.ports import Write
from tests.ops.cases import NOW, TARGET, leader, member, seen
from tests.ops.host_cases import wanted
from tests.ops.stand_in import Clock

LOCAL = inventory.parse("cluster: shop\nnodes: [127.0.0.1]\nlocal: {dir: /var/tmp/x, user: nobody}\n", "i.yaml")
OTHERS = inventory.parse(
    "cluster: shop\nnodes: {n1: 192.0.2.11, n2: 192.0.2.12}\netcd: {endpoints: [192.0.2.99:2379]}\n", "i.yaml"
)
NOBODY = seen(key=leader(tenure=Tenure.RELEASED))
REFUSALS: dict[str, tuple[object, inventory.Inventory, tuple[str, ...], bool, type[PghaError], str]] = {
    "an unknown node is gone": (seen(), wanted(), ("n9",), False, UsageError, "there is no node n9"),
    "a node that reports is gone": (seen(), wanted(), ("n3",), False, Refused, "n3 is not gone"),
    "another's store is silent": (replace(seen(), down="x"), OTHERS, (), False, StoreUnreachable, "no answer"),
    "PostgreSQL kept without a primary": (NOBODY, wanted(), (), True, Refused, "no primary"),
    "PostgreSQL kept on one machine": (seen(), LOCAL, (), True, Refused, "is for hosts"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_it_is_refused(case: str) -> None:
    look, spec, gone, keep, kind, words = REFUSALS[case]
    assert isinstance(look, type(seen()))
    with pytest.raises(kind, match=words):
        ending.plan(TARGET, look, spec, gone, keep_postgres=keep)


@dataclass
class World:
    """Three nodes on their way out; everything that is done is noted."""

    done: list[str] = field(default_factory=list)
    interrupt_at: str = ""
    problems: dict[str, PghaError] = field(default_factory=dict)
    plain: bool = True

    @property
    def found(self) -> dict[str, Leaver]:
        return {name: Node(name, self) for name in ("n1", "n2", "n3") if name not in self.problems}

    def note(self, what: str) -> None:
        self.done.append(what)
        if what == self.interrupt_at:
            self.interrupt_at = ""
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        yield

    def end_place(self, stamp: str) -> str:
        return ""

    def end_restarter(self) -> None:
        self.note("restarter")

    def clear(self) -> int:
        self.note("clear")
        return 7

    def run(self, *, keep: bool = False, gone: tuple[str, ...] = ()) -> Mapping[str, str]:
        look = seen(*(member(name, written_at=NOW - 60) for name in gone))
        chosen = ending.plan(TARGET, look, wanted(), gone, keep_postgres=keep)
        return self.end(chosen)

    def end(self, chosen: ending.Plan) -> Mapping[str, str]:
        return ending.destroy(TARGET, chosen, self, self.clear, "destroyed-1", Silent())  # type: ignore[arg-type]


@dataclass
class Node:
    name: str
    world: World
    is_here: bool = True

    @property
    def is_plain(self) -> bool:
        return self.world.plain

    def halt(self) -> None:
        self.world.note(f"halt {self.name}")

    def stop_plain(self) -> None:
        self.world.note(f"stop plain {self.name}")

    def stop_member(self) -> None:
        self.world.note(f"etcd {self.name}")

    def put_member_away(self, stamp: str) -> None:
        self.world.note(f"member {self.name}")

    def run_plainly(self, primary: str) -> None:
        self.world.note(f"plain {self.name} {primary}")

    def leave(self) -> None:
        self.world.note(f"leave {self.name}")

    def give_back(self, primary: str) -> None:
        self.world.note(f"back {self.name} {primary}")

    def clean_up(self, primary: str) -> None:
        self.world.note(f"clean {self.name} {primary}")

    def forget(self) -> None:
        self.world.note(f"forget {self.name}")

    def put_away(self, stamp: str) -> str:
        self.world.note(f"away {self.name}")
        return f"/var/lib/pgha/shop.{stamp}"


def order(done: list[str], *words: str) -> list[int]:
    return [done.index(word) for word in words]


def test_the_primary_stops_last_and_the_keys_go_before_etcd_does() -> None:
    world = World()
    moved = world.run()
    assert set(moved.values()) == {"/var/lib/pgha/shop.destroyed-1"} and set(moved) == {"n1", "n2", "n3"}
    for standby in ("halt n2", "halt n3"):
        places = order(world.done, standby, "halt n1", "clear", "etcd n1", "away n1")
        assert places == sorted(places)


def test_with_postgresql_kept_it_runs_on_the_primary_first_and_nothing_is_moved() -> None:
    world = World()
    world.run(keep=True)
    places = order(world.done, "halt n1", "plain n1 n1", "plain n2 n1", "clear", "etcd n2", "member n2", "forget n2")
    assert places == sorted(places) and not any(what.startswith("away") for what in world.done)


def test_servers_that_pgha_has_not_started_are_left_without_a_stop_the_primarys_watchdog_last() -> None:
    waits = {"fence": ("not armed", "armed")}
    look = seen(*(member(n, pending=waits) for n in ("n1", "n2", "n3")))
    chosen = ending.plan(TARGET, look, LOCAL, (), keep_postgres=True)
    assert chosen.as_they_run and "no server is stopped" in "\n".join(chosen.lines())
    world = World()
    world.end(chosen)
    steps = (
        "leave n2",
        "leave n1",
        "back n1 n1",
        "back n2 n1",
        "clean n2 n1",
        "clear",
        "restarter",
        "etcd n1",
        "forget n1",
    )
    places = order(world.done, *steps)
    assert places == sorted(places) and not any(what.startswith(("halt", "plain", "away")) for what in world.done)
    armed = seen(member("n1", pending=waits), member("n2", pending=waits), member("n3"))
    with pytest.raises(Refused, match="is for hosts"):
        ending.plan(TARGET, armed, LOCAL, (), keep_postgres=True)


def test_an_unreachable_host_ends_it_before_anything_is_stopped_and_one_that_is_gone_does_not() -> None:
    world = World(problems={"n3": Unreachable("n3 can't be reached", "no answer", "ssh n3")})
    with pytest.raises(Unreachable) as stopped:
        world.run()
    assert "destroy --gone n3" in stopped.value.next_step and not world.done
    gone = World()
    gone.run(gone=("n3",))
    assert "clear" in gone.done


def test_with_postgresql_kept_an_interrupted_run_is_gone_on_with() -> None:
    halted = ending.plan(TARGET, seen(key=leader(tenure=Tenure.RELEASED, clean=True)), wanted(), (), keep_postgres=True)
    assert halted.primary == "n1", "who held the key last, and stopped in order"
    empty = seen()
    cleared = ending.plan(
        TARGET, replace(empty, records=type(empty.records)(revision=9)), wanted(), (), keep_postgres=True
    )
    assert cleared.primary == ""
    with pytest.raises(Refused, match="no primary"):
        World(plain=False).end(cleared)
    world = World()
    world.end(cleared)
    assert not any(what.startswith(("plain", "stop plain")) for what in world.done), "they run, and go on"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # a node's thread is interrupted
@pytest.mark.parametrize("step", ["halt n1", "clear", "etcd n2", "away n3"])
def test_interrupted_the_same_command_goes_on(step: str) -> None:
    world = World(interrupt_at=step)
    with pytest.raises(OutcomeUnknown) as stopped:
        world.run()
    assert stopped.value.code == Exit.INTERRUPTED and "destroy goes on from there" in stopped.value.next_step
    assert len(world.run()) == 3


def test_all_keys_of_the_cluster_are_removed_and_no_others() -> None:
    clock = Clock()
    store = MemoryStore(clock, threaded=False)
    keys = [f"/pgha/shop/history/{n}" for n in range(120)] + ["/pgha/shop2/leader"]
    store.commit([], [Write(key, b"{}") for key in keys], deadline_s=clock.now + 1)
    assert ending.clear_prefix(store, clock, "shop") == 120
    assert set(store.read("/", deadline_s=clock.now + 1).entries) == {"/pgha/shop2/leader"}
