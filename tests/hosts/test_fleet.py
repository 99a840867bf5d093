"""On real hosts a cluster grows, loses a host's disk, shrinks and ends; a client writes until it does.

Its own lab: four hosts, of which one comes later, one is set up anew and one is pulled out for good.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgha.errors import Exit
from tests.hosts.cluster import MADE, NAME, PORT, HostCluster, writing
from tests.hosts.lab import Lab, Spec
from tests.hosts.scenes import SUPERVISOR, judged
from tests.hosts.shell import Ran, until

pytestmark = pytest.mark.timeout(420)

UNIT = f"postgresql-{NAME}"
NO_NOISE_S = 3.0  # nobody is to notice anything; two cores carry four hosts


@pytest.fixture
def cluster() -> Iterator[HostCluster]:
    """Three nodes; the fourth host is there already."""
    lab = Lab("fleet")
    found = HostCluster(lab, SUPERVISOR)
    try:
        lab.up([Spec(f"n{i}") for i in (1, 2, 3)])
        MADE.append(found)
        found.bootstrap()
        yield found
    finally:
        MADE.clear()
        found.close()
        lab.down()


def postmasters(cluster: HostCluster, *names: str) -> dict[str, list[int]]:
    """The machine's number of each server."""
    return {name: cluster.pids(name, "postmaster") for name in names}


def listed(cluster: HostCluster, *names: str) -> None:
    """The operator's file has exactly these nodes."""
    path, hosts = cluster.inventory, cluster.lab.hosts
    lines = [line for line in path.read_text().splitlines() if not line.startswith("  n")]
    at = lines.index("nodes:") + 1
    path.write_text("\n".join([*lines[:at], *(f"  {n}: {hosts[n].address}" for n in names), *lines[at:]]) + "\n")
    cluster.close()  # what looks reads the file once


def well(said: Ran) -> Ran:
    """It ended well."""
    assert said.code == 0, f"{said.out}\n{said.err}"
    return said


def test_it_grows_and_shrinks_while_a_client_writes(cluster: HostCluster) -> None:
    lab = cluster.lab
    with writing(cluster) as client:
        before = postmasters(cluster, "n1", "n2", "n3")
        lab.add(Spec("n4"))
        listed(cluster, "n1", "n2", "n3", "n4")
        begun = time.monotonic()
        well(cluster.pgha("bootstrap", "-y", within_s=200.0))
        print(f"a fourth node: {time.monotonic() - begun:.1f} s")
        cluster.await_whole()
        assert postmasters(cluster, "n1", "n2", "n3") == before, "nobody else's server is restarted"
        begun = time.monotonic()
        said = well(cluster.pgha("remove", "n4", "-y"))
        print(f"and out again: {time.monotonic() - begun:.1f} s")
        assert f"{cluster.inventory}:" in said.out and "n4: " in said.out
        left = lab.host("n4").must(["sh", "-c", "ls -d /var/lib/pgha/* /etc/pgha /opt/pgha /etc/cron.d/pgha-* || true"])
        assert [Path(line).name.partition("-")[0] for line in left.split()] == [f"{NAME}.journal", f"{NAME}.removed"]
        assert postmasters(cluster, "n1", "n2", "n3") == before and not cluster.pids("n4", "postmaster")
        word = judged(client, NO_NOISE_S)
    print(f"grown and shrunk: {word}")
    assert word.is_clean and word.outage_s < NO_NOISE_S, word


def test_a_host_set_up_anew_comes_back_and_one_that_is_gone_is_left_out(cluster: HostCluster) -> None:
    lab = cluster.lab
    known = lab.known_hosts.read_text()
    lab.power_off("n3")
    lab.remove("n3")
    lab.add(Spec("n3"))
    fresh = lab.known_hosts.read_text()
    if fresh != known:  # as it is for an operator: the key that is known is the former machine's
        lab.known_hosts.write_text(known)
        said = cluster.pgha("bootstrap", "-y")
        assert said.code == Exit.UNREACHABLE and "has changed" in said.err and "ssh-keygen -R" in said.err, said.err
        lab.known_hosts.write_text(fresh)
    said = well(cluster.pgha("bootstrap", "-y", within_s=200.0))
    assert "its former etcd member is taken out" in said.err
    cluster.await_whole()
    lab.power_off("n3")
    said = cluster.pgha("logs", "--since", "1h")
    assert said.code == Exit.UNREACHABLE and said.err.count("! n3:") == 1
    assert {line.split()[2] for line in said.out.splitlines()} >= {"n1", "n2"}
    assert cluster.pgha("remove", "n3", "-y").code == Exit.UNREACHABLE
    said = cluster.pgha("remove", "n3", "--gone", "-y")
    assert "n3 is removed" in said.out and "leave it in" in said.out, said
    lab.boot("n3")

    def row() -> dict[str, object]:
        rows = json.loads(cluster.pgha("list", "-o", "json").out)["nodes"]
        return next(r for r in rows if r["node"] == "n3")

    until(lambda: row()["state"] != "never reported", within_s=90.0, what="its watchdog reports again", every_s=1.0)
    assert row()["role"] != "primary" and row()["sync"] == "no", "it is shut out: no voter, let in by nobody"
    well(cluster.pgha("remove", "n3", "-y"))
    assert not cluster.pids("n3", "guard") and not cluster.pids("n3", "postmaster")
    well(cluster.pgha("bootstrap", "-y", within_s=200.0))
    cluster.await_whole()


def test_postgresql_stays_without_pgha_and_comes_back_to_it_and_then_all_ends(cluster: HostCluster) -> None:
    lab = cluster.lab
    primary = cluster.primary
    cluster.sql(primary, ["CREATE TABLE kept AS SELECT generate_series(1, 1000) AS i"])
    well(cluster.pgha("destroy", "--keep-postgres", "--confirm", NAME, within_s=120.0))
    cluster.close()
    for name, host in lab.hosts.items():
        host.must(["systemctl", "is-active", "--quiet", UNIT])
        assert not cluster.pids(name, "guard") and not cluster.pids(name, "etcd")
        assert host.run(["test", "-e", "/opt/pgha"]).code != 0
    lab.host(primary).must(["systemctl", "restart", UNIT])
    ready = ["pg_isready", "-q", "-p", str(PORT)]
    until(lambda: lab.host(primary).run(ready).code == 0, within_s=30.0, what="PostgreSQL is back")
    rows = "SELECT count(*) FROM kept"
    assert cluster.sql(primary, ["INSERT INTO kept VALUES (0)", rows]).split()[-1] == "1001"
    assert cluster.pgha("bootstrap", "-y").code == Exit.REFUSED
    well(cluster.pgha("bootstrap", "--new-store", "-y", within_s=200.0))
    cluster.await_whole()
    assert cluster.sql(cluster.primary, [rows]).strip() == "1001"
    well(cluster.pgha("destroy", "--confirm", NAME, within_s=120.0))
    cluster.close()
    for name, host in lab.hosts.items():
        left = host.must(["sh", "-c", "ls -d /var/lib/pgha/* /etc/pgha /opt/pgha /etc/systemd/system/*pgha* || true"])
        assert [Path(line).name.partition("-")[0] for line in left.split()] == [f"{NAME}.destroyed", f"{NAME}.journal"]
        assert not any(cluster.pids(name, kind) for kind in ("guard", "agent", "postmaster", "etcd"))
