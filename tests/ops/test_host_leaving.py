"""A node leaves its host: what would start it again goes first, what says that it is there goes last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from pgha import nodefile
from pgha.errors import OutcomeUnknown
from pgha.host import Ran
from pgha.ops import host_plain
from pgha.ops.host_leaving import HostLeaver
from pgha.ops.host_steps import HostSteps
from pgha.ops.progress import Silent
from tests.ops.host_cases import hosts
from tests.ops.test_host_fleet import StandIn

NODE = hosts()["n1"].node
FILE = nodefile.NodeFile(
    cluster="shop",
    node="n1",
    state_dir=NODE.state_dir,
    data_dir=NODE.data_dir,
    socket_dir=NODE.socket_dir,
    bin_dir="/usr/lib/postgresql/15/bin",
    store=nodefile.StoreAccess(("192.0.2.11:2379",)),
    nodes={name: nodefile.Peer(seen.node.host, 5432) for name, seen in hosts().items()},
)


@dataclass
class There(StandIn):
    """A host with the cluster on it. runs: its watchdog holds its lock until it has been asked so often."""

    runs: int = 1

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: str = "", cwd: str = "/") -> Ran:
        if argv[0] == "flock":
            return Ran(75 if self.runs > 0 else 0)
        if "--stop" in argv:
            self.runs -= 1
        return super().run(argv, timeout_s=timeout_s, stdin=stdin, cwd=cwd)

    def holds_something(self, path: str) -> bool:
        return True


def leaver(host: There) -> HostLeaver:
    units = (NODE.unit, NODE.etcd_unit)
    host.files |= {f"/etc/systemd/system/{unit}": "text" for unit in units} | {NODE.node_file_path: nodefile.dump(FILE)}
    return HostLeaver(HostSteps(NODE, host, "anna@desk"), Silent(), lambda: 1000.0)


def at(done: list[str], words: str) -> int:
    found = [i for i, line in enumerate(done) if words in line]
    assert found, f"{words}: {done}"
    return found[0]


def test_cron_goes_before_the_watchdog_is_stopped() -> None:
    host = There("192.0.2.11", "")
    leaver(host).halt()
    places = [
        at(host.done, words)
        for words in ("rm -f -- /etc/cron.d/pgha-shop", "disable --quiet --now pgha-shop", "--stop")
    ]
    assert places == sorted(places)


def test_a_watchdog_that_does_not_stop_is_told() -> None:
    with pytest.raises(OutcomeUnknown, match="has not stopped"):
        leaver(There("192.0.2.11", "", runs=99)).halt()


def test_data_are_moved_and_the_node_file_goes_last() -> None:
    host = There("192.0.2.11", "")
    where = leaver(host).put_away("removed-1")
    assert where == "/var/lib/pgha-etcd/shop.removed-1, /var/lib/pgha/shop.removed-1"
    moved = at(host.done, "mv -T -- /var/lib/pgha/shop /var/lib/pgha/shop.removed-1")
    assert moved < at(host.done, "rm -rf -- /etc/pgha/shop /etc/pgha/shop.json")
    assert not any("rm" in line and "/var/lib/pgha" in line for line in host.done)


def test_a_data_directory_elsewhere_is_moved_where_it_is() -> None:
    host = There("192.0.2.11", "")
    one = HostLeaver(HostSteps(replace(NODE, data_dir="/srv/pg"), host, "anna@desk"), Silent(), lambda: 1000.0)
    assert "/srv/pg.removed-1" in one.put_away("removed-1")


def test_a_primary_runs_plainly_writable_and_waits_for_nobody_and_a_standby_follows_it() -> None:
    primary = host_plain.live_text(FILE, "n1")
    assert "synchronous_standby_names = ''" in primary and "restart_after_crash = on" in primary
    assert "primary_conninfo = ''" in primary
    standby = host_plain.live_text(FILE, "n2")
    assert "192.0.2.12" in standby and "primary_slot_name = 'pgha_n1'" in standby
    host = There("192.0.2.11", "")
    leaver(host).run_plainly("n1")
    assert at(host.done, f"rm -f -- {NODE.data_dir}/standby.signal") < at(host.done, "start postgresql-shop.service")
    host = There("192.0.2.11", "")
    leaver(host).run_plainly("n2")
    assert at(host.done, f"touch -- {NODE.data_dir}/standby.signal") < at(host.done, "start postgresql-shop.service")
