"""Processes and disks that hang, one at a time, while everything else goes on: nobody is dead, and nothing answers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import psycopg
import pytest

from pgha.errors import Exit
from pgha.ops.procs import is_alive
from tests.loopback import faults
from tests.loopback.cluster import Cluster, pgha
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


def test_a_postmaster_that_stands_still_alone_is_handed_over(cluster: Cluster, client: Writing) -> None:
    """Its backends go on and acknowledge; nobody new gets in."""
    old, epoch, h_s = cluster.primary, client.epoch, cluster.timing.h_s
    server = faults.of(old, "postgres")
    faults.freeze([faults.postmaster(old)])
    assert client.await_epoch_after(epoch) != old.name
    assert not [p for p in server if is_alive(p)]
    cluster.await_healthy()
    word = client.verdict()
    assert word.is_clean and word.outage_s <= h_s + SLACK_S, word
    assert cluster.leader.unwell, "the next holder bears with its server for a while"


@pytest.mark.deep
def test_a_second_hang_soon_after_the_first_is_told_and_moved_by_an_order_alone(
    cluster: Cluster, client: Writing
) -> None:
    """What ails one server may ail all: pgha does not run after it, and its operator may."""
    first, h_s = client.epoch, cluster.timing.h_s
    faults.freeze([faults.postmaster(cluster.primary)])
    client.await_epoch_after(first)
    cluster.await_healthy()
    epoch, old, target = client.epoch, cluster.primary, cluster.standbys[0]
    faults.freeze([faults.postmaster(old)])
    told = cluster.await_status(lambda s: any("does not answer" in r.problem for r in s.rows), "it says so")
    assert told.exit != 0 and cluster.primary == old
    said = pgha("-i", cluster.target.where, "failover", "-y")
    assert said.code == Exit.REFUSED and "does not answer" in said.text and "switchover" in said.text, said.text
    said = pgha("-i", cluster.target.where, "switchover", "--to", target.name, "-y")
    assert said.code == Exit.OK, said.text
    assert client.await_epoch_after(epoch) == target.name
    cluster.await_healthy()
    cluster.switch(cluster.standbys[0])  # a planned one: the next scenario's primary is borne with no more
    cluster.await_healthy()
    word = client.verdict()
    assert word.is_clean and word.outage_s <= h_s + SLACK_S, word


def test_one_backend_that_stands_still_is_no_hang_of_the_server(cluster: Cluster, client: Writing) -> None:
    """Not even when it holds a lock that another one waits for."""
    node, epoch = cluster.primary, client.epoch
    with _session(cluster) as holder, _session(cluster) as waiter:
        holder.execute("SELECT pg_advisory_lock(7)")
        stuck = [p for p in faults.of(node, "postgres") if p.pid == holder.info.backend_pid]
        with faults.frozen(stuck):
            assert len(stuck) == 1
            waiter.pgconn.send_query(b"SELECT pg_advisory_lock(7)")
            held_s = cluster.clock.now_s()
            until(lambda: cluster.clock.now_s() > held_s + 2 * cluster.timing.h_s, within_s=30.0, what="2 H are over")
            client.await_rows()
    word = client.verdict()
    assert word.is_clean and word.epochs == (epoch,) and cluster.primary == node, word


@contextlib.contextmanager
def _session(cluster: Cluster) -> Iterator[psycopg.Connection]:
    """One more client of the primary."""
    to = cluster.login(cluster.primary)
    text = psycopg.conninfo.make_conninfo(**{f: getattr(to, f) for f in ("host", "port", "user", "password", "dbname")})
    with contextlib.closing(psycopg.connect(text, autocommit=True)) as made:
        yield made


def test_a_watchdog_is_replaced_under_writing_clients_and_none_notices(cluster: Cluster, client: Writing) -> None:
    """`pgha watchdog --restart` on every node, the primary first, twice."""
    epoch, servers = client.epoch, {n: faults.postmaster(node) for n, node in cluster.nodes.items()}
    guards = {n: faults.of(node, "guard") for n, node in cluster.nodes.items()}
    for _ in range(2):
        for node in (cluster.primary, *cluster.standbys):
            before = faults.of(node, "agent")
            ran = cluster.host.run([*node.watchdog_argv(), "--restart"], timeout_s=30.0)
            assert ran.ok, ran.err
            assert not [p for p in before if is_alive(p)]
    cluster.await_healthy()
    client.await_rows()
    for name, node in cluster.nodes.items():
        assert [p.pid for p in faults.of(node, "guard")] == [p.pid for p in guards[name]]
        assert faults.postmaster(node) == servers[name]
    word = client.verdict()
    assert word.is_clean and word.epochs == (epoch,) and word.outage_s < 0.5, word
