"""The local host, the node's memory, processes by /proc, binaries, and the connection string."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pgha.adapters.binaries import MachineBinaries, find_both, find_etcd, find_postgres, major_version
from pgha.adapters.local import JsonKeep, LocalHost, SystemClock
from pgha.errors import Busy, Findings, Refused
from pgha.ops import connect
from pgha.ops.local_nodes import LocalNode, hold_down, kind_of, let_up, processes
from pgha.ops.newdata import new_password, passfile_line, password_in, scram_verifier
from pgha.ops.procs import Proc, end_all, is_alive, living, look_at, send
from tests.ops.cases import TARGET
from tests.support.etcd_cluster import USER
from tests.support.other_user import work_dir

ROOT = os.geteuid() == 0
OTHER = USER if ROOT else pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture
def open_dir(tmp_path: Path) -> Path:
    """A directory that the other user can reach and write."""
    return work_dir(tmp_path, OTHER)


# -- memory --------------------------------------------------------------------------------------------------


def test_memory_gives_back_what_was_saved_in_a_private_file(tmp_path: Path) -> None:
    keep = JsonKeep(str(tmp_path / "memory.json"))
    assert keep.load() == {}
    keep.save({"schema": 1, "epoch": 7})
    keep.save({"schema": 1, "epoch": 8})
    assert JsonKeep(str(tmp_path / "memory.json")).load() == {"schema": 1, "epoch": 8}
    assert (tmp_path / "memory.json").stat().st_mode & 0o777 == 0o600
    assert [p.name for p in tmp_path.iterdir()] == ["memory.json"]


@pytest.mark.parametrize("junk", [b"", b"{", b"[1]", b'"text"', b"\xff\xfe"])
def test_memory_that_cannot_be_read_is_an_error_never_an_empty_one(tmp_path: Path, junk: bytes) -> None:
    (tmp_path / "memory.json").write_bytes(junk)
    with pytest.raises(ValueError, match=r"memory\.json"):
        JsonKeep(str(tmp_path / "memory.json")).load()


@pytest.mark.parametrize("kept", range(0, 4096, 64))
def test_a_save_that_was_cut_short_leaves_the_document_before_it(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "memory.json"
    keep = JsonKeep(str(path))
    keep.save({"epoch": 7})
    keep.save({"epoch": 8})
    before = path.read_bytes()
    keep.save({"epoch": 9})
    after = path.read_bytes()
    path.write_bytes(after[:kept] + before[kept:])  # the third save writes the first slot
    whole = len(after[:4096].rstrip())
    assert JsonKeep(str(path)).load() == {"epoch": 9 if kept >= whole else 8}


def test_a_document_that_does_not_fit_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    keep = JsonKeep(str(tmp_path / "memory.json"))
    keep.save({"epoch": 7})
    with pytest.raises(ValueError, match="do not fit"):
        keep.save({"epoch": "x" * 4096})
    assert keep.load() == {"epoch": 7}


def test_a_save_that_fails_leaves_the_old_document_and_no_remains(tmp_path: Path) -> None:
    keep = JsonKeep(str(tmp_path / "memory.json"))
    keep.save({"epoch": 7})
    with pytest.raises(TypeError):
        keep.save({"epoch": object()})
    assert keep.load() == {"epoch": 7} and len(list(tmp_path.iterdir())) == 1


# -- host ----------------------------------------------------------------------------------------------------


def test_programs_run_as_the_user_with_an_environment_of_their_own(
    open_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPASSWORD", "canary")
    ran = LocalHost(OTHER).run(["/usr/bin/env"], timeout_s=5.0, cwd=str(open_dir))
    who = LocalHost(OTHER).run(["/usr/bin/id", "-un"], timeout_s=5.0)
    assert who.out.strip() == OTHER and "canary" not in ran.out and "LC_ALL=C.UTF-8" in ran.out


def test_a_program_that_takes_too_long_is_killed_with_its_children(open_dir: Path) -> None:
    mark = "87.654321"
    began = time.monotonic()
    ran = LocalHost(OTHER).run(["/bin/sh", "-c", f"sleep {mark} & sleep {mark}"], timeout_s=0.3)
    assert ran.late and ran.code == -9 and time.monotonic() - began < 3.0
    left = [p for p in living() if mark in p.argv]
    end_all(left, timeout_s=0.0)
    assert not left


def test_a_program_that_is_not_there_is_a_result_not_an_exception() -> None:
    ran = LocalHost(OTHER).run(["/nowhere/initdb"], timeout_s=1.0)
    assert ran.code == 127 and "/nowhere/initdb" in ran.tail()


def test_files_are_private_owned_by_the_user_and_never_written_through_a_link(open_dir: Path) -> None:
    host, victim = LocalHost(OTHER), open_dir / "victim"
    victim.write_text("untouched")
    (open_dir / "passfile").symlink_to(victim)
    host.write(str(open_dir / "passfile"), "secret\n")
    at = (open_dir / "passfile").lstat()
    assert victim.read_text() == "untouched" and at.st_mode & 0o777 == 0o600
    assert pwd.getpwuid(at.st_uid).pw_name == OTHER
    assert host.read(str(open_dir / "passfile")) == "secret\n" and host.read(str(open_dir / "none")) is None


def test_a_log_that_is_a_link_is_refused(open_dir: Path) -> None:
    (open_dir / "log").symlink_to(open_dir / "elsewhere")
    with pytest.raises(Refused):
        LocalHost(OTHER).spawn(["/bin/true"], cwd="/", log_file=str(open_dir / "log"))


def test_directories_are_made_with_their_mode_and_left_alone_when_there(open_dir: Path) -> None:
    host, path = LocalHost(OTHER), open_dir / "a" / "b"
    host.make_dir(str(path))
    assert path.stat().st_mode & 0o777 == 0o700 and path.parent.stat().st_mode & 0o777 == 0o755
    path.chmod(0o711)
    host.make_dir(str(path))
    assert path.stat().st_mode & 0o777 == 0o711


def test_one_command_at_a_time_works_in_a_directory(open_dir: Path) -> None:
    host = LocalHost(OTHER)
    with host.hold(str(open_dir)), pytest.raises(Busy), host.hold(str(open_dir)):
        pass
    with host.hold(str(open_dir)):
        assert list(open_dir.iterdir()) == []


def test_a_directory_moves_onto_an_empty_one_and_never_onto_a_full_one(open_dir: Path) -> None:
    host = LocalHost(OTHER)
    for name in ("made", "data"):
        (open_dir / name).mkdir()
    (open_dir / "made" / "PG_VERSION").write_text("15")
    host.move_dir(str(open_dir / "made"), str(open_dir / "data"))
    assert host.holds_something(str(open_dir / "data")) and not host.holds_something(str(open_dir / "made"))
    (open_dir / "made").mkdir()
    with pytest.raises(Refused):
        host.move_dir(str(open_dir / "made"), str(open_dir / "data"))


@pytest.mark.skipif(not ROOT, reason="only root may run processes as somebody else, and must not run them as itself")
def test_root_is_refused_and_an_unknown_user_is_named() -> None:
    with pytest.raises(Refused, match="does not run as root"):
        LocalHost("root")
    with pytest.raises(Refused, match="no-such-user"):
        LocalHost("no-such-user")


def test_a_used_port_is_seen_and_a_free_one_is_free() -> None:
    host = LocalHost(OTHER)
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert host.port_taken("127.0.0.1", port) == "in use"
    assert host.port_taken("127.0.0.1", port) is None


def test_the_clock_is_the_boot_clock() -> None:
    clock = SystemClock()
    began = time.clock_gettime(time.CLOCK_BOOTTIME)
    clock.sleep(-1.0)
    assert 0.0 <= clock.now_s() - began < 1.0


# -- processes -----------------------------------------------------------------------------------------------


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield child
    with suppress(ProcessLookupError):
        child.kill()
    child.wait(5)


def test_a_process_is_told_from_a_later_one_of_its_number(sleeper: subprocess.Popen[bytes]) -> None:
    proc = look_at(sleeper.pid)
    assert proc is not None and is_alive(proc)
    other = Proc(proc.pid, proc.parent, proc.start + 1, proc.uid, proc.argv)
    assert not is_alive(other) and not send(other, signal.SIGKILL)
    assert sleeper.poll() is None


def test_a_zombie_is_not_alive(sleeper: subprocess.Popen[bytes]) -> None:
    proc = look_at(sleeper.pid)
    assert proc is not None
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert look_at(sleeper.pid) is None and not is_alive(proc)


def test_a_stopped_process_that_ignores_sigterm_is_ended_all_the_same() -> None:
    code = "import signal,time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        child.send_signal(signal.SIGSTOP)
        proc = look_at(child.pid)
        assert proc is not None
        assert end_all([proc], timeout_s=0.2) == []
        assert child.wait(5) == -signal.SIGKILL


NODE = LocalNode("n1", "/srv/demo", "postgres", "127.0.0.1", 5501, "/srv/demo/n1/data", 2381, 2391)


def _proc(*argv: str, exe: str, cwd: str = "/") -> Proc:
    return Proc(10, 1, 5, 101, argv, cwd, exe)


KINDS: dict[str, tuple[Proc, str | None]] = {
    "its guard": (
        _proc("python", "-m", "pgha", "watchdog", "--node", NODE.node_file_path, exe="/u/python3.11"),
        "guard",
    ),
    "its agent": (
        _proc("python", "-m", "pgha.watchdog.agent_main", "--node", NODE.node_file_path, exe="/u/python3.11"),
        "agent",
    ),
    "its postmaster": (_proc("postgres", exe="/u/postgres", cwd=NODE.data_dir), "postgres"),
    "a backend that was upgraded under its feet": (
        _proc("postgres: n1: app", exe="/u/postgres (deleted)", cwd=NODE.data_dir),
        "postgres",
    ),
    "its etcd": (_proc("etcd", "--data-dir", NODE.etcd_dir, exe="/u/etcd"), "etcd"),
    "its clone": (_proc("pg_basebackup", "-D", f"{NODE.dir}/data.new", exe="/u/pg_basebackup"), "tool"),
    "a neighbour's clone": (_proc("pg_basebackup", "-D", "/srv/demo/n10/data", exe="/u/pg_basebackup"), None),
    "an editor on its file": (_proc("vim", NODE.node_file_path, exe="/u/vim"), None),
    "a python that names its file": (_proc("python", "look.py", NODE.node_file_path, exe="/u/python3.11"), None),
    "a request to stop it": (
        _proc("python", "-m", "pgha", "watchdog", "--node", NODE.node_file_path, "--stop", exe="/u/python3.11"),
        None,
    ),
    "a shell that stands in it": (_proc("bash", exe="/u/bash", cwd=NODE.dir), None),
    "psql that stands in it": (_proc("psql", exe="/u/psql", cwd=NODE.dir), None),
    "another demo's etcd": (_proc("etcd", "--data-dir", "/srv/demo2/n1/etcd", exe="/u/etcd"), None),
    "a server in a directory of nearly its name": (
        _proc("postgres", exe="/u/postgres", cwd="/srv/demo/n10/data"),
        None,
    ),
}


@pytest.mark.parametrize("case", KINDS)
def test_only_the_nodes_own_processes_are_its(case: str) -> None:
    proc, kind = KINDS[case]
    assert kind_of(NODE, proc) == kind


def test_a_node_without_processes_has_every_kind_empty_and_down_is_a_file(tmp_path: Path) -> None:
    node = LocalNode("n1", str(tmp_path), OTHER, "127.0.0.1", 1, f"{tmp_path}/n1/data")
    (tmp_path / "n1").mkdir()
    assert processes(node) == {"guard": [], "agent": [], "postgres": [], "etcd": [], "tool": []}
    hold_down(node)
    assert Path(node.down_file).exists()
    let_up(node)
    let_up(node)
    assert not Path(node.down_file).exists()


@pytest.mark.parametrize("room", [0, 1])
def test_a_long_directory_gets_a_short_socket_directory_of_its_own(room: int) -> None:
    name = "/.s.PGSQL.5501.lock"
    node = LocalNode("n1", "/" + "d" * (107 - room - len(f"//n1/run{name}")), "u", "h", 5501, "/x")
    near = len(f"{node.dir}/run{name}") < 107
    assert near is bool(room) and (node.socket_dir == f"{node.dir}/run") is near
    assert len(node.socket_dir + name) < 107


# -- binaries ------------------------------------------------------------------------------------------------


def test_postgres_and_etcd_are_found_and_are_what_they_should_be() -> None:
    folder, etcd = find_both(MachineBinaries())
    major = major_version(folder)
    assert major is not None and major >= 13 and os.access(etcd, os.X_OK)
    assert find_postgres(folder, major) == folder


def test_an_option_that_does_not_fit_is_an_error_and_never_passed_over(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="does not hold the PostgreSQL wanted"):
        find_postgres(str(tmp_path), None)
    with pytest.raises(Refused, match="is not an etcd program"):
        find_etcd(str(tmp_path))


def test_everything_that_is_missing_is_named_in_one_pass_with_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(Findings) as found:
        find_both(MachineBinaries(version=99, etcd_option=str(tmp_path)))
    text = "\n".join(found.value.lines())
    assert "PostgreSQL 99 is not on this machine" in text and "postgresql-99" in text and "etcd" in text


# -- passwords and strings -----------------------------------------------------------------------------------


def test_the_verifier_holds_in_the_example_of_rfc_7677() -> None:
    import base64
    import hashlib
    import hmac

    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    stored, server = scram_verifier("pencil", salt).split("$")[2].split(":")
    message = (
        b"n=user,r=rOprNGfwEbeRWgbNEkqO,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    )
    proof = base64.b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=")
    signature = hmac.new(base64.b64decode(stored), message, hashlib.sha256).digest()
    client_key = bytes(a ^ b for a, b in zip(proof, signature, strict=True))
    assert hashlib.sha256(client_key).digest() == base64.b64decode(stored)
    answer = hmac.new(base64.b64decode(server), message, hashlib.sha256).digest()
    assert base64.b64encode(answer) == b"6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def test_a_password_is_read_back_from_the_passfile_it_was_written_to() -> None:
    password = new_password()
    text = passfile_line("other", "x") + passfile_line("pgha_replicator", password)
    assert password_in(text, "pgha_replicator") == password
    assert password_in(None, "pgha_replicator") is None and password_in(text, "replicator") is None


def test_the_connection_string_names_the_primary_first_and_every_node() -> None:
    text = connect.uri(TARGET.nodes, "n2", connect.Wish(user="a b", dbname="shop/1"))
    assert text == (
        "postgresql://a%20b@192.0.2.12:5432,192.0.2.11:5432,192.0.2.13:5432/shop%2F1"
        "?target_session_attrs=read-write&connect_timeout=3"
    )


def test_for_reading_the_primary_comes_last() -> None:
    text = connect.uri(TARGET.nodes, "n1", connect.Wish(dbname="shop", read_only=True))
    assert "@" not in text and "/192.0.2.12:5432,192.0.2.13:5432,192.0.2.11:5432/" in text
    assert "target_session_attrs=prefer-standby" in text
