"""Paused: nothing takes over and nothing is ended, whatever dies, until it is resumed or its time is over."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from pgha.core.model import Tenure
from pgha.nodefile import parse
from pgha.ops import local_nodes
from pgha.ops.procs import is_alive
from pgha.ops.status import Status
from tests.loopback import faults
from tests.loopback.cluster import Cluster, Said, pgha
from tests.loopback.writing import Writing
from tests.support.postgres_pair import until

pytestmark = [pytest.mark.loopback, pytest.mark.timeout(180)]


def run(cluster: Cluster, *words: str) -> Said:
    """A command of the operator's, on this cluster."""
    return pgha("-i", f"{cluster.root}/inventory.yaml", *words, "-y", within_s=90.0)


def pause(cluster: Cluster, length: str = "10m") -> None:
    """Paused, and `list` says so."""
    said = run(cluster, "pause", "--for", length, "--reason", "a test")
    assert said.code == 0, said.text
    assert cluster.leader.paused is not None and cluster.status().verdict == "PAUSED"


def resume(cluster: Cluster, *words: str) -> None:
    said = run(cluster, "resume", *words)
    assert said.code == 0, said.text
    assert cluster.leader.paused is None


def stays(cluster: Cluster, epoch: int, within_s: float) -> Status:
    """For so long the key keeps its holder and its epoch; what `list` says then."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        leader = cluster.leader
        assert leader.epoch == epoch and leader.tenure is Tenure.HELD and leader.paused is not None
        time.sleep(0.2)
    return cluster.status()


def test_nobody_takes_over_from_a_server_that_died_while_paused_until_it_is_resumed(
    cluster: Cluster, client: Writing
) -> None:
    pause(cluster)
    client.await_rows()
    old, epoch = cluster.primary, cluster.leader.epoch
    faults.kill([faults.postmaster(old)])
    found = stays(cluster, epoch, cluster.timing.h_s + 2.0)
    assert found.exit == 11 and "PAUSED: a test" in found.notes[1], found.notes
    assert not faults.of(old, "postgres"), "nothing was started"
    refused = run(cluster, "switchover")
    assert refused.code == 4 and "resume" in refused.text
    resume(cluster)
    client.await_epoch_after(epoch)
    cluster.await_healthy()
    word = client.verdict()
    assert word.is_clean, word


def test_a_server_stopped_by_hand_is_left_alone_and_a_standby_started_by_hand_is_not_ended(
    cluster: Cluster, client: Writing
) -> None:
    pause(cluster)
    old, epoch, standby = cluster.primary, cluster.leader.epoch, cluster.standbys[0]
    server = faults.postmaster(standby)
    for node in (standby, old):
        _pg_ctl(cluster, node, "stop", "-m", "fast")
    assert not is_alive(server)
    stays(cluster, epoch, 2.0)
    _pg_ctl(cluster, standby, "start", "-w", "-l", f"{standby.state_dir}/postgresql.log")
    stays(cluster, epoch, cluster.timing.h_s)
    assert faults.of(standby, "postgres"), "what its operator has started runs"
    resume(cluster)
    client.await_epoch_after(epoch)
    cluster.await_healthy()
    word = client.verdict()
    assert word.is_clean, word


def _pg_ctl(cluster: Cluster, node: local_nodes.LocalNode, *words: str) -> None:
    """As the server's user, with the programs that pgha uses."""
    bin_dir = parse(Path(node.node_file_path).read_text()).bin_dir
    config = f"-c config_file={node.state_dir}/postgresql.conf"
    start = ["-o", config] if words[0] == "start" else []
    ran = cluster.host.run([f"{bin_dir}/pg_ctl", "-D", node.data_dir, *words, *start], timeout_s=30.0)
    assert ran.ok, ran.err + ran.out


def test_a_pause_ends_by_itself_and_the_primary_writes_all_the_while(cluster: Cluster, client: Writing) -> None:
    began = time.monotonic()
    pause(cluster, "6s")
    epoch = cluster.leader.epoch
    until(lambda: cluster.leader.paused is None, within_s=15.0, what="the pause is over")
    assert 5.0 < time.monotonic() - began < 12.0
    client.await_rows()
    cluster.await_healthy()
    word = client.verdict()
    assert word.is_clean and word.epochs == (epoch,), word


def test_an_agent_killed_while_paused_costs_nothing_and_its_successor_ends_the_pause_in_time(
    cluster: Cluster, client: Writing
) -> None:
    pause(cluster, "8s")
    began, old, epoch = time.monotonic(), cluster.primary, cluster.leader.epoch
    server = faults.postmaster(old)
    faults.kill(faults.of(old, "agent"))
    until(lambda: cluster.leader.paused is None, within_s=20.0, what="the pause is over")
    assert 5.0 < time.monotonic() - began < 14.0
    assert is_alive(server)
    client.await_rows()
    cluster.await_healthy()
    word = client.verdict()
    assert word.is_clean and word.epochs == (epoch,), word


def test_an_agent_that_stands_still_loses_no_server_while_paused(cluster: Cluster, client: Writing) -> None:
    pause(cluster)
    old, epoch = cluster.primary, cluster.leader.epoch
    with faults.frozen(faults.of(old, "agent")):
        stays(cluster, epoch, cluster.timing.h_s + 3.0)
        client.await_rows()
    resume(cluster)
    cluster.await_healthy()
    word = client.verdict()
    assert word.is_clean and word.epochs == (epoch,), word


def test_a_guard_killed_while_paused_takes_its_server_and_nobody_takes_over_before_the_end(
    cluster: Cluster, client: Writing
) -> None:
    pause(cluster, "20s")
    old, epoch = cluster.primary, cluster.leader.epoch
    faults.kill(faults.of(old, "guard"))
    found = stays(cluster, epoch, cluster.timing.h_s + 2.0)
    assert found.exit == 11 and not faults.of(old, "postgres")
    assert faults.of(old, "guard"), "another watchdog has come"
    client.await_epoch_after(epoch, within_s=60.0)
    cluster.await_healthy()
    word = client.verdict()
    assert word.is_clean, word


def test_a_node_lost_while_paused_is_replaced_on_its_operators_word(cluster: Cluster, client: Writing) -> None:
    pause(cluster)
    old, epoch = cluster.primary, cluster.leader.epoch
    faults.power_off(old)
    stays(cluster, epoch, 12.0)
    refused = run(cluster, "resume")
    assert refused.code == 4 and f"resume --holder-down {old.name}" in refused.text
    resume(cluster, "--holder-down", old.name)
    assert client.await_epoch_after(epoch) != old.name
    cluster.power_on(old)
    cluster.await_healthy()
    word = client.verdict()
    assert word.is_clean, word
