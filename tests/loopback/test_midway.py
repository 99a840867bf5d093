"""Somebody dies in the middle of a move: the target or the source of a switchover, the agent of a clone or a rewind.

A crash between any two lines is a normal day: whenever it comes, one writer stays and nothing is lost.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pgha.errors import PghaError
from pgha.ops.local_nodes import LocalNode
from tests.loopback import faults
from tests.loopback.cluster import Cluster
from tests.loopback.test_rejoin import stop, unconfirmed_tail
from tests.loopback.writing import Writing
from tests.support.postgres_pair import until

pytestmark = [pytest.mark.loopback, pytest.mark.timeout(180)]

MOMENTS_S = (0.05, 0.15, 0.25, 0.4)  # after the order: checkpoint, shutdown, claim, promotion, in this order
SLACK_S = 5.0


def _switch_and(cluster: Cluster, target: LocalNode, after_s: float, hurt: Callable[[], None]) -> None:
    """A switchover whose end is what it is, and something that happens in the middle of it."""

    def order() -> None:
        with contextlib.suppress(PghaError):
            cluster.switch(target)

    at_s = time.monotonic() + after_s
    moving = threading.Thread(target=order)
    moving.start()
    until(lambda: time.monotonic() >= at_s, within_s=5, what="the moment comes", every_s=0.001)
    hurt()
    moving.join(60)
    assert not moving.is_alive()


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [("agent",), ("postgres",)], ids=["its agent", "its server"])
@pytest.mark.parametrize("side", ["target", "source"])
def test_one_side_of_a_switchover_dies_at_any_moment(
    cluster: Cluster, client: Writing, side: str, kinds: tuple[str, ...]
) -> None:
    for after_s in MOMENTS_S:
        source, target = cluster.primary, cluster.standbys[0]
        victim = target if side == "target" else source
        _switch_and(cluster, target, after_s, lambda: faults.kill(faults.of(victim, *kinds)))  # noqa: B023  # runs now
        cluster.await_healthy()
        client.await_rows()
    word = client.verdict()
    assert word.is_clean and word.outage_s <= cluster.timing.h_s + SLACK_S, word


def test_a_standby_that_knows_a_timeline_nobody_got_to_still_follows_the_next(
    cluster: Cluster, client: Writing
) -> None:
    """It has the history file of an epoch whose claimant died before it sent a byte: its server aims at that one."""
    third = max(cluster.standbys, key=lambda n: n.name)  # of two at one position the other one leads
    target = min(cluster.standbys, key=lambda n: n.name)
    epoch = client.epoch
    told = Path(target.data_dir) / "pg_wal" / f"{epoch + 1:08X}.history"

    def hurt() -> None:
        until(lambda: told.exists() and told.stat().st_size > 0, within_s=10, what="its promotion", every_s=0.0005)
        faults.kill(faults.of(target, "postgres"))
        known = Path(third.data_dir) / "pg_wal" / told.name
        if not known.exists():
            user = os.stat(third.data_dir)
            known.write_bytes(told.read_bytes())
            os.chown(known, user.st_uid, user.st_gid)

    _switch_and(cluster, target, 0.0, hurt)
    client.await_epoch_after(epoch + 1)
    assert cluster.await_healthy().sync == "sync ANY 1 of 2"
    assert client.verdict().is_clean


def test_an_agent_killed_in_the_middle_of_a_clone_begins_again(cluster: Cluster, client: Writing) -> None:
    node, epoch = cluster.standbys[0], client.epoch
    stop(cluster, node)
    shutil.rmtree(node.data_dir)
    cluster.power_on(node)
    until(lambda: bool(faults.of(node, "tool")), within_s=20, what="the clone has begun", every_s=0.002)
    faults.kill(faults.of(node, "agent"))
    assert cluster.await_healthy().sync == "sync ANY 1 of 2"
    word = client.verdict()
    assert word.is_clean and word.epochs == (epoch,), word


def test_an_agent_killed_in_the_middle_of_a_rewind_brings_its_node_back(cluster: Cluster, client: Writing) -> None:
    old, epoch = cluster.primary, client.epoch
    with unconfirmed_tail(cluster):
        faults.kill(faults.of(old, "postgres"))
    until(lambda: bool(faults.of(old, "tool")), within_s=20, what="the rewind has begun", every_s=0.002)
    faults.kill(faults.of(old, "agent"))
    client.await_epoch_after(epoch)
    assert cluster.await_healthy().sync == "sync ANY 1 of 2"
    assert client.verdict().is_clean


def test_a_primary_that_dies_in_the_middle_of_a_clone_of_it_leaves_a_node_that_comes_back(
    cluster: Cluster, client: Writing
) -> None:
    node, source, epoch = cluster.standbys[0], cluster.primary, client.epoch
    stop(cluster, node)
    cluster.await_status(lambda s: s.sync == "sync ANY 1 of 1", "it is dropped from the voters")
    shutil.rmtree(node.data_dir)
    cluster.power_on(node)
    until(lambda: bool(faults.of(node, "tool")), within_s=20, what="the clone has begun", every_s=0.002)
    faults.kill(faults.of(source, "postgres"))
    client.await_epoch_after(epoch)
    assert cluster.await_healthy().sync == "sync ANY 1 of 2"
    assert client.verdict().is_clean
