"""User and password, tokens that go away, and TLS, against a real etcd of one member."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pgha.adapters.etcd import EtcdStore
from pgha.nodefile import StoreAccess
from pgha.ports import Committed, Guard, StoreDown, Unknown, Write
from tests.contract.conftest import CLOCK, within
from tests.support.etcd_cluster import EtcdCluster, etcd_cluster

pytestmark = [pytest.mark.loopback, pytest.mark.slow, pytest.mark.timeout(60)]
PASSWORD = "s3cret'%:\\@#"


@pytest.fixture(scope="module")
def guarded() -> Iterator[EtcdCluster]:
    """One member that asks for a user and forgets an unused token after 2 s."""
    with etcd_cluster(1, ("--auth-token-ttl=2",)) as cluster:
        cluster.enable_auth("pgha", PASSWORD)
        yield cluster


@pytest.fixture
def access(guarded: EtcdCluster, tmp_path: Path) -> StoreAccess:
    """A user with the right password."""
    file = tmp_path / "password"
    file.write_text(PASSWORD + "\n")
    return replace(guarded.access, user="pgha", password_file=str(file))


@pytest.fixture
def store(access: StoreAccess) -> Iterator[EtcdStore]:
    """A client that logs in."""
    client = EtcdStore(access, CLOCK)
    yield client
    client.close()


def test_a_user_logs_in_at_its_first_call_and_uses_all_verbs(store: EtcdStore) -> None:
    outcome = store.commit([], [Write("/pgha/a/x", b"1")], deadline_s=within(3))
    assert isinstance(outcome, Committed)
    assert store.read("/pgha/a/", deadline_s=within(3)).entries["/pgha/a/x"].value == b"1"
    assert store.wait("/pgha/a/", outcome.revision - 1, deadline_s=within(3))
    health = store.health(deadline_s=within(3))
    assert (health.quorum, health.members[0].leader, health.members[0].problem) == (True, True, "")


def test_health_is_good_when_it_is_the_first_call(store: EtcdStore) -> None:
    assert store.health(deadline_s=within(3)).quorum


def test_a_token_forgotten_by_the_member_is_replaced_within_the_same_call(
    guarded: EtcdCluster, store: EtcdStore
) -> None:
    key = "/pgha/b/x"
    outcome = store.commit([Guard(key, 0)], [Write(key, b"1")], deadline_s=within(3))
    assert isinstance(outcome, Committed)
    store.wait("/pgha/b/", outcome.revision, deadline_s=within(0.3))
    guarded.kill(guarded.members[0])
    guarded.mend()
    outcome = store.commit([Guard(key, outcome.revision)], [Write(key, b"2")], deadline_s=within(3))
    assert isinstance(outcome, Committed)
    old = store._members.token
    CLOCK.sleep(4)  # nothing to look at: each use of a token lengthens its life, and etcd drops old ones every second
    assert store.read("/pgha/b/", deadline_s=within(2)).entries[key].value == b"2"
    assert store._members.token != old, "the token had expired"
    assert store.wait("/pgha/b/", outcome.revision - 1, deadline_s=within(6)), "the watch logs in again too"


@pytest.mark.parametrize("case", ["wrong password", "no user", "no password file"])
def test_refused_credentials_are_denied_not_an_outage(access: StoreAccess, tmp_path: Path, case: str) -> None:
    wrong = tmp_path / "wrong"
    wrong.write_text("wrong")
    given = {
        "wrong password": replace(access, password_file=str(wrong)),
        "no user": replace(access, user="", password_file=""),
        "no password file": replace(access, password_file=str(tmp_path / "none")),
    }[case]
    store = EtcdStore(given, CLOCK)
    began = CLOCK.now_s()
    with pytest.raises(StoreDown) as caught:
        store.read("/pgha/", deadline_s=within(5))
    assert caught.value.denied
    assert CLOCK.now_s() - began < 2, "known at once, not at the deadline"
    assert PASSWORD not in caught.value.why
    outcome = store.commit([], [Write("/pgha/c", b"1")], deadline_s=within(5))
    assert isinstance(outcome, Unknown)
    health = store.health(deadline_s=within(5))
    assert not health.quorum
    assert health.members[0].problem
    store.close()


def test_a_user_for_a_store_without_authentication_is_no_hindrance(cluster: EtcdCluster, access: StoreAccess) -> None:
    store = EtcdStore(replace(access, endpoints=cluster.access.endpoints), CLOCK)
    store.read("/pgha/", deadline_s=within(3))
    store.close()


def test_members_are_reached_over_tls_with_a_client_certificate(certificates: Path) -> None:
    with etcd_cluster(1, tls=certificates) as cluster:
        cases = {
            "all files": (cluster.access, True),
            "no certificate": (replace(cluster.access, cert_file="", key_file=""), False),
            "no TLS": (StoreAccess(cluster.access.endpoints), False),
        }
        for name, (access, reached) in cases.items():
            store = EtcdStore(access, CLOCK)
            assert store.health(deadline_s=within(2)).quorum is reached, name
            store.close()


def test_a_tls_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    store = EtcdStore(StoreAccess(endpoints=("127.0.0.1:1",), ca_file=str(tmp_path / "ca.pem")), CLOCK)
    with pytest.raises(StoreDown, match=r"ca\.pem"):
        store.read("/pgha/", deadline_s=within(1))
    assert "ca.pem" in store.health(deadline_s=within(1)).members[0].problem
