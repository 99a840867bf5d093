"""Processes of one node die or stop: its server, its agent, its guard, or all of them."""

from __future__ import annotations

import subprocess
import time

import pytest

from pgha.ops import local_nodes
from pgha.ops.procs import is_alive
from tests.loopback import faults
from tests.loopback.cluster import CHECKOUT, Cluster
from tests.loopback.writing import Writing
from tests.support.postgres_pair import until

pytestmark = [pytest.mark.loopback, pytest.mark.timeout(180)]

QUICK_S = 4.0  # a hand-over that waited for nobody's silence, on a slow machine too
SLACK_S = 5.0  # beyond H


def test_the_whole_server_is_killed_and_another_node_takes_over_at_once(cluster: Cluster, client: Writing) -> None:
    old, epoch = cluster.primary, client.epoch
    faults.kill(faults.of(old, "postgres"))
    assert client.await_epoch_after(epoch) != old.name
    cluster.await_healthy()
    word = client.verdict()
    assert word.is_clean and word.outage_s <= QUICK_S, word


def test_a_postmaster_killed_alone_leaves_no_backend_that_acknowledges(cluster: Cluster, client: Writing) -> None:
    old, epoch = cluster.primary, client.epoch
    orphans = faults.of(old, "postgres")[1:]
    faults.kill([faults.postmaster(old)])
    client.await_epoch_after(epoch)
    assert not [p for p in orphans if is_alive(p)]
    cluster.await_healthy()
    word = client.verdict()
    assert word.is_clean and word.outage_s <= QUICK_S, word


def test_one_backend_killed_ends_the_server_and_hands_over(cluster: Cluster, client: Writing) -> None:
    old, epoch = cluster.primary, client.epoch
    faults.kill(faults.titled(old, "pgha_drill")[:1])
    client.await_epoch_after(epoch)
    cluster.await_healthy()
    word = client.verdict()
    assert word.is_clean and word.outage_s <= QUICK_S, word


def test_an_agent_killed_is_replaced_and_no_client_notices(cluster: Cluster, client: Writing) -> None:
    node, epoch, (old,) = cluster.primary, client.epoch, faults.of(cluster.primary, "agent")
    server = faults.postmaster(node)
    faults.kill([old])
    until(lambda: bool(faults.of(node, "agent")), within_s=10, what="the guard starts another agent")
    cluster.await_healthy()
    client.await_rows()
    word = client.verdict()
    assert is_alive(server) and cluster.primary == node
    assert word.is_clean and word.epochs == (epoch,) and word.unsure <= 1, word


def test_a_guard_killed_takes_its_server_with_it_and_nobody_waits_for_silence(
    cluster: Cluster, client: Writing
) -> None:
    old, epoch = cluster.primary, client.epoch
    server = faults.of(old, "postgres")
    faults.kill(faults.of(old, "guard"))
    assert client.await_epoch_after(epoch) != old.name
    assert not [p for p in server if is_alive(p)]
    cluster.await_healthy()
    word = client.verdict()
    assert word.is_clean and word.outage_s <= QUICK_S, word


def test_guard_and_agent_killed_at_once_are_brought_back_by_the_restarter(cluster: Cluster, client: Writing) -> None:
    old, epoch = cluster.primary, client.epoch
    faults.kill_at_once(old, *faults.WATCHDOG)
    client.await_epoch_after(epoch)
    cluster.await_healthy()
    word = client.verdict()
    assert word.is_clean and word.outage_s <= cluster.timing.h_s + SLACK_S, word
    assert faults.of(old, "guard")


