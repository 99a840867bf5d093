"""On real hosts PostgreSQL gets its next minor release under a writing client: one switchover's outage, nothing lost.

Debian 12's first archive has 15.18, its security archive a later one; hosts that are offered nothing newer skip it.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from pgha import __version__
from pgha.errors import Exit
from tests.hosts import network
from tests.hosts.cluster import CHECKOUT, MADE, STATE, HostCluster, writing
from tests.hosts.lab import Lab, Spec
from tests.hosts.scenes import SUPERVISOR
from tests.hosts.shell import PLAIN, Ran, run

pytestmark = pytest.mark.timeout(560)

NAMES = ("n1", "n2", "n3")
UPGRADE_S = 240.0
OUTAGE_S = 2.0  # of a switchover, on a machine whose disk three hosts' apt shares


@pytest.fixture
def cluster() -> Iterator[HostCluster]:
    """Three nodes of its own."""
    lab = Lab("upgrade")
    found = HostCluster(lab, SUPERVISOR)
    try:
        lab.up([Spec(name) for name in NAMES])
        MADE.append(found)
        found.bootstrap()
        yield found
    finally:
        MADE.clear()
        found.close()
        lab.down()


def well(said: Ran) -> str:
    """Its output; it ended well."""
    assert said.code == 0, f"{said.out}\n{said.err}"
    return said.out


def starts(cluster: HostCluster, node: str, release: str) -> int:
    """How often a server of this release has begun there."""
    log = cluster.lab.host(node).must(["cat", f"{STATE}/postgresql.log"])
    return log.count(f"starting PostgreSQL {release} ")


def interrupted(cluster: HostCluster, at: str) -> str:
    """The upgrade, ended by Ctrl-C when it has told this; gives what it said."""
    argv = [sys.executable, "-m", "pgha", "upgrade", "-y", "-i", str(cluster.inventory)]
    process = subprocess.Popen(
        network.within(cluster.lab.network.operator, argv),
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
        env={**PLAIN, **cluster.environment()},
    )
    said = ""
    with process:
        assert process.stderr is not None
        for line in process.stderr:
            said += line
            if at in line:
                process.send_signal(signal.SIGINT)
    assert process.returncode == Exit.INTERRUPTED, said
    return said


def test_postgresql_gets_its_next_minor_release_under_a_writing_client(cluster: HostCluster) -> None:
    hosts = {name: cluster.lab.host(name) for name in NAMES}
    planned = well(cluster.pgha("upgrade", "--dry-run", "-o", "json", within_s=120.0))
    plan = cast("dict[str, dict[str, list[dict[str, str]]]]", json.loads(planned))["plan"]
    (old,) = {str(row["running"]).split()[0] for row in plan["nodes"]}
    (new,) = {row["coming"] for row in plan["nodes"]}
    if old == new:
        pytest.skip(f"apt offers these hosts nothing newer than {old}")
    before = {name: starts(cluster, name, old) for name in NAMES}
    hosts["n3"].must(["apt-mark", "hold", "postgresql-15"])
    first, others = cluster.primary, cluster.standbys
    with writing(cluster) as client:
        said = interrupted(cluster, f"{others[1]}: installing")
        assert "goes on there" in said and starts(cluster, others[0], new) == 1
        well(cluster.pgha("upgrade", "-y", within_s=UPGRADE_S))
        cluster.await_whole()
        client.await_rows()
        word = client.verdict()
    print(f"from {old} to {new}: {word}")
    assert word.is_clean and word.outage_s < OUTAGE_S and len(word.epochs) == 2
    listed = json.loads(well(cluster.pgha("list", "-o", "json")))
    assert {str(row["postgres_version"]).split()[0] for row in listed["nodes"]} == {new}
    # the switchover started the old primary's old server once more; nothing else started or stopped one
    assert {name: starts(cluster, name, new) for name in NAMES} == dict.fromkeys(NAMES, 1)
    assert {n: starts(cluster, n, old) - before[n] for n in NAMES} == {n: int(n == first) for n in NAMES}
    assert hosts["n3"].must(["apt-mark", "showhold"]).split() == ["postgresql-15"], "a hold is kept"
    assert all(host.run(["test", "-e", "/usr/sbin/policy-rc.d"]).code == 1 for host in hosts.values())
    assert "already" in well(cluster.pgha("upgrade", "-y", within_s=120.0))


def test_pgha_itself_is_replaced_under_the_running_servers_and_back(cluster: HostCluster, tmp_path: Path) -> None:
    """By `bootstrap` of a version that calls itself another one; commands of either work with nodes of the other."""
    shutil.copytree(CHECKOUT / "pgha", tmp_path / "pgha", ignore=shutil.ignore_patterns("__pycache__"))
    own = tmp_path / "pgha" / "__init__.py"
    own.write_text(own.read_text().replace(f'"{__version__}"', '"9.9.9"'))

    def newer(*words: str) -> Ran:
        argv = [sys.executable, "-m", "pgha", *words, "-i", str(cluster.inventory)]
        environment = cluster.environment() | {"PYTHONPATH": str(tmp_path)}
        return run(network.within(cluster.lab.network.operator, argv), within_s=200.0, env=environment)

    def versions(said: Ran) -> set[str]:
        return {row["pgha_version"] for row in json.loads(well(said))["nodes"]}

    servers = {name: cluster.pids(name, "postmaster") for name in NAMES}
    with writing(cluster) as client:
        well(newer("bootstrap", "-y"))
        cluster.await_whole()
        assert versions(newer("list", "-o", "json")) == versions(cluster.pgha("list", "-o", "json")) == {"9.9.9"}
        well(cluster.pgha("bootstrap", "-y", within_s=200.0))
        cluster.await_whole()
        assert versions(newer("list", "-o", "json")) == {__version__}
        assert {name: cluster.pids(name, "postmaster") for name in NAMES} == servers, "no server is restarted"
        well(newer("switchover", "-y"))
        cluster.await_whole()
        client.await_rows()
        word = client.verdict()
    print(f"pgha replaced and put back, then a switchover by the newer command: {word}")
    assert word.is_clean and len(word.epochs) == 2
