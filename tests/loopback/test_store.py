"""The store is slow, headless, gone, or says nonsense."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest

from pgha import records
from pgha.core.model import Leader
from pgha.errors import Exit
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
    junk = {"members/n9": b"\x00\xff", "request": b"{]", "nonsense": b"[" * 5000, "members/n2": b"\xfe not JSON"}
    try:
        for key, value in junk.items():
            cluster.put(key, value)
        named = cluster.await_status(
            lambda s: sum(key in note for note in s.notes for key in ("members/n9", "request", "nonsense")) == 3,
            "each is named",
        )
        assert named.exit == Exit.DEGRADED
        cluster.await_seen(lambda seen: "n2" in seen.records.members, "n2 writes its own key again")
        said = pgha("-i", cluster.target.where, "switchover", "-y")
        assert said.code == Exit.REFUSED and "request" in said.text, said.text
        client.await_rows(100)
    finally:
        for key in junk:
            if key != "members/n2":
                cluster.put(key, None)
    cluster.await_healthy()
    assert [p for n in cluster.nodes.values() for p in faults.of(n, "agent")] == agents
    word = client.verdict()
    assert word.is_clean and word.epochs == (epoch,) and word.unsure <= 1, word


def test_a_leader_key_taken_away_is_no_vacancy(cluster: Cluster, client: Writing) -> None:
    epoch, holder = client.epoch, cluster.primary
    cluster.put("leader", None)
    found = cluster.await_status(lambda s: s.exit == Exit.NO_PRIMARY, "there is no primary")
    assert any("there is no leader key" in note for note in found.notes), found.notes
    until(lambda: not faults.of(holder, "postgres"), within_s=10, what="the holder's server has ended")
    gone_s = time.monotonic()
    until(lambda: time.monotonic() > gone_s + cluster.timing.h_s + 1.0, within_s=20, what="longer than H")
    assert client.epoch == epoch and cluster.value("leader") == (b"", 0)
