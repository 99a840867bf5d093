"""Operators who race, lose their connection, or do by hand what pgha does; moves that are cut short at any step."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from pgha.ops import drill_role
from tests.hosts import network
from tests.hosts.causes import kill, stopped
from tests.hosts.cluster import NAME, PORT, STATE, HostCluster
from tests.hosts.scenes import H_S, OUTAGE_S, WHOLE_S, ended, hold
from tests.hosts.shell import PLAIN, Ran, until
from tests.loopback.writing import Writing

pytestmark = pytest.mark.timeout(400)
NOTICED_S = 2.0
STOP_S = 8.0  # what an old primary gets for its shutdown in a switchover
DATA = f"/var/lib/pgha/{NAME}/data"
BIN = "/usr/lib/postgresql/15/bin"
MOMENTS_S = (0.1, 0.25, 0.4, 0.6)  # after the command is started: checkpoint, shutdown, claim, promotion, about so
COPYING = ("pg_basebackup", "pg_rewind")


@contextlib.contextmanager
def command(cluster: HostCluster, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """pgha, as a process that may be hurt."""
    argv = [sys.executable, "-m", "pgha", *words, "-i", str(cluster.inventory)]
    with subprocess.Popen(
        network.within(cluster.lab.network.operator, argv),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        env={**PLAIN, **cluster.environment()},
    ) as process:
        yield process
        process.wait(90.0)


def tools(cluster: HostCluster, node: str) -> list[int]:
    """The node's running copies and rewinds."""
    there = cluster.lab.host(node).processes()
    return [pid for pid, argv in there.items() if argv and argv[0].rpartition("/")[2] in COPYING]


def emptied(cluster: HostCluster, node: str) -> None:
    """Its data directory is gone while it is down; then it is started."""
    host = cluster.lab.host(node)
    cluster.lab.power_off(node)
    host.mount()
    assert (host.disk / DATA.lstrip("/")).is_dir()
    subprocess.run(["rm", "-rf", str(host.disk / DATA.lstrip("/"))], check=True, timeout=60)
    cluster.lab.boot(node)


@pytest.mark.row(72)
def test_two_operators_ask_for_two_switchovers_at_once(cluster: HostCluster, client: Writing) -> None:
    """One is obeyed, the other is told that somebody is at work, or finds it done."""
    said: dict[str, Ran] = {}

    def ask(to: str) -> None:
        said[to] = cluster.pgha("switchover", "--to", to, "-y")

    racing = [threading.Thread(target=ask, args=(to,)) for to in cluster.standbys]
    for thread in racing:
        thread.start()
    for thread in racing:
        thread.join(90.0)
    codes = sorted(ran.code for ran in said.values())
    assert codes[0] == 0 and codes[1] in (0, 4, 5, 13), said
    ended(cluster, client, "two switchovers at once", outage_s=NOTICED_S)


@pytest.mark.row(72)
def test_a_failover_races_with_a_switchover(cluster: HostCluster, client: Writing) -> None:
    one, other = cluster.standbys
    with command(cluster, "switchover", "--to", one, "-y"):
        refused = cluster.pgha("failover", "--to", other, "-y")
    assert refused.code != 1, refused
    ended(cluster, client, "a failover asked for during a switchover", outage_s=NOTICED_S)


@pytest.mark.row(73)
@pytest.mark.parametrize("after_s", MOMENTS_S)
def test_the_operators_command_dies_in_the_middle_of_a_switchover(
    cluster: HostCluster, client: Writing, after_s: float
) -> None:
    with command(cluster, "switchover", "-y") as process:
        hold(after_s + 0.2)
        process.send_signal(signal.SIGKILL)
    ended(cluster, client, f"the command of a switchover dies after {after_s} s", outage_s=NOTICED_S)


@pytest.mark.row(70)
@pytest.mark.parametrize("kind", ["agent", "postmaster", "guard"])
@pytest.mark.parametrize("side", ["source", "target"])
def test_one_side_of_a_switchover_dies_in_the_middle(
    cluster: HostCluster, client: Writing, side: str, kind: str
) -> None:
    source, target = cluster.primary, cluster.standbys[0]
    victim = source if side == "source" else target

    def stopping() -> bool:
        return json.loads(cluster.key("request") or "{}").get("phase") in ("accepted", "stopping", "handed")

    with command(cluster, "switchover", "--to", target, "-y"):
        with contextlib.suppress(AssertionError):  # it may be over before we look
            until(stopping, within_s=5.0, what="it has begun", every_s=0.01)
        kill(cluster.pids(victim, kind))
    ended(cluster, client, f"kill -9 of the {side}'s {kind} in a switchover", outage_s=OUTAGE_S)


