"""What every store promises (ports.Store), held against the one in memory and a real etcd of three members."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pgha.adapters.etcd import EtcdStore
from pgha.adapters.memory import Fault, Keyspace, MemoryStore
from pgha.ports import Committed, Conflict, Guard, StoreDown, Unknown, Write
from tests.contract.conftest import CLOCK, Bench, within
from tests.support.etcd_cluster import EtcdCluster

pytestmark = [pytest.mark.loopback, pytest.mark.timeout(60)]
BUDGET_S = 5.0


def put(bench: Bench, name: str, value: bytes, guard: int | None = None) -> Committed | Conflict | Unknown:
    """Write one key, guarded by its revision unless that is None."""
    key = bench.prefix + name
    guards = [] if guard is None else [Guard(key, guard)]
    return bench.store.commit(guards, [Write(key, value)], deadline_s=within(BUDGET_S))


def done(outcome: Committed | Conflict | Unknown) -> int:
    """The revision of a commit that was done."""
    assert isinstance(outcome, Committed), outcome
    return outcome.revision


def values(bench: Bench) -> dict[str, bytes]:
    """What stands under the test's prefix, by the names without it, as the other client sees it."""
    seen = bench.other.read(bench.prefix, deadline_s=within(BUDGET_S))
    return {key.removeprefix(bench.prefix): entry.value for key, entry in seen.entries.items()}


def test_an_empty_prefix_reads_as_empty_with_a_revision(bench: Bench) -> None:
    seen = bench.store.read(bench.prefix, deadline_s=within(BUDGET_S))
    assert dict(seen.entries) == {}
    assert seen.revision >= 1


def test_a_key_guarded_as_absent_is_created_once(bench: Bench) -> None:
    done(put(bench, "request", b"first", 0))
    assert put(bench, "request", b"second", 0) == Conflict()
    assert values(bench) == {"request": b"first"}


@pytest.mark.assumption("ETCD02")
def test_a_guard_holds_for_exactly_the_last_revision_of_its_key(bench: Bench) -> None:
    first = done(put(bench, "leader", b"1", 0))
    second = done(put(bench, "leader", b"2", first))
    assert second > first
    for stale in (first, second + 1, 0):
        assert put(bench, "leader", b"x", stale) == Conflict()
    done(put(bench, "leader", b"3", second))
    assert values(bench) == {"leader": b"3"}


def test_a_change_of_another_key_breaks_no_guard(bench: Bench) -> None:
    first = done(put(bench, "leader", b"1", 0))
    done(put(bench, "members/n1", b"x"))
    done(put(bench, "leader", b"2", first))


def test_an_entry_carries_the_revision_of_its_own_commit(bench: Bench) -> None:
    first = done(put(bench, "a", b"1", 0))
    second = done(put(bench, "b", b"2", 0))
    seen = bench.store.read(bench.prefix, deadline_s=within(BUDGET_S))
    assert {key.removeprefix(bench.prefix): e.revision for key, e in seen.entries.items()} == {"a": first, "b": second}
    assert seen.revision >= second > first


def test_a_guard_on_a_key_that_is_not_written_counts_too(bench: Bench) -> None:
    leader = done(put(bench, "leader", b"1", 0))
    done(put(bench, "leader", b"2", leader))
    stale = [Guard(bench.prefix + "leader", leader)]
    write = [Write(bench.prefix + "history/2", b"h")]
    assert bench.store.commit(stale, write, deadline_s=within(BUDGET_S)) == Conflict()
    assert values(bench) == {"leader": b"2"}


@pytest.mark.assumption("ETCD03")
def test_several_writes_are_done_at_one_revision_or_not_at_all(bench: Bench) -> None:
    names = [bench.prefix + name for name in ("leader", "history/1", "members/n1")]
    guards, writes = [Guard(name, 0) for name in names], [Write(name, b"v") for name in names]
    revision = done(bench.store.commit(guards, writes, deadline_s=within(BUDGET_S)))
    seen = bench.store.read(bench.prefix, deadline_s=within(BUDGET_S))
    assert {entry.revision for entry in seen.entries.values()} == {revision}
    again = [Guard(names[0], revision), Guard(names[1], 0)]
    writes = [Write(names[0], b"w"), Write(names[1], b"w"), Write(names[2], None)]
    assert bench.store.commit(again, writes, deadline_s=within(BUDGET_S)) == Conflict()
    assert set(values(bench).values()) == {b"v"}
    assert len(values(bench)) == 3


def test_a_deleted_key_is_absent_for_guards_and_reads(bench: Bench) -> None:
    key = bench.prefix + "request"
    first = done(put(bench, "request", b"1", 0))
    stale = bench.store.commit([Guard(key, first + 1)], [Write(key, None)], deadline_s=within(BUDGET_S))
    assert stale == Conflict()
    done(bench.store.commit([Guard(key, first)], [Write(key, None)], deadline_s=within(BUDGET_S)))
    assert values(bench) == {}
    assert put(bench, "request", b"2", first) == Conflict()
    assert done(put(bench, "request", b"2", 0)) > first


