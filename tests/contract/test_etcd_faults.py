"""A real etcd of three members, with members stopped, killed and brought back under a client that goes on working."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import pytest

from pgha.adapters.etcd import EtcdStore
from pgha.nodefile import StoreAccess
from pgha.ports import Committed, Guard, StoreDown, Unknown, Write
from tests.contract.conftest import CLOCK, within
from tests.support.etcd_cluster import EtcdCluster, Member, await_true, etcd_cluster
from tests.support.tcp_proxy import tcp_proxy

T = TypeVar("T")
pytestmark = [pytest.mark.loopback, pytest.mark.slow, pytest.mark.timeout(90)]
A_S = 0.75  # budget of one call, as of the agent's renewals
GRACE_S = 0.5  # no call lasts longer than its deadline and this
ELECTION_S = 6.0  # by then a call succeeds again after the leader is gone; elections of 1.0 to 2.3 s are ordinary


@pytest.fixture
def mended(cluster: EtcdCluster) -> Iterator[EtcdCluster]:
    """The cluster, whole at the start and again afterwards."""
    cluster.mend()
    yield cluster
    cluster.mend()


@dataclass
class Holder:
    """Renews a key as the agent does: a CAS on its last revision, and a read after each outcome that is not known.

    A commit of unknown outcome may land as long as the revision it was guarded by stands, also after a read; until
    then a conflict means no more than that it did (`unsure`). Any other conflict is wrong: nobody else writes.
    """

    store: EtcdStore
    key: str
    revision: int = 0
    unsure: bool = False
    beat: int = 0
    longest_s: float = 0.0
    problems: list[str] = field(default_factory=list)

    def renew(self) -> bool:
        """One renewal; whether it is known to be done."""
        self.beat += 1
        value = b"beat-%d" % self.beat
        outcome = self._timed(
            lambda: self.store.commit(
                [Guard(self.key, self.revision)], [Write(self.key, value)], deadline_s=within(A_S)
            )
        )
        if isinstance(outcome, Committed):
            self._stands_at(outcome.revision)
            return True
        if isinstance(outcome, Unknown):
            self.unsure = True
        elif not self.unsure:
            self.problems.append(f"beat {self.beat}: {outcome}")
        return self._look(value)

    def _look(self, value: bytes) -> bool:
        try:
            seen = self._timed(lambda: self.store.read(self.key, deadline_s=within(A_S)))
        except StoreDown:
            return False
        entry = seen.entries.get(self.key)
        self._stands_at(entry.revision if entry else 0)
        return entry is not None and entry.value == value

    def _stands_at(self, revision: int) -> None:
        self.unsure = self.unsure and revision == self.revision
        self.revision = revision

    def _timed(self, call: Callable[[], T]) -> T:
        began = CLOCK.now_s()
        try:
            return call()
        finally:
            self.longest_s = max(self.longest_s, CLOCK.now_s() - began)

    def renew_until_done(self, limit_s: float) -> float:
        """Renews until one is done; how long that took. Fails after the limit."""
        began = CLOCK.now_s()
        while not self.renew():
            assert CLOCK.now_s() - began < limit_s, "no renewal was done"
            CLOCK.sleep(0.05)
        return CLOCK.now_s() - began

    def check(self) -> None:
        """No call was late, and no conflict was told that was none."""
        assert self.longest_s < A_S + GRACE_S
        assert self.problems == []


def first_at(cluster: EtcdCluster, member: Member) -> StoreAccess:
    """All endpoints, beginning with one member: the one a fresh client asks first."""
    others = tuple(m.endpoint for m in cluster.members if m is not member)
    return StoreAccess(endpoints=(member.endpoint, *others))


@pytest.fixture
def holder_at(mended: EtcdCluster, prefix: str) -> Iterator[Callable[[Member], Holder]]:
    """A holder, with one good renewal, whose client asks the given member first."""
    made: list[EtcdStore] = []

    def make(member: Member) -> Holder:
        store = EtcdStore(first_at(mended, member), CLOCK)
        made.append(store)
        holder = Holder(store, prefix + "leader")
        holder.renew_until_done(2)
        return holder

    yield make
    for store in made:
        store.close()


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_follower_that_is_gone_costs_a_renewal_no_more_than_its_hedge(
    mended: EtcdCluster, holder_at: Callable[[Member], Holder], how: str
) -> None:
    leader = mended.leader()
    follower = next(m for m in mended.members if m is not leader)
    holder = holder_at(follower)
    mended.stop(follower) if how == "stop" else mended.kill(follower)
    assert holder.renew(), "another member answered within the same call"
    for _ in range(5):
        began = CLOCK.now_s()
        assert holder.renew()
        assert CLOCK.now_s() - began < 0.2, "the member that is gone is not asked first again"
    holder.check()


@pytest.mark.assumption("ETCD06")
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_renewals_go_on_after_the_election_when_the_leader_is_gone(
    mended: EtcdCluster, holder_at: Callable[[Member], Holder], how: str
) -> None:
    leader = mended.leader()
    holder = holder_at(leader)
    mended.stop(leader) if how == "stop" else mended.kill(leader)
    holder.renew_until_done(ELECTION_S)
    for _ in range(3):
        assert holder.renew()
    mended.mend()
    holder.renew_until_done(ELECTION_S)
    holder.check()


@pytest.mark.assumption("ETCD07")
def test_without_quorum_every_call_ends_at_its_deadline_and_says_so(
    mended: EtcdCluster, etcd: EtcdStore, prefix: str
) -> None:
    etcd.read(prefix, deadline_s=within(2))
    alone = mended.members[0]
    for member in mended.members[1:]:
        mended.kill(member)
    await_true(lambda: _leaderless(alone), 10, "the last member still has a leader")
    calls: list[Callable[[], object]] = [
        lambda: _read_fails(etcd, prefix, 1) > 0.9,
        lambda: isinstance(etcd.commit([], [Write(prefix + "a", b"1")], deadline_s=within(1)), Unknown),
        lambda: etcd.health(deadline_s=within(1)),
        lambda: not etcd.wait(prefix, 10**9, deadline_s=within(1)),
    ]
    for call in calls:
        began = CLOCK.now_s()
        assert call()
        assert CLOCK.now_s() - began < 1 + GRACE_S
    health = etcd.health(deadline_s=within(1))
    assert not health.quorum
    assert [(m.reachable, m.leader) for m in health.members] == [(True, False), (False, False), (False, False)]
    assert "no leader" in health.members[0].problem
    assert all(m.problem for m in health.members)


def _leaderless(member: Member) -> bool:
    return str(member.ask("maintenance/status", {}).get("leader", "0")) == "0"


def test_after_quorum_was_lost_calls_succeed_soon_after_it_is_back(
    mended: EtcdCluster, holder_at: Callable[[Member], Holder]
) -> None:
    holder = holder_at(mended.members[0])
    for member in mended.members[1:]:
        mended.kill(member)
    end = within(4)
    while CLOCK.now_s() < end:
        holder.renew()
    mended.mend()
    assert holder.renew_until_done(ELECTION_S) < 2.0
    holder.check()


@pytest.mark.parametrize("outage_s", [0.5, 6.0])
def test_the_only_member_is_used_within_a_second_of_coming_back(
    mended: EtcdCluster, prefix: str, outage_s: float
) -> None:
    member = mended.members[2]
    store = EtcdStore(StoreAccess(endpoints=(member.endpoint,)), CLOCK)
    store.read(prefix, deadline_s=within(2))
    mended.kill(member)
    end = within(outage_s)
    while CLOCK.now_s() < end:  # gRPC's pauses between attempts to connect grow with each failure
        with pytest.raises(StoreDown):
            store.read(prefix, deadline_s=within(0.25))
    mended.run(member)
    mended.await_healthy()
    store.read(prefix, deadline_s=within(1.0))
    store.close()


def test_a_member_answering_late_makes_calls_late_by_the_hedge_only(mended: EtcdCluster, prefix: str) -> None:
    with tcp_proxy(mended.members[0].endpoint) as slow:
        store = EtcdStore(StoreAccess(endpoints=(slow.endpoint, mended.members[1].endpoint)), CLOCK)
        holder = Holder(store, prefix + "leader")
        holder.renew_until_done(2)
        slow.delay_s = 2.0
        for _ in range(5):
            assert holder.renew()
        holder.check()
        assert holder.longest_s < 0.5
        store.close()


def test_three_threads_do_not_wait_for_each_others_calls(mended: EtcdCluster, prefix: str) -> None:
    """A renewal on a good path succeeds while other threads hang in calls with long deadlines."""
    with tcp_proxy(mended.members[0].endpoint) as proxy:
        store = EtcdStore(StoreAccess(endpoints=(proxy.endpoint,)), CLOCK)
        store.read(prefix, deadline_s=within(2))
        proxy.deaf = True
        with ThreadPoolExecutor(3) as pool:
            slow = [pool.submit(_read_fails, store, prefix, 4.0) for _ in range(2)]
            began = CLOCK.now_s()
            quick = pool.submit(_read_fails, store, prefix, A_S)
            assert quick.result() < A_S + GRACE_S
            assert CLOCK.now_s() - began < A_S + GRACE_S
            assert all(3.9 < one.result() < 4 + GRACE_S for one in slow)
        store.close()


def _read_fails(store: EtcdStore, prefix: str, budget_s: float) -> float:
    began = CLOCK.now_s()
    with pytest.raises(StoreDown):
        store.read(prefix, deadline_s=began + budget_s)
    return CLOCK.now_s() - began


def test_a_store_that_never_forgot_anything_says_how_much_it_keeps() -> None:
    with etcd_cluster(1) as one:
        store = EtcdStore(one.access, CLOCK)
        assert 0 < store.kept_revisions("/pgha/", deadline_s=within(3)) < 100
        one.put("/pgha/a", "1")
        one.compact(store.read("/pgha/", deadline_s=within(3)).revision)
        assert store.kept_revisions("/pgha/", deadline_s=within(3)) == 0
        one.stop(one.members[0])
        with pytest.raises(StoreDown):
            store.kept_revisions("/pgha/", deadline_s=within(0.5))
        store.close()


def test_a_watch_over_compacted_history_says_that_something_changed(
    mended: EtcdCluster, etcd: EtcdStore, prefix: str
) -> None:
    since = etcd.read(prefix, deadline_s=within(2)).revision
    for number in range(5):
        etcd.commit([], [Write("/pgha/elsewhere", b"%d" % number)], deadline_s=within(2))
    mended.compact(etcd.read(prefix, deadline_s=within(2)).revision)
    assert etcd.wait(prefix, since, deadline_s=within(3)), "what was compacted may have been a change"
    now = etcd.read(prefix, deadline_s=within(2)).revision
    assert not etcd.wait(prefix, now, deadline_s=within(1)), "and then it watches on, from where the store is"
    mended.put(prefix + "a", "1")
    assert etcd.wait(prefix, now, deadline_s=within(3))


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_watch_moves_on_when_its_member_is_gone(mended: EtcdCluster, prefix: str, how: str) -> None:
    leader = mended.leader()
    member = next(m for m in mended.members if m is not leader)
    store = EtcdStore(first_at(mended, member), CLOCK)
    since = store.read(prefix, deadline_s=within(2)).revision
    assert not store.wait(prefix, since, deadline_s=within(0.5))
    mended.stop(member) if how == "stop" else mended.kill(member)
    timer = threading.Timer(0.5, lambda: mended.put(prefix + "a", "1"))
    timer.start()
    assert store.wait(prefix, since, deadline_s=within(5)), "sooner than gRPC's own pings find a stopped member"
    timer.join()
    store.close()


def test_a_closed_store_fails_like_one_that_is_down_and_leaves_no_thread(mended: EtcdCluster, prefix: str) -> None:
    before = set(threading.enumerate())
    store = EtcdStore(mended.access, CLOCK)
    since = store.read(prefix, deadline_s=within(2)).revision
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(store.wait, prefix, since, deadline_s=within(1.5))
        CLOCK.sleep(0.3)
        store.close()
        assert waiting.result() is False
    with pytest.raises(StoreDown):
        store.read(prefix, deadline_s=within(1))
    assert isinstance(store.commit([], [Write(prefix, b"")], deadline_s=within(1)), Unknown)
    assert not store.health(deadline_s=within(1)).quorum
    await_true(lambda: set(threading.enumerate()) <= before, 5, "threads are left")
