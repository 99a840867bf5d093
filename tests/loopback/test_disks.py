"""Disks that are full or frozen, and servers that can't start: handed over, told, and tried again without haste."""

from __future__ import annotations

import os

import pytest

from pgha.watchdog.guard_tree import status_of
from tests.loopback import faults
from tests.loopback.cluster import Cluster
from tests.loopback.disks import disk_of
from tests.loopback.writing import Writing, writing
from tests.support.postgres_pair import until

pytestmark = [pytest.mark.loopback, pytest.mark.deep, pytest.mark.timeout(240)]

SLACK_S = 2.0  # beyond H


def test_a_primary_whose_disk_is_full_hands_over_tells_why_and_comes_back_when_there_is_room(cluster: Cluster) -> None:
    node = cluster.standbys[0]
    with disk_of(cluster, node, with_state=True) as disk:
        cluster.switch(node)
        cluster.await_healthy()
        with writing(cluster) as client:
            epoch, watchdog = client.epoch, faults.of(node, *faults.WATCHDOG)
            disk.fill()
            told = cluster.await_seen(lambda s: "No space left" in s.records.members[node.name].problem, "it says so")
            assert told.records.members[node.name].primary, "as long as WAL has room it is kept"
            need = ("SELECT pg_switch_wal(), pg_logical_emit_message(false, 'x', 'y')",) * 20
            until(
                lambda: bool(cluster.said(node, need)["problem"]), within_s=30.0, what="recycled segments are used up"
            )
            assert client.await_epoch_after(epoch) != node.name
            cluster.await_seen(
                lambda s: "No space left" in s.records.members[node.name].problem, "the node says what it lacks"
            )
            assert [p.pid for p in faults.of(node, *faults.WATCHDOG)] == [p.pid for p in watchdog], "the watchdog lives"
            disk.free()
            ran = cluster.host.run([*node.watchdog_argv(), "--restart"], timeout_s=30.0)
            assert ran.ok, ran.err
            cluster.await_healthy()
            word = client.verdict()
            assert word.is_clean and word.outage_s <= cluster.timing.h_s + SLACK_S, word


@pytest.mark.parametrize("with_state", [False, True], ids=["data", "data-and-state"])
def test_a_primary_whose_disk_stands_still_is_handed_over_and_acknowledges_nothing_more(
    cluster: Cluster, with_state: bool
) -> None:
    node = cluster.standbys[0]
    with disk_of(cluster, node, with_state=with_state) as disk:
        cluster.switch(node)
        cluster.await_healthy()
        with writing(cluster) as client:
            epoch, server = client.epoch, faults.of(node, "postgres")
            disk.freeze()
            try:
                assert client.await_epoch_after(epoch) != node.name
                states = [status_of(p.pid) for p in server]
                assert not [s for s in states if s is not None and s.may_run], "each is gone, or has SIGKILL pending"
                client.await_rows(100)
            finally:
                disk.thaw()
            cluster.await_healthy()
            word = client.verdict()
            assert word.is_clean and word.outage_s <= cluster.timing.h_s + SLACK_S, word


def test_a_server_that_cannot_start_is_tried_slowly_and_says_why(cluster: Cluster, client: Writing) -> None:
    node, epoch = cluster.standbys[0], client.epoch
    os.chmod(node.data_dir, 0o777)
    try:
        faults.kill(faults.of(node, "postgres"))
        cluster.await_seen(
            lambda s: "started 6 times" in s.records.members[node.name].problem, "it says how often", within_s=60.0
        )
        began_s = cluster.clock.now_s()
        problem = cluster.member(node).problem
        assert "invalid permissions" in problem and "tried every 60 s" in problem, problem
        until(lambda: cluster.clock.now_s() > began_s + 8.0, within_s=15.0, what="8 s have passed")
        assert cluster.member(node).problem == problem, "no further start meanwhile"
    finally:
        os.chmod(node.data_dir, 0o700)
    ran = cluster.host.run([*node.watchdog_argv(), "--restart"], timeout_s=30.0)
    assert ran.ok, ran.err
    cluster.await_healthy()
    word = client.verdict()
    assert word.is_clean and word.epochs == (epoch,), word


def test_primaries_that_crash_one_after_another_do_not_run_through_all_nodes(cluster: Cluster, client: Writing) -> None:
    epoch, until_s = client.epoch, cluster.clock.now_s() + 20.0
    while cluster.clock.now_s() < until_s:
        faults.kill(faults.of(cluster.primary, "postgres"))
        seen = client.epoch
        client.await_epoch_after(seen)
    moves = client.epoch - epoch
    assert 3 <= moves <= 12, f"{moves} take-overs in 20 s"
    cluster.await_healthy()
    word = client.verdict()
    assert word.is_clean, word