@pytest.mark.row(71)
def test_the_old_primary_hangs_in_its_shutdown(cluster: HostCluster, client: Writing) -> None:
    """A helper that stands still holds it, even before its last checkpoint: after 8 s all of it is ended."""
    primary, epoch = cluster.primary, client.epoch
    with stopped(cluster.servers(primary, "walwriter")):
        said = cluster.pgha("switchover", "-y")
        hold()
    assert said.code in (0, 4, 5), said
    assert client.await_epoch_after(epoch) != primary
    ended(cluster, client, "the old primary hangs in its shutdown", outage_s=STOP_S + 2.0)


@pytest.mark.row(71)
def test_a_switchover_is_asked_for_beside_a_walsender_that_stands_still(cluster: HostCluster, client: Writing) -> None:
    """It would hold the shutdown, so nothing is stopped; the server that it is a part of counts as hung."""
    cluster.bear_no_longer()
    epoch, primary = client.epoch, cluster.primary
    with stopped(cluster.servers(primary, "walsender")[:1]):
        said = cluster.pgha("switchover", "-y")
        assert client.await_epoch_after(epoch) != primary
    assert said.code == 4 and "walsender of n" in said.err, said
    ended(cluster, client, "a switchover beside a walsender that stands still", outage_s=OUTAGE_S)


@pytest.mark.row(74)
def test_somebody_promotes_a_standby_by_hand(cluster: HostCluster, client: Writing) -> None:
    """No row is acknowledged by it as by the primary: it is ended, and comes back as a standby."""
    node, epoch = cluster.standbys[0], client.epoch
    cluster.lab.host(node).run(["psql", "-Xq", "-p", str(PORT), "-c", "SELECT pg_promote(false)"], user="postgres")
    hold(2 * H_S)
    word = ended(cluster, client, "pg_promote() by hand on a standby", outage_s=5.0)
    assert word.epochs == (epoch,), word


@pytest.mark.row(75)
def test_somebody_starts_the_former_primary_by_hand(cluster: HostCluster, client: Writing) -> None:
    """What was killed there comes up as a standby, whoever starts it."""
    epoch, old = client.epoch, cluster.primary
    host = cluster.lab.host(old)
    kill(cluster.pids(old, "guard") + cluster.pids(old, "agent") + cluster.servers(old))
    argv = ["flock", "-n", f"{STATE}/watchdog.lock", "sleep", "14"]
    host.run(["sh", "-c", 'setsid "$@" >/dev/null 2>&1 & echo held', "sh", *argv], user="postgres")
    client.await_epoch_after(epoch)
    config = f"-c config_file={STATE}/postgresql.conf"
    log = "/tmp/by-hand.log"
    started = host.run([f"{BIN}/pg_ctl", "-D", DATA, "-w", "-l", log, "-o", config, "start"], user="postgres")
    assert started.code == 0, started
    assert host.must(["psql", "-XqAt", "-p", str(PORT), "-c", "SELECT pg_is_in_recovery()"], user="postgres") == "t\n"
    hold(5.0)
    ended(cluster, client, "the former primary started by hand", outage_s=OUTAGE_S)


@pytest.mark.row(13)
@pytest.mark.parametrize("kind", ["agent", "guard", "tool"])
def test_a_clone_is_cut_short(cluster: HostCluster, client: Writing, kind: str) -> None:
    node = cluster.standbys[0]
    emptied(cluster, node)
    with contextlib.suppress(AssertionError):  # a small clone may be over before we look
        until(lambda: bool(tools(cluster, node)), within_s=40.0, what="the clone has begun", every_s=0.005)
    kill(tools(cluster, node) if kind == "tool" else cluster.pids(node, kind))
    ended(cluster, client, f"kill -9 of the {kind} in a clone", outage_s=5.0)


@pytest.mark.row(13)
@pytest.mark.parametrize("kind", ["agent", "guard", "postmaster"])
def test_a_promotion_is_cut_short(cluster: HostCluster, client: Writing, kind: str) -> None:
    """Whoever claims is killed at that moment; another one, or the same again, comes to write."""
    epoch, old = client.epoch, cluster.primary
    kill(cluster.servers(old))

    def claimant() -> str:
        body = json.loads(cluster.key("leader"))
        return str(body["holder"]).partition(".")[0] if body["epoch"] > epoch else ""

    until(lambda: bool(claimant()), within_s=20.0, what="somebody claims", every_s=0.005)
    kill(cluster.pids(claimant(), kind))
    client.await_epoch_after(epoch, within_s=60.0)
    ended(cluster, client, f"kill -9 of the claimant's {kind}", outage_s=2 * OUTAGE_S)


