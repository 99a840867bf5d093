"""A cluster on an etcd that the operator already has: with TLS, a client certificate, a user and its password."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgha.adapters.certificates import issue, make_authority
from tests.hosts.cluster import MADE, NAME, HostCluster, writing
from tests.hosts.conftest import NAMES
from tests.hosts.lab import Lab, Spec
from tests.hosts.scenes import SUPERVISOR, ended

pytestmark = pytest.mark.timeout(300)

ETC = f"/etc/pgha/{NAME}"
THEIRS = "/srv/etcd"
PORT = 3379
PASSWORD = "s3cret'%\\@#"
SETUP = r"""
set -eu; port=$1; password=$(cat)
ctl() { ETCDCTL_API=3 etcdctl --endpoints="https://127.0.0.1:$port" --cacert=/srv/etcd/ca.pem \
  --cert=/srv/etcd/client.pem --key=/srv/etcd/client.key "$@"; }
i=0; until ctl endpoint health 2>/dev/null; do i=$((i + 1)); [ "$i" -lt 50 ]; sleep 0.2; done
ctl user add root --new-user-password=r00t; ctl user grant-role root root
ctl role add shop; ctl role grant-permission shop --prefix=true readwrite /pgha/shop/
ctl user add shop --new-user-password="$password"; ctl user grant-role shop shop
ctl auth enable
"""


@pytest.fixture
def cluster() -> Iterator[HostCluster]:
    """Three hosts; on the first one an etcd that is not pgha's."""
    lab = Lab("theirs")
    found = HostCluster(lab, SUPERVISOR)
    try:
        lab.up([Spec(name) for name in NAMES])
        MADE.append(found)
        yield found
    finally:
        MADE.clear()
        found.close()
        lab.down()


def their_etcd(cluster: HostCluster) -> dict[str, Path]:
    """Runs on the first host; gives the operator's files for it."""
    host, authority = cluster.lab.host("n1"), make_authority("theirs")
    pairs = {"ca": authority, "etcd": issue(authority, (host.address, "127.0.0.1")), "client": issue(authority, ())}
    host.must(["mkdir", "-p", THEIRS])
    here: dict[str, Path] = {}
    for name, (certificate, key) in pairs.items():
        for end, text in (("pem", certificate), ("key", key)):
            host.must(["sh", "-c", 'cat >"$0"', f"{THEIRS}/{name}.{end}"], stdin=text)
            here[f"{name}.{end}"] = cluster.lab.place / f"their-{name}.{end}"
            here[f"{name}.{end}"].write_text(text)
    urls = {"client": f"https://{host.address}:{PORT},https://127.0.0.1:{PORT}", "peer": "http://127.0.0.1:3380"}
    argv = ["etcd", "--name=theirs", f"--data-dir={THEIRS}/data", f"--listen-client-urls={urls['client']}"]
    argv += [f"--advertise-client-urls=https://{host.address}:{PORT}", f"--listen-peer-urls={urls['peer']}"]
    argv += [f"--initial-advertise-peer-urls={urls['peer']}", f"--initial-cluster=theirs={urls['peer']}"]
    argv += [f"--trusted-ca-file={THEIRS}/ca.pem", f"--cert-file={THEIRS}/etcd.pem", f"--key-file={THEIRS}/etcd.key"]
    host.must(["systemd-run", "--quiet", "--unit=theirs", *argv, "--client-cert-auth"])
    host.must(["sh", "-c", SETUP, "sh", str(PORT)], stdin=PASSWORD)
    here["password"] = cluster.lab.place / "their-password"
    here["password"].write_text(PASSWORD + "\n")
    return here


def section(cluster: HostCluster) -> list[str]:
    """Of the inventory, once their etcd runs."""
    here = their_etcd(cluster)
    return [
        "etcd:",
        f"  endpoints: ['https://{cluster.lab.host('n1').address}:{PORT}']",
        f"  ca: {here['ca.pem']}",
        f"  cert: {here['client.pem']}",
        f"  key: {here['client.key']}",
        f"  user: {NAME}",
        f"  password: file:{here['password']}",
    ]


def test_an_etcd_with_tls_and_a_login_is_used_and_its_files_are_carried(cluster: HostCluster) -> None:
    print(f"bootstrap on an existing etcd: {cluster.bootstrap(extra=section(cluster)):.1f} s")
    for host in cluster.lab.hosts.values():
        listed = set(host.must(["find", ETC, "-name", "store*", "-printf", "%f %m %u\n"]).splitlines())
        assert listed == {f"{n} 600 postgres" for n in ("store-ca.pem", "store.pem", "store.key", "store.password")}
        store = json.loads(host.must(["cat", f"/etc/pgha/{NAME}.json"]))["store"]
        assert store["password_file"] == f"{ETC}/store.password" and store["user"] == NAME
        assert host.run(["test", "-e", f"/etc/systemd/system/pgha-etcd-{NAME}.service"]).code == 1
    with writing(cluster) as client:
        epoch, primary = client.epoch, cluster.primary
        assert cluster.pgha("switchover", "-y").code == 0
        assert client.await_epoch_after(epoch) != primary
        time.sleep(1.0)
        ended(cluster, client, "switchover on an existing etcd", outage_s=3.0)
    assert PASSWORD not in cluster.pgha("check", "-o", "json").out


def test_on_it_a_node_is_removed_set_up_anew_under_its_name_and_added_again(cluster: HostCluster) -> None:
    lab = cluster.lab
    cluster.bootstrap(extra=section(cluster))
    with writing(cluster) as client:
        for planned in (True, False):  # the second time its host is lost, and nobody said so
            if planned:
                said = cluster.pgha("remove", "n3", "-y")
                assert "n3 is removed" in said.out and "take it out of" in said.out, said
                assert not cluster.pids("n3", "guard") and not cluster.pids("n3", "postmaster")
            lab.remove("n3")
            lab.add(Spec("n3"))
            said = cluster.pgha("bootstrap", "-y", within_s=200.0)
            assert said.code == 0, f"{said.out}\n{said.err}"
            cluster.await_whole()
        ended(cluster, client, "a node leaves and comes back, on an existing etcd", outage_s=3.0)
    cluster.lab.block("n2", "n1", ports=[PORT])
    said = cluster.pgha("check")
    assert said.code == 4 and "n2 reaches no endpoint of the store" in said.out, said
