"""Standbys come and go quickly while the primary writes, dies, or moves: the voters change all the time.

At every look the setting in force on the primary is one that the leader key lists, or lets nothing through.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator

import pytest

from pgha.core import voters
from pgha.core.model import Leader
from pgha.errors import PghaError
from pgha.ops import local_nodes
from pgha.ops.local_nodes import LocalNode
from tests.loopback import faults
from tests.loopback.cluster import Cluster
from tests.loopback.writing import Writing
from tests.support.postgres_pair import until

pytestmark = [pytest.mark.loopback, pytest.mark.deep, pytest.mark.timeout(240)]

SLACK_S = 5.0
FLAPS_S = 20.0


def listed(leader: Leader) -> set[tuple[int, frozenset[str]] | None]:
    """The settings under which the key says that commits may be acknowledged, and the one that lets none through."""
    mine = [rule for rule in leader.sync if rule.holder == leader.holder]
    texts = [voters.barrier(), *(voters.names(rule, leader.epoch) for rule in mine)]
    return {voters.parse_names(text) for text in texts}


def look_at_names(cluster: Cluster) -> None:
    """The primary's setting, read from the server between two reads of the key, is one of those the key lists."""
    before = cluster.seen().records.leader
    if before is None:
        return
    asked = "SELECT setting FROM pg_settings WHERE name = 'synchronous_standby_names' AND NOT pg_is_in_recovery()"
    found = cluster.said(cluster.nodes[before.holder.node], (asked,))
    after = cluster.seen().records.leader
    rows = found["rows"]
    if not rows or after is None or after.holder != before.holder or after.epoch != before.epoch:
        return  # it moved meanwhile, or is on its way
    assert isinstance(rows, list)
    assert voters.parse_names(rows[0][0]) in listed(before) | listed(after), (rows, before.sync, after.sync)


def flap(cluster: Cluster, node: LocalNode, dice: random.Random) -> None:
    """The node goes away in one of the ways there are, for a moment, and comes back."""
    way = dice.choice(("postgres", "agent", "all", "frozen", "server frozen"))
    if way in ("frozen", "server frozen"):
        with faults.frozen(faults.of(node, *(faults.NODE[:4] if way == "frozen" else ("postgres",)))):
            _pass(dice.uniform(0.1, 3.0))
        return
    if way != "all":
        faults.kill(faults.of(node, way))
        return
    local_nodes.hold_down(node)
    faults.kill_at_once(node, *faults.SERVER, *faults.WATCHDOG)
    _pass(dice.uniform(0.0, 3.0))
    cluster.power_on(node)


def _pass(seconds: float) -> None:
    """Part of the scenario: the fault lasts so long."""
    end_s = time.monotonic() + seconds
    until(lambda: time.monotonic() >= end_s, within_s=seconds + 5, what="the fault has lasted")


@contextlib.contextmanager
def flapping(cluster: Cluster, nodes: list[LocalNode], seed: int) -> Iterator[None]:
    """The nodes flap, each in a rhythm of its own, for as long as the block runs."""
    over = threading.Event()
    broken: list[BaseException] = []

    def go_on(node: LocalNode, dice: random.Random) -> None:
        try:
            while not over.is_set():
                flap(cluster, node, dice)
                over.wait(dice.uniform(0.0, 1.5))
        except BaseException as e:  # noqa: BLE001  # it is raised where the test sees it
            broken.append(e)

    threads = [threading.Thread(target=go_on, args=(n, random.Random(seed + i))) for i, n in enumerate(nodes)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(30)
    assert not broken, broken[0]


def test_a_flapping_standby_never_stops_the_primary_and_its_setting_is_always_one_the_key_lists(
    cluster: Cluster, client: Writing
) -> None:
    epoch, end_s = client.epoch, time.monotonic() + FLAPS_S
    looks = 0
    with flapping(cluster, cluster.standbys[:1], seed=1):
        while time.monotonic() < end_s:
            look_at_names(cluster)
            looks += 1
    assert looks >= 5
    assert cluster.await_healthy().sync == "sync ANY 1 of 2"
    look_at_names(cluster)
    word = client.verdict()
    assert word.is_clean and word.epochs == (epoch,) and word.outage_s <= cluster.timing.voter_drop_s + SLACK_S, word


def test_both_standbys_flap_and_writes_go_on_under_one_primary(cluster: Cluster, client: Writing) -> None:
    epoch, end_s = client.epoch, time.monotonic() + FLAPS_S
    with flapping(cluster, cluster.standbys, seed=20):
        while time.monotonic() < end_s:
            look_at_names(cluster)
    assert cluster.await_healthy().sync == "sync ANY 1 of 2"
    look_at_names(cluster)
    word = client.verdict()
    assert word.is_clean and word.epochs == (epoch,), word


@pytest.mark.slow
@pytest.mark.parametrize("kinds", [("postgres",), ("guard",), faults.NODE], ids=["server", "guard", "node"])
def test_the_primary_dies_while_both_standbys_flap(cluster: Cluster, client: Writing, kinds: tuple[str, ...]) -> None:
    epoch, old = client.epoch, cluster.primary
    with flapping(cluster, cluster.standbys, seed=300 + len(kinds)):
        _pass(5.0)
        faults.kill_at_once(old, *kinds)
        _pass(5.0)
        cluster.power_on(old)
    cluster.await_healthy()
    client.await_epoch_after(epoch)
    client.await_rows()
    look_at_names(cluster)
    word = client.verdict()
    assert word.is_clean, word


@pytest.mark.slow
def test_the_primary_moves_again_and_again_while_the_third_node_flaps(cluster: Cluster, client: Writing) -> None:
    third = cluster.standbys[1]
    with flapping(cluster, [third], seed=4000):
        for _ in range(4):
            (target,) = (
                (n for n in cluster.standbys if n != third) if cluster.primary != third else (cluster.standbys[0],)
            )
            with contextlib.suppress(PghaError):  # refused while it is no voter, overtaken, not answered in time
                cluster.switch(target)
            _pass(1.0)
    cluster.await_healthy()
    client.await_rows()
    look_at_names(cluster)
    word = client.verdict()
    assert word.is_clean, word
