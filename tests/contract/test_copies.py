"""Clones and rewinds of real servers, with a tablespace: interrupted, gone on with, out of room; old copies stay whole.

What the guard does (run a tool, tell of the server) is done here by the test, so that it can end a tool halfway.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from pgha.adapters.local import SystemClock
from pgha.adapters.server_copies import TORN, Copies
from pgha.adapters.server_files import ServerFiles, identity_of
from pgha.adapters.server_jobs import Jobs
from pgha.nodefile import NodeFile, Peer, StoreAccess
from pgha.ops.newdata import REWIND_FUNCTIONS
from pgha.ports import GuardState, ToolResult
from tests.support.postgres_pair import (
    REPLICATION_PASSWORD,
    USER,
    PlainServer,
    free_ports,
    give_to_user,
    server_root,
    until,
)
from tests.support.programs import postgres_bin

pytestmark = [pytest.mark.loopback, pytest.mark.slow, pytest.mark.timeout(120)]

BIN = postgres_bin()
Tool = Callable[[list[str]], ToolResult]


class Guard:
    """The part of a GuardLink that a job uses. No server runs unless a test says so."""

    def __init__(self) -> None:
        self.closed = False
        self.asked: list[str] = []
        self.tool: Tool = run

    def state(self) -> GuardState:
        return GuardState("life")

    def deadline(self, at_s: float | None) -> None:
        raise AssertionError("no job sets a deadline")

    def start(self, order: object) -> None:
        raise AssertionError("no job starts a server")

    def signal(self, name: str) -> None:
        self.asked.append(name)

    def kill_tree(self, *, deadline_s: float) -> bool:
        self.asked.append("kill")
        return True

    def run_tool(self, argv: Sequence[str], env: Mapping[str, str], *, deadline_s: float) -> ToolResult:
        return self.tool(list(argv))


def run(argv: list[str]) -> ToolResult:
    """As the servers' user."""
    who = USER if os.geteuid() == 0 else None
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=60, check=False, user=who, group=who, cwd="/",
        env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    return ToolResult(done.returncode, done.stdout + done.stderr)


def run_and_kill(seen: Callable[[], bool]) -> Tool:
    """The tool is killed as soon as its work shows."""

    def tool(argv: list[str]) -> ToolResult:
        who = USER if os.geteuid() == 0 else None
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=who, group=who)
        until(lambda: seen() or process.poll() is not None, within_s=20, what="its work shows", every_s=0.0)
        process.send_signal(signal.SIGKILL)
        return ToolResult(process.wait(10), "")

    return tool


class Node:
    """A node's directories and its jobs, without a watchdog."""

    def __init__(self, server: PlainServer, peers: Mapping[str, Peer]) -> None:
        self.server, self.guard, self.made = server, Guard(), 0
        give_to_user(server.root)
        state = server.root / "state"
        give_to_user(state)
        passfile = state / "passfile"
        passfile.write_text(f"*:*:*:*:{REPLICATION_PASSWORD}\n")
        passfile.chmod(0o600)
        if os.geteuid() == 0:
            account = pwd.getpwnam(USER)
            os.chown(passfile, account.pw_uid, account.pw_gid)
        store = StoreAccess(("127.0.0.1:1",))
        self.file = NodeFile(
            "shop", server.name, str(state), str(server.data), str(server.root), server.bin_dir, store, peers
        )
        self.files = ServerFiles(self.file)
        self.jobs = Jobs(self.file, self.guard, SystemClock(), self.files)
        self.jobs.on_clone = lambda _: setattr(self, "made", self.made + 1)

    @property
    def copies(self) -> Copies:
        """As a fresh agent has them."""
        return Copies(self.file)

    def clone(self, holder: str, keep: str = "") -> str:
        """To its end; why it failed, or nothing."""
        self.jobs.clone(holder, keep)
        until(lambda: not self.jobs.running, within_s=60, what="the clone has ended")
        return self.jobs.failed

    def rewind(self, holder: str) -> str:
        """To its end; why it failed, or nothing."""
        self.jobs.rewind(holder)
        until(lambda: not self.jobs.running, within_s=60, what="the rewind has ended")
        return self.jobs.failed

    def beside(self, kind: str) -> list[Path]:
        """Directories beside the data directory."""
        return sorted(self.server.root.glob(f"data.{kind}-*"))

    def space(self, of: Path | None = None) -> Path:
        """Where the tablespace of a data directory lies."""
        (link,) = ((of or self.server.data) / "pg_tblspc").iterdir()
        return Path(os.readlink(link))

    def follow(self, source: PlainServer) -> None:
        """Come up as a standby that streams from the source."""
        self.server.configure()
        self.server.follow(source)
        source.make_slots([self.server.name])
        self.server.start()
        until(lambda: source.streaming(self.server.name), within_s=20, what=f"{self.server.name} streams")

    def rows(self) -> int:
        """In the table that lies in the tablespace."""
        ((count,),) = self.server.run("SELECT count(*) FROM apart")
        return int(str(count))


