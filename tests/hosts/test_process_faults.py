"""Processes of every kind that stand still, are killed, or can't have what they need; judged by the client outside."""

from __future__ import annotations

import signal

import pytest

from pgha.ops import drill_role
from tests.hosts.causes import kill, stopped
from tests.hosts.cluster import NAME, PORT, STATE, HostCluster
from tests.hosts.processes import argv_of, send
from tests.hosts.scenes import H_S, OUTAGE_S, ended, hold
from tests.hosts.shell import until
from tests.loopback.writing import Writing

pytestmark = pytest.mark.timeout(400)
NOTICED_S = 2.0
NODE_FILE = f"/etc/pgha/{NAME}.json"
WATCHDOG = ["/opt/pgha/current/bin/pgha", "watchdog", "--node", NODE_FILE]


def gone(pids: list[int]) -> bool:
    """None of them is there."""
    return not any(argv_of(pid) for pid in pids)


@pytest.mark.row(1)
def test_every_process_of_the_server_is_killed(cluster: HostCluster, client: Writing) -> None:
    epoch = client.epoch
    kill(cluster.servers(cluster.primary))
    client.await_epoch_after(epoch)
    ended(cluster, client, "kill -9 of the whole server", outage_s=NOTICED_S)


@pytest.mark.row(2)
def test_only_the_postmaster_is_killed_while_a_client_fires_without_waiting(
    cluster: HostCluster, client: Writing
) -> None:
    """Its backends would go on and acknowledge; the guard ends them before anybody else may write."""
    epoch, primary = client.epoch, cluster.primary
    servers = cluster.servers(primary)
    cluster.sql(primary, ["CREATE TABLE IF NOT EXISTS pgha_fire (n int)"], dbname=drill_role.NAME)
    text = "INSERT INTO pgha_fire VALUES (1);\n" * 20000
    argv = ["timeout", "8", "psql", "-Xq", "-p", str(PORT), "-d", drill_role.NAME]
    script = 'cat > /tmp/fire.sql; nohup "$@" -f /tmp/fire.sql >/dev/null 2>&1 &'
    cluster.lab.host(primary).run(["sh", "-c", script, "sh", *argv], user="postgres", stdin=text)
    hold(0.3)
    kill(cluster.pids(primary, "postmaster"))
    client.await_epoch_after(epoch)
    assert gone(servers)
    ended(cluster, client, "kill -9 of the postmaster under a client that does not wait", outage_s=NOTICED_S)
    cluster.sql(cluster.primary, ["DROP TABLE pgha_fire"], dbname=drill_role.NAME)


@pytest.mark.row(3)
def test_one_backend_is_killed(cluster: HostCluster, client: Writing) -> None:
    """PostgreSQL's own restart after a crash is off: the server ends, and a voter takes over."""
    epoch = client.epoch
    kill(cluster.servers(cluster.primary, f"{drill_role.NAME} ")[:1])
    client.await_epoch_after(epoch)
    ended(cluster, client, "kill -9 of one backend", outage_s=NOTICED_S)


@pytest.mark.row(4)
def test_the_postmaster_stands_still(cluster: HostCluster, client: Writing) -> None:
    cluster.bear_no_longer()
    epoch, primary = client.epoch, cluster.primary
    servers = cluster.servers(primary)
    for pid in cluster.pids(primary, "postmaster"):
        send(pid, signal.SIGSTOP)
    assert client.await_epoch_after(epoch) != primary
    assert gone(servers)
    ended(cluster, client, "SIGSTOP to the postmaster", outage_s=OUTAGE_S)


@pytest.mark.row(5)
@pytest.mark.parametrize("title", ["walwriter", "checkpointer", "background writer"])
def test_a_helper_of_the_server_stands_still(cluster: HostCluster, client: Writing, title: str) -> None:
    """Writes go on, or the server is handed over: never a hang."""
    with stopped(cluster.servers(cluster.primary, title)):
        hold(2 * H_S)
        client.await_rows()
    ended(cluster, client, f"SIGSTOP to the {title}", outage_s=2 * H_S)


@pytest.mark.row(6)
@pytest.mark.parametrize("how_many", [1, 2])
def test_walreceivers_stand_still(cluster: HostCluster, client: Writing, how_many: int) -> None:
    """One voter is enough for k = 1; without any, writes wait until the voters are dropped."""
    pids = [pid for node in cluster.standbys[:how_many] for pid in cluster.servers(node, "walreceiver")]
    assert len(pids) == how_many
    with stopped(pids):
        hold(2 * H_S)
        client.await_rows()
    ended(cluster, client, f"SIGSTOP to {how_many} walreceivers", outage_s=H_S + 2.0)


@pytest.mark.row(7)
def test_the_whole_server_stands_still(cluster: HostCluster, client: Writing) -> None:
    cluster.bear_no_longer()
    epoch, primary = client.epoch, cluster.primary
    servers = cluster.servers(primary)
    for pid in servers:
        send(pid, signal.SIGSTOP)
    assert client.await_epoch_after(epoch) != primary
    assert gone(servers)
    ended(cluster, client, "SIGSTOP to the whole server", outage_s=OUTAGE_S)


