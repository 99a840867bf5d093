"""The stores under contract, and one etcd cluster for each module that wants it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from pgha.adapters.etcd import EtcdStore
from pgha.adapters.local import SystemClock
from pgha.adapters.memory import MemoryStore
from pgha.ports import Store
from tests.support.etcd_cluster import EtcdCluster, etcd_cluster

CLOCK = SystemClock()
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


@pytest.fixture(scope="module")
def cluster() -> Iterator[EtcdCluster]:
    """Three members, healthy at the start; a test that breaks them mends them."""
    with etcd_cluster(3) as running:
        yield running


@pytest.fixture
def prefix() -> str:
    """A prefix of the test's own."""
    return f"/pgha/t{next(_numbers)}/"


@pytest.fixture
def etcd(cluster: EtcdCluster) -> Iterator[EtcdStore]:
    """A fresh client."""
    store = EtcdStore(cluster.access, CLOCK)
    yield store
    store.close()


@pytest.fixture(params=["memory", "etcd"])
def bench(request: pytest.FixtureRequest, prefix: str) -> Iterator[Bench]:
    """Each store in turn."""
    if request.param == "memory":
        store = MemoryStore(CLOCK)
        yield Bench(store, MemoryStore(CLOCK, store.keyspace), prefix)
        return
    access = request.getfixturevalue("cluster").access
    first, second = EtcdStore(access, CLOCK), EtcdStore(access, CLOCK)
    yield Bench(first, second, prefix)
    first.close()
    second.close()
