"""How a node comes back whose data can't simply go on: rewound, cloned, or cloned from nothing."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgha.adapters.client import Line
from pgha.core.model import Rule
from pgha.ops import local_nodes
from pgha.ops.local_nodes import LocalNode
from tests.loopback import faults
from tests.loopback.cluster import Cluster
from tests.loopback.writing import Writing
from tests.support.postgres_pair import until

pytestmark = [pytest.mark.loopback, pytest.mark.timeout(180)]

TAIL = 99  # the writer of a row that no standby ever received


@contextlib.contextmanager
def unconfirmed_tail(cluster: Cluster) -> Iterator[None]:
    """A commit that lies in the primary's WAL only, and whose client still waits."""
    primary, epoch = cluster.primary, cluster.leader.epoch
    names = [cluster.copy(n).standby_name(epoch) for n in cluster.standbys]
    line = Line(cluster.login(primary))
    line.connect(within_s=5.0)
    until(lambda: line.advance() is None and line.ready, within_s=5.0, what="connected")
    faults.freeze([cluster.walsender(primary, name) for name in names])
    try:
        line.send("INSERT INTO pgha_drill VALUES ($1, 1)", [TAIL], within_s=30.0)
        waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND query LIKE 'INSERT%'"
        until(lambda: line.advance() is None and cluster.sql(primary, waits) == [["2"]], within_s=5.0, what="both wait")
        yield
        assert line.advance() is None or line.closed, "nobody confirmed it"
    finally:
        line.close()


def tail_rows(cluster: Cluster, node: LocalNode) -> int:
    """How many rows of the unconfirmed tail the node has."""
    ((count,),) = cluster.ask(node, f"SELECT count(*) FROM pgha_drill WHERE writer = {TAIL}")
    return int(count or 0)


def old_copies(node: LocalNode) -> list[Path]:
    """Data directories that were put aside."""
    return list(Path(node.data_dir).parent.glob(Path(node.data_dir).name + ".old-*"))


@contextlib.contextmanager
def broken_rewind(node: LocalNode) -> Iterator[None]:
    """The node's next watchdog finds a pg_rewind that fails, beside the real programs."""
    path = Path(node.node_file_path)
    text = path.read_text()
    real, fake = json.loads(text)["bin_dir"], Path(node.dir, "bin")
    fake.mkdir(mode=0o755)
    for program in os.listdir(real):
        (fake / program).symlink_to(f"{real}/{program}")
    (fake / "pg_rewind").unlink()
    (fake / "pg_rewind").write_text("#!/bin/sh\necho 'pg_rewind: error: not today' >&2\nexit 1\n")
    (fake / "pg_rewind").chmod(0o755)
    path.write_text(json.dumps(json.loads(text) | {"bin_dir": str(fake)}))
    try:
        yield
    finally:
        path.write_text(text)


def stop(cluster: Cluster, node: LocalNode) -> None:
    """Its watchdog, in order, and the restarter leaves it alone."""
    local_nodes.hold_down(node)
    assert cluster.host.run([*node.watchdog_argv(), "--stop"], timeout_s=30.0).ok


def test_a_diverged_tail_that_nobody_confirmed_is_rewound_away(cluster: Cluster, client: Writing) -> None:
    old, epoch, began_s = cluster.primary, client.epoch, cluster.clock.now_s()
    copy = cluster.copy(old)
    with unconfirmed_tail(cluster):
        faults.kill(faults.of(old, "postgres"))
    assert client.await_epoch_after(epoch) != old.name
    cluster.await_healthy()
    assert cluster.events(old, "rewind", since_s=began_s)
    assert cluster.copy(old) == copy, "a rewound directory is the same copy"
    assert [tail_rows(cluster, node) for node in cluster.nodes.values()] == [0, 0, 0]
    assert client.verdict().is_clean


