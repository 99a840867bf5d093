"""The store is slow, headless, gone, or says nonsense."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from pgha import records
from pgha.errors import Exit
from pgha.ops.local_nodes import LocalNode
from tests.loopback import faults
from tests.loopback.cluster import Cluster, pgha
from tests.loopback.writing import Writing
from tests.support.postgres_pair import until

pytestmark = [pytest.mark.loopback, pytest.mark.timeout(180)]

SLACK_S = 5.0


def test_the_leader_of_etcd_that_stands_still_and_then_dies_disturbs_nobody(cluster: Cluster, client: Writing) -> None:
    epoch, led = client.epoch, faults.of(cluster.store_leader(), "etcd")
    faults.freeze(led)
    stopped_s = time.monotonic()
    until(lambda: time.monotonic() > stopped_s + 10.0, within_s=15.0, what="it has stood still for 10 s")
    faults.kill(led)
    client.await_rows()
    cluster.mend()
    cluster.await_healthy()
    word = client.verdict()
    assert word.is_clean and word.epochs == (epoch,) and word.unsure <= 1, word


def test_the_leader_of_etcd_killed_again_and_again_disturbs_nobody(cluster: Cluster, client: Writing) -> None:
    epoch = client.epoch
    for _ in range(3):
        node = cluster.store_leader()
        faults.kill(faults.of(node, "etcd"))
        client.await_rows(30)
        cluster.power_on(node)
        cluster.await_healthy()
    word = client.verdict()
    assert word.is_clean and word.epochs == (epoch,) and word.unsure <= 1, word


def test_without_a_majority_of_the_store_acknowledgements_end_and_nothing_is_lost(
    cluster: Cluster, client: Writing
) -> None:
    epoch, timing = client.epoch, cluster.timing
    gone = [p for node in cluster.standbys for p in faults.of(node, "etcd")]
    with faults.frozen(gone):
        stopped_s = time.monotonic()
        until(lambda: time.monotonic() > stopped_s + timing.f_hard_s + 0.5, within_s=20.0, what="F_hard is over")
        quiet = client.acked
        until(lambda: time.monotonic() > stopped_s + 12.0, within_s=20.0, what="12 s without the store")
        assert client.acked == quiet
        assert pgha("-i", cluster.target.where, "list").code == Exit.STORE
    client.await_epoch_after(epoch)
    cluster.await_healthy()
    word = client.verdict()
    assert word.is_clean and word.outage_s <= 12.0 + timing.h_s + SLACK_S, word


def test_all_of_etcd_killed_and_started_again_changes_nothing(cluster: Cluster, client: Writing) -> None:
    epoch = client.epoch
    faults.kill_at_once_of(list(cluster.nodes.values()), "etcd")
    cluster.mend()
    cluster.await_healthy()
    word = client.verdict()
    assert word.is_clean and len(word.epochs) <= 2 and word.epochs[0] == epoch, word


def test_junk_in_the_store_is_named_and_nobody_minds(cluster: Cluster, client: Writing) -> None:
    epoch, agents = client.epoch, [p for n in cluster.nodes.values() for p in faults.of(n, "agent")]
    node = cluster.standbys[0].name
    stays = {"members/n9": b"\x00\xff", "request": b"{]", "nonsense": b"[" * 5000}
    try:
        for key, value in {**stays, f"members/{node}": b"\xfe not JSON"}.items():
            cluster.put(key, value)
        named = cluster.await_status(
            lambda s: all(any(f"{key} is left alone" in note for note in s.notes) for key in stays), "each is named"
        )
        assert named.exit == Exit.DEGRADED
        cluster.await_seen(lambda seen: node in seen.records.members, f"{node} writes its own key again")
        said = pgha("-i", cluster.target.where, "switchover", "-y")
        assert said.code == Exit.REFUSED and "request" in said.text, said.text
        client.await_rows(100)
    finally:
        for key in stays:
            cluster.put(key, None)
    cluster.await_healthy()
    assert [p for n in cluster.nodes.values() for p in faults.of(n, "agent")] == agents
    word = client.verdict()
    assert word.is_clean and word.epochs == (epoch,) and word.unsure <= 1, word


def test_a_leader_key_taken_away_is_no_vacancy(cluster: Cluster, client: Writing) -> None:
    epoch, holder, leader = client.epoch, cluster.primary, cluster.leader
    cluster.put("leader", None)
    try:
        found = cluster.await_status(lambda s: s.exit == Exit.NO_PRIMARY, "there is no primary")
        assert any("there is no leader key" in note for note in found.notes), found.notes
        until(lambda: not faults.of(holder, "postgres"), within_s=10, what="the holder's server has ended")
        gone_s = time.monotonic()
        until(lambda: time.monotonic() > gone_s + cluster.timing.h_s + 1.0, within_s=20, what="longer than H")
        assert client.epoch == epoch and cluster.value("leader") == (b"", 0)
    finally:
        cluster.put("leader", records.dump_leader(replace(leader, beat=leader.beat + 100)))
    client.await_epoch_after(epoch)
    cluster.await_healthy()
    assert client.verdict().is_clean


@contextlib.contextmanager
def another_clusters_store(cluster: Cluster) -> Iterator[None]:
    """The key `cluster` names another system identifier, as that of a cluster of the same name would."""
    real, _ = cluster.value("cluster")
    known = cluster.seen().records.cluster
    assert known is not None
    cluster.put("cluster", records.dump_cluster(replace(known, system_identifier="7" * 19)))
    try:
        yield
    finally:
        cluster.put("cluster", real)


def test_with_another_system_identifier_in_the_store_nothing_is_touched(cluster: Cluster, client: Writing) -> None:
    epoch, copies = client.epoch, {n: cluster.copy(n) for n in cluster.nodes.values()}
    servers = [faults.postmaster(n) for n in cluster.nodes.values()]
    with another_clusters_store(cluster):
        until(
            lambda: {_last_rule(cluster, n) for n in cluster.nodes.values()} == {"R200_FOREIGN"},
            within_s=10,
            what="all see it",
        )
        client.await_rows(200)
    assert [faults.postmaster(n) for n in cluster.nodes.values()] == servers
    cluster.await_healthy()
    assert {n: cluster.copy(n) for n in cluster.nodes.values()} == copies
    word = client.verdict()
    assert word.is_clean and word.epochs == (epoch,) and word.unsure <= 1, word


def test_a_standby_writes_nothing_into_another_clusters_store(cluster: Cluster) -> None:
    """Design, section 4: a different system identifier stops the agent, keys untouched."""
    node = cluster.standbys[0]
    with another_clusters_store(cluster):
        until(lambda: _last_rule(cluster, node) == "R200_FOREIGN", within_s=10, what="it sees it")
        at, seen_s = cluster.value(f"members/{node.name}"), time.monotonic()
        until(lambda: time.monotonic() > seen_s + 3.0, within_s=10, what="longer than a member's beat")
        assert cluster.value(f"members/{node.name}") == at


def _last_rule(cluster: Cluster, node: LocalNode) -> str:
    """What its agent decided last, by its log."""
    return str(cluster.events(node, "decision")[-1]["rule"])
