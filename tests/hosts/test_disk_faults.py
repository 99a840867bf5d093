"""Disks that are full, frozen or damaged. Each node's cluster files, and one etcd member, lie on disks of their own.

The disks are put in once; without loop devices these scenarios are skipped.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest

from tests.hosts.causes import kill
from tests.hosts.cluster import NAME, HostCluster, writing
from tests.hosts.disks import Disk
from tests.hosts.scenes import H_S, OUTAGE_S, ended, hold
from tests.loopback.writing import Writing

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.skipif(not os.path.exists("/dev/loop-control"), reason="needs loop devices"),
]
FILES = f"/var/lib/pgha/{NAME}"
DATA = f"{FILES}/data"
DISKS: dict[str, Disk] = {}
NOTICED_S = 5.0


@pytest.fixture(autouse=True)
def _room(cluster: HostCluster) -> None:
    """Each change of the leader takes two files of WAL, which a standby keeps for checkpoint_timeout: too many here."""
    for node in (cluster.primary, *cluster.standbys):
        cluster.sql(node, ["CHECKPOINT"])


@pytest.fixture
def disks(cluster: HostCluster) -> Iterator[dict[str, Disk]]:
    """The nodes' disks, by name; free and running before and after."""
    for node in cluster.lab.hosts:
        if node not in DISKS:
            DISKS[node] = Disk(cluster.lab, node, FILES)
            cluster.await_whole()
    yield DISKS
    for disk in DISKS.values():
        disk.thaw()
        disk.free()


@pytest.mark.row(52)
def test_the_primarys_disk_is_full_and_wal_needs_more(
    disks: dict[str, Disk], cluster: HostCluster, client: Writing
) -> None:
    epoch, primary = client.epoch, cluster.primary
    disks[primary].fill()
    with contextlib.suppress(AssertionError):  # the server ends in the middle of it
        cluster.sql(primary, ["SELECT pg_switch_wal(), pg_logical_emit_message(false, 'x', 'y')"] * 20)
    client.await_epoch_after(epoch, within_s=60.0)
    hold()
    disks[primary].free()
    ended(cluster, client, "the primary's disk is full", outage_s=3 * H_S)


@pytest.mark.row(52)
def test_the_primarys_disk_is_full_and_only_tables_need_more(
    disks: dict[str, Disk], cluster: HostCluster, client: Writing
) -> None:
    """The server answers, so it is kept: clients are told what is missing, and go on once there is room."""
    primary = cluster.primary
    disks[primary].fill()
    hold(2 * H_S)
    disks[primary].free()
    ended(cluster, client, "no room for tables on the primary's disk", outage_s=2 * H_S + OUTAGE_S)


@pytest.mark.row(53)
def test_a_voters_disk_is_full(disks: dict[str, Disk], cluster: HostCluster, client: Writing) -> None:
    voter = cluster.standbys[0]
    disks[voter].fill()
    hold(2 * H_S)
    client.await_rows()
    disks[voter].free()
    ended(cluster, client, "a voter's disk is full", outage_s=NOTICED_S)


@pytest.mark.row(54)
def test_the_primarys_disk_stands_still(disks: dict[str, Disk], cluster: HostCluster, client: Writing) -> None:
    """What waits for the disk can't be killed; it acknowledges nothing any more either."""
    cluster.bear_no_longer()
    epoch, primary = client.epoch, cluster.primary
    disks[primary].freeze()
    try:
        client.await_epoch_after(epoch, within_s=60.0)
        hold(2 * H_S)
    finally:
        disks[primary].thaw()
    ended(cluster, client, "the primary's disk stands still", outage_s=2 * H_S)


@pytest.mark.row(55)
def test_a_voters_disk_stands_still(disks: dict[str, Disk], cluster: HostCluster, client: Writing) -> None:
    voter = cluster.standbys[0]
    disks[voter].freeze()
    try:
        hold(2 * H_S)
        client.await_rows()
    finally:
        disks[voter].thaw()
    ended(cluster, client, "a voter's disk stands still", outage_s=NOTICED_S)


@pytest.mark.row(51)
def test_the_disk_of_an_etcd_member_stands_still(cluster: HostCluster) -> None:
    """That of the leader if it can be had: the others elect another one, and nobody waits for the member that hangs."""
    node = cluster.store_leader
    disk = Disk(cluster.lab, node, f"/var/lib/pgha-etcd/{NAME}")
    cluster.await_whole()
    with writing(cluster) as client:
        disk.freeze()
        try:
            hold(2 * H_S)
            client.await_rows()
        finally:
            disk.thaw()
        ended(cluster, client, "the disk of an etcd member stands still", outage_s=OUTAGE_S)


@pytest.mark.row(57)
@pytest.mark.parametrize("role", ["primary", "standby"])
def test_the_data_directory_is_made_unreadable(cluster: HostCluster, client: Writing, role: str) -> None:
    node = cluster.primary if role == "primary" else cluster.standbys[0]
    host = cluster.lab.host(node)
    host.must(["chmod", "0000", DATA])
    hold(2 * H_S)
    host.must(["chmod", "0700", DATA])
    ended(cluster, client, f"chmod 000 on the {role}'s data directory", outage_s=OUTAGE_S)


@pytest.mark.row(57)
@pytest.mark.parametrize("role", ["primary", "standby"])
def test_the_data_directory_is_moved_away(cluster: HostCluster, client: Writing, role: str) -> None:
    """Under a running server; the node is cloned anew, what was moved is left alone."""
    node = cluster.primary if role == "primary" else cluster.standbys[0]
    host = cluster.lab.host(node)
    host.must(["mv", DATA, f"{FILES}/moved"])
    hold(2 * H_S)
    kill(cluster.servers(node))
    ended(cluster, client, f"the {role}'s data directory is moved away", outage_s=2 * OUTAGE_S)
    host.must(["rm", "-rf", f"{FILES}/moved"])


@pytest.mark.row(58)
def test_the_former_primarys_control_file_is_damaged(cluster: HostCluster, client: Writing) -> None:
    """The ladder ends with a clone; what was there is kept until the node streams."""
    epoch, old = client.epoch, cluster.primary
    cluster.lab.power_off(old)
    host = cluster.lab.host(old)
    host.mount()
    control = host.disk / DATA.lstrip("/") / "global/pg_control"
    control.write_bytes(control.read_bytes()[:100])
    client.await_epoch_after(epoch)
    cluster.lab.boot(old)
    ended(cluster, client, "the former primary's pg_control is cut off", outage_s=OUTAGE_S)
