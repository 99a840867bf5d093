"""Plain PostgreSQL servers for tests and the bench: made, started, cloned, stopped and killed; pgha is not in them.

They run as an unprivileged user with pgha's own settings (design, section 12).
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg

from pgha.ops.drill_role import make_sql
from pgha.ops.newdata import scram_verifier
from pgha.ops.procs import living, send
from pgha.pg.conf import DEFAULTS, FIXED, quote
from tests.support.programs import postgres_bin

USER = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
REPLICATION_PASSWORD = "replication-of-a-test"
DRILL_PASSWORD = "drill-of-a-test"
SHUTDOWNED = (1, 2)  # DBState: DB_SHUTDOWNED, DB_SHUTDOWNED_IN_RECOVERY

WAL_SEGMENT_MB = 16  # as on hosts: the first segment of a new timeline is copied and fsynced by a promotion
HBA = """
local all all trust
local replication all trust
host replication pgha_replicator 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 scram-sha-256
"""


def until(condition: Callable[[], bool], *, within_s: float, what: str, every_s: float = 0.01) -> None:
    """Wait for a condition; AssertionError with `what` when it does not come."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, f"not within {within_s} s: {what}"
        time.sleep(every_s)


def free_ports(count: int) -> list[int]:
    """TCP ports of loopback that nobody listens on, all different."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


@contextlib.contextmanager
def server_root() -> Iterator[Path]:
    """A directory of its own that the servers' user can reach, removed at the end.

    Not one of pytest's: another run of pytest closes those to other users while this one works.
    """
    root = Path(tempfile.mkdtemp(prefix="pgha-servers-"))
    root.chmod(0o711)
    try:
        yield root
    finally:
        shutil.rmtree(root)


def give_to_user(path: Path) -> None:
    """Make a directory that the servers' user owns."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if os.geteuid() == 0:
        account = pwd.getpwnam(USER)
        os.chown(path, account.pw_uid, account.pw_gid)


