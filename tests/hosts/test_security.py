"""What the nodes say to each other and to the store, on real hosts: over TLS, by name, with a login; and how a cluster
that had none of it gets there while a client outside never stops writing."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator

import pytest

from pgha.adapters.certificates import make_authority
from pgha.errors import Exit
from tests.hosts.cluster import MADE, NAME, PORT, STATE, HostCluster, writing
from tests.hosts.conftest import NAMES
from tests.hosts.lab import Lab, Spec
from tests.hosts.scenes import SUPERVISOR, ended
from tests.hosts.shell import until

pytestmark = pytest.mark.timeout(400)

ETC = f"/etc/pgha/{NAME}"
NODE_FILE = f"/etc/pgha/{NAME}.json"
CALM_S = 3.0  # a write may wait so long while standbys connect anew
ALL_TLS = "SELECT bool_and(ssl), count(*) FROM pg_stat_replication JOIN pg_stat_ssl USING (pid)"
# Every argument, every variable of every process, every log and configuration that others may read.
TELLTALE = r"""
secrets=$1; shift
cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null | tr '\0' '\n' >/tmp/told
journalctl --no-pager -q >>/tmp/told 2>/dev/null
cat /var/lib/pgha/*/state/*.log /var/lib/pgha/*.journal /etc/pgha/*.json >>/tmp/told 2>/dev/null
cat /etc/systemd/system/pgha* /etc/cron.d/pgha* >>/tmp/told 2>/dev/null
found=0; for f in $secrets; do grep -qF -- "$(cat "$f")" /tmp/told && { echo "$f"; found=1; }; done
rm -f /tmp/told; exit $found
"""
OLDER = r"""
import json, os, sys
body = json.load(open(sys.argv[1]))
body.pop("tls")
body["store"]["user"] = body["store"]["password_file"] = ""
with open(sys.argv[1] + ".new", "w") as f:
    json.dump(body, f)
os.rename(sys.argv[1] + ".new", sys.argv[1])
"""


@pytest.fixture(scope="module")
def made() -> Iterator[HostCluster]:
    """One cluster for all of them."""
    lab = Lab("secure")
    cluster = HostCluster(lab, SUPERVISOR)
    try:
        lab.up([Spec(name) for name in NAMES])
        MADE.append(cluster)
        cluster.bootstrap()
        yield cluster
    finally:
        MADE.clear()
        cluster.close()
        lab.down()


@pytest.fixture
def cluster(made: HostCluster) -> HostCluster:
    """Whole."""
    made.await_whole()
    return made


def as_replicator(cluster: HostCluster, here: str, there: str, **more: str) -> tuple[int, str]:
    """A node asks another one's server as the role for replication does; exit code and what was said."""
    words = {
        "host": cluster.lab.host(there).address,
        "port": str(PORT),
        "user": "pgha_replicator",
        "dbname": "postgres",
        "passfile": f"{STATE}/passfile",
        "sslrootcert": f"{ETC}/ca.pem",
        "sslmode": "verify-full",
    } | more
    text = " ".join(f"{key}={value}" for key, value in words.items())
    said = cluster.lab.host(here).run(["psql", "-XAt", "-d", text, "-c", "SELECT 1"], user="postgres")
    return said.code, said.out + said.err


def etcdctl(cluster: HostCluster, node: str, *words: str, user: str = "", secret: str = "") -> tuple[int, str]:
    """etcd's own client on the node, with the certificates of its agent; exit code and what was said."""
    host = cluster.lab.host(node)
    argv = ["env", "ETCDCTL_API=3", "etcdctl", f"--endpoints=https://{host.address}:2379", f"--cacert={ETC}/ca.pem"]
    argv += [f"--cert={ETC}/client.pem", f"--key={ETC}/client.key"]
    if user:
        argv += ["--user", f"{user}:{host.must(['cat', f'{ETC}/{secret}'])}"]
    said = host.run([*argv, *words])
    return said.code, said.out + said.err


def test_nodes_reach_each_other_over_tls_only_and_know_whom_they_reach(cluster: HostCluster) -> None:
    primary, (other, _) = cluster.primary, cluster.standbys
    assert cluster.sql(primary, [ALL_TLS]).strip() == "t|2"
    assert as_replicator(cluster, other, primary) == (0, "1\n")
    code, said = as_replicator(cluster, other, primary, sslmode="disable")
    assert code == 2 and "no encryption" in said
    cluster.lab.host(other).must(["sh", "-c", "cat >/tmp/other.pem"], stdin=make_authority("other")[0])
    code, said = as_replicator(cluster, other, primary, sslrootcert="/tmp/other.pem")
    assert code == 2 and "certificate verify failed" in said
    code, said = as_replicator(cluster, other, primary, user="postgres")
    assert code == 2, f"no superuser over the network: {said}"


def test_a_client_connects_by_the_string_that_dsn_prints(cluster: HostCluster) -> None:
    dsn = cluster.pgha("dsn", "-U", "pgha_drill", "-d", "pgha_drill").out.strip()
    argv = ["env", f"PGPASSWORD={cluster.password}", "psql", "-XAt", "-d", dsn, "-c"]
    asked = "SELECT ssl, NOT pg_is_in_recovery() FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    assert cluster.lab.operator([*argv, asked]).out.strip() == "t|t"
    bound = ["env", "PGCHANNELBINDING=require", *argv, "SELECT 1"]
    assert cluster.lab.operator(bound).out.strip() == "1", "as the drill's client asks for it"


def test_the_store_takes_nobody_without_login_and_the_clusters_user_only_to_its_own_keys(cluster: HostCluster) -> None:
    code, said = etcdctl(cluster, "n1", "get", "--prefix", f"/pgha/{NAME}/")
    assert code != 0 and ("permission denied" in said or "user name is empty" in said)
    pgha = {"user": "pgha", "secret": "store.password"}
    assert etcdctl(cluster, "n1", "get", "--prefix", "--keys-only", f"/pgha/{NAME}/", **pgha)[0] == 0
    for words in (("get", "--prefix", "/pgha/"), ("put", "/pgha/other/leader", "x"), ("user", "list")):
        code, said = etcdctl(cluster, "n1", *words, **pgha)
        assert code != 0 and "permission denied" in said, words


def test_check_tells_what_wants_to_be_put_right_and_how(cluster: HostCluster) -> None:
    well = cluster.pgha("check")
    assert well.code == 0 and "survives 1 more loss" in well.out, well.out
    cluster.sql(cluster.primary, ["CREATE ROLE careless", "ALTER ROLE careless SET synchronous_commit = off"])
    cluster.sql(cluster.primary, ["SELECT pg_create_physical_replication_slot('nobody', true)"])
    said = cluster.pgha("check")
    assert said.code == Exit.DEGRADED and 'ALTER ROLE "careless" RESET synchronous_commit' in said.out, said.out
    body = json.loads(cluster.pgha("check", "-o", "json").out)
    assert [f["what"] for f in body["findings"] if "careless" in f["what"]] and body["exit"] == Exit.DEGRADED
    cluster.sql(cluster.primary, ["DROP ROLE careless", "SELECT pg_drop_replication_slot('nobody')"])
    assert cluster.pgha("check").code == 0


def test_secrets_are_their_users_own_and_stand_nowhere_else(cluster: HostCluster) -> None:
    cluster.pgha("bootstrap", "-y")
    secrets = f"{ETC}/store.password {ETC}/etcd-root.password"
    for host in cluster.lab.hosts.values():
        listed = host.must(["find", ETC, "-type", "f", "-printf", "%f %m %u\n"]).splitlines()
        open_to_all = {line.split()[0] for line in listed if line.split()[1] != "600"}
        assert open_to_all == {"ca.pem", "client.pem", "etcd.pem", "postgres.pem"}
        assert {"store.password 600 postgres", "etcd-root.password 600 root", "ca.key 600 root"} <= set(listed)
        said = host.run(["sh", "-c", TELLTALE, "sh", secrets])
        assert said.code == 0, said.out
        password = re.search(r":(\S+)$", host.must(["cat", f"{STATE}/passfile"]))
        assert password is not None
        host.must(["sh", "-c", "umask 077; cat >/root/replication"], stdin=password.group(1))
        assert host.run(["sh", "-c", TELLTALE, "sh", "/root/replication"]).code == 0
    mine = sorted(p for p in (cluster.lab.home / ".local/state/pgha" / NAME).iterdir())
    assert [p.name for p in mine] == ["ca.pem", "client.key", "client.pem", "store.password"]
    assert {oct(p.stat().st_mode & 0o777) for p in mine} == {"0o600"}


def older(cluster: HostCluster) -> None:
    """As a version made it that knew neither TLS between the servers nor a login for the store."""
    code, said = etcdctl(cluster, "n1", "auth", "disable", user="root", secret="etcd-root.password")
    assert code == 0, said
    for host in cluster.lab.hosts.values():
        host.must(["python3", "-c", OLDER, NODE_FILE])
        host.must(["/opt/pgha/current/bin/pgha", "watchdog", "--node", NODE_FILE, "--restart"], user="postgres")
        for name in ("postgres.pem", "postgres.key", "store.password", "etcd-root.password"):
            host.must(["rm", f"{ETC}/{name}"])

    def is_plain() -> bool:
        asked = [cluster.sql(name, ["SHOW ssl", "SHOW primary_conninfo"]) for name in cluster.lab.hosts]
        return all(said.startswith("off\n") and "sslmode" not in said for said in asked)

    until(is_plain, within_s=20.0, what="nobody speaks TLS")
    for path in (cluster.lab.home / ".local/state/pgha" / NAME).iterdir():
        path.unlink()
    cluster.close()
    cluster.await_whole()


def test_a_cluster_of_before_is_secured_by_bootstrap_while_it_is_written_to(cluster: HostCluster) -> None:
    older(cluster)
    assert cluster.pgha("list").code == 0, "and is looked at as ever until then"
    with writing(cluster) as client:
        epoch = client.epoch
        said = cluster.pgha("bootstrap", "-y", within_s=200.0)
        assert said.code == 0, said.err
        client.await_rows()
        cluster.close()  # what looked at it had no login
        word = ended(cluster, client, "secured while it runs", outage_s=CALM_S)
        assert word.epochs == (epoch,), "nobody lost the lease"
    assert cluster.sql(cluster.primary, [ALL_TLS]).strip() == "t|2"
    for name, host in cluster.lab.hosts.items():
        assert cluster.sql(name, ["SHOW ssl"]).strip() == "on"
        assert json.loads(host.must(["cat", NODE_FILE]))["tls"]["required"] is True
    assert etcdctl(cluster, "n1", "get", "--prefix", f"/pgha/{NAME}/")[0] != 0
    again = cluster.pgha("bootstrap", "-y")
    assert again.code == 0 and "replaced" not in again.err, again.err


def test_a_standby_is_cloned_and_a_former_primary_rewound_over_tls(cluster: HostCluster) -> None:
    with writing(cluster) as client:
        epoch, primary = client.epoch, cluster.primary
        cluster.lab.power_off(primary)
        assert client.await_epoch_after(epoch) != primary
        cluster.lab.boot(primary)
        ended(cluster, client, "power off, primary, with TLS and a login")
    victim = next(name for name in cluster.standbys if name != primary)
    host, data = cluster.lab.host(victim), f"/var/lib/pgha/{NAME}/data"
    cluster.lab.power_off(victim)
    host.mount()
    shutil.rmtree(host.disk / data.lstrip("/"))
    cluster.lab.boot(victim)
    cluster.await_whole()
    assert cluster.sql(cluster.primary, [ALL_TLS]).strip() == "t|2"
