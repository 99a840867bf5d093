"""Whole nodes end at one moment, and come back: a primary, a standby, both standbys, all three."""

from __future__ import annotations

import time

import pytest

from pgha.errors import Exit
from pgha.ops import local_nodes
from pgha.ops.local_nodes import LocalNode
from tests.loopback import faults
from tests.loopback.cluster import Cluster, pgha
from tests.loopback.writing import Writing, writing
from tests.support.postgres_pair import until

pytestmark = [pytest.mark.loopback, pytest.mark.timeout(180)]

SLACK_S = 5.0  # beyond H
WAL_TIMEOUT_S = 5.0  # wal_sender_timeout


def _lead(cluster: Cluster, *, store_leads: bool) -> LocalNode:
    """The primary, after it was moved to where etcd's leader is (or is not)."""
    chosen = cluster.store_leader()
    if (cluster.primary == chosen) is not store_leads:
        cluster.switch(chosen if store_leads else cluster.standbys[0])
        cluster.await_healthy()
    assert (cluster.primary == cluster.store_leader()) is store_leads
    return cluster.primary


@pytest.mark.parametrize("store_leads", [False, True], ids=["beside a follower of etcd", "beside the leader of etcd"])
def test_a_primarys_whole_node_ends_and_another_takes_over_after_silence(cluster: Cluster, store_leads: bool) -> None:
    old = _lead(cluster, store_leads=store_leads)
    with writing(cluster) as client:
        epoch = client.epoch
        faults.power_off(old)
        assert client.await_epoch_after(epoch) != old.name
        cluster.power_on(old)
        cluster.await_healthy()
        word = client.verdict()
        assert word.is_clean and word.outage_s <= cluster.timing.h_s + SLACK_S, word


def test_writes_go_on_without_a_standbys_node_which_comes_back_as_a_voter(cluster: Cluster, client: Writing) -> None:
    epoch, gone = client.epoch, cluster.standbys[0]
    faults.power_off(gone)
    found = cluster.await_status(
        lambda s: s.sync == "sync ANY 1 of 1" and s.exit == Exit.DEGRADED, f"{gone.name} is dropped from the voters"
    )
    assert any(gone.name in note for note in found.notes), found.notes
    client.await_rows(50)
    cluster.power_on(gone)
    assert cluster.await_healthy().sync == "sync ANY 1 of 2"
    word = client.verdict()
    assert word.is_clean and word.epochs == (epoch,) and word.outage_s <= cluster.timing.voter_drop_s + SLACK_S, word


def test_an_only_voter_that_takes_nothing_is_dropped_and_commits_go_on(cluster: Cluster, client: Writing) -> None:
    """faults.md row 6. It is missed when wal_sender_timeout is over, and dropped voter_drop_s later."""
    epoch, (gone, voter) = client.epoch, cluster.standbys
    local_nodes.hold_down(gone)
    faults.kill_at_once(gone, *faults.SERVER, *faults.WATCHDOG)
    cluster.await_status(lambda s: s.sync == "sync ANY 1 of 1", f"{gone.name} is dropped")
    with faults.frozen(faults.of(voter, "postgres")):
        cluster.await_status(lambda s: s.sync == "not replicated", f"{voter.name} is dropped too")
        client.await_rows(50)
    cluster.power_on(gone)
    cluster.await_healthy()
    word = client.verdict()
    assert word.is_clean and word.epochs == (epoch,), word
    assert word.outage_s <= WAL_TIMEOUT_S + cluster.timing.voter_drop_s + SLACK_S, word


def test_without_standbys_writes_go_on_and_a_killed_primary_comes_back_in_its_place(
    cluster: Cluster, client: Writing
) -> None:
    epoch, primary, others = client.epoch, cluster.primary, cluster.standbys
    for node in others:
        local_nodes.hold_down(node)
        faults.kill_at_once(node, *faults.SERVER, *faults.WATCHDOG)
    found = cluster.await_status(lambda s: s.sync == "not replicated", "writes go on unreplicated")
    assert found.exit == Exit.DEGRADED and any("commits exist once" in note for note in found.notes)
    client.await_rows(50)
    faults.kill(faults.of(primary, "postgres"))
    assert client.await_epoch_after(epoch) == primary.name
    for node in others:
        cluster.power_on(node)
    cluster.await_healthy()
    assert cluster.primary == primary
    word = client.verdict()
    assert word.is_clean and len(word.epochs) == 2, word