def test_a_directory_that_cant_be_rewound_is_cloned_and_the_old_one_kept_until_it_streams(
    cluster: Cluster, client: Writing
) -> None:
    old, epoch, began_s = cluster.primary, client.epoch, cluster.clock.now_s()
    copy = cluster.copy(old)
    with broken_rewind(old):
        with unconfirmed_tail(cluster):
            faults.kill(faults.of(old, "guard"))
        assert client.await_epoch_after(epoch) != old.name
        until(lambda: bool(old_copies(old)), within_s=30, what="the old directory is put aside", every_s=0.005)
        until(lambda: not old_copies(old), within_s=30, what="the old directory is removed", every_s=0.005)
        names = cluster.sql(
            cluster.primary, "SELECT application_name FROM pg_stat_replication WHERE state = 'streaming'"
        )
        assert [name for (name,) in names if (name or "").startswith(f"{old.name}.")], names
        cluster.await_healthy()
        stop(cluster, old)
    shutil.rmtree(f"{old.dir}/bin")
    cluster.power_on(old)
    cluster.await_healthy()
    assert cluster.events(old, "rewind", since_s=began_s) and cluster.events(old, "clone", since_s=began_s)
    assert cluster.copy(old).data != copy.data, "a clone is another copy"
    assert [tail_rows(cluster, node) for node in cluster.nodes.values()] == [0, 0, 0]
    assert client.verdict().is_clean


def test_a_data_directory_wiped_while_its_watchdog_was_down_is_cloned_as_another_copy(
    cluster: Cluster, client: Writing
) -> None:
    node, epoch = cluster.standbys[0], client.epoch
    copy = cluster.copy(node)
    stop(cluster, node)
    shutil.rmtree(node.data_dir)
    cluster.power_on(node)
    assert cluster.await_healthy().sync == "sync ANY 1 of 2"
    assert cluster.copy(node).data != copy.data
    (rule,) = cluster.leader.sync
    assert isinstance(rule, Rule) and cluster.copy(node) in rule.voters
    word = client.verdict()
    assert word.is_clean and word.epochs == (epoch,), word


def test_a_directory_started_by_hand_comes_up_read_only(cluster: Cluster, client: Writing) -> None:
    """faults.md row 75: whoever starts a former primary gets a standby that follows nobody."""
    old, epoch = cluster.primary, client.epoch
    stop(cluster, old)
    client.await_epoch_after(epoch)
    config = f"config_file={old.state_dir}/postgresql.conf"
    bin_dir = json.loads(Path(old.node_file_path).read_text())["bin_dir"]
    pid = cluster.host.spawn(
        [f"{bin_dir}/postgres", "-D", old.data_dir, "-c", config],
        cwd=old.data_dir,
        log_file=f"{old.log_dir}/by-hand.log",
    )
    until(lambda: not cluster.said(old, ("SELECT 1",))["problem"], within_s=20, what="it answers")
    assert cluster.sql(old, "SELECT pg_is_in_recovery(), (SELECT count(*) FROM pg_stat_wal_receiver)") == [["t", "0"]]
    faults.kill(faults.of(old, "postgres"))
    assert pid
    cluster.power_on(old)
    cluster.await_healthy()
    assert client.verdict().is_clean


def test_a_standby_whose_wal_is_gone_is_cloned(cluster: Cluster, client: Writing) -> None:
    """It was away for more WAL than is kept for it: nobody can send it what it lacks."""
    primary, node, epoch = cluster.primary, cluster.standbys[0], client.epoch
    before = cluster.copy(node)
    settings = {"max_slot_wal_keep_size": "1MB", "wal_keep_size": "0", "min_wal_size": "2MB"}
    faults.power_off(node)
    cluster.await_status(lambda s: s.sync == "sync ANY 1 of 1", "it is dropped from the voters")
    try:
        for name, value in settings.items():
            cluster.sql(primary, f"ALTER SYSTEM SET {name} = '{value}'")
        cluster.sql(primary, "SELECT pg_reload_conf()")
        lost = "SELECT count(*) FROM pg_replication_slots WHERE wal_status = 'lost'"

        def is_lost() -> bool:
            for _ in range(4):
                cluster.sql(primary, "SELECT pg_switch_wal()")
            cluster.sql(primary, "CHECKPOINT")
            return cluster.sql(primary, lost) == [["1"]]

        until(is_lost, within_s=30.0, what="its slot is lost", every_s=0.1)
        cluster.power_on(node)
        assert cluster.await_healthy().sync == "sync ANY 1 of 2"
    finally:
        for name in settings:
            cluster.sql(primary, f"ALTER SYSTEM RESET {name}")
        cluster.sql(primary, "SELECT pg_reload_conf()")
    assert cluster.copy(node) != before
    word = client.verdict()
    assert word.is_clean and word.epochs == (epoch,), word