def test_an_agent_that_stands_still_loses_its_server_by_its_guards_deadline(cluster: Cluster, client: Writing) -> None:
    old, epoch, h_s = cluster.primary, client.epoch, cluster.timing.h_s
    server, agent = faults.of(old, "postgres"), faults.of(old, "agent")
    faults.freeze(agent)
    stopped_s = time.monotonic()
    until(lambda: not [p for p in server if is_alive(p)], within_s=h_s, what="the guard ends the server within H")
    client.await_epoch_after(epoch)
    until(lambda: time.monotonic() > stopped_s + 10.0, within_s=15.0, what="it has stood still for 10 s")
    faults.thaw(agent)
    cluster.await_healthy()
    word = client.verdict()
    assert word.is_clean and word.outage_s <= h_s + SLACK_S, word


def test_guard_and_agent_that_stand_still_leave_a_server_that_acknowledges_nothing(
    cluster: Cluster, client: Writing
) -> None:
    old, epoch, h_s = cluster.primary, client.epoch, cluster.timing.h_s
    with faults.frozen(faults.of(old, *faults.WATCHDOG)):
        assert client.await_epoch_after(epoch) != old.name
        assert faults.of(old, "postgres"), "the old server still runs: only its missing voters keep it quiet"
        client.await_rows(100)
    cluster.await_healthy()
    word = client.verdict()
    assert word.is_clean and word.outage_s <= h_s + SLACK_S, word


def test_a_whole_node_that_stood_still_acknowledges_nothing_when_it_goes_on(cluster: Cluster, client: Writing) -> None:
    old, epoch, h_s = cluster.primary, client.epoch, cluster.timing.h_s
    with faults.frozen(faults.of(old, *faults.NODE)):
        assert client.await_epoch_after(epoch) != old.name
        client.await_rows(100)
    cluster.await_healthy()
    word = client.verdict()
    assert word.is_clean and word.outage_s <= h_s + SLACK_S, word


def test_a_server_that_stands_still_is_handed_over(cluster: Cluster, client: Writing) -> None:
    old, epoch, h_s = cluster.primary, client.epoch, cluster.timing.h_s
    faults.freeze(faults.of(old, "postgres"))
    assert client.await_epoch_after(epoch) != old.name
    cluster.await_healthy()
    word = client.verdict()
    assert word.is_clean and word.outage_s <= h_s + SLACK_S, word


def test_a_standby_promoted_by_hand_is_fenced_and_rejoins(cluster: Cluster, client: Writing) -> None:
    epoch, rogue = client.epoch, cluster.standbys[0]
    began_s = cluster.clock.now_s()
    server = faults.postmaster(rogue)
    cluster.say(rogue, "SELECT pg_promote(false)")
    until(lambda: not is_alive(server), within_s=5.0, what="it is fenced")
    until(lambda: bool(cluster.events(rogue, "fence", since_s=began_s)), within_s=5.0, what="its log says so")
    cluster.await_healthy()
    client.await_rows()
    word = client.verdict()
    assert word.is_clean and word.epochs == (epoch,), word


def test_a_second_watchdog_ends_well_at_once_and_changes_nothing(cluster: Cluster) -> None:
    node = cluster.primary
    before = [p.pid for p in faults.of(node, "guard", "agent", "postgres")[:3]]
    ran = subprocess.run(
        ["setpriv", f"--reuid={node.user}", f"--regid={node.user}", "--clear-groups", *node.watchdog_argv()],
        cwd=CHECKOUT, timeout=10, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert [p.pid for p in faults.of(node, "guard", "agent", "postgres")[:3]] == before


def test_an_orderly_stop_of_the_primarys_watchdog_hands_over_at_once(cluster: Cluster, client: Writing) -> None:
    old, epoch = cluster.primary, client.epoch
    local_nodes.hold_down(old)
    ran = cluster.host.run([*old.watchdog_argv(), "--stop"], timeout_s=30.0)
    assert ran.ok, ran.err
    assert not faults.of(old, "guard", "agent", "postgres")
    assert client.await_epoch_after(epoch) != old.name
    cluster.power_on(old)
    cluster.await_healthy()
    word = client.verdict()
    assert word.is_clean and word.outage_s <= QUICK_S, word
