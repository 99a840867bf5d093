"""A node is removed: refused where that is not safe, in an order that keeps the promise, and gone on with."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from pgha import inventory, records
from pgha.adapters.memory import MemoryStore
from pgha.core.model import Leader, Rule, Settings, Tenure
from pgha.errors import Busy, Exit, OutcomeUnknown, PghaError, Refused, RolledBack, StoreUnreachable, UsageError
from pgha.ops import removal
from pgha.ops.progress import Silent
from pgha.ops.status import Seen
from pgha.ports import MemberHealth, StoreDown, StoreHealth, StoreMember, Write
from tests.ops.cases import HEALTH, MUTE, NOW, PAUSE, TARGET, copy, leader, member, order, seen
from tests.ops.stand_in import Clock

PREFIX = "/pgha/shop/"
FOUR = "cluster: shop\nnodes: {n1: 192.0.2.11, n2: 192.0.2.12, n3: 192.0.2.13, n4: 192.0.2.14}\n"
WANTED = inventory.parse(FOUR, "inventory.yaml")
TARGET4 = replace(TARGET, nodes=(*TARGET.nodes, replace(TARGET.nodes[0], name="n4", host="192.0.2.14")))


def without_n4() -> inventory.Inventory:
    """Three nodes, each with a member."""
    return removal.without(WANTED, "n4")


def four(*members: object, **more: object) -> Seen:
    """All four are well."""
    n4 = member("n3", node="n4", data="d4", host="192.0.2.14")
    names = {copy(n).standby_name(3): ("streaming", 0) for n in ("n2", "n3", "n4")}
    first = member("n1", standbys=names)
    return seen(first, n4, *members, key=leader("n2", "n3", "n4"), **more)  # type: ignore[arg-type]


def with_settings(look: Seen, **changes: object) -> Seen:
    settings = replace(Settings(1), **changes)  # type: ignore[arg-type]
    return replace(look, records=replace(look.records, settings=settings))


ONE_UP = StoreHealth(True, (HEALTH.members[0], MemberHealth("127.0.0.1:2381", reachable=False), MUTE))
SILENT = member("n2", written_at=NOW - 60)
REFUSALS: dict[str, tuple[Seen, str, bool, type[PghaError], str]] = {
    "the primary": (four(), "n1", False, Refused, "n1 is the primary"),
    "an unknown node": (four(), "n9", False, UsageError, "there is no node n9"),
    "no store": (replace(four(), down="silent"), "n4", False, StoreUnreachable, "no answer"),
    "no primary": (seen(key=leader(tenure=Tenure.RELEASED)), "n4", False, Refused, "no primary"),
    "a pause": (seen(key=leader(paused=PAUSE)), "n4", False, Refused, "paused"),
    "another order": (four(asked=order()), "n4", False, Busy, "switchover by anna@desk"),
    "gone, but it reports": (four(), "n4", True, Refused, "n4 is not gone"),
    "copies": (with_settings(four(), copies=3), "n4", False, Refused, "promise would not hold"),
    "an unwell other": (four(SILENT), "n4", False, Refused, "n4 can't be spared now"),
    "no majority of etcd": (four(health=ONE_UP), "n2", False, Refused, "no majority"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_it_is_refused(case: str) -> None:
    look, node, gone, kind, words = REFUSALS[case]
    with pytest.raises(kind) as refused:
        removal.plan(TARGET4, look, WANTED, node, gone=gone)
    assert words in refused.value.what
    assert refused.value.next_step or kind in (Busy, StoreUnreachable)


def test_a_member_of_three_is_not_removed_without_another_node_for_it_but_a_dead_one_is() -> None:
    with pytest.raises(Refused, match="the store bears no loss"):
        removal.plan(TARGET, seen(), without_n4(), "n3", gone=False)
    look = seen(member("n3", written_at=NOW - 60), health=StoreHealth(True, (*HEALTH.members[:2], MUTE)))
    chosen = removal.plan(TARGET, look, without_n4(), "n3", gone=True)
    assert chosen.members == (3, 2) and chosen.rest.etcd.nodes == ("n1", "n2")


def test_the_last_standby_is_removed_only_where_nothing_is_promised() -> None:
    two = removal.without(without_n4(), "n3")
    target = replace(TARGET, nodes=TARGET.nodes[:2])
    look = replace(seen(key=leader("n2")), health=HEALTH)
    look = replace(look, records=replace(look.records, members={n: member(n) for n in ("n1", "n2")}))
    with pytest.raises(Refused, match="commits would exist once"):
        removal.plan(target, look, two, "n2", gone=False)
    spare = replace(two, etcd=replace(two.etcd, nodes=("n1",)))
    chosen = removal.plan(target, with_settings(look, durability="async"), spare, "n2", gone=False)
    assert chosen.copies[1] == 0


def test_the_plan_names_what_follows() -> None:
    chosen = removal.plan(TARGET4, four(), WANTED, "n2", gone=False)
    page = "\n".join(chosen.lines("shop"))
    assert "2 left, 1 of them must have a commit" in page
    assert "its etcd member goes: 2 left, which bear no more losses than 1; pgha bootstrap then puts one on n4" in page
    assert [n.name for n in chosen.rest.nodes] == ["n1", "n3", "n4"] and chosen.rest.etcd.nodes == ("n1", "n3")


def test_what_would_leave_two_nodes_to_hold_a_store_keeps_its_place_in_the_inventory() -> None:
    four_left = removal.Plan("n4", "h", False, 2, (2, 1), (3, 3), "", without_n4())
    assert not four_left.leaves_two
    two = removal.without(without_n4(), "n3")
    left = replace(four_left, rest=two)
    assert left.leaves_two
    assert not replace(left, rest=replace(two, etcd=replace(two.etcd, endpoints=("192.0.2.9:2379",)))).leaves_two


# -- doing ---------------------------------------------------------------------------------------------------


@dataclass
class World:
    """Store, nodes and etcd, as far as a removal sees them. Everything that is done is noted in its order."""

    done: list[str] = field(default_factory=list)
    interrupt_at: str = ""
    drops: bool = True
    seats: list[StoreMember] = field(
        default_factory=lambda: [StoreMember(i, f"n{i}", (f"https://192.0.2.1{i}:2380",), True) for i in (1, 2, 3)]
    )
    name: str = "n2"
    is_here: bool = True
    is_plain: bool = False
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.store = MemoryStore(self.clock, threaded=False)
        self.put("leader", records.dump_leader(leader("n2", "n3", "n4")))
        self.put("members/n2", records.dump_member(member("n2")))

    def put(self, key: str, value: bytes) -> None:
        self.store.commit([], [Write(PREFIX + key, value)], deadline_s=self.clock.now + 1)

    def note(self, what: str) -> None:
        self.done.append(what)
        if what == self.interrupt_at:
            self.interrupt_at = ""
            raise KeyboardInterrupt

    def rewrite(self, rest: inventory.Inventory) -> None:
        self.note(f"rewrite {','.join(n.name for n in rest.nodes)}")
        if self.drops:
            self.put("leader", records.dump_leader(leader("n3", "n4")))

    def rewrite_plan(self, _rest: inventory.Inventory) -> None:
        self.note("plan")

    # a leaver

    def halt(self) -> None:
        found = records.parse_value("leader", self.entry("leader") or b"", records.parse_leader)
        assert isinstance(found, Leader)
        assert all(c.node != "n2" for rule in found.sync for c in rule.voters), "stopped while it is a voter"
        self.note("halt")

    def stop_member(self) -> None:
        assert all(m.name != "n2" for m in self.seats), "stopped while it counts for the quorum"
        self.note("stop etcd")

    def put_away(self, stamp: str) -> str:
        self.note("away")
        return f"/var/lib/pgha/shop.{stamp}"

    def run_plainly(self, primary: str) -> None:
        raise AssertionError(primary)

    def stop_plain(self) -> None:
        raise AssertionError

    def put_member_away(self, stamp: str) -> None:
        raise AssertionError(stamp)

    def leave(self) -> None:
        raise AssertionError

    def give_back(self, primary: str) -> None:
        raise AssertionError(primary)

    def clean_up(self, primary: str) -> None:
        raise AssertionError(primary)

    def forget(self) -> None:
        raise AssertionError

    # etcd's members

    def list(self, *, deadline_s: float) -> tuple[StoreMember, ...]:
        return tuple(self.seats)

    def add(self, peer_url: str, *, deadline_s: float) -> None:
        raise StoreDown(peer_url)

    def remove(self, ident: int, *, deadline_s: float) -> None:
        self.seats = [m for m in self.seats if m.ident != ident]
        self.note("member out")

    def close(self) -> None:
        pass

    # what the test asks

    def entry(self, key: str) -> bytes | None:
        entries = self.store.read(PREFIX, deadline_s=self.clock.now + 1).entries
        return entries[PREFIX + key].value if PREFIX + key in entries else None

    def run(self, *, gone: bool = False) -> str:
        look = four(SILENT) if gone else four()
        chosen = removal.plan(TARGET4, look, WANTED, "n2", gone=gone)
        doors = removal.Doors(self.store, self.clock, lambda: self, self.rewrite, self.rewrite_plan, "removed-1")
        return removal.remove(TARGET4, chosen, WANTED, None if gone else self, doors, Silent())


ALL = ["rewrite n1,n3,n4", "halt", "member out", "stop etcd", "away", "plan"]


def test_it_is_no_voter_before_it_stops_and_counts_for_no_quorum_before_its_member_does() -> None:
    world = World()
    assert world.run() == "/var/lib/pgha/shop.removed-1"
    assert world.done == ALL and world.entry("members/n2") is None


def test_a_host_that_is_gone_is_not_touched() -> None:
    world = World()
    assert world.run(gone=True) == ""
    assert world.done == ["rewrite n1,n3,n4", "member out", "plan"] and world.entry("members/n2") is None


@pytest.mark.parametrize("step", ALL)
def test_interrupted_anywhere_the_same_command_ends_it(step: str) -> None:
    world = World(interrupt_at=step)
    with pytest.raises(OutcomeUnknown) as stopped:
        world.run()
    assert stopped.value.code == Exit.INTERRUPTED and "remove n2 goes on from there" in stopped.value.next_step
    world.done.clear()
    world.run()
    assert world.entry("members/n2") is None and all(m.name != "n2" for m in world.seats)
    assert world.done[-1] == "plan"


def test_a_holder_that_still_counts_on_it_ends_the_wait_with_nothing_stopped() -> None:
    world = World(drops=False)
    with pytest.raises(RolledBack, match="still a voter after 60 s"):
        world.run()
    assert world.done == ["rewrite n1,n3,n4"] and world.entry("members/n2") is not None


def test_a_node_that_became_primary_meanwhile_is_left_alone() -> None:
    world = World(drops=False)
    own = Rule(copy("n2"), frozenset({copy("n3")}), 1)
    world.put("leader", records.dump_leader(leader(holder=copy("n2"), sync=(own,))))
    with pytest.raises(RolledBack, match="has become primary"):
        world.run()
    assert world.done == ["rewrite n1,n3,n4"]


MENTIONS: dict[str, tuple[str, list[int]]] = {
    "a map": ("cluster: shop\nnodes:\n  n1: a\n  n2: b  # spare\n  n22: c\netcd: {nodes: [n1, n2, n3]}\n", [4, 6]),
    "a comment": ("# n2 is old\nnodes: {n1: a, n2: b}\n", [2]),
    "by address": ("nodes: [192.0.2.11, 192.0.2.12, 192.0.2.120]\n", [1]),
    "nowhere": ("nodes: [192.0.2.11, 192.0.2.120]\n", []),
}


@pytest.mark.parametrize("case", MENTIONS)
def test_the_lines_of_the_inventory_that_name_it_are_told(case: str) -> None:
    text, lines = MENTIONS[case]
    found = removal.mentions(text, "n2", "192.0.2.12")
    assert [number for number, _ in found] == lines
