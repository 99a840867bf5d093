"""What etcd tells of its quota: with and without TLS and login, and when it does not."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import replace

import pytest

from pgha.adapters.etcd_room import rooms
from pgha.nodefile import StoreAccess
from tests.support.etcd_cluster import EtcdCluster, etcd_cluster

MB = 1 << 20
BUDGET_S = 3.0


@pytest.mark.parametrize(("quota", "told"), [(16 * MB, 16 * MB), (0, 2048 * MB), (-1, 0)])
def test_a_member_tells_its_own_quota_the_default_one_and_none(quota: int, told: int) -> None:
    with etcd_cluster(1, (f"--quota-backend-bytes={quota}",)) as one:
        (room,) = rooms(one.access, within_s=BUDGET_S).values()
    assert room.quota_bytes == told
    assert 0 < room.used_bytes < MB


def test_it_is_told_over_tls_and_without_the_login(secured: StoreAccess) -> None:
    found = rooms(secured, within_s=BUDGET_S)
    assert set(found) == set(secured.endpoints)
    assert {room.quota_bytes for room in found.values()} == {2048 * MB}


def test_who_shows_no_certificate_is_told_nothing(secured: StoreAccess) -> None:
    assert rooms(replace(secured, cert_file="", key_file=""), within_s=BUDGET_S) == {}
    assert rooms(replace(secured, ca_file="", cert_file="", key_file=""), within_s=BUDGET_S) == {}


def test_a_member_that_is_gone_is_missing_and_the_others_are_there(cluster: EtcdCluster) -> None:
    cluster.stop(cluster.members[0])
    try:
        assert len(rooms(cluster.access, within_s=BUDGET_S)) == 2
    finally:
        cluster.mend()


def test_an_endpoint_that_says_nothing_or_something_else_is_missing_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.create_server(("127.0.0.1", 0)) as other:

        def answer() -> None:
            near, _ = other.accept()
            with near:
                near.recv(1000)
                near.sendall(b"HTTP/1.0 200 OK\r\n\r\ngo_goroutines 7\n")

        threading.Thread(target=answer, daemon=True).start()
        endpoints = tuple(f"127.0.0.1:{server.getsockname()[1]}" for server in (silent, other))
        began = time.monotonic()
        assert rooms(StoreAccess(endpoints), within_s=1.0) == {}
        assert time.monotonic() - began < BUDGET_S
