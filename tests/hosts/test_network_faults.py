"""Cuts of every kind: silent, one-way, partial, slow, flapping; the judge is the client outside.

NF: no failover and no client that notices more than a moment; else another primary writes within H + 1 s.
"""

from __future__ import annotations

import itertools
import json

import pytest

from pgha.ops import drill_cut, drill_role
from tests.hosts.causes import others, rules
from tests.hosts.cluster import ETCD_PORTS, NAME, PORT, HostCluster
from tests.hosts.network import ESTABLISHED, LARGE, LOSS
from tests.hosts.scenes import H_S, OUTAGE_S, ended, hold
from tests.hosts.shell import must
from tests.loopback.writing import Writing

pytestmark = pytest.mark.timeout(400)
NOTICED_S = 2.0
CLIENTS = (2379,)
PEERS = (2380,)
DEAF = "pgha_deaf"


def stays(cluster: HostCluster, client: Writing, what: str, *, outage_s: float = NOTICED_S) -> None:
    """No failover."""
    client.await_rows()
    cluster.lab.heal()
    word = ended(cluster, client, what, outage_s=outage_s)
    assert len(word.epochs) == 1, word


def moved_from(cluster: HostCluster, client: Writing, epoch: int, primary: str, what: str) -> None:
    """Another primary writes under a newer epoch; then the cause goes."""
    assert client.await_epoch_after(epoch) != primary
    hold()
    cluster.lab.heal()
    ended(cluster, client, what)


@pytest.mark.row(23)
def test_the_primarys_packets_vanish_without_a_word(cluster: HostCluster, client: Writing) -> None:
    epoch, primary = client.epoch, cluster.primary
    for other in [*others(cluster, primary), "operator"]:
        cluster.lab.block(primary, other)
    moved_from(cluster, client, epoch, primary, "black hole around the primary")


@pytest.mark.row(24)
def test_the_primarys_cable_flaps(cluster: HostCluster, client: Writing) -> None:
    primary = cluster.primary
    for _ in range(10):
        cluster.lab.cut(primary)
        hold(1.0)
        cluster.lab.heal(primary)
        hold(1.0)
    word = ended(cluster, client, "cable flaps, 1 s down and 1 s up, 20 s", outage_s=20.0 + OUTAGE_S)
    assert len(word.epochs) <= 3, word


@pytest.mark.row(25)
def test_the_primary_reaches_no_member_of_etcd(cluster: HostCluster, client: Writing) -> None:
    epoch, primary = client.epoch, cluster.primary
    with rules(cluster, [primary], drill_cut.cut_store(NAME, CLIENTS), drill_cut.table(NAME)):
        assert client.await_epoch_after(epoch) != primary
        hold()
    ended(cluster, client, "primary reaches no member of etcd")


@pytest.mark.row(27)
def test_the_standbys_reach_no_member_of_etcd(cluster: HostCluster, client: Writing) -> None:
    with rules(cluster, cluster.standbys, drill_cut.cut_store(NAME, CLIENTS), drill_cut.table(NAME)):
        hold(2 * H_S)
        client.await_rows()
    word = ended(cluster, client, "standbys reach no member of etcd", outage_s=NOTICED_S)
    assert len(word.epochs) == 1, word


@pytest.mark.row(28)
def test_the_primary_is_heard_by_etcd_and_hears_nothing(cluster: HostCluster, client: Writing) -> None:
    """What it sends still arrives and commits."""
    epoch, primary = client.epoch, cluster.primary
    rule = "type filter hook input priority -300; tcp sport 2379 drop;"
    text = f"table inet {DEAF} {{\n chain input {{ {rule} }}\n}}\n"
    with rules(cluster, [primary], text, DEAF):
        assert client.await_epoch_after(epoch) != primary
        hold()
    ended(cluster, client, "primary hears nothing from etcd", outage_s=OUTAGE_S + 2.0)


@pytest.mark.row(26)
def test_one_voter_is_heard_and_hears_nothing_from_the_primary(cluster: HostCluster, client: Writing) -> None:
    cluster.lab.block(cluster.primary, cluster.standbys[0], ports=[PORT], one_way=True)
    hold(2 * H_S)
    stays(cluster, client, "one voter hears nothing from the primary", outage_s=5.0)


@pytest.mark.row(30)
def test_etcds_members_do_not_hear_each_other_for_a_moment(cluster: HostCluster, client: Writing) -> None:
    for one, other in itertools.combinations(cluster.lab.hosts, 2):
        cluster.lab.block(one, other, ports=PEERS)
    hold(1.5)
    cluster.lab.heal()
    word = ended(cluster, client, "etcd's members cut from each other for 1.5 s", outage_s=NOTICED_S)
    assert len(word.epochs) == 1, word


@pytest.mark.row(30)
def test_etcds_members_do_not_hear_each_other_for_long(cluster: HostCluster, client: Writing) -> None:
    for one, other in itertools.combinations(cluster.lab.hosts, 2):
        cluster.lab.block(one, other, ports=PEERS)
    hold(12.0)
    quiet = client.acked
    hold(1.0)
    assert client.acked == quiet, "without a store nobody writes"
    cluster.lab.heal()
    ended(cluster, client, "etcd's members cut from each other for 13 s", outage_s=13.0 + OUTAGE_S)