@pytest.mark.assumption("ETCD05")
def test_the_delete_of_an_absent_key_is_done_and_moves_no_revision(bench: Bench) -> None:
    before = bench.store.read(bench.prefix, deadline_s=within(BUDGET_S)).revision
    write = [Write(bench.prefix + "nothing", None)]
    assert done(bench.store.commit([], write, deadline_s=within(BUDGET_S))) == before


def test_guards_alone_are_a_question(bench: Bench) -> None:
    key = bench.prefix + "leader"
    first = done(put(bench, "leader", b"1", 0))
    assert done(bench.store.commit([Guard(key, first)], [], deadline_s=within(BUDGET_S))) == first
    assert bench.store.commit([Guard(key, 0)], [], deadline_s=within(BUDGET_S)) == Conflict()


def test_a_key_written_twice_is_a_mistake_of_the_caller(bench: Bench) -> None:
    write = Write(bench.prefix + "a", b"1")
    with pytest.raises(ValueError, match="twice"):
        bench.store.commit([], [write, write], deadline_s=within(BUDGET_S))


def test_a_prefix_shows_its_own_keys_only(bench: Bench) -> None:
    stem = bench.prefix.rstrip("/")
    for key in (f"{stem}/a", f"{stem}/a/b", f"{stem}0", f"{stem}-x/a", stem):
        done(bench.store.commit([], [Write(key, b"1")], deadline_s=within(BUDGET_S)))
    assert set(values(bench)) == {"a", "a/b"}


def test_values_of_any_bytes_come_back_as_they_were(bench: Bench) -> None:
    value = bytes(range(256)) * 40
    done(put(bench, "a", value, 0))
    done(put(bench, "empty", b"", 0))
    assert values(bench) == {"a": value, "empty": b""}


@pytest.mark.assumption("ETCD04")
def test_of_many_writers_with_one_guard_exactly_one_wins(bench: Bench) -> None:
    first = done(put(bench, "leader", b"0", 0))
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda i: put(bench, "leader", b"w%d" % i, first), range(24)))
    won = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, Committed)]
    assert len(won) == 1
    assert outcomes.count(Conflict()) == 23
    assert values(bench) == {"leader": b"w%d" % won[0]}


def test_a_deadline_that_has_passed_is_no_answer(bench: Bench) -> None:
    past = CLOCK.now_s() - 1
    with pytest.raises(StoreDown):
        bench.store.read(bench.prefix, deadline_s=past)
    outcome = bench.store.commit([], [Write(bench.prefix + "a", b"1")], deadline_s=past)
    assert isinstance(outcome, Unknown)
    assert values(bench) == {}
    assert not bench.store.health(deadline_s=past).quorum


@pytest.mark.parametrize("delete", [False, True], ids=["put", "delete"])
def test_a_wait_wakes_when_another_client_changes_something(bench: Bench, delete: bool) -> None:
    done(put(bench, "a", b"1", 0))
    since = bench.store.read(bench.prefix, deadline_s=within(BUDGET_S)).revision
    write = Write(bench.prefix + "a", None if delete else b"2")
    timer = threading.Timer(0.3, lambda: bench.other.commit([], [write], deadline_s=within(BUDGET_S)))
    began = CLOCK.now_s()
    timer.start()
    assert bench.store.wait(bench.prefix, since, deadline_s=began + 10)
    assert CLOCK.now_s() - began < 5
    timer.join()


def test_a_wait_sees_at_once_what_changed_before_it_began(bench: Bench) -> None:
    since = bench.store.read(bench.prefix, deadline_s=within(BUDGET_S)).revision
    for number in range(3):  # the first wait opens the watch, the others find it open
        revision = done(put(bench, f"k{number}", b"1", 0))
        began = CLOCK.now_s()
        assert bench.store.wait(bench.prefix, since, deadline_s=began + 10)
        assert CLOCK.now_s() - began < 3
        since = revision


def test_an_older_question_is_answered_after_a_newer_one(bench: Bench) -> None:
    since = bench.store.read(bench.prefix, deadline_s=within(BUDGET_S)).revision
    revision = done(put(bench, "a", b"1", 0))
    assert not bench.store.wait(bench.prefix, revision, deadline_s=within(0.5))
    assert bench.store.wait(bench.prefix, since, deadline_s=within(5))


def test_a_wait_ends_at_its_deadline_when_nothing_happens(bench: Bench) -> None:
    done(put(bench, "a", b"1", 0))
    since = bench.store.read(bench.prefix, deadline_s=within(BUDGET_S)).revision
    done(bench.store.commit([], [Write("/pgha/shop/elsewhere/x", b"1")], deadline_s=within(BUDGET_S)))
    began = CLOCK.now_s()
    assert not bench.store.wait(bench.prefix, since, deadline_s=began + 0.6)
    assert 0.55 < CLOCK.now_s() - began < 0.9


def test_health_names_one_leader_and_no_problem(bench: Bench) -> None:
    health = bench.store.health(deadline_s=within(BUDGET_S))
    assert health.quorum
    assert [m.leader for m in health.members].count(True) == 1
    assert all(m.reachable and m.version and not m.problem for m in health.members)


