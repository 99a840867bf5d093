"""A node that says nothing in the store: `list` asks its host, and says what is true there."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest

from pgha.ops.rows import SILENT_S
from tests.hosts.cluster import ETCD_PORTS, NAME, HostCluster
from tests.hosts.shell import until

pytestmark = pytest.mark.timeout(300)
WATCHDOG = ["/opt/pgha/current/bin/pgha", "watchdog", "--node", f"/etc/pgha/{NAME}.json"]


def said(cluster: HostCluster, node: str) -> Callable[[], str]:
    """What `list` says is wrong with it."""

    def look() -> str:
        rows = json.loads(cluster.pgha("list", "-o", "json").out)["nodes"]
        (row,) = [row for row in rows if row["node"] == node]
        return str(row["problem"])

    return look


def test_list_asks_the_host_of_a_node_that_is_silent(own: HostCluster) -> None:
    lab, node = own.lab, own.standbys[0]
    host, problem = lab.host(node), said(own, node)
    assert problem() == ""
    for other in lab.hosts:
        if other != node:
            lab.block(node, other, ports=ETCD_PORTS)
    until(lambda: "does not reach the store" in problem(), within_s=SILENT_S + 30.0, what="the store is not reached")
    lab.heal()
    own.await_whole()
    host.must(["systemctl", "stop", "cron"])
    host.must([*WATCHDOG, "--stop"], user="postgres", within_s=40.0)
    until(
        lambda: problem().startswith("its host answers, the watchdog does not run"), within_s=30.0, what="no watchdog"
    )
    host.must(["systemctl", "start", "cron"])
    host.must(WATCHDOG, user="postgres")
    own.await_whole()
    lab.power_off(node)
    until(lambda: "can't be asked" in problem(), within_s=SILENT_S + 30.0, what="no host")
    began = time.monotonic()
    print(f"powered off: {problem()} ({time.monotonic() - began:.1f} s)")
    lab.boot(node)
    own.await_whole()
