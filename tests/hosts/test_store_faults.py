"""The store loses its majority, its keys, its past, or says nonsense: never two writers, and an operator helps."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import pytest

from tests.hosts.causes import kill, stopped
from tests.hosts.cluster import NAME, PREFIX, HostCluster
from tests.hosts.scenes import H_S, OUTAGE_S, ended, hold
from tests.hosts.shell import until
from tests.loopback.writing import Writing

pytestmark = pytest.mark.timeout(400)
NOTICED_S = 2.0
ETCD_UNIT = f"pgha-etcd-{NAME}.service"
ETCD_DIR = f"/var/lib/pgha-etcd/{NAME}"
AHEAD = 1000  # beats that an operator puts between what was seen and what he confirms


def ahead(value: str) -> str:
    """The leader key as an operator confirms it: newer than anything that a node has seen."""
    body = json.loads(value)
    return json.dumps(body | {"beat": body["beat"] + AHEAD})


def falls_silent(client: Writing, *, within_s: float = 2 * H_S) -> None:
    """No row is acknowledged any more."""
    seen = [-1]

    def still() -> bool:
        was, seen[0] = seen[0], client.acked
        hold(1.0)
        return seen[0] == was

    until(still, within_s=within_s, what="acknowledgements end")


@contextlib.contextmanager
def without_etcd(cluster: HostCluster, nodes: list[str]) -> Iterator[None]:
    """These members are shut down in order."""
    for node in nodes:
        cluster.lab.host(node).must(["systemctl", "stop", ETCD_UNIT])
    try:
        yield
    finally:
        for node in nodes:
            cluster.lab.host(node).must(["systemctl", "start", ETCD_UNIT])


@pytest.mark.row(41)
def test_two_members_of_etcd_are_gone(cluster: HostCluster, client: Writing) -> None:
    with without_etcd(cluster, cluster.standbys):
        falls_silent(client)
        hold()
    ended(cluster, client, "etcd without a majority", outage_s=2 * H_S + 10.0)


@pytest.mark.row(41)
def test_two_members_of_etcd_stand_still(cluster: HostCluster, client: Writing) -> None:
    with stopped([pid for node in cluster.standbys for pid in cluster.pids(node, "etcd")]):
        falls_silent(client)
        hold()
    ended(cluster, client, "SIGSTOP to two members of etcd", outage_s=2 * H_S + 10.0)


@pytest.mark.row(42)
def test_all_members_of_etcd_are_killed_at_once(cluster: HostCluster, client: Writing) -> None:
    kill([pid for node in cluster.lab.hosts for pid in cluster.pids(node, "etcd")])
    client.await_rows()
    ended(cluster, client, "kill -9 of all of etcd", outage_s=OUTAGE_S)


@pytest.mark.row(44)
def test_etcd_is_compacted_and_defragmented_again_and_again(cluster: HostCluster, client: Writing) -> None:
    for _ in range(5):
        for node in cluster.lab.hosts:
            with contextlib.suppress(AssertionError):  # compacted already
                cluster.etcdctl(node, "compact", str(cluster.etcd_revision()))
            cluster.etcdctl(node, "defrag")
    word = ended(cluster, client, "etcd is compacted and defragmented", outage_s=NOTICED_S)
    assert len(word.epochs) == 1, word


@pytest.mark.row(46)
def test_the_leader_key_is_deleted(cluster: HostCluster, client: Writing) -> None:
    """A missing key is no vacancy: nobody takes over, the holder stops, an operator puts it back."""
    value = cluster.key("leader")
    cluster.etcdctl(cluster.store_leader, "del", f"{PREFIX}leader")
    falls_silent(client)
    hold(2 * H_S)
    assert cluster.key("leader") == ""
    cluster.put("leader", ahead(value))
    ended(cluster, client, "the leader key is deleted, and put back after 2 H", outage_s=5 * H_S)


@pytest.mark.row(46)
def test_the_leader_key_is_junk(cluster: HostCluster, client: Writing) -> None:
    value = cluster.key("leader")
    cluster.put("leader", '{"schema": 1, "holder": 7}')
    falls_silent(client)
    hold(H_S)
    assert "holder" in cluster.key("leader") and len(cluster.key("leader")) < 40
    cluster.put("leader", ahead(value))
    ended(cluster, client, "junk in the leader key, and its value put back after H", outage_s=5 * H_S)


@pytest.mark.row(46)
def test_the_leader_key_names_another_node(cluster: HostCluster, client: Writing) -> None:
    """Somebody wrote a standby into it: its watchdog knows that it never claimed."""
    value = json.loads(cluster.key("leader"))
    other = cluster.standbys[0]
    copy = f"{other}.{json.loads(cluster.key(f'members/{other}'))['data']}"
    cluster.put("leader", json.dumps(value | {"holder": copy, "beat": value["beat"] + AHEAD}))
    client.await_epoch_after(value["epoch"], within_s=40.0)
    ended(cluster, client, "the leader key names a standby", outage_s=4 * H_S)


@pytest.mark.row(47)
def test_the_whole_prefix_is_wiped(cluster: HostCluster, client: Writing) -> None:
    """An empty prefix is no new cluster: everybody waits for the operator."""
    names = cluster.etcdctl(cluster.store_leader, "get", "--prefix", PREFIX, "--keys-only").split()
    values = {name.removeprefix(PREFIX): cluster.key(name.removeprefix(PREFIX)) for name in names}
    cluster.etcdctl(cluster.store_leader, "del", "--prefix", PREFIX)
    falls_silent(client)
    hold(H_S)
    assert cluster.key("leader") == "" and cluster.key("cluster") == ""
    for name, value in values.items():
        if not name.startswith("members/"):
            cluster.put(name, ahead(value) if name == "leader" else value)
    ended(cluster, client, "the whole prefix is wiped, and put back after H", outage_s=5 * H_S)


@pytest.mark.row(43)
def test_etcd_has_no_room(cluster: HostCluster, client: Writing) -> None:
    """Its quota is used up: it takes no write until an operator has made room."""
    for host in cluster.lab.hosts.values():
        folder = f"/run/systemd/system/{ETCD_UNIT}.d"
        host.must(["mkdir", "-p", folder])
        host.must(
            ["sh", "-c", 'cat > "$1"', "sh", f"{folder}/quota.conf"],
            stdin="[Service]\nEnvironment=ETCD_QUOTA_BACKEND_BYTES=16000000\n",
        )
        host.must(["systemctl", "daemon-reload"])
        host.must(["systemctl", "restart", ETCD_UNIT])
        cluster.await_whole()
    node = cluster.standbys[0]
    try:
        with contextlib.suppress(AssertionError):
            for i in range(40):
                cluster.etcdctl(node, "put", f"/filler/{i}", stdin="x" * 1_000_000)
        until(lambda: "NOSPACE" in cluster.etcdctl(node, "alarm", "list"), within_s=20.0, what="the alarm is raised")
        falls_silent(client)
    finally:
        for host in cluster.lab.hosts.values():
            host.must(["rm", "-rf", f"/run/systemd/system/{ETCD_UNIT}.d"])
            host.must(["systemctl", "daemon-reload"])
        revision = json.loads(cluster.etcdctl(node, "endpoint", "status", "-w", "json"))[0]["Status"]["header"][
            "revision"
        ]
        cluster.etcdctl(node, "compact", str(revision))
        cluster.etcdctl(node, "defrag")
        for host in cluster.lab.hosts.values():
            host.must(["systemctl", "restart", ETCD_UNIT])
            hold(1.0)
        cluster.etcdctl(node, "alarm", "disarm", within_s=30.0)
        cluster.etcdctl(node, "del", "--prefix", "/filler/")
    ended(cluster, client, "etcd's quota is used up", outage_s=60.0)


@pytest.mark.row(48)
def test_etcd_is_restored_from_before_a_take_over(cluster: HostCluster, client: Writing) -> None:
    """Its past names another primary: nobody claims, follows or writes until the operator confirms."""
    nodes, first = list(cluster.lab.hosts), cluster.primary
    with without_etcd(cluster, nodes):
        for node in nodes:
            cluster.lab.host(node).must(["cp", "-a", ETCD_DIR, f"{ETCD_DIR}.copy"])
    cluster.await_whole()
    cluster.switch(next(n for n in cluster.standbys if n != first))
    epoch = client.epoch
    client.await_rows(100)
    value, seen = cluster.key("leader"), cluster.etcd_revision()
    with without_etcd(cluster, nodes):
        for node in nodes:
            cluster.lab.host(node).must(["sh", "-c", f"rm -rf {ETCD_DIR} && mv {ETCD_DIR}.copy {ETCD_DIR}"])
    hold(2 * H_S)
    quiet = client.acked
    hold(3.0)
    assert client.acked == quiet and client.epoch == epoch, "nobody trusts a store from the past"
    while cluster.etcd_revision() < seen + 50:
        cluster.bump(20)
    cluster.put("leader", ahead(value))
    ended(cluster, client, "etcd restored from before a take-over", outage_s=120.0)