# -- outcomes that are not known -----------------------------------------------------------------------------


@pytest.fixture
def memory() -> MemoryStore:
    """A store in memory with the key `leader`, whose revision is 2."""
    store = MemoryStore(CLOCK)
    done(store.commit([Guard("leader", 0)], [Write("leader", b"old")], deadline_s=within(1)))
    return store


@pytest.mark.parametrize(
    ("fault", "at_once", "later"),
    [
        (Fault.DOWN, b"old", b"old"),
        (Fault.DENIED, b"old", b"old"),
        (Fault.APPLIED, b"new", b"new"),
        (Fault.LATE, b"old", b"new"),
    ],
)
def test_an_unknown_commit_in_memory_was_done_or_not_as_planned(
    memory: MemoryStore, fault: Fault, at_once: bytes, later: bytes
) -> None:
    memory.fail_next("commit", fault)
    outcome = memory.commit([Guard("leader", 2)], [Write("leader", b"new")], deadline_s=within(1))
    assert isinstance(outcome, Unknown)
    assert memory.read("", deadline_s=within(1)).entries["leader"].value == at_once
    memory.keyspace.land()
    assert memory.read("", deadline_s=within(1)).entries["leader"].value == later


def test_a_late_commit_in_memory_is_still_guarded(memory: MemoryStore) -> None:
    memory.fail_next("commit", Fault.LATE)
    memory.commit([Guard("leader", 2)], [Write("leader", b"late")], deadline_s=within(1))
    done(memory.commit([Guard("leader", 2)], [Write("leader", b"other")], deadline_s=within(1)))
    assert memory.keyspace.land() == (Conflict(),)
    assert memory.read("", deadline_s=within(1)).entries["leader"].value == b"other"


def test_a_faulty_read_raises_and_says_when_it_was_denied(memory: MemoryStore) -> None:
    memory.fail_next("read", Fault.DOWN, Fault.DENIED)
    for denied in (False, True):
        with pytest.raises(StoreDown) as caught:
            memory.read("", deadline_s=within(1))
        assert caught.value.denied is denied
    assert memory.read("", deadline_s=within(1)).revision == 2


def test_one_client_in_memory_can_be_cut_off_while_another_goes_on() -> None:
    keyspace = Keyspace()
    cut = MemoryStore(CLOCK, keyspace, fault=lambda call: Fault.DOWN)
    well = MemoryStore(CLOCK, keyspace)
    assert isinstance(cut.commit([], [Write("a", b"1")], deadline_s=within(1)), Unknown)
    done(well.commit([], [Write("a", b"2")], deadline_s=within(1)))
    assert not cut.health(deadline_s=within(1)).quorum
    assert not cut.wait("", 1, deadline_s=within(0.05))
    assert well.wait("", 1, deadline_s=within(0.05))


class StepClock:
    """A clock that moves only when somebody sleeps, and lets others act meanwhile."""

    def __init__(self, meanwhile: list[Write], keyspace: Keyspace) -> None:
        self.now, self._meanwhile, self._keyspace = 0.0, meanwhile, keyspace

    def now_s(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self._keyspace.apply([], self._meanwhile)


@pytest.mark.parametrize("writes", [[], [Write("a", b"1")]], ids=["nothing", "a change"])
def test_a_wait_without_threads_sleeps_on_its_clock_and_looks_again(writes: list[Write]) -> None:
    keyspace = Keyspace()
    clock = StepClock(writes, keyspace)
    store = MemoryStore(clock, keyspace, threaded=False)
    assert store.wait("a", 1, deadline_s=4.0) is bool(writes)
    assert clock.now == 4.0


@pytest.fixture
def mended(cluster: EtcdCluster) -> Iterator[EtcdCluster]:
    """The cluster, whole again afterwards."""
    yield cluster
    cluster.mend()


@pytest.mark.assumption("ETCD01")
def test_an_unknown_commit_in_etcd_is_found_out_by_a_later_read(
    mended: EtcdCluster, etcd: EtcdStore, prefix: str
) -> None:
    key = prefix + "leader"
    revision = done(etcd.commit([Guard(key, 0)], [Write(key, b"old")], deadline_s=within(BUDGET_S)))
    for member in mended.members:
        mended.stop(member)
    began = CLOCK.now_s()
    outcome = etcd.commit([Guard(key, revision)], [Write(key, b"new")], deadline_s=began + 1.5)
    assert isinstance(outcome, Unknown)
    assert 1.4 < CLOCK.now_s() - began < 2.0
    with pytest.raises(StoreDown):
        etcd.read(prefix, deadline_s=within(0.7))
    mended.mend()
    seen = etcd.read(prefix, deadline_s=within(10)).entries[key]
    assert (seen.value, seen.revision > revision) in [(b"new", True), (b"old", False)]
    # Whichever it was: who goes on from what was read is not disturbed by an attempt that is still under way.
    done(etcd.commit([Guard(key, seen.revision)], [Write(key, b"next")], deadline_s=within(10)))
    assert etcd.read(prefix, deadline_s=within(10)).entries[key].value == b"next"
