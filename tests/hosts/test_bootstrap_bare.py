"""From three bare hosts to a cluster, kept by systemd: packages by apt, pgha and its Python packages over SSH."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from pgha.adapters.pack import pack_for
from tests.hosts.cluster import HostCluster
from tests.hosts.lab import Lab, Spec
from tests.hosts.shell import until

BOOTSTRAP_S = 300.0
BACK_S = 10.0


@pytest.fixture(params=["bare", "bare-trixie"])
def cluster(request: pytest.FixtureRequest) -> Iterator[HostCluster]:
    """Three hosts as a cloud image of Debian 12 or 13 has them; nothing is done to them yet."""
    lab = Lab("bare")
    found = HostCluster(lab, "systemd", None)
    if (
        request.param == "bare-trixie"
    ):  # the operator of a lab reaches no index: what its Python needs is fetched before
        pack_for("3.13", os.uname().machine, found.environment()["XDG_CACHE_HOME"] + "/pgha")
    try:
        lab.up([Spec(name, request.param) for name in ("n1", "n2", "n3")])
        yield found
    finally:
        found.close()
        lab.down()


def test_three_bare_hosts_are_a_cluster_within_five_minutes(cluster: HostCluster) -> None:
    took_s = cluster.bootstrap()
    print(f"bootstrap of three bare hosts: {took_s:.1f} s")
    assert took_s < BOOTSTRAP_S
    host = cluster.lab.host("n1")
    brought = cluster.sql("n1", ["SHOW server_version_num"])[:2]
    assert {"12": "15", "13": "17"}[host.must(["cut", "-d.", "-f1", "/etc/debian_version"]).strip()] == brought
    assert host.run(["systemctl", "is-enabled", "etcd.service"]).out.strip() == "masked"
    assert host.must(["pg_lsclusters", "-h"]).strip() == "", "the distribution has made no cluster of its own"
    assert host.run(["test", "-e", "/etc/cron.d/pgha-shop"]).code == 1
    assert cluster.pgha("check").code == 0
    (guard,) = cluster.pids("n1", "guard")
    began = time.monotonic()
    os.kill(guard, signal.SIGKILL)
    until(lambda: cluster.pids("n1", "guard") not in ([], [guard]), within_s=BACK_S, what="systemd starts it again")
    print(f"the watchdog is back after {time.monotonic() - began:.1f} s")
    cluster.await_whole()