@pytest.fixture
def pair() -> Iterator[SimpleNamespace]:
    """n1 runs and has a table of 1000 rows in a tablespace; n2 is empty."""
    with server_root() as root:
        ports = free_ports(2)
        servers = [PlainServer(f"n{i}", root / f"n{i}", port, BIN) for i, port in enumerate(ports, 1)]
        peers = {s.name: Peer("127.0.0.1", s.port) for s in servers}
        first, second = (Node(s, peers) for s in servers)
        spaces = root / "spaces=fast"
        give_to_user(spaces)
        try:
            servers[0].initdb()
            servers[0].start()
            servers[0].make_roles()
            grants = [f"GRANT EXECUTE ON FUNCTION {f} TO pgha_replicator" for f in REWIND_FUNCTIONS]
            servers[0].run(*grants, "GRANT pg_read_all_stats TO pgha_replicator")
            servers[0].run(f"CREATE TABLESPACE fast LOCATION '{spaces}'")
            servers[0].run(
                "CREATE TABLE apart TABLESPACE fast AS SELECT i, repeat('x', 500) FROM generate_series(1, 1000) i"
            )
            yield SimpleNamespace(n1=first, n2=second, spaces=spaces)
        finally:
            for server in servers:
                server.kill()


def own_files(spaces: Path) -> list[Path]:
    """What n1's first copy has in the tablespace."""
    return sorted(p for p in spaces.glob("PG_*/**/*") if p.is_file())


def promoted(pair: SimpleNamespace) -> None:
    """n2 is cloned, follows, and is promoted; n1 went on writing for a moment and was stopped: it has diverged."""
    assert pair.n2.clone("n1") == ""
    pair.n2.follow(pair.n1.server)
    pair.n2.server.run("SELECT pg_promote()")
    pair.n2.server.run("CHECKPOINT", "DELETE FROM apart WHERE i <= 10")
    pair.n1.server.run("DELETE FROM apart WHERE i > 500")
    pair.n1.server.stop()


def test_a_clone_has_a_tablespace_of_its_own_and_follows(pair: SimpleNamespace) -> None:
    before = own_files(pair.spaces)
    assert pair.n2.clone("n1") == ""
    assert pair.n2.made == 1 and pair.n2.space().parent == pair.spaces
    assert own_files(pair.spaces) == before and before
    pair.n2.follow(pair.n1.server)
    pair.n1.server.run("DELETE FROM apart WHERE i <= 100", "CREATE TABLE more TABLESPACE fast AS SELECT 1")
    until(lambda: pair.n2.rows() == 900, within_s=10, what="it has what was written since")


def test_a_former_primary_is_rewound_with_its_tablespace(pair: SimpleNamespace) -> None:
    promoted(pair)
    assert pair.n1.rewind("n2") == ""
    assert pair.n1.copies.identity() is not None
    pair.n1.follow(pair.n2.server)
    until(lambda: pair.n1.rows() == 990, within_s=10, what="it has the other's rows and none of its own")
    assert pair.n1.space() == pair.spaces and pair.n2.space() != pair.spaces


def test_an_old_copy_stays_whole_with_its_tablespace_until_it_is_dropped(pair: SimpleNamespace) -> None:
    promoted(pair)
    before = own_files(pair.spaces)
    assert pair.n1.clone("n2") == ""
    (old,) = pair.n1.beside("old")
    assert own_files(pair.spaces) == before and pair.n1.space(old) == pair.spaces
    pair.n1.follow(pair.n2.server)
    assert pair.n1.rows() == 990
    pair.n1.copies.drop_old()
    assert not pair.n1.beside("old") and not own_files(pair.spaces)
    assert pair.spaces.is_dir() and pair.n1.space().is_dir() and pair.n2.space().is_dir()
    pair.n2.server.run("DELETE FROM apart WHERE i <= 20")
    until(lambda: pair.n1.rows() == 980, within_s=10, what="it still streams")
    first = pair.n1.space()
    pair.n1.server.stop()
    assert pair.n1.clone("n2") == ""
    pair.n1.copies.drop_old()
    assert not first.exists() and pair.n1.space().parent == pair.spaces


def test_a_clone_that_is_killed_leaves_the_old_copy_and_the_next_one_clears_up(pair: SimpleNamespace) -> None:
    promoted(pair)
    found, before = pair.n1.copies.identity(), own_files(pair.spaces)
    pair.n1.guard.tool = run_and_kill(lambda: any(pair.spaces.glob("pgha-n1-*/PG_*")))
    assert "ended with -9" in pair.n1.clone("n2")
    assert pair.n1.copies.identity() == found and own_files(pair.spaces) == before and not pair.n1.made
    (left,) = pair.n1.beside("new")
    pair.n1.guard.tool = run
    assert pair.n1.clone("n2") == ""
    assert not left.exists() and not pair.n1.beside("new")
    assert list(pair.spaces.glob("pgha-n1-*")) == [pair.n1.space()]


