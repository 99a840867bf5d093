"""What `bootstrap --adopt` refuses, all of it at once, and what it takes into the cluster's settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from pgha import inventory
from pgha.errors import Findings, PghaError, Refused
from pgha.host import Host, Identity, Ran
from pgha.ops import adoption
from pgha.ops.adoption import Looked, Server
from pgha.ops.fleet import Fleet, Place
from pgha.pg.adopted import PidFile, Runs, Setting

TEXT = """cluster: shop
postgres: 15
nodes: {n1: 192.0.2.11, n2: 192.0.2.12, n3: 192.0.2.13}
"""
GOOD = {
    "wal_log_hints": "off", "wal_level": "replica", "fsync": "on", "full_page_writes": "on", "synchronous_commit": "on",
    "archive_mode": "off", "max_wal_senders": "10", "max_replication_slots": "10", "listen_addresses": "*",
    "recovery_target_timeline": "latest", "restore_command": "", "synchronous_standby_names": "",
    "unix_socket_directories": "/run/postgresql", "data_sync_retry": "off",
}  # fmt: skip
WANTED = inventory.parse(TEXT, "inventory.yaml")
PLACES = {spec.name: cast("Place", SimpleNamespace(name=spec.name, host=spec.host, port=5432)) for spec in WANTED.nodes}


def server(name: str, given: Mapping[str, str] | None = None, *, standby: bool = False) -> Server:
    """One that can be taken over, with these settings given by somebody."""
    values = {k: Setting(v, changed=False) for k, v in GOOD.items()}
    values |= {k: Setting(v, changed=True) for k, v in (given or {}).items()}
    runs = Runs(
        version=150004, system="7", standby=standby, checksums=True, timeline=3, lsn="0/100", superuser=True,
        role=False, senders=(), slots=("patroni_n2",), source="192.0.2.11 5432" if standby else "", rules=7,
        settings=values,
    )  # fmt: skip
    files = {"config_file": "/etc/p/postgresql.conf", "hba_file": "/etc/p/hba", "ident_file": "/etc/p/ident"}
    return Server(name, PidFile(77, 5432, "/run/postgresql", ready=True), 5, Identity(1, 2, 3), runs, 15, files)


def judged(*servers: Server, text: str = TEXT) -> Looked:
    """The judgement of these."""
    return adoption.judge(inventory.parse(text, "i.yaml"), PLACES, {one.node: one for one in servers}, [])


def refusals(*servers: Server, text: str = TEXT) -> list[str]:
    """What is refused."""
    with pytest.raises(PghaError) as caught:
        judged(*servers, text=text)
    found = caught.value
    return [p.what for p in found.problems] if isinstance(found, Findings) else [found.what]


def test_a_primary_and_its_standbys_are_taken_over_and_an_empty_node_is_cloned() -> None:
    looked = judged(server("n1", {"work_mem": "7MB"}), server("n2", standby=True))
    assert looked.primary == "n1" and set(looked.servers) == {"n1", "n2"}
    page = "\n".join(looked.lines(WANTED))
    assert "none is stopped" in page and "n3: empty" in page and "work_mem=7MB" in page and "not armed" in page


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"wal_level": "minimal"}, "wal_level is minimal"),
        ({"fsync": "off"}, "fsync is off"),
        ({"full_page_writes": "off"}, "full_page_writes is off"),
        ({"synchronous_commit": "off"}, "synchronous_commit is off"),
        ({"archive_mode": "always"}, "archive_mode is always"),
        ({"max_wal_senders": "4"}, "max_wal_senders is 4"),
        ({"max_replication_slots": "2"}, "max_replication_slots is 2"),
        ({"listen_addresses": "localhost"}, "does not listen on 192.0.2.11"),
        ({"shared_preload_libraries": "timescaledb"}, "shared_preload_libraries is timescaledb"),
    ],
)
def test_what_takes_a_restart_or_would_be_lost_is_refused(change: dict[str, str], says: str) -> None:
    assert any(says in what for what in refusals(server("n1", change)))


def test_all_findings_of_all_nodes_come_at_once() -> None:
    found = refusals(
        server("n1", {"fsync": "off", "wal_level": "minimal"}), server("n2", {"max_wal_senders": "1"}, standby=True)
    )
    assert len(found) == 3 and sum(what.startswith("n2") for what in found) == 1


def test_without_checksums_and_hints_nobody_could_be_rewound() -> None:
    one = server("n1")
    assert refusals(replace(one, runs=replace(one.runs, checksums=False))) == ["n1: wal_log_hints is off"]


def test_two_primaries_none_and_strangers_are_refused() -> None:
    other, late, alone = (server("n2", standby=True) for _ in range(3))
    assert "are all writable" in refusals(server("n1"), server("n2"))[0]
    assert "no running primary" in refusals(server("n2", standby=True))[0]
    assert "no running primary" in refusals()[0]
    assert "no copy" in refusals(server("n1"), replace(other, runs=replace(other.runs, system="8")))[0]
    assert "does not follow" in refusals(server("n1"), replace(late, runs=replace(late.runs, timeline=2)))[0]
    assert "streams from nobody" in refusals(server("n1"), replace(alone, runs=replace(alone.runs, source="")))[0]


def test_another_port_version_or_account_than_the_inventory_has_is_refused() -> None:
    one = server("n1")
    assert "port 5433" in refusals(replace(one, pid=replace(one.pid, port=5433)))[0]
    assert "PostgreSQL 15 runs" in refusals(replace(one, bin_major=16))[0]
    assert "no superuser" in refusals(replace(one, runs=replace(one.runs, superuser=False)))[0]


def test_a_setting_of_the_command_line_that_pgha_decides_is_refused() -> None:
    one = server("n1")
    settings = {**one.runs.settings, "restart_after_crash": Setting("on", changed=True, ordered=True)}
    assert "command line" in refusals(replace(one, runs=replace(one.runs, settings=settings)))[0]


def test_only_what_the_store_may_hold_and_the_inventory_does_not_is_taken_in() -> None:
    given = {"work_mem": "7MB", "wal_sender_timeout": "60s", "max_connections": "300", "my.thing": "x"}
    given |= {"listen_addresses": "*"}
    text = TEXT.replace("postgres: 15", "postgres: {version: 15, parameters: {max_connections: 300}}")
    looked = judged(server("n1", given), text=text)
    assert looked.imported == {"work_mem": "7MB"}
    assert any("not taken over: listen_addresses, my.thing" in warning for warning in looked.warnings)
    assert any("slots patroni_n2 hold WAL for nobody" in warning for warning in looked.warnings)


class Machine:
    """A host that answers these commands, by their first words; `read` gives files."""

    user = "postgres"

    def __init__(self, files: Mapping[str, str], said: Mapping[str, str]) -> None:
        self.files, self.said = files, said

    def holds_something(self, path: str) -> bool:
        return path == "/data"

    def read(self, path: str) -> str | None:
        return self.files.get(path)

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: str = "", cwd: str = "/") -> Ran:
        return Ran(0, out=self.said.get(argv[0], ""))


PID = "77\n/data\n1\n5432\n/run/postgresql\n*\n 1 2\nready\n"
STAT = "77 (postgres) S " + " ".join(str(n) for n in range(30))


@pytest.mark.parametrize(
    ("files", "ps", "says"),
    [
        ({}, "", "holds data, and no server runs there"),
        ({"/data/postmaster.pid": PID.replace("ready", "stopping"), "/proc/77/stat": STAT}, "", "no server runs there"),
        ({"/data/postmaster.pid": PID}, "", "no server runs there"),
        (
            {"/data/postmaster.pid": PID, "/proc/77/stat": STAT},
            " 9 /usr/bin/python3 /usr/bin/patroni /etc/patroni/config.yml\n",
            "Patroni is at work there",
        ),
        ({"/data/postmaster.pid": PID, "/proc/77/stat": STAT}, " 9 vi patroni.yml\n", "can't be asked as postgres"),
    ],
)
def test_a_place_that_can_not_be_taken_over_is_refused_by_what_is_there(
    files: dict[str, str], ps: str, says: str
) -> None:
    host = cast("Host", Machine(files, {"readlink": "/data", "ps": ps}))
    place = cast("Place", SimpleNamespace(name="n1", data_dir="/data", state_dir="/state", host="h", port=5432))
    with pytest.raises(Refused, match=says):
        adoption.look(cast("Fleet", Looks(host, place)), WANTED)


class Looks:
    """A fleet of one."""

    def __init__(self, host: Host, place: Place) -> None:
        self._host, self._place = host, place
        self.ready = SimpleNamespace(nodes=(place,), bin_dir="/bin")

    def host(self, node: Place) -> Host:
        return self._host

    def each(self, work: Callable[[Place], None]) -> None:
        work(self._place)


def test_libraries_that_the_inventory_names_are_not_refused() -> None:
    text = TEXT.replace("postgres: 15", "postgres: {version: 15, parameters: {shared_preload_libraries: auto_explain}}")
    assert judged(server("n1", {"shared_preload_libraries": "auto_explain"}), text=text).primary == "n1"
