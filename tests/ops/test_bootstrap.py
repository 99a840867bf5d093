"""Bootstrap on one machine: every step resumes, nothing foreign is touched, everything in the way is told at once.

PostgreSQL, etcd and the watchdog are stand-ins here (a host that only notes what it would run); files are real.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pgha import nodefile, records
from pgha.adapters.local import JsonKeep
from pgha.adapters.memory import Fault
from pgha.core.model import Cluster, Copy, Tenure
from pgha.errors import Exit, Findings, PghaError, Refused
from pgha.ops import founding, newdata
from pgha.ops.bootstrap_run import Options
from pgha.ops.local_nodes import MARKER
from pgha.ops.preflight import etcd_warning, read_marker
from pgha.ports import Committed, Conflict, Guard, Unknown, Write
from tests.ops import cases
from tests.ops.stand_in import PORTS, PREFIX, SYSTEM, Machine, ThreeMembers, home_for_me


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    yield Machine(home_for_me(tmp_path) / "c")


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
    key = founding.first_leader(Copy("n1", "abc123"))
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
    data = JsonKeep(str(machine.root / "n1/state/memory.json")).load()["data"]
    assert isinstance(data, dict)
    assert data["inode"] == (machine.root / "n1/data").stat().st_ino and not list(
        (machine.root / "n1").glob("data.init*")
    )


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


def test_a_cluster_that_appears_in_the_store_meanwhile_is_not_overwritten(machine: Machine) -> None:
    theirs = records.dump_cluster(cases.seen().records.cluster or Cluster("", ""))
    store, commit = machine.store, machine.store.commit

    def late(guards: Sequence[Guard], writes: Sequence[Write], *, deadline_s: float) -> Committed | Conflict | Unknown:
        if any(w.key == PREFIX + "cluster" for w in writes):
            commit([], [Write(PREFIX + "cluster", theirs)], deadline_s=deadline_s)
        return commit(guards, writes, deadline_s=deadline_s)

    store.commit = late  # type: ignore[method-assign]
    with pytest.raises(Refused, match="already holds another cluster shop"):
        machine.bootstrap()
    found = machine.found()
    assert found.cluster is not None and found.cluster.ident == "ident" and found.leader is None


def test_a_registration_whose_answer_got_lost_is_found_again(machine: Machine) -> None:
    machine.store.fail_next("commit", Fault.APPLIED)
    assert machine.bootstrap().status.exit == Exit.OK


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


def test_a_cluster_that_does_not_become_healthy_is_told_after_the_deadline(machine: Machine) -> None:
    machine._come_alive = lambda: None  # type: ignore[method-assign]
    with pytest.raises(PghaError) as failed:
        machine.bootstrap(Options(healthy_s=7.0))
    assert failed.value.code == Exit.PARTIAL and "not healthy after 7 s" in failed.value.what
    assert "released the leader key (bootstrap)" in failed.value.because


def test_an_etcd_with_known_data_bugs_is_named() -> None:
    assert "3.5.1 has known data bugs" in etcd_warning("etcd Version: 3.5.1\nGit SHA: x\n")
    assert etcd_warning("etcd Version: 3.5.16\n") == "" and etcd_warning("etcd Version: 3.4.23\n") == ""