def test_with_the_only_one_that_has_the_commits_down_nobody_else_takes_over(cluster: Cluster, client: Writing) -> None:
    epoch, primary, others = client.epoch, cluster.primary, cluster.standbys
    for node in others:
        local_nodes.hold_down(node)
        faults.kill_at_once(node, *faults.SERVER, *faults.WATCHDOG)
    cluster.await_status(lambda s: s.sync == "not replicated", "writes go on unreplicated")
    client.await_rows(50)
    local_nodes.hold_down(primary)
    faults.kill_at_once(primary, *faults.SERVER, *faults.WATCHDOG)
    for node in others:
        cluster.power_on(node)
    cluster.await_seen(
        lambda seen: all(seen.records.members[n.name].rule == "R640_WAIT_SEALS" for n in others),
        "both are sealed and wait for the one that has all",
    )
    assert client.epoch == epoch
    cluster.power_on(primary)
    client.await_epoch_after(epoch)
    cluster.await_healthy()
    word = client.verdict()
    assert word.is_clean, word


def test_a_primary_and_a_standby_end_together_and_nobody_writes_until_one_is_back(
    cluster: Cluster, client: Writing
) -> None:
    epoch, primary, (gone, left) = client.epoch, cluster.primary, cluster.standbys
    h_s = cluster.timing.h_s
    for node in (primary, gone):
        local_nodes.hold_down(node)
    faults.kill_at_once_of([primary, gone], *faults.NODE)
    ended_s, acked = time.monotonic(), client.acked
    until(lambda: time.monotonic() > ended_s + h_s + 1.0, within_s=20, what="longer than H")
    assert client.acked == acked and faults.of(left, "postgres")
    cluster.power_on(gone)
    assert client.await_epoch_after(epoch) in (gone.name, left.name)
    cluster.power_on(primary)
    cluster.await_healthy()
    assert client.verdict().is_clean


@pytest.mark.parametrize("back", ["primary", "standby"])
def test_a_primary_and_a_standby_end_together_with_the_store_whole_and_explain_names_both(
    cluster: Cluster, client: Writing, back: str
) -> None:
    epoch, pair = client.epoch, [cluster.primary, cluster.standbys[0]]
    for node in pair:
        local_nodes.hold_down(node)
    faults.kill_at_once_of(pair, *faults.SERVER, *faults.WATCHDOG)
    cluster.await_status(lambda s: s.exit == Exit.NO_PRIMARY, "both have been silent for long enough")
    said = pgha("-i", cluster.target.where, "explain")
    assert said.code == Exit.NO_PRIMARY and "1 of 2 seals" in said.text, said.text
    lines = [line for line in said.text.splitlines() if "its seal would do" in line]
    assert len(lines) == 2 and all(any(str(cluster.copy(n)) in line for line in lines) for n in pair), said.text
    assert client.epoch == epoch
    cluster.power_on(pair[back == "standby"])
    client.await_epoch_after(epoch)
    for node in pair:
        cluster.power_on(node)
    cluster.await_healthy()
    word = client.verdict()
    assert word.is_clean, word


@pytest.mark.slow
@pytest.mark.parametrize("primary_first", [True, False], ids=["the primary first", "the primary last"])
def test_all_nodes_end_at_once_and_heal_in_any_order(cluster: Cluster, client: Writing, primary_first: bool) -> None:
    order = [cluster.primary, *cluster.standbys]
    for node in order:
        local_nodes.hold_down(node)
    faults.kill_at_once_of(order, *faults.NODE)
    for node in order if primary_first else order[::-1]:
        cluster.power_on(node)
    cluster.await_healthy()
    client.await_rows()
    word = client.verdict()
    assert word.is_clean, word
