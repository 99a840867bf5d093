"""One question, several attempts: what a commit's outcome is when a twin of it may have been done."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from pgha.adapters.etcd import EtcdStore, once_only
from pgha.adapters.etcd_wire import VERDICTS, Verdict, judge, span
from pgha.nodefile import StoreAccess
from pgha.ports import Committed, Conflict, Guard, Unknown, Write
from tests.contract.conftest import CLOCK, within
from tests.support.etcd_cluster import EtcdCluster
from tests.support.tcp_proxy import TcpProxy, tcp_proxy

pytestmark = [pytest.mark.loopback, pytest.mark.timeout(60)]


@pytest.fixture
def deaf(cluster: EtcdCluster) -> Iterator[TcpProxy]:
    """A way to the first member whose answers can be swallowed."""
    with tcp_proxy(cluster.members[0].endpoint) as proxy:
        yield proxy


@pytest.fixture
def store(cluster: EtcdCluster, deaf: TcpProxy) -> Iterator[EtcdStore]:
    """A client of that proxy and, second, of another member."""
    client = EtcdStore(StoreAccess(endpoints=(deaf.endpoint, cluster.members[1].endpoint)), CLOCK)
    yield client
    client.close()


def create(store: EtcdStore, key: str) -> int:
    """The revision of a new key."""
    outcome = store.commit([Guard(key, 0)], [Write(key, b"old")], deadline_s=within(5))
    assert isinstance(outcome, Committed)
    return outcome.revision


def test_a_twin_that_finds_our_own_value_is_a_commit_at_the_first_ones_revision(
    store: EtcdStore, etcd: EtcdStore, deaf: TcpProxy, prefix: str
) -> None:
    key = prefix + "leader"
    revision = create(store, key)
    deaf.deaf = True
    began = CLOCK.now_s()
    outcome = store.commit([Guard(key, revision)], [Write(key, b"nonce-1")], deadline_s=within(3))
    took = CLOCK.now_s() - began
    seen = etcd.read(prefix, deadline_s=within(5)).entries[key]
    assert outcome == Committed(seen.revision)
    assert seen.value == b"nonce-1"
    assert seen.revision == revision + 1, "it was done once"
    assert took < 0.45, "the second member was asked when the first was late"


def test_a_conflict_is_unknown_while_an_attempt_of_ours_may_have_been_done(
    store: EtcdStore, etcd: EtcdStore, deaf: TcpProxy, prefix: str
) -> None:
    key = prefix + "leader"
    revision = create(store, key)
    other = etcd.commit([Guard(key, revision)], [Write(key, b"rival")], deadline_s=within(5))
    assert isinstance(other, Committed)
    deaf.deaf = True
    outcome = store.commit([Guard(key, revision)], [Write(key, b"nonce-2")], deadline_s=within(2))
    assert isinstance(outcome, Unknown)
    assert "no known end" in outcome.why


def test_a_lone_attempt_that_conflicts_is_a_conflict_even_over_the_same_bytes(
    store: EtcdStore, etcd: EtcdStore, prefix: str
) -> None:
    key = prefix + "leader"
    revision = create(store, key)
    assert isinstance(etcd.commit([Guard(key, revision)], [Write(key, b"same")], deadline_s=within(5)), Committed)
    assert store.commit([Guard(key, revision)], [Write(key, b"same")], deadline_s=within(5)) == Conflict()


def test_a_late_twin_of_a_delete_is_unknown_and_never_a_false_conflict(
    store: EtcdStore, etcd: EtcdStore, deaf: TcpProxy, prefix: str
) -> None:
    key = prefix + "request"
    revision = create(store, key)
    deaf.deaf = True
    outcome = store.commit([Guard(key, revision)], [Write(key, None)], deadline_s=within(2))
    assert isinstance(outcome, Unknown)
    assert etcd.read(prefix, deadline_s=within(5)).entries == {}


@pytest.mark.parametrize("guarded", [True, False], ids=["create-only", "unguarded"])
def test_what_could_be_done_twice_is_sent_once_and_unknown_without_an_answer(
    store: EtcdStore, etcd: EtcdStore, deaf: TcpProxy, prefix: str, guarded: bool
) -> None:
    key = prefix + "request"
    store.read(prefix, deadline_s=within(5))
    before = etcd.read(prefix, deadline_s=within(5)).revision
    deaf.deaf = True
    began = CLOCK.now_s()
    guards = [Guard(key, 0)] if guarded else []
    outcome = store.commit(guards, [Write(key, b"mine")], deadline_s=began + 1.2)
    assert isinstance(outcome, Unknown)
    assert 1.1 < CLOCK.now_s() - began < 1.7
    seen = etcd.read(prefix, deadline_s=within(5))
    assert seen.entries[key].value == b"mine"
    assert seen.revision == before + 1, "it was done once"


def test_a_create_goes_to_the_next_member_when_the_first_surely_did_nothing(
    cluster: EtcdCluster, etcd: EtcdStore, prefix: str
) -> None:
    with tcp_proxy(cluster.members[0].endpoint) as gone:
        nobody = gone.endpoint
    store = EtcdStore(StoreAccess(endpoints=(nobody, cluster.members[1].endpoint)), CLOCK)
    create(store, prefix + "request")
    store.close()
    again = EtcdStore(StoreAccess(endpoints=(nobody, cluster.members[1].endpoint)), CLOCK)
    key = prefix + "request"
    assert again.commit([Guard(key, 0)], [Write(key, b"x")], deadline_s=within(5)) == Conflict()
    again.close()


def test_a_read_from_a_late_member_is_answered_by_another(store: EtcdStore, deaf: TcpProxy, prefix: str) -> None:
    store.read(prefix, deadline_s=within(5))
    deaf.delay_s = 1.5
    began = CLOCK.now_s()
    store.read(prefix, deadline_s=within(5))
    assert 0.15 < CLOCK.now_s() - began < 0.45
    began = CLOCK.now_s()
    store.read(prefix, deadline_s=within(5))
    assert CLOCK.now_s() - began < 0.15, "the one that answered last is asked first"


def test_a_store_that_is_slow_as_a_whole_gets_its_answer_through(
    cluster: EtcdCluster, deaf: TcpProxy, prefix: str
) -> None:
    store = EtcdStore(StoreAccess(endpoints=(deaf.endpoint,)), CLOCK)
    store.read(prefix, deadline_s=within(5))
    deaf.delay_s = 0.8  # longer than the first attempts' budget
    began = CLOCK.now_s()
    store.read(prefix, deadline_s=within(10))
    assert CLOCK.now_s() - began > 0.8
    store.close()


@pytest.mark.parametrize(
    ("guards", "writes", "expected"),
    [
        ({"a": 7}, {"a": b"1"}, True),
        ({"a": 7}, {"a": None}, True),
        ({"a": 7, "b": 0}, {"a": b"1", "b": b"2"}, True),
        ({"a": 7}, {"a": b"1", "b": b"2"}, True),
        ({"a": 0}, {"a": b"1"}, False),
        ({"a": 7}, {"b": b"1"}, False),
        ({}, {"a": b"1"}, False),
        ({"a": 7}, {}, False),
    ],
)
def test_only_a_write_over_its_own_guarded_revision_can_not_be_done_twice(
    guards: dict[str, int], writes: dict[str, bytes | None], expected: bool
) -> None:
    given = [Guard(k, r) for k, r in guards.items()], [Write(k, v) for k, v in writes.items()]
    assert once_only(*given) is expected


def test_every_status_code_of_grpc_has_a_verdict() -> None:
    assert set(VERDICTS) == {code.name for code in grpc.StatusCode}


@pytest.mark.parametrize(
    ("code", "details", "verdict"),
    [
        ("UNAVAILABLE", "failed to connect to all addresses; last error: ...", Verdict.NEXT),
        ("UNAVAILABLE", "Socket closed", Verdict.UNKNOWN),
        ("UNAVAILABLE", "etcdserver: no leader", Verdict.UNKNOWN),
        ("INVALID_ARGUMENT", "etcdserver: user name is empty", Verdict.DENIED),
        ("INVALID_ARGUMENT", "etcdserver: key is not provided", Verdict.BUG),
        ("RESOURCE_EXHAUSTED", "etcdserver: mvcc: database space exceeded", Verdict.NEXT),
        ("RESOURCE_EXHAUSTED", "Received message larger than max", Verdict.UNKNOWN),
        ("A_CODE_OF_TOMORROW", "", Verdict.UNKNOWN),
    ],
)
def test_the_text_of_a_refusal_tells_more_than_its_code(code: str, details: str, verdict: Verdict) -> None:
    assert judge(code, details) is verdict


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [("", (b"\0", b"\0")), ("/a/", (b"/a/", b"/a0")), ("é", (b"\xc3\xa9", b"\xc3\xaa"))],
)
def test_a_prefix_is_the_range_up_to_its_successor(prefix: str, expected: tuple[bytes, bytes]) -> None:
    assert span(prefix) == expected