def test_what_a_killed_clone_left_goes_once_the_node_is_well_without_it(pair: SimpleNamespace) -> None:
    promoted(pair)
    found = pair.n1.copies.identity()
    pair.n1.guard.tool = run_and_kill(lambda: any(pair.spaces.glob("pgha-n1-*/PG_*")))
    assert pair.n1.clone("n2") and pair.n1.beside("new")
    pair.n1.jobs.forget()
    assert (pair.n1.jobs.failed, pair.n1.beside("new")) == ("", []) and not list(pair.spaces.glob("pgha-n1-*"))
    assert pair.n1.copies.identity() == found


def test_a_swap_cut_short_between_its_renames_is_finished_by_the_next_agent(
    pair: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoted(pair)
    real = os.rename

    def once(source: str, target: str) -> None:
        if ".new-" in str(source):
            raise OSError("killed here")
        real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", once)
        assert "killed here" in pair.n1.clone("n2")
    assert not pair.n1.server.data.exists() and pair.n1.copies.identity() is None
    assert pair.n1.copies.finish_swap()
    assert not pair.n1.copies.finish_swap()
    assert pair.n1.beside("old") and not pair.n1.beside("new")
    pair.n1.follow(pair.n2.server)
    assert pair.n1.rows() == 990


def test_a_rewind_that_is_killed_leaves_nothing_that_counts_and_is_cloned_anew(pair: SimpleNamespace) -> None:
    promoted(pair)
    label = pair.n1.server.data / "backup_label"
    for path in (pair.n1.server.data / "base").glob("*/pg_internal.init"):
        path.unlink()
    moment = pair.n1.server.data / "pgha.conf"  # what pg_rewind copies whole shows that it has begun to write
    moment.unlink()
    pair.n1.guard.tool = run_and_kill(lambda: moment.exists() or label.exists())
    assert "pg_rewind ended with -9" in pair.n1.rewind("n2")
    assert identity_of(str(pair.n1.server.data)) is not None, "pg_control looks as if nothing had happened"
    assert pair.n1.copies.identity() is None, "and yet it is nobody's copy"
    pair.n1.guard.tool = run
    assert pair.n1.clone("n2") == ""
    assert pair.n1.copies.identity() is not None and not Path(pair.n1.file.state_dir, TORN).exists()
    assert pair.n1.beside("old")
    pair.n1.follow(pair.n2.server)
    assert pair.n1.rows() == 990


def test_without_room_for_a_second_copy_nothing_is_stopped_and_the_reason_is_told(
    pair: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    promoted(pair)
    found = pair.n1.copies.identity()
    few = SimpleNamespace(total=1 << 30, used=1 << 30, free=8 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: few)
    said = pair.n1.clone("n2")
    assert "not enough room for a clone" in said and "8 MB free" in said, said
    assert pair.n1.copies.identity() == found and not pair.n1.guard.asked and not pair.n1.beside("new")


def test_the_room_that_is_needed_counts_each_tablespace_where_it_lies(pair: SimpleNamespace) -> None:
    pair.n1.server.run("CREATE TABLE large TABLESPACE fast AS SELECT repeat('y', 2000) FROM generate_series(1, 20000)")
    copies, free = pair.n2.copies, shutil.disk_usage(pair.spaces).free
    assert copies.room_problem(1 << 20, {str(pair.spaces): 1 << 20}) == ""
    assert "needed" in copies.room_problem(1 << 20, {str(pair.spaces): free})
    assert "needed" in copies.room_problem(free // 2, {str(pair.spaces): free // 2}), "they share one file system"


def test_a_damaged_note_of_a_rewind_makes_nothing_count(pair: SimpleNamespace) -> None:
    assert pair.n2.clone("n1") == ""
    assert pair.n2.copies.identity() is not None
    Path(pair.n2.file.state_dir, TORN).write_text("{")
    assert pair.n2.copies.identity() is None


def test_a_copy_that_is_to_be_kept_stays_whole_for_ever(pair: SimpleNamespace) -> None:
    promoted(pair)
    before = own_files(pair.spaces)
    assert pair.n1.clone("n2", keep="d1") == ""
    pair.n1.copies.drop_old()
    (kept,) = pair.n1.beside("kept")
    assert kept.name.startswith("data.kept-d1-") and pair.n1.copies.kept() == (kept.name,)
    assert pair.n1.clone("n2") == ""
    pair.n1.copies.drop_old()
    assert own_files(pair.spaces) == before and pair.n1.space(kept) == pair.spaces
    assert not pair.n1.beside("old") and pair.n1.space().is_dir()
