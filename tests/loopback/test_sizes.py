"""Clusters of two and of five nodes: how many copies a commit waits for, and how many nodes may die at one moment.

Each is made for its scenarios and removed before the next; of three nodes is the rest of this directory.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgha.errors import Exit
from pgha.ops import demo, local_nodes, procs
from tests.loopback import faults
from tests.loopback.cluster import UP_S, Cluster, pgha
from tests.loopback.test_flapping import look_at_names
from tests.loopback.writing import writing
from tests.support import programs
from tests.support.etcd_cluster import EtcdCluster, etcd_cluster
from tests.support.postgres_pair import USER, free_ports, until

pytestmark = [pytest.mark.loopback, pytest.mark.deep, pytest.mark.slow, pytest.mark.timeout(240)]

SLACK_S = 5.0
INVENTORY = """
cluster: two
postgres:
  hba: [host pgha_drill pgha_drill 127.0.0.1/32 scram-sha-256]
{bin_dir}nodes:
  n1: {{host: 127.0.0.1, port: {ports[0]}}}
  n2: {{host: 127.0.0.1, port: {ports[1]}}}
etcd: {{endpoints: [{endpoints}]}}
local: {{dir: {root}, user: {user}}}
"""


@contextlib.contextmanager
def two_nodes(store: EtcdCluster) -> Iterator[Cluster]:
    """Made by bootstrap, on an etcd that was there before."""
    cluster, home = Cluster(), Path(tempfile.mkdtemp(prefix="pgha-lb-", dir="/var/tmp"))
    home.chmod(0o755)
    cluster.root = f"{home}/c"
    path, own = home / "inventory.yaml", programs.chosen()
    bin_dir = f"  bin_dir: {own}\n" if own else ""
    endpoints = ", ".join(store.access.endpoints)
    shutil.chown(home, USER)
    path.write_text(
        INVENTORY.format(bin_dir=bin_dir, ports=free_ports(2), endpoints=endpoints, root=cluster.root, user=USER)
    )
    try:
        said = pgha("bootstrap", "-i", str(path), within_s=UP_S)
        assert said.code == 0, said.text
        cluster.adopt(str(path))
        yield cluster
    finally:
        there = demo.processes(cluster.root)
        for node in getattr(cluster, "nodes", {}).values():
            local_nodes.hold_down(node)
        faults.thaw(there)
        left = procs.end_all(demo.processes(cluster.root), timeout_s=10.0)
        if hasattr(cluster, "store"):
            cluster.store.close()
        faults.reap()
        shutil.rmtree(home)
        assert not left, left


@pytest.fixture(scope="module")
def two() -> Iterator[Cluster]:
    """Two nodes."""
    with etcd_cluster(1) as store, two_nodes(store) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def five() -> Iterator[Cluster]:
    """Five nodes."""
    cluster = Cluster()
    try:
        cluster.up(5)
        yield cluster
    finally:
        cluster.down()


def test_with_two_nodes_each_commit_has_both_and_either_may_die(two: Cluster) -> None:
    found = two.await_healthy()
    assert found.sync == "sync ANY 1 of 1"
    with writing(two) as client:
        epoch, old = client.epoch, two.primary
        local_nodes.hold_down(old)
        faults.kill_at_once(old, *faults.NODE)
        new = client.await_epoch_after(epoch)
        assert new != old.name
        alone = two.await_status(
            lambda s: s.sync == "not replicated" and s.exit == Exit.DEGRADED, "it goes on alone, the other is silent"
        )
        assert any("commits exist once" in note for note in alone.notes)
        client.await_rows(50)
        two.power_on(old)
        assert two.await_healthy().sync == "sync ANY 1 of 1"
        look_at_names(two)
        word = client.verdict()
        assert word.is_clean and word.outage_s <= two.timing.h_s + SLACK_S, word


def test_with_two_nodes_nobody_takes_over_from_one_that_went_on_alone(two: Cluster) -> None:
    two.await_healthy()
    with writing(two) as client:
        epoch, old, (other,) = client.epoch, two.primary, two.standbys
        local_nodes.hold_down(other)
        faults.kill_at_once(other, *faults.NODE)
        two.await_status(lambda s: s.sync == "not replicated", "it goes on alone")
        client.await_rows(50)
        local_nodes.hold_down(old)
        faults.kill_at_once(old, *faults.NODE)
        two.power_on(other)
        two.await_seen(
            lambda seen: seen.records.members[other.name].rule == "R640_WAIT_SEALS", "the other waits", within_s=40
        )
        assert client.epoch == epoch
        two.power_on(old)
        client.await_epoch_after(epoch)
        two.await_healthy()
        assert client.verdict().is_clean


def test_with_five_nodes_each_commit_has_three_and_two_may_die_at_one_moment(five: Cluster) -> None:
    found = five.await_healthy()
    assert found.sync == "sync ANY 2 of 4" and found.survives == 2
    with writing(five) as client:
        epoch, old, gone = client.epoch, five.primary, five.standbys[0]
        for node in (old, gone):
            local_nodes.hold_down(node)
        faults.kill_at_once_of([old, gone], *faults.NODE)
        assert client.await_epoch_after(epoch) not in (old.name, gone.name)
        five.await_status(lambda s: s.sync == "sync ANY 1 of 2", "the two that are left vote")
        look_at_names(five)
        for node in (old, gone):
            five.power_on(node)
        assert five.await_healthy().sync == "sync ANY 2 of 4"
        look_at_names(five)
        word = client.verdict()
        assert word.is_clean and word.outage_s <= five.timing.h_s + SLACK_S, word


def test_with_five_nodes_the_copies_follow_those_that_go_and_come(five: Cluster) -> None:
    five.await_healthy()
    with writing(five) as client:
        epoch, others = client.epoch, five.standbys
        seen: list[str] = []
        for node in others:
            local_nodes.hold_down(node)
            faults.kill_at_once(node, *faults.SERVER, *faults.WATCHDOG)
            left = len(others) - len(seen) - 1
            text = f"sync ANY {(left + 1) // 2} of {left}" if left else "not replicated"
            five.await_status(lambda s, text=text: s.sync == text, text)  # type: ignore[misc]
            look_at_names(five)
            seen.append(text)
        for node in others:
            five.power_on(node)
        assert five.await_healthy().sync == "sync ANY 2 of 4"
        look_at_names(five)
        word = client.verdict()
        assert word.is_clean and word.epochs == (epoch,), word


def test_with_three_of_five_gone_nobody_writes_until_one_is_back(five: Cluster) -> None:
    five.await_healthy()
    with writing(five) as client:
        epoch, h_s = client.epoch, five.timing.h_s
        gone = [five.primary, *five.standbys[:2]]
        for node in gone:
            local_nodes.hold_down(node)
        faults.kill_at_once_of(gone, *faults.SERVER, *faults.WATCHDOG)
        ended_s, acked = time.monotonic(), client.acked
        until(lambda: time.monotonic() > ended_s + h_s + 2.0, within_s=20, what="longer than H")
        assert client.acked == acked and client.epoch == epoch
        five.power_on(gone[1])
        client.await_epoch_after(epoch)
        for node in gone:
            five.power_on(node)
        five.await_healthy()
        assert client.verdict().is_clean