@pytest.mark.row(10)
def test_the_agent_stands_still(cluster: HostCluster, client: Writing) -> None:
    epoch, primary = client.epoch, cluster.primary
    with stopped(cluster.pids(primary, "agent")):
        assert client.await_epoch_after(epoch) != primary
        hold()
    ended(cluster, client, "SIGSTOP to the agent")


@pytest.mark.row(11)
def test_agent_and_guard_stand_still(cluster: HostCluster, client: Writing) -> None:
    """Nobody ends the server in time: only the sealed voters keep it from acknowledging."""
    epoch, primary = client.epoch, cluster.primary
    with stopped(cluster.pids(primary, "guard") + cluster.pids(primary, "agent")):
        assert client.await_epoch_after(epoch) != primary
        hold(2 * H_S)
    ended(cluster, client, "SIGSTOP to guard and agent")


@pytest.mark.row(12)
def test_the_guard_stands_still(cluster: HostCluster, client: Writing) -> None:
    epoch, primary = client.epoch, cluster.primary
    guard = cluster.pids(primary, "guard")
    for pid in guard:
        send(pid, signal.SIGSTOP)
    assert client.await_epoch_after(epoch) != primary
    assert gone(guard)
    ended(cluster, client, "SIGSTOP to the guard")


@pytest.mark.row(9)
def test_guard_and_agent_are_killed_and_nothing_starts_them_again(cluster: HostCluster, client: Writing) -> None:
    epoch, primary = client.epoch, cluster.primary
    host = cluster.lab.host(primary)
    kill(cluster.pids(primary, "guard") + cluster.pids(primary, "agent"))
    argv = ["flock", "-n", f"{STATE}/watchdog.lock", "sleep", "15"]
    held = host.run(["sh", "-c", 'setsid "$@" >/dev/null 2>&1 & echo held', "sh", *argv], user="postgres")
    assert held.out == "held\n"
    assert client.await_epoch_after(epoch) != primary
    until(lambda: not cluster.servers(primary), within_s=5.0, what="the server has ended")
    hold(10.0)
    ended(cluster, client, "kill -9 of guard and agent, no restarter", outage_s=OUTAGE_S)


@pytest.mark.row(14)
def test_the_agent_can_open_no_more_files(cluster: HostCluster, client: Writing) -> None:
    """It renews with what it has open, or the server is handed over; the limit goes with the agent."""
    agents = cluster.pids(cluster.primary, "agent")
    limit = 'prlimit --pid "$(pgrep -f "pgha.watchdog.[a]gent_main")" --nofile=10:10'
    cluster.lab.host(cluster.primary).must(["sh", "-c", limit], user="postgres")
    hold(2 * H_S)
    kill(agents)
    ended(cluster, client, "the agent can open no more files", outage_s=OUTAGE_S)


@pytest.mark.row(15)
def test_the_agent_is_killed_again_and_again(cluster: HostCluster, client: Writing) -> None:
    primary = cluster.primary
    for _ in range(8):
        kill(cluster.pids(primary, "agent"))
        hold(1.0)
    ended(cluster, client, "kill -9 of the agent, eight times, a second apart", outage_s=OUTAGE_S)


@pytest.mark.row(16)
def test_a_second_watchdog_on_the_node_goes_away(cluster: HostCluster, client: Writing) -> None:
    host = cluster.lab.host(cluster.primary)
    there = cluster.pids(cluster.primary, "guard")
    for _ in range(5):
        assert host.run(WATCHDOG, user="postgres").code == 0
    assert cluster.pids(cluster.primary, "guard") == there
    word = ended(cluster, client, "a second watchdog is started", outage_s=NOTICED_S)
    assert len(word.epochs) == 1, word


@pytest.mark.row(66)
@pytest.mark.parametrize("role", ["primary", "standby"])
def test_a_whole_host_stands_still(cluster: HostCluster, client: Writing, role: str) -> None:
    epoch, node = client.epoch, cluster.primary if role == "primary" else cluster.standbys[0]
    cluster.lab.freeze(node)
    if role == "primary":
        assert client.await_epoch_after(epoch) != node
    hold(2 * H_S)
    cluster.lab.thaw(node)
    ended(cluster, client, f"the {role}'s host stands still", outage_s=OUTAGE_S if role == "primary" else 5.0)


@pytest.mark.row(39)
def test_the_leader_of_etcd_is_killed_again_and_again(cluster: HostCluster, client: Writing) -> None:
    for _ in range(5):
        kill(cluster.pids(cluster.store_leader, "etcd"))
        client.await_rows()
        hold(2.5)
    ended(cluster, client, "kill -9 of etcd's leader, five times", outage_s=OUTAGE_S)


@pytest.mark.row(40)
def test_the_leader_of_etcd_stands_still(cluster: HostCluster, client: Writing) -> None:
    with stopped(cluster.pids(cluster.store_leader, "etcd")):
        hold(12.0)
        client.await_rows()
    word = ended(cluster, client, "SIGSTOP to etcd's leader", outage_s=NOTICED_S)
    assert len(word.epochs) == 1, word


@pytest.mark.row(40)
def test_the_primarys_own_member_of_etcd_stands_still(cluster: HostCluster, client: Writing) -> None:
    with stopped(cluster.pids(cluster.primary, "etcd")):
        hold(12.0)
        client.await_rows()
    word = ended(cluster, client, "SIGSTOP to the primary's own etcd", outage_s=NOTICED_S)
    assert len(word.epochs) == 1, word
