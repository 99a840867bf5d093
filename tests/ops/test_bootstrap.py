"""Bootstrap on one machine: every step resumes, nothing foreign is touched, everything in the way is told at once.

PostgreSQL, etcd and the watchdog are stand-ins here (a host that only notes what it would run); files are real.
"""

from __future__ import annotations

import json
import os
import pwd
import socket
import stat
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pgha import inventory, nodefile, records
from pgha.adapters.local import JsonKeep, LocalHost
from pgha.adapters.memory import MemoryStore
from pgha.core.model import Copy, Rule, Tenure
from pgha.errors import Exit, Findings, PghaError, Refused
from pgha.host import Ran
from pgha.ops import bootstrap, newdata
from pgha.ops.local_nodes import MARKER
from pgha.ops.preflight import etcd_warning, read_marker
from pgha.ops.progress import Silent
from pgha.ports import StoreHealth, Write
from tests.ops import cases
from tests.support.etcd_cluster import USER

SYSTEM = "7711612194073846478"
ME = USER if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
PREFIX = "/pgha/shop/"


class Clock:
    """Moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 50.0

    def now_s(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class ThreeMembers(MemoryStore):
    """The store in memory, as healthy as three members of etcd."""

    def health(self, *, deadline_s: float) -> StoreHealth:
        return cases.HEALTH


class Machine:
    """A machine whose programs are stand-ins. `interrupt_at`: the how-manieth call of the host is interrupted."""

    def __init__(self, root: Path) -> None:
        self.clock = Clock()
        self.store = ThreeMembers(self.clock, threaded=False)
        self.real = LocalHost(ME)
        self.user = self.real.user
        self.root = root
        self.ran: list[str] = []
        self.calls, self.interrupt_at = 0, 0

    # what bootstrap asks of a host

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: str = "", cwd: str = "/") -> Ran:
        self._step()
        program = os.path.basename(argv[0])
        if program == "initdb":
            made = argv[argv.index("-D") + 1]
            self.real.make_dir(made)
            self.real.write(f"{made}/PG_VERSION", "15\n")
        self.ran.append("watchdog" if "watchdog" in argv else program)
        out = f"Database system identifier:           {SYSTEM}\n" if program == "pg_controldata" else ""
        if "watchdog" in argv:
            self._come_alive()
        self._step()
        return Ran(0, out)

    def spawn(self, argv: Sequence[str], *, cwd: str, log_file: str) -> int:
        self._step()
        self.ran.append("restarter" if "pgha.ops.restarter" in argv else os.path.basename(argv[0]))
        return 1

    def make_dir(self, path: str, mode: int = 0o700) -> None:
        self._step()
        self.real.make_dir(path, mode)

    def write(self, path: str, text: str, mode: int = 0o600) -> None:
        self._step()
        self.real.write(path, text, mode)
        self._step()

    def move_dir(self, source: str, target: str) -> None:
        self._step()
        self.real.move_dir(source, target)
        self._step()

    def __getattr__(self, name: str) -> object:
        return getattr(self.real, name)

    def _step(self) -> None:
        self.calls += 1
        if self.calls == self.interrupt_at:
            raise KeyboardInterrupt

    def _come_alive(self) -> None:
        """What the agents would publish in the end."""
        deadline = self.clock.now + 1
        key = cases.leader(holder=Copy("n1", self.data_id()), sync=(self._rule(),))
        writes = [Write(PREFIX + "leader", records.dump_leader(key))]
        for name in cases.NAMES:
            data = self.data_id() if name == "n1" else f"d{name[1:]}"
            here = replace(cases.member(name), data=data, written_at=9e9)
            writes.append(Write(f"{PREFIX}members/{name}", records.dump_member(here)))
        self.store.commit([], writes, deadline_s=deadline)

    def _rule(self) -> Rule:
        return replace(cases.leader().sync[0], holder=Copy("n1", self.data_id()))

    def data_id(self) -> str:
        body = json.loads((self.root / "n1/state/memory.json").read_text())
        return str(body["data"]["id"])

    # what the test asks

    def found(self) -> records.Records:
        snapshot = self.store.read(PREFIX, deadline_s=self.clock.now + 1)
        return records.parse_snapshot(
            "shop", snapshot.revision, {k: (e.value, e.revision) for k, e in snapshot.entries.items()}
        )

    def bootstrap(self, options: bootstrap.Options | None = None, **changes: str) -> bootstrap.Outcome:
        machine = bootstrap.Machine(
            host=self,  # type: ignore[arg-type]  # __getattr__ gives the rest
            binaries=Programs(),
            clock=self.clock,
            python="/usr/bin/python3",
            open_store=lambda _access: self.store,
            keep=lambda path: JsonKeep(path, self.real.owner),
        )
        wanted = inventory.parse(text_for(self.root, **changes), "inventory.yaml")
        return bootstrap.bootstrap(wanted, machine, options or bootstrap.Options(), Silent())


class Programs:
    """Where the stand-ins are said to be."""

    def postgres(self) -> str:
        return "/usr/lib/postgresql/15/bin"

    def etcd(self) -> str:
        return "/usr/bin/etcd"


PORTS = {f"n{i + 1}": (45601 + i, 45611 + i, 45621 + i) for i in range(3)}


def text_for(root: Path, cluster: str = "shop", extra: str = "") -> str:
    nodes = "".join(
        f"  {n}: {{host: 127.0.0.1, port: {p}, etcd_client_port: {c}, etcd_peer_port: {e}}}\n"
        for n, (p, c, e) in PORTS.items()
    )
    return f"cluster: {cluster}\nnodes:\n{nodes}local: {{dir: {root}, user: {ME}}}\n{extra}"


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    for folder in (tmp_path, *tmp_path.parents[:2]):
        if folder.stat().st_uid == os.geteuid():
            folder.chmod(folder.stat().st_mode | 0o055)
    home = tmp_path / "home"
    home.mkdir()
    if os.geteuid() == 0:
        os.chown(home, pwd.getpwnam(ME).pw_uid, pwd.getpwnam(ME).pw_gid)
    yield Machine(home / "c")


def tree(root: Path) -> dict[str, str]:
    """Every file with its text; directories with their mode."""
    paths = sorted(root.rglob("*"))
    return {str(p.relative_to(root)): p.read_text() if p.is_file() else oct(p.stat().st_mode) for p in paths}


# -- a new cluster -------------------------------------------------------------------------------------------


def test_a_new_cluster_has_its_three_keys_and_its_files(machine: Machine) -> None:
    outcome = machine.bootstrap()
    assert outcome.status.exit == Exit.OK
    assert machine.ran.count("initdb") == 1 and machine.ran.count("etcd") == 4  # --version, then three members
    found = machine.found()
    marker = read_marker(str(machine.root))
    assert marker is not None and found.cluster is not None and found.settings is not None
    assert (found.cluster.ident, found.cluster.system_identifier) == (marker.ident, SYSTEM)
    assert found.settings.revision == 1 and found.settings.failover_after_s == 6.0


def test_the_first_leader_key_is_released_and_covered_by_its_own_copy_alone() -> None:
    key = bootstrap.first_leader(Copy("n1", "abc123"))
    (rule,) = key.sync
    assert key.tenure is Tenure.RELEASED and key.epoch == 1 and not key.clean
    assert rule.holder == key.holder == Copy("n1", "abc123") and rule.k == 0 and not rule.voters
    assert records.parse_value("leader", records.dump_leader(key), records.parse_leader) == key


def test_each_nodes_memory_knows_the_cluster_and_only_the_first_has_data(machine: Machine) -> None:
    machine.bootstrap()
    marker = read_marker(str(machine.root))
    assert marker is not None
    bodies = [JsonKeep(str(machine.root / n / "state/memory.json")).load() for n in cases.NAMES]
    assert all(body["cluster"] == marker.ident and body["schema"] == 1 for body in bodies)
    lies = (machine.root / "n1/data").stat()
    data = bodies[0]["data"]
    assert isinstance(data, dict) and len(data["id"]) == 6
    assert (data["device"], data["inode"], data["system"]) == (lies.st_dev, lies.st_ino, SYSTEM)
    assert all("data" not in body for body in bodies[1:])


def test_secrets_and_state_are_private_and_the_password_is_the_same_everywhere(machine: Machine) -> None:
    machine.bootstrap()
    texts = set()
    for name in cases.NAMES:
        passfile = machine.root / name / "state/passfile"
        assert stat.S_IMODE(passfile.stat().st_mode) == 0o600
        assert stat.S_IMODE(passfile.parent.stat().st_mode) == 0o700
        texts.add(newdata.password_in(passfile.read_text(), "pgha_replicator"))
    assert len(texts) == 1 and None not in texts


def test_the_password_is_nowhere_but_in_the_passfiles(machine: Machine) -> None:
    machine.bootstrap()
    password = newdata.password_in((machine.root / "n1/state/passfile").read_text(), "pgha_replicator")
    assert password is not None
    holders = {p.name for p in machine.root.rglob("*") if p.is_file() and password in p.read_text()}
    assert holders == {"passfile"} and not any(password in word for word in machine.ran)
    entries = machine.store.read("/", deadline_s=machine.clock.now + 1).entries
    assert not any(password.encode() in entry.value for entry in entries.values())


def test_each_node_file_is_what_its_watchdog_reads(machine: Machine) -> None:
    machine.bootstrap()
    for name in cases.NAMES:
        node = nodefile.parse((machine.root / name / "node.json").read_text())
        assert node.node == name and set(node.nodes) == set(cases.NAMES) and node.data_dir.endswith(f"/{name}/data")
        assert node.store.endpoints == tuple(f"127.0.0.1:{c}" for _, c, _ in PORTS.values())
        assert os.path.isdir(node.socket_dir)


def test_a_second_run_changes_no_key_and_no_file(machine: Machine) -> None:
    machine.bootstrap()
    before, files = machine.found(), tree(machine.root)
    machine.ran.clear()
    machine.bootstrap()
    after = machine.found()
    assert "initdb" not in machine.ran and tree(machine.root) == files
    assert all(before.rev(key) == after.rev(key) for key in ("cluster", "config"))


def test_interrupted_anywhere_the_same_command_completes_it(machine: Machine) -> None:
    """Ctrl-C at every single call of the host, one after another, each time on what the last one left."""
    interruptions = 0
    for at in range(1, 400):
        machine.calls, machine.interrupt_at = 0, at
        try:
            machine.bootstrap()
            break
        except PghaError as e:
            assert e.code == Exit.INTERRUPTED and e.what.startswith("interrupted while "), e.lines()
            assert "bootstrap goes on from there" in e.next_step
        except KeyboardInterrupt:
            pass  # still looking: preflight changes nothing
        interruptions += 1
    assert interruptions > 20
    assert machine.found().cluster is not None
    data = json.loads((machine.root / "n1/state/memory.json").read_text())["data"]
    assert data["inode"] == (machine.root / "n1/data").stat().st_ino and not (machine.root / "n1/data.init").exists()


@pytest.mark.parametrize("at", range(12, 40, 3))
def test_interrupted_once_it_resumes_with_one_system_identifier_and_one_password(machine: Machine, at: int) -> None:
    machine.interrupt_at = at
    with pytest.raises((PghaError, KeyboardInterrupt)):
        machine.bootstrap()
    machine.interrupt_at = 0
    assert machine.bootstrap().status.exit == Exit.OK


# -- what is refused -----------------------------------------------------------------------------------------


def test_a_foreign_directory_is_refused_untouched(machine: Machine) -> None:
    machine.root.mkdir()
    (machine.root / "thesis.tex").write_text("years of work")
    before = tree(machine.root)
    with pytest.raises(Refused, match="not empty and not pgha's"):
        machine.bootstrap()
    assert tree(machine.root) == before and machine.found().revisions == {}


def test_another_clusters_directory_is_refused_untouched(machine: Machine) -> None:
    machine.bootstrap()
    before, revision = tree(machine.root), machine.found().revision
    with pytest.raises(Refused, match="belongs to cluster shop"):
        machine.bootstrap(cluster="other")
    assert tree(machine.root) == before and machine.found().revision == revision


@pytest.mark.parametrize("junk", ["", "{", "[]", '{"schema": 2}', '{"schema": 1}'])
def test_a_marker_that_cannot_be_read_is_refused(machine: Machine, junk: str) -> None:
    machine.root.mkdir()
    (machine.root / MARKER).write_text(junk)
    with pytest.raises(Refused, match="is not a marker of pgha"):
        machine.bootstrap()


def test_a_link_in_place_of_the_directory_is_refused(machine: Machine) -> None:
    machine.root.symlink_to(machine.root.parent)
    with pytest.raises(Refused, match="is not a directory"):
        machine.bootstrap()


def test_a_store_with_another_cluster_of_that_name_is_refused(machine: Machine) -> None:
    machine.bootstrap()
    other = Machine(machine.root.with_name("other"))
    other.store = machine.store
    revision = machine.found().revision
    with pytest.raises(Refused, match="already holds another cluster shop"):
        other.bootstrap()
    assert machine.found().revision == revision and not (other.root / "n1/data").exists()


def test_data_without_a_cluster_record_never_becomes_a_new_cluster(machine: Machine) -> None:
    machine.bootstrap()
    machine.store = ThreeMembers(machine.clock, threaded=False)
    (machine.root / "n2/data").mkdir()
    (machine.root / "n2/data/PG_VERSION").write_text("15")
    with pytest.raises(Refused, match="data without a cluster record"):
        machine.bootstrap()
    assert machine.found().revisions == {} and (machine.root / "n2/data/PG_VERSION").exists()


def test_data_that_pgha_did_not_make_is_not_taken_up(machine: Machine) -> None:
    machine.interrupt_at = 40
    with pytest.raises((PghaError, KeyboardInterrupt)):
        machine.bootstrap()
    machine.interrupt_at = 0
    machine.store = ThreeMembers(machine.clock, threaded=False)
    data = machine.root / "n1/data"
    if data.exists():
        data.rename(machine.root / "aside")
    data.mkdir()
    (data / "PG_VERSION").write_text("15")
    with pytest.raises(Refused, match=r"did not make|is not the directory pgha made"):
        machine.bootstrap()


def test_keys_without_a_cluster_record_are_left_alone(machine: Machine) -> None:
    machine.store.commit([], [Write(PREFIX + "leader", b"junk")], deadline_s=60.0)
    revision = machine.found().revision
    with pytest.raises(Refused, match="without a cluster record"):
        machine.bootstrap()
    assert machine.found().revision == revision


def test_every_finding_is_told_at_once_and_used_ports_name_their_user(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", PORTS["n1"][0])), socket.create_server(("127.0.0.1", PORTS["n3"][1])):
        machine.root.mkdir()
        (machine.root / "foreign").write_text("")
        with pytest.raises(Findings) as found:
            machine.bootstrap()
    text = "\n".join(found.value.lines())
    assert len(found.value.problems) == 3 and found.value.code == Exit.REFUSED
    assert f"127.0.0.1:{PORTS['n1'][0]} of n1 (PostgreSQL) is not free" in text and f"pid {os.getpid()}" in text
    assert f"127.0.0.1:{PORTS['n3'][1]} of n3 (etcd clients) is not free" in text


def test_hosts_are_refused_plainly_in_this_version(machine: Machine) -> None:
    wanted = inventory.parse("cluster: shop\nnodes: [192.0.2.11, 192.0.2.12, 192.0.2.13]\n", "inventory.yaml")
    with pytest.raises(Refused, match="bootstrap over SSH is not in this version") as refused:
        bootstrap.refuse_hosts(wanted)
    assert refused.value.code == Exit.REFUSED


def test_a_cluster_that_does_not_become_healthy_is_told_after_the_deadline(machine: Machine) -> None:
    machine._come_alive = lambda: None  # type: ignore[method-assign]
    with pytest.raises(PghaError) as failed:
        machine.bootstrap(bootstrap.Options(healthy_s=7.0))
    assert failed.value.code == Exit.PARTIAL and "not healthy after 7 s" in failed.value.what
    assert "released the leader key (bootstrap)" in failed.value.because


def test_an_etcd_with_known_data_bugs_is_named() -> None:
    assert "3.5.1 has known data bugs" in etcd_warning("etcd Version: 3.5.1\nGit SHA: x\n")
    assert etcd_warning("etcd Version: 3.5.16\n") == "" and etcd_warning("etcd Version: 3.4.23\n") == ""