@pytest.mark.row(31)
def test_the_primary_and_one_standby_see_each_other_only_through_the_third(
    cluster: HostCluster, client: Writing
) -> None:
    cluster.lab.block(cluster.primary, cluster.standbys[0])
    hold(2 * H_S)
    stays(cluster, client, "a bridge: two nodes do not see each other", outage_s=OUTAGE_S)


@pytest.mark.row(31)
def test_the_two_standbys_do_not_see_each_other(cluster: HostCluster, client: Writing) -> None:
    cluster.lab.block(*cluster.standbys)
    hold(2 * H_S)
    stays(cluster, client, "the standbys do not see each other")


@pytest.mark.row(32)
def test_three_of_ten_packets_between_the_hosts_are_lost(cluster: HostCluster, client: Writing) -> None:
    """Neither quick nor, for certain, without a failover; but right."""
    for one, other in itertools.combinations(cluster.lab.hosts, 2):
        cluster.lab.block(one, other, ports=[*ETCD_PORTS, PORT], only=LOSS)
    hold(15.0)
    cluster.lab.heal()
    ended(cluster, client, "30 % of the packets lost for 15 s", outage_s=15.0 + OUTAGE_S)


@pytest.mark.row(33)
def test_the_voters_are_at_the_end_of_a_thin_line(cluster: HostCluster, client: Writing) -> None:
    for node in cluster.standbys:
        cluster.lab.network.slow(node, "256kbit")
    hold(10.0)
    stays(cluster, client, "256 kbit/s to the voters", outage_s=OUTAGE_S)


@pytest.mark.row(34)
def test_large_packets_of_the_primary_vanish(cluster: HostCluster, client: Writing) -> None:
    """A path that lost its MTU: small packets, heartbeats among them, pass."""
    primary = cluster.primary
    for node in cluster.standbys:
        cluster.lab.block(primary, node, one_way=True, only=LARGE)
    big = "INSERT INTO pgha_big SELECT repeat(md5(random()::text), 20000) FROM generate_series(1, 4)"
    statements = ["CREATE TABLE IF NOT EXISTS pgha_big (t text)", "SET synchronous_commit = local", big]
    cluster.sql(primary, statements, dbname=drill_role.NAME)
    hold(10.0)
    cluster.lab.heal()
    ended(cluster, client, "packets above 1400 bytes vanish behind the primary", outage_s=15.0 + OUTAGE_S)
    cluster.sql(cluster.primary, ["DROP TABLE IF EXISTS pgha_big"], dbname=drill_role.NAME)


@pytest.mark.row(35)
def test_the_primarys_connections_are_half_open(cluster: HostCluster, client: Writing) -> None:
    """Established connections are silent; a new one gets its first answer, and nothing after it."""
    epoch, primary = client.epoch, cluster.primary
    for other in [*others(cluster, primary), "operator"]:
        for port in (*ETCD_PORTS, PORT):
            cluster.lab.block(primary, other, ports=[port], only=ESTABLISHED)
    moved_from(cluster, client, epoch, primary, "half-open connections of the primary")


@pytest.mark.row(36)
def test_names_can_not_be_looked_up(cluster: HostCluster, client: Writing) -> None:
    kept = {}
    for name, host in cluster.lab.hosts.items():
        kept[name] = {path: host.must(["cat", path]) for path in ("/etc/hosts", "/etc/resolv.conf")}
        for path in kept[name]:
            host.must(["sh", "-c", 'echo "nameserver 203.0.113.1" > "$1"', "sh", path])
    try:
        hold(2 * H_S)
        client.await_rows()
    finally:
        for name, texts in kept.items():
            for path, text in texts.items():
                cluster.lab.host(name).must(["sh", "-c", 'cat > "$1"', "sh", path], stdin=text)
    stays(cluster, client, "no name can be looked up")


@pytest.mark.row(37)
def test_the_primarys_address_has_changed(cluster: HostCluster, client: Writing) -> None:
    """It would keep its lease from its new address, though neither clients nor standbys reach it: it hands over."""
    cluster.bear_no_longer()
    epoch, primary = client.epoch, cluster.primary
    host = cluster.lab.host(primary)
    was, now = f"{host.address}/24", "198.18.0.200/24"

    def swap(old: str, new: str) -> None:
        for verb, address in (("del", old), ("add", new)):
            must(["ip", "-n", host.namespace, "addr", verb, address, "dev", "eth0"])

    swap(was, now)
    try:
        assert client.await_epoch_after(epoch) != primary
        hold(2 * H_S)
    finally:
        swap(now, was)
    ended(cluster, client, "the primary's address has changed", outage_s=OUTAGE_S)


@pytest.mark.row(38)
def test_clients_stay_with_an_isolated_primary(cluster: HostCluster, client: Writing) -> None:
    """It is cut from the other nodes; its clients' path is open all the while."""
    epoch, primary = client.epoch, cluster.primary
    for other in others(cluster, primary):
        cluster.lab.block(primary, other)
    moved_from(cluster, client, epoch, primary, "isolated primary with an open path to its clients")


def test_the_leader_key_is_what_it_says(cluster: HostCluster) -> None:
    """The lab's own view of the store is the cluster's (for the scenarios that write keys past the agents)."""
    assert json.loads(cluster.key("leader"))["holder"].partition(".")[0] == cluster.primary
