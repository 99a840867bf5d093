"""Clocks that jump, and a host that slept without knowing it, as a virtual machine that its hypervisor paused."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.hosts import clocks
from tests.hosts.clocks import Clocks
from tests.hosts.cluster import HostCluster, writing
from tests.hosts.scenes import H_S, OUTAGE_S, ended, hold
from tests.loopback.writing import Writing

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.skipif(bool(clocks.why_not()), reason=clocks.why_not() or "-"),
]
NOTICED_S = 2.0
PAUSE_S = 15.0


@pytest.fixture
def moved(cluster: HostCluster) -> Iterator[Callable[[str], Clocks]]:
    """Gives a host's clocks; they are true again afterwards."""
    made: dict[str, Clocks] = {}

    def clocks_of(node: str) -> Clocks:
        made[node] = Clocks(cluster.lab, node)
        cluster.await_whole()
        return made[node]

    yield clocks_of
    for node in made:
        cluster.lab.thaw(node)
        clocks.remove(cluster.lab, node)


def be_primary(cluster: HostCluster, node: str) -> None:
    """The node is the primary, of an epoch of its own."""
    if cluster.primary != node:
        cluster.switch(node)


@pytest.mark.row(63)
@pytest.mark.parametrize("hours", [2, -2])
@pytest.mark.parametrize("role", ["primary", "standby"])
def test_a_wall_clock_jumps(cluster: HostCluster, moved: Callable[[str], Clocks], role: str, hours: int) -> None:
    node = cluster.standbys[0]
    own = moved(node)
    if role == "primary":
        be_primary(cluster, node)
    with writing(cluster) as client:
        own.move(wall_s=3600.0 * hours)
        hold(2 * H_S)
        client.await_rows()
        own.move()
        word = ended(cluster, client, f"the {role}'s wall clock jumps by {hours} h", outage_s=NOTICED_S)
    assert len(word.epochs) == 1, word


@pytest.mark.row(65)
def test_the_primarys_host_is_paused_and_does_not_know_it(cluster: HostCluster, moved: Callable[[str], Clocks]) -> None:
    """Its processes stood still and so did its clocks: every deadline of its own is still ahead. Only that the voters
    have sealed keeps it from acknowledging."""
    node = cluster.standbys[0]
    own = moved(node)
    be_primary(cluster, node)
    with writing(cluster) as client:
        paused(cluster, client, node, own)
        ended(cluster, client, f"the primary's host is paused for {PAUSE_S:g} s, its clocks too", outage_s=OUTAGE_S)


def paused(cluster: HostCluster, client: Writing, node: str, own: Clocks) -> None:
    """Stopped until another one writes, PAUSE_S in all; the clocks are put back before it goes on."""
    epoch = client.epoch
    cluster.lab.freeze(node)
    hold(PAUSE_S)
    assert client.await_epoch_after(epoch) != node
    own.move(running_s=-PAUSE_S)
    cluster.lab.thaw(node)
    hold()
