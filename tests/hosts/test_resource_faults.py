"""A host that gets hardly any processor, a standby that missed more WAL than is kept, a password that was changed."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgha.ops import drill_role
from tests.hosts.causes import kill
from tests.hosts.cluster import STATE, HostCluster
from tests.hosts.scenes import H_S, OUTAGE_S, ended, hold
from tests.hosts.shell import until
from tests.loopback.writing import Writing

pytestmark = pytest.mark.timeout(400)
CPU = Path("/sys/fs/cgroup/cpu")
PERIOD_US = 100_000


@contextlib.contextmanager
def starved(cluster: HostCluster, node: str, share: float) -> Iterator[None]:
    """All processes of the host together get this share of one processor."""
    group = CPU / f"pgha-starved-{node}"
    group.mkdir()
    try:
        (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
        (group / "cpu.cfs_quota_us").write_text(str(int(PERIOD_US * share)))
        for pid in cluster.lab.host(node).processes():
            _move(group, pid)
        yield
    finally:
        (group / "cpu.cfs_quota_us").write_text("-1")
        until(lambda: _emptied(group), within_s=10.0, what=f"{group} is empty")
        group.rmdir()


def _move(group: Path, pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        (group / "cgroup.procs").write_text(str(pid))


def _emptied(group: Path) -> bool:
    for pid in (group / "cgroup.procs").read_text().split():
        _move(CPU, int(pid))
    return not (group / "cgroup.procs").read_text().split()


@pytest.mark.row(62)
@pytest.mark.skipif(not (CPU / "cgroup.procs").exists(), reason="needs the processor's control group of version 1")
def test_the_primarys_host_gets_a_twentieth_of_a_processor(cluster: HostCluster, client: Writing) -> None:
    """It keeps its lease, or another one takes over: never two."""
    with starved(cluster, cluster.primary, 0.05):
        hold(3 * H_S)
    ended(cluster, client, "5 % of a processor for the primary's host", outage_s=3 * H_S)


@pytest.mark.row(77)
def test_a_standby_missed_more_wal_than_is_kept(cluster: HostCluster, client: Writing) -> None:
    """It is cloned anew; the primary keeps no more for it than it was told to."""
    standby, primary = cluster.standbys[0], cluster.primary
    settings = {"max_slot_wal_keep_size": "1MB", "wal_keep_size": "0"}
    cluster.sql(primary, [f"ALTER SYSTEM SET {name} = '{value}'" for name, value in settings.items()])
    cluster.sql(primary, ["SELECT pg_reload_conf()"])
    cluster.lab.power_off(standby)
    much = "INSERT INTO pgha_much SELECT repeat(md5(g::text), 100) FROM generate_series(1, 40000) g"
    cluster.sql(primary, ["CREATE TABLE IF NOT EXISTS pgha_much (t text)", much], dbname=drill_role.NAME)
    cluster.sql(primary, ["SELECT pg_switch_wal()", "CHECKPOINT", "SELECT pg_switch_wal()", "CHECKPOINT"])
    lost = "SELECT count(*) FROM pg_replication_slots WHERE wal_status = 'lost'"
    until(lambda: cluster.sql(primary, ["CHECKPOINT", lost]).strip() == "1", within_s=20.0, what="its slot is lost")
    cluster.lab.boot(standby)
    ended(cluster, client, "a standby missed more WAL than is kept", outage_s=5.0)
    cluster.sql(cluster.primary, [f"ALTER SYSTEM RESET {name}" for name in settings])
    cluster.sql(cluster.primary, ["SELECT pg_reload_conf()"])
    cluster.sql(cluster.primary, ["DROP TABLE pgha_much"], dbname=drill_role.NAME)


@pytest.mark.row(80)
def test_the_replication_password_is_changed_and_then_the_primary_dies(cluster: HostCluster, client: Writing) -> None:
    """Streaming, rewinding and cloning log in with what the passfiles hold now."""
    path = f"{STATE}/passfile"
    line = cluster.lab.host(cluster.primary).must(["cat", path]).strip().splitlines()[0]
    role, fresh = line.split(":")[3], secrets.token_hex(16)
    cluster.sql(cluster.primary, [f"ALTER ROLE \"{role}\" PASSWORD '{fresh}'"])
    for host in cluster.lab.hosts.values():
        text = host.must(["cat", path]).replace(line.split(":")[4], fresh)
        host.must(["sh", "-c", 'cat > "$1"', "sh", path], stdin=text)
    epoch = client.epoch
    kill(cluster.servers(cluster.primary))
    client.await_epoch_after(epoch)
    ended(cluster, client, "replication password changed, then the primary dies", outage_s=OUTAGE_S)