@dataclass
class PlainServer:
    """One server. `root` holds its data, its socket and its log; others find it on 127.0.0.1:port."""

    name: str
    root: Path
    port: int
    bin_dir: str = field(default_factory=postgres_bin)
    process: subprocess.Popen[bytes] | None = None

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.root / "data"

    def tool(self, *argv: str) -> None:
        """Run one of PostgreSQL's programs as the servers' user."""
        done = subprocess.run(
            [f"{self.bin_dir}/{argv[0]}", *argv[1:]],
            check=False,
            user=USER if os.geteuid() == 0 else None,
            group=USER if os.geteuid() == 0 else None,
            cwd=self.root,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"},
        )
        assert done.returncode == 0, f"{argv[0]}: {done.stderr.decode(errors='replace')}"

    def initdb(self) -> None:
        """A new cluster with pgha's settings."""
        give_to_user(self.root)
        self.tool("initdb", "-D", str(self.data), "-k", "-U", "postgres", "-E", "UTF8", "--no-sync",
                  f"--wal-segsize={WAL_SEGMENT_MB}")  # fmt: skip
        self.configure()

    def configure(self, extra: str = "") -> None:
        """Write the settings; names of everybody else as synchronous standbys go into `extra`."""
        own = {
            "listen_addresses": "127.0.0.1",
            "wal_level": "replica",
            "port": str(self.port),
            "unix_socket_directories": str(self.root),
            "cluster_name": self.name,
        }
        lines = [f"{name} = {quote(value)}\n" for name, value in (DEFAULTS | FIXED | own).items()]
        self.write("pgha.conf", "".join(lines) + extra)
        self.write("pg_hba.conf", HBA)
        self.write("postgresql.conf", "include 'pgha.conf'\n")

    def write(self, name: str, text: str) -> None:
        """Replace a file of the data directory."""
        path = self.data / name
        path.write_text(text)
        path.chmod(0o600)
        if os.geteuid() == 0:
            account = pwd.getpwnam(USER)
            os.chown(path, account.pw_uid, account.pw_gid)

    def start(self) -> None:
        """Start it and wait until it answers."""
        with (self.root / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [f"{self.bin_dir}/postgres", "-D", str(self.data)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=USER if os.geteuid() == 0 else None,
                group=USER if os.geteuid() == 0 else None,
                cwd=self.root,
                env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"},
            )
        until(self.answers, within_s=20, what=f"{self.name} answers; its log is {self.root / 'log'}")

    def answers(self) -> bool:
        """A new connection gets an answer."""
        try:
            with self.connect() as c:
                c.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def connect(self, dbname: str = "postgres") -> psycopg.Connection[tuple[object, ...]]:
        """A superuser's autocommit connection over the socket."""
        return psycopg.connect(host=str(self.root), port=self.port, user="postgres", dbname=dbname, autocommit=True)

    def run(self, *statements: str, dbname: str = "postgres") -> list[tuple[object, ...]]:
        """Statements on one connection; the last one's rows."""
        with self.connect(dbname) as c:
            for sql in statements:
                cursor = c.execute(sql.encode())
            return cursor.fetchall() if cursor.description else []

    def control_state(self) -> int:
        """DBState of pg_control (the fifth word), as on disk."""
        return int(struct.unpack_from("<QIIi", (self.data / "global/pg_control").read_bytes())[3])

    def signal(self, number: signal.Signals) -> None:
        """To the postmaster."""
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self) -> None:
        """Fast, and wait for the end."""
        if self.process is not None and self.process.poll() is None:
            self.signal(signal.SIGINT)
            self.process.wait(timeout=30)

    def kill(self) -> None:
        """SIGKILL the postmaster and every process that works in the data directory, until none is left."""
        if self.process is None:
            return
        self.process.kill()
        while True:
            tree = [p for p in living() if p.works_in(str(self.data)) and p.program == "postgres"]
            for proc in tree:
                send(proc, signal.SIGKILL)
            if not tree:
                break
            self.process.poll()
        self.process.wait()

    def clone_from(self, source: PlainServer, extra: str = "") -> None:
        """Replace the data by a copy of a running server, to follow it under its own name."""
        if self.data.exists():
            shutil.rmtree(self.data)
        give_to_user(self.root)
        self.tool("pg_basebackup", "-D", str(self.data), "-h", str(source.root), "-p", str(source.port), "-Upostgres",
                  "-c", "fast", "-X", "stream", "--no-sync")  # fmt: skip
        self.configure(extra)
        self.follow(source)

    def follow(self, source: PlainServer) -> None:
        """Be a standby of `source` from the next start on."""
        self.write("standby.signal", "")
        self.write("postgresql.auto.conf", f"primary_conninfo = '{self.conninfo_to(source)}'\n"
                   f"primary_slot_name = '{self.name}'\n")  # fmt: skip

    def conninfo_to(self, source: PlainServer) -> str:
        """How this server follows that one."""
        return (
            f"host=127.0.0.1 port={source.port} user=pgha_replicator password={REPLICATION_PASSWORD} "
            f"application_name={self.name} sslmode=disable"
        )

    def make_roles(self) -> None:
        """The replication role, and the drill's role, database and table."""
        salt = b"0123456789abcdef"
        verifier = scram_verifier(REPLICATION_PASSWORD, salt)
        self.run(f"CREATE ROLE pgha_replicator REPLICATION LOGIN PASSWORD '{verifier}'")
        first, second = make_sql(scram_verifier(DRILL_PASSWORD, salt))
        self.run(*first)
        self.run(*second, dbname="pgha_drill")

    def make_slots(self, names: list[str]) -> None:
        """One physical slot for each of the others."""
        for name in names:
            self.run(f"SELECT pg_create_physical_replication_slot('{name}') WHERE NOT EXISTS "
                     f"(SELECT FROM pg_replication_slots WHERE slot_name = '{name}')")  # fmt: skip

    def streaming(self, name: str) -> bool:
        """That standby streams from here."""
        found = self.run(f"SELECT 1 FROM pg_stat_replication WHERE application_name = '{name}' AND state = 'streaming'")
        return bool(found)
