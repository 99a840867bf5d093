"""Processes and disks that hang, one at a time, while everything else goes on: nobody is dead, and nothing answers."""

from __future__ import annotations

import pytest

from pgha.ops.procs import is_alive
from tests.loopback import faults
from tests.loopback.cluster import Cluster
from tests.loopback.writing import Writing
from tests.support.postgres_pair import until

pytestmark = [pytest.mark.loopback, pytest.mark.timeout(180)]

SLACK_S = 2.0  # beyond H


def test_a_guard_that_stands_still_is_ended_by_its_agent_with_the_server(cluster: Cluster, client: Writing) -> None:
    old, epoch, h_s = cluster.primary, client.epoch, cluster.timing.h_s
    guard, server = faults.of(old, "guard"), faults.of(old, "postgres")
    faults.freeze(guard)
    assert client.await_epoch_after(epoch) != old.name
    assert not [p for p in (*guard, *server) if is_alive(p)]
    until(lambda: bool(faults.of(old, "guard")), within_s=20.0, what="a new watchdog has started")
    cluster.await_healthy()
    word = client.verdict()
    assert word.is_clean and word.outage_s <= h_s + SLACK_S, word


def test_a_standbys_guard_that_stands_still_is_replaced_and_no_client_notices(
    cluster: Cluster, client: Writing
) -> None:
    node, epoch = cluster.standbys[0], client.epoch
    guard = faults.of(node, "guard")
    faults.freeze(guard)
    until(lambda: not is_alive(guard[0]), within_s=10.0, what="its agent has ended it")
    cluster.await_healthy()
    client.await_rows()
    word = client.verdict()
    assert word.is_clean and word.epochs == (epoch,), word
