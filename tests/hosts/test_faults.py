"""What an operator expects of three real hosts: a fault, a client outside that never stops writing, and its verdict.

Each scenario: healthy; the fault; writes are back; the cause goes; whole again without anybody's help. Printed are the
longest write outage, the rows lost, strays of a second writer, and the time from the cause's end until all is whole.
"""

from __future__ import annotations

import itertools
import random
import signal

import pytest

from tests.hosts.cluster import ETCD_PORTS, PORT, HostCluster, writing
from tests.hosts.processes import send
from tests.hosts.scenes import H_S, HOLD_S, ended, hold
from tests.loopback.writing import Writing

pytestmark = pytest.mark.timeout(400)


@pytest.mark.brief
@pytest.mark.row(18)
def test_the_primary_loses_power(cluster: HostCluster, client: Writing) -> None:
    epoch, primary = client.epoch, cluster.primary
    cluster.lab.power_off(primary)
    assert client.await_epoch_after(epoch) != primary
    hold()
    cluster.lab.boot(primary)
    ended(cluster, client, "power off, primary")


@pytest.mark.row(18)
def test_a_standby_loses_power(cluster: HostCluster, client: Writing) -> None:
    standby = cluster.standbys[0]
    cluster.lab.power_off(standby)
    hold(H_S + HOLD_S)
    cluster.lab.boot(standby)
    word = ended(cluster, client, "power off, a standby", outage_s=2.0)
    assert len(word.epochs) == 1


@pytest.mark.row(19)
def test_the_node_with_the_leader_of_etcd_loses_power(cluster: HostCluster, client: Writing) -> None:
    node = cluster.store_leader
    was_primary = node == cluster.primary
    cluster.lab.power_off(node)
    hold(H_S + HOLD_S)
    client.await_rows()
    cluster.lab.boot(node)
    ended(cluster, client, f"power off, etcd's leader ({'the primary' if was_primary else 'a standby'})")


@pytest.mark.row(19)
def test_the_primary_that_is_also_the_leader_of_etcd_loses_power(cluster: HostCluster) -> None:
    node = cluster.store_leader
    if node != cluster.primary:
        assert cluster.pgha("switchover", "--to", node, "-y").code == 0
        cluster.await_whole()
    with writing(cluster) as client:
        epoch = client.epoch
        assert cluster.store_leader == node
        cluster.lab.power_off(node)
        assert client.await_epoch_after(epoch) != node
        hold()
        cluster.lab.boot(node)
        ended(cluster, client, "power off, primary and etcd's leader in one")


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_reboot(cluster: HostCluster, client: Writing, which: int) -> None:
    node = [cluster.primary, *cluster.standbys][which]
    cluster.lab.reboot(node)
    ended(cluster, client, f"reboot of {'the primary' if which == 0 else f'standby {which}'}")


@pytest.mark.row(22)
def test_the_primary_is_cut_off_entirely(cluster: HostCluster, client: Writing) -> None:
    epoch, primary = client.epoch, cluster.primary
    cluster.lab.cut(primary)
    assert client.await_epoch_after(epoch) != primary
    hold()
    cluster.lab.heal(primary)
    ended(cluster, client, "primary cut off")


@pytest.mark.row(29)
def test_the_primary_is_cut_from_etcd_only(cluster: HostCluster, client: Writing) -> None:
    epoch, primary = client.epoch, cluster.primary
    for other in cluster.standbys:
        cluster.lab.block(primary, other, ports=ETCD_PORTS)
    assert client.await_epoch_after(epoch) != primary
    hold()
    cluster.lab.heal()
    ended(cluster, client, "primary cut from etcd")


@pytest.mark.row(26)
def test_the_primary_is_cut_from_its_standbys_only(cluster: HostCluster, client: Writing) -> None:
    primary = cluster.primary
    for other in cluster.standbys:
        cluster.lab.block(primary, other, ports=[PORT])
    hold(H_S + HOLD_S)
    client.await_rows()
    cluster.lab.heal()
    word = ended(cluster, client, "primary cut from its standbys")
    assert len(word.epochs) == 1


@pytest.mark.row(20)
@pytest.mark.parametrize("primary_too", [True, False], ids=["the_primary_too", "both_standbys"])
def test_two_nodes_lose_power(cluster: HostCluster, client: Writing, primary_too: bool) -> None:
    nodes = [cluster.primary, cluster.standbys[0]] if primary_too else cluster.standbys
    cluster.lab.power_off(*nodes)
    hold(2 * H_S)
    cluster.lab.boot(*nodes)
    ended(
        cluster, client, f"power off, two nodes, primary {'among' if primary_too else 'not among'} them", outage_s=120.0
    )


@pytest.mark.row(21)
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_all_lose_power_and_come_back_in_any_order(
    cluster: HostCluster, client: Writing, order: tuple[int, ...]
) -> None:
    nodes = [cluster.primary, *cluster.standbys]
    chance = random.Random(str(order))
    cluster.lab.power_off(*nodes)
    for which in order:
        cluster.lab.boot(nodes[which])
        hold(chance.uniform(0.0, 4.0))
    ended(cluster, client, f"power off, all; back in the order {order} (0: the primary)", outage_s=150.0)


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("guard", marks=pytest.mark.row(12)),
        pytest.param("agent", marks=pytest.mark.row(8)),
        pytest.param("postmaster", marks=pytest.mark.row(1)),
        pytest.param("etcd", marks=pytest.mark.row(39)),
    ],
)
@pytest.mark.parametrize("role", ["primary", "standby"])
def test_a_process_is_killed(cluster: HostCluster, client: Writing, kind: str, role: str) -> None:
    node = cluster.primary if role == "primary" else cluster.standbys[0]
    victims = cluster.pids(node, kind)
    assert len(victims) == 1, (kind, victims)
    send(victims[0], signal.SIGKILL)
    ended(cluster, client, f"kill -9 of the {kind} of {'the primary' if role == 'primary' else 'a standby'}")


@pytest.mark.row(9)
def test_guard_and_agent_of_the_primary_are_killed_together(cluster: HostCluster, client: Writing) -> None:
    primary = cluster.primary
    victims = cluster.pids(primary, "guard") + cluster.pids(primary, "agent")
    assert len(victims) == 2
    for pid in victims:
        send(pid, signal.SIGKILL)
    ended(cluster, client, "kill -9 of guard and agent of the primary")
