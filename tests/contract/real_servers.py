"""A few plain PostgreSQL servers for the tests of what the simulator's fakes take for granted: no pgha is in them."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from pgha.core.model import parse_lsn
from pgha.pg.conf import quote
from tests.support.postgres_pair import USER, PlainServer, free_ports, server_root, until

WAITS_S = 0.7  # a commit that has not returned by then waits


class Commit:
    """A row written in a thread of its own, for a commit that may wait."""

    def __init__(self, server: PlainServer, word: str) -> None:
        self._connection = server.connect()
        self.pid = self._connection.info.backend_pid
        self.failed = ""
        self._thread = threading.Thread(target=self._run, args=(word,))
        self._thread.start()

    def _run(self, word: str) -> None:
        try:
            self._connection.execute("INSERT INTO told VALUES (%s)", (word,))
        except psycopg.Error as e:
            self.failed = str(e)

    def done(self, within_s: float) -> bool:
        """Was it acknowledged, by then?"""
        self._thread.join(within_s)
        return not self._thread.is_alive() and not self.failed

    def end(self) -> None:
        """No thread is left; call it when the server is down or lets it through."""
        self._thread.join(20)
        self._connection.close()
        assert not self._thread.is_alive()


class Scene:
    """Servers of one PostgreSQL version, and the commits that are under way."""

    def __init__(self, root: Path, bin_dir: str) -> None:
        self._root, self._bin, self._ports = root, bin_dir, free_ports(3)
        self.servers: list[PlainServer] = []
        self._commits: list[Commit] = []

    @property
    def major(self) -> int:
        """Of its PostgreSQL."""
        said = subprocess.run([f"{self._bin}/postgres", "-V"], capture_output=True, text=True, check=True).stdout
        return int(said.split()[2].split(".")[0])

    def _another(self) -> PlainServer:
        number = len(self.servers) + 1
        server = PlainServer(f"n{number}", self._root / f"n{number}", self._ports[number - 1], self._bin)
        self.servers.append(server)
        return server

    def primary(self) -> PlainServer:
        """n1, with an empty table."""
        server = self._another()
        server.initdb()
        server.start()
        server.make_roles()
        server.run("CREATE TABLE told (word text)")
        return server

    def standby(self, source: PlainServer) -> PlainServer:
        """One more, which streams from the source."""
        server = self._another()
        server.clone_from(source)
        source.make_slots([server.name])
        server.start()
        until(lambda: source.streaming(server.name), within_s=20, what=f"{server.name} streams")
        return server

    def commit(self, server: PlainServer, word: str) -> Commit:
        """A row, written in the background."""
        self._commits.append(Commit(server, word))
        return self._commits[-1]

    def waits(self, server: PlainServer, word: str) -> Commit:
        """As above; asserts that nobody acknowledges it for a while."""
        commit = self.commit(server, word)
        assert not commit.done(WAITS_S), f"{word} was acknowledged: {commit.failed}"
        return commit

    def close(self) -> None:
        """All is ended, also what stands still."""
        for server in self.servers:
            server.kill()
        for commit in self._commits:
            commit.end()


@contextmanager
def scene(bin_dir: str) -> Iterator[Scene]:
    """Removed at the end."""
    with server_root() as root:
        made = Scene(root, bin_dir)
        try:
            yield made
        finally:
            made.close()


def alter(server: PlainServer, **settings: str) -> None:
    """Set and reload; what a new session shows is not yet in force everywhere."""
    server.run(*(f"ALTER SYSTEM SET {name} = {quote(value)}" for name, value in settings.items()))
    server.run("SELECT pg_reload_conf()")
    for name, value in settings.items():
        until(lambda n=name, v=value: server.run(f"SHOW {n}") == [(v,)], within_s=5, what=f"{name} is shown")  # type: ignore[misc]


def one(server: PlainServer, sql: str) -> str:
    """The one value that a query gives, as text; empty when there is none."""
    rows = server.run(sql)
    return str(rows[0][0]) if rows and rows[0][0] is not None else ""


def number(server: PlainServer, sql: str) -> int:
    """The one LSN that a query gives; 0 when there is none."""
    found = one(server, sql)
    return parse_lsn(found) if found else 0


def written(server: PlainServer) -> int:
    """Where a primary's WAL ends."""
    return number(server, "SELECT pg_current_wal_flush_lsn()")


def flushed(source: PlainServer, name: str) -> int:
    """What that standby has confirmed."""
    return number(source, f"SELECT flush_lsn FROM pg_stat_replication WHERE application_name = '{name}'")


def identify(server: PlainServer) -> tuple[int, int]:
    """IDENTIFY_SYSTEM: timeline and LSN."""
    where = psycopg.connect(
        host=str(server.root), port=server.port, user="postgres", dbname="postgres", replication="database",
        cursor_factory=psycopg.ClientCursor, autocommit=True,
    )  # fmt: skip
    with where as connection:
        row = connection.execute("IDENTIFY_SYSTEM").fetchone()
    assert row is not None
    return int(str(row[1])), parse_lsn(str(row[2]))


def sealed(server: PlainServer) -> bool:
    """Does the startup process wait for its retry?"""
    event = one(server, "SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'startup'")
    return event == "RecoveryRetrieveRetryInterval"


def cut(server: PlainServer) -> None:
    """Empty primary_conninfo, and the state that proves it."""
    alter(server, primary_conninfo="")
    until(lambda: sealed(server), within_s=10, what=f"{server.name} is sealed")


def process_of(server: PlainServer, kind: str) -> int:
    """The pid of its checkpointer, walreceiver and the like."""
    until(lambda: bool(_pid(server, kind)), within_s=10, what=f"{server.name} has a {kind}")
    return int(_pid(server, kind))


def _pid(server: PlainServer, kind: str) -> str:
    return one(server, f"SELECT pid FROM pg_stat_activity WHERE backend_type = '{kind}'")


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """That process stands still."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        if Path(f"/proc/{pid}").exists():
            os.kill(pid, signal.SIGCONT)


def output(server: PlainServer, *argv: str) -> str:
    """What one of PostgreSQL's programs says; it must succeed."""
    who = USER if os.geteuid() == 0 else None
    done = subprocess.run(
        [f"{server.bin_dir}/{argv[0]}", *argv[1:]], capture_output=True, text=True, timeout=60, check=False,
        user=who, group=who, cwd=server.root, env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def timeline(server: PlainServer) -> int:
    """Of a primary's WAL."""
    return int(one(server, "SELECT pg_walfile_name(pg_current_wal_insert_lsn())")[:8], 16)


def promote(server: PlainServer) -> int:
    """The timeline it opens."""
    assert server.run("SELECT pg_promote()") == [(True,)]
    return timeline(server)


def log_says(server: PlainServer, *texts: str) -> Callable[[], bool]:
    """Whether any of these stands in its log."""
    return lambda: any(text in (server.root / "log").read_text(errors="replace") for text in texts)