@pytest.mark.row(59)
@pytest.mark.parametrize("who", ["agent", "tool", "source"])
def test_a_rewind_is_cut_short(cluster: HostCluster, client: Writing, who: str) -> None:
    """The old primary has WAL that nobody confirmed, so it must be rewound; somebody dies in the middle of it."""
    epoch, old = client.epoch, cluster.primary
    diverged(cluster, old)
    client.await_epoch_after(epoch, within_s=40.0)
    with contextlib.suppress(AssertionError):
        until(lambda: bool(tools(cluster, old)), within_s=30.0, what="the rewind has begun", every_s=0.002)
    victims: dict[str, Callable[[], list[int]]] = {
        "agent": lambda: cluster.pids(old, "agent"),
        "tool": lambda: tools(cluster, old),
        "source": lambda: cluster.servers(cluster.primary),
    }
    kill(victims[who]())
    ended(cluster, client, f"kill -9 of the {who} in a rewind", outage_s=2 * OUTAGE_S)


def diverged(cluster: HostCluster, node: str) -> None:
    """The primary commits what no standby receives, and dies with it."""
    senders = cluster.servers(node, "walsender")
    with stopped(senders):
        argv = ["psql", "-Xq", "-p", str(PORT), "-d", drill_role.NAME]
        local = "SET synchronous_commit = local; INSERT INTO pgha_drill SELECT 98, g FROM generate_series(1, 50) g"
        cluster.lab.host(node).must([*argv, "-c", local], user="postgres")
        kill(cluster.servers(node))


@pytest.mark.row(67)
def test_waiting_commits_are_cancelled_again_and_again(cluster: HostCluster, client: Writing) -> None:
    """A cancelled wait is a COMMIT with a warning: no promise, so nobody counts it; no confirmed one is lost."""
    primary = cluster.primary
    sql = "SELECT count(pg_cancel_backend(pid)) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    with stopped([pid for node in cluster.standbys for pid in cluster.servers(node, "walreceiver")]):
        for _ in range(12):
            cluster.sql(primary, [sql])
            hold(0.1)
        epoch = client.epoch
        kill(cluster.servers(primary))
    client.await_epoch_after(epoch, within_s=60.0)
    ended(cluster, client, "waiting commits cancelled, then the primary dies", outage_s=2 * OUTAGE_S)


@pytest.mark.row(68)
def test_the_primary_restarts_with_waiting_commits_and_then_loses_power(cluster: HostCluster, client: Writing) -> None:
    epoch, primary = client.epoch, cluster.primary
    with stopped([pid for node in cluster.standbys for pid in cluster.servers(node, "walreceiver")]):
        hold(0.5)
        kill(cluster.pids(primary, "postmaster"))
        hold(0.5)
        cluster.lab.power_off(primary)
    client.await_epoch_after(epoch, within_s=60.0)
    hold()
    cluster.lab.boot(primary)
    ended(cluster, client, "crash with waiting commits, then power off", outage_s=2 * OUTAGE_S)


@pytest.mark.row(79)
def test_a_cluster_with_a_tablespace_fails_over_and_clones(cluster: HostCluster, client: Writing) -> None:
    for host in cluster.lab.hosts.values():
        host.must(["install", "-d", "-o", "postgres", "-m", "0700", "/var/lib/space"])
    cluster.sql(cluster.primary, ["CREATE TABLESPACE space LOCATION '/var/lib/space'"])
    cluster.sql(
        cluster.primary, ["CREATE TABLE IF NOT EXISTS t_space (n int) TABLESPACE space"], dbname=drill_role.NAME
    )
    epoch, old = client.epoch, cluster.primary
    diverged(cluster, old)
    client.await_epoch_after(epoch, within_s=40.0)
    cluster.await_whole(within_s=WHOLE_S)
    emptied(cluster, cluster.standbys[0])
    ended(cluster, client, "rewind and clone with a tablespace", outage_s=OUTAGE_S)
    cluster.sql(cluster.primary, ["DROP TABLE t_space"], dbname=drill_role.NAME)
    cluster.sql(cluster.primary, ["DROP TABLESPACE space"])
