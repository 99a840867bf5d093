"""The stores under contract, and one etcd cluster for each module that wants it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pgha import records
from pgha.adapters.binaries import find_postgres
from pgha.adapters.etcd import EtcdStore
from pgha.adapters.etcd_accounts import EtcdAccounts
from pgha.adapters.local import SystemClock
from pgha.adapters.memory import MemoryStore
from pgha.errors import Refused
from pgha.nodefile import StoreAccess
from pgha.ops import store_login
from pgha.ops.store_login import Login
from pgha.ports import Store
from tests.contract.real_servers import Scene, scene
from tests.support.etcd_cluster import EtcdCluster, certificates_in, etcd_cluster, etcd_directory, expiring_tokens

CLOCK = SystemClock()
OTHER = 18  # deep: the machine's own version is enough for every day
CLUSTER = "shop"
_numbers = itertools.count(1)


def within(seconds: float) -> float:
    """A deadline so many seconds from now."""
    return CLOCK.now_s() + seconds


@dataclass(frozen=True, slots=True)
class Bench:
    """A store, a second client of the same data, and a prefix nobody else uses."""

    store: Store
    other: Store
    prefix: str


@pytest.fixture
def certificates() -> Iterator[Path]:
    """In a directory that etcd can read."""
    with etcd_directory() as directory:
        yield certificates_in(directory)


@pytest.fixture(scope="module")
def cluster() -> Iterator[EtcdCluster]:
    """Three members, healthy at the start; a test that breaks them mends them."""
    with etcd_cluster(3) as running:
        yield running


@pytest.fixture(scope="module")
def secured() -> Iterator[StoreAccess]:
    """Three members that take nobody without certificate and login, whose tokens end after a second however used; the
    login reaches one cluster's keys."""
    with etcd_directory() as directory:
        tls, login = certificates_in(directory), Login(CLUSTER, "pgha", "s3cret'%:\\@#", "r00t")
        with etcd_cluster(3, (expiring_tokens(directory), "--bcrypt-cost=4"), tls) as cluster:
            accounts = EtcdAccounts(cluster.access, CLOCK)
            store_login.prepare(accounts, login, CLOCK)
            store_login.require(accounts, CLOCK)
            accounts.close()
            (directory / "store.password").write_text(login.password)
            yield replace(cluster.access, user=login.user, password_file=str(directory / "store.password"))


@pytest.fixture
def prefix() -> str:
    """A prefix of the test's own, within one cluster's."""
    return f"{records.prefix(CLUSTER)}t{next(_numbers)}/"


@pytest.fixture
def etcd(cluster: EtcdCluster) -> Iterator[EtcdStore]:
    """A fresh client."""
    store = EtcdStore(cluster.access, CLOCK)
    yield store
    store.close()


@pytest.fixture(params=["memory", "etcd", "secured"])
def bench(request: pytest.FixtureRequest, prefix: str) -> Iterator[Bench]:
    """Each store in turn."""
    if request.param == "memory":
        store = MemoryStore(CLOCK)
        yield Bench(store, MemoryStore(CLOCK, store.keyspace), prefix)
        return
    secured = request.param == "secured"
    access = request.getfixturevalue("secured") if secured else request.getfixturevalue("cluster").access
    first, second = EtcdStore(access, CLOCK), EtcdStore(access, CLOCK)
    yield Bench(first, second, prefix)
    first.close()
    second.close()


@pytest.fixture(params=["own", pytest.param(OTHER, marks=pytest.mark.deep)])
def servers(request: pytest.FixtureRequest) -> Iterator[Scene]:
    """Of the machine's own version, and of another one."""
    try:
        bin_dir = find_postgres(None, OTHER if request.param == OTHER else None)
    except Refused as e:
        pytest.skip(str(e))
    with scene(bin_dir) as made:
        yield made
