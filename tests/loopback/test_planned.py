"""Orders for later on a cluster that a client writes to: no command runs when their time comes."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from tests.loopback.cluster import Cluster, pgha
from tests.loopback.writing import Writing

pytestmark = [pytest.mark.loopback, pytest.mark.timeout(180)]

QUICK_S = 4.0


def run(cluster: Cluster, *words: str) -> str:
    said = pgha("-i", cluster.target.where, *words)
    assert said.code in (0, 10), said.text
    return said.text


def soon(seconds: float) -> str:
    return datetime.fromtimestamp(time.time() + seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_a_switchover_happens_at_its_time_and_one_that_was_taken_back_does_not(
    cluster: Cluster, client: Writing
) -> None:
    first, heir, epoch = cluster.primary, cluster.standbys[-1], client.epoch
    run(cluster, "switchover", "--to", cluster.standbys[0].name, "--at", soon(3600), "-y")
    (laid,) = [p.ident for p in cluster.seen().records.planned.values() if p.phase == "waiting"]
    shown = " ".join(run(cluster, "list").split())
    assert f"plan {laid}: switchover {first.name} to " in shown and f"cancel {laid}" in shown
    run(cluster, "cancel", laid, "-y")
    run(cluster, "switchover", "--to", heir.name, "--at", soon(5), "-y")
    assert client.await_epoch_after(epoch) == heir.name
    cluster.await_seen(
        lambda s: {p.phase for p in s.records.planned.values()} == {"done"}, "its plan says that it is done"
    )
    cluster.await_healthy()
    word = client.verdict()
    assert word.is_clean and len(word.epochs) == 2 and word.outage_s <= QUICK_S, word


@pytest.mark.deep
def test_all_servers_are_restarted_at_a_time_the_primary_last_after_it_was_moved(
    cluster: Cluster, client: Writing
) -> None:
    first, epoch = cluster.primary, client.epoch
    started = {n: cluster.sql(n, "SELECT pg_postmaster_start_time()") for n in cluster.nodes.values()}
    run(cluster, "restart", "--rolling", "--at", soon(3), "-y")
    (laid,) = [p.ident for p in cluster.seen().records.planned.values() if p.kind == "restart"]
    cluster.await_seen(lambda s: s.records.planned[laid].phase in ("done", "dropped"), "it is over", within_s=90.0)
    found = cluster.seen().records.planned[laid]
    assert found.phase == "done" and found.done[-1] == first.name and len(found.done) == 3, found
    cluster.await_healthy()
    assert all(cluster.sql(n, "SELECT pg_postmaster_start_time()") != before for n, before in started.items())
    assert cluster.primary != first and client.await_epoch_after(epoch) == cluster.primary.name
    word = client.verdict()
    assert word.is_clean and len(word.epochs) == 2 and word.outage_s <= QUICK_S, word
