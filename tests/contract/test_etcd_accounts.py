"""The cluster's own etcd: users and roles as bootstrap makes them, and a store in use while they come in force."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pgha import records
from pgha.adapters.etcd import EtcdStore
from pgha.adapters.etcd_accounts import EtcdAccounts
from pgha.errors import Refused
from pgha.nodefile import StoreAccess
from pgha.ops import store_login
from pgha.ops.store_login import Login
from pgha.ports import Committed, Guard, StoreDown, Write
from tests.contract.conftest import CLOCK, within
from tests.support.etcd_cluster import EtcdCluster, etcd_cluster

pytestmark = [pytest.mark.loopback, pytest.mark.slow, pytest.mark.timeout(90)]
LOGIN = Login("shop", "pgha", "s3cret'%:\\@#", "r00t")


@pytest.fixture(params=["plain", "tls"])
def own(request: pytest.FixtureRequest) -> Iterator[EtcdCluster]:
    """Three members that ask for no login yet, and forget an unused token after 2 s."""
    tls = request.getfixturevalue("certificates") if request.param == "tls" else None
    with etcd_cluster(3, ("--auth-token-ttl=2",), tls) as cluster:
        yield cluster


@pytest.fixture
def accounts(own: EtcdCluster) -> Iterator[EtcdAccounts]:
    """Nobody logged in."""
    found = EtcdAccounts(own.access, CLOCK)
    yield found
    found.close()


@pytest.fixture
def access(own: EtcdCluster, tmp_path: Path) -> StoreAccess:
    """As a node has it."""
    file = tmp_path / "store.password"
    file.write_text(LOGIN.password)
    return replace(own.access, user=LOGIN.user, password_file=str(file))


def test_a_user_made_beforehand_reads_and_writes_its_own_prefix_and_no_other(
    accounts: EtcdAccounts, access: StoreAccess
) -> None:
    assert "made" in store_login.prepare(accounts, LOGIN, CLOCK)
    store = EtcdStore(access, CLOCK)
    key = records.prefix("shop") + "leader"
    first = store.commit([Guard(key, 0)], [Write(key, b"1")], deadline_s=within(3))
    assert isinstance(first, Committed)
    assert "from now on" in store_login.require(accounts, CLOCK)
    second = store.commit([Guard(key, first.revision)], [Write(key, b"2")], deadline_s=within(3))
    assert isinstance(second, Committed)
    assert store.read(records.prefix("shop"), deadline_s=within(3)).entries[key].value == b"2"
    assert store.health(deadline_s=within(3)).quorum
    for other in ("/pgha/", records.prefix("shop2"), "/"):
        with pytest.raises(StoreDown, match="PERMISSION_DENIED") as caught:
            store.read(other, deadline_s=within(3))
        assert caught.value.denied
    store.close()


def test_a_store_in_use_goes_on_while_a_login_comes_to_be_asked_for(
    accounts: EtcdAccounts, access: StoreAccess
) -> None:
    """As agents do it: one renewal after another, none of them without an answer for long."""
    store_login.prepare(accounts, LOGIN, CLOCK)
    store, key = EtcdStore(access, CLOCK), records.prefix("shop") + "beat"
    done, asked, slowest, trouble = threading.Event(), 0, 0.0, list[object]()

    def renew() -> None:
        nonlocal asked, slowest
        revision = 0
        while not done.is_set():
            began = CLOCK.now_s()
            outcome = store.commit([Guard(key, revision)], [Write(key, str(asked).encode())], deadline_s=within(2))
            slowest = max(slowest, CLOCK.now_s() - began)
            if not isinstance(outcome, Committed):
                trouble.append(outcome)
                return
            revision, asked = outcome.revision, asked + 1

    thread = threading.Thread(target=renew)
    thread.start()
    while asked < 20 and thread.is_alive():
        CLOCK.sleep(0.01)
    store_login.require(accounts, CLOCK)
    before = asked
    while asked < before + 50 and thread.is_alive():
        CLOCK.sleep(0.01)
    done.set()
    thread.join(10)
    store.close()
    assert not trouble and asked >= before + 50
    assert slowest < 1.5, "a login costs a password's hash"


def test_both_steps_may_be_done_again_and_a_changed_password_comes_in_force(
    accounts: EtcdAccounts, own: EtcdCluster, access: StoreAccess
) -> None:
    for _ in range(2):
        assert "made" in store_login.prepare(accounts, LOGIN, CLOCK)
    assert "from now on" in store_login.require(accounts, CLOCK)
    again = EtcdAccounts(own.access, CLOCK)
    assert "already" in store_login.prepare(again, LOGIN, CLOCK)
    assert "already" in store_login.require(again, CLOCK)
    assert "made" in store_login.prepare(again, replace(LOGIN, password="other"), CLOCK)
    again.close()
    store = EtcdStore(access, CLOCK)
    with pytest.raises(StoreDown, match="authentication failed"):
        store.read(records.prefix("shop"), deadline_s=within(3))
    Path(access.password_file).write_text("other")
    assert store.read(records.prefix("shop"), deadline_s=within(3)).revision, "the file is read at each login"
    store.close()


def test_an_etcd_with_other_passwords_is_refused(accounts: EtcdAccounts, own: EtcdCluster) -> None:
    store_login.prepare(accounts, replace(LOGIN, user="somebody", root_password="theirs"), CLOCK)
    store_login.require(accounts, CLOCK)
    other = EtcdAccounts(own.access, CLOCK)
    with pytest.raises(Refused, match="another login"):
        store_login.prepare(other, LOGIN, CLOCK)
    other.close()
