"""Servers that somebody made without pgha: a primary and standbys, a client that writes, an inventory of them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import psycopg

from pgha.ops.procs import Proc, living, send
from tests.loopback.cluster import Said, pgha
from tests.support.postgres_pair import USER, free_ports, give_to_user, until
from tests.support.programs import postgres_bin

ENV = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
OWN = "port = {port}\nlisten_addresses = '127.0.0.1'\nunix_socket_directories = '{folder}'\nwork_mem = '7MB'\n"


class Legacy:
    """`close` leaves nothing. files: what of the servers' own configuration is to be found again."""

    def __init__(self, nodes: int = 1, standbys: int = 0, *, more: str = "") -> None:
        self.root = Path(tempfile.mkdtemp(prefix="pgha-legacy-", dir="/var/tmp"))
        give_to_user(self.root)
        self.root.chmod(0o711)
        self.place, self.path = self.root / "c", self.root / "inventory.yaml"
        give_to_user(self.place)
        self.bin, self.names = postgres_bin(), [f"n{i + 1}" for i in range(nodes)]
        ports = free_ports(3 * nodes)
        self.ports = {name: ports[3 * i] for i, name in enumerate(self.names)}
        lines = ["cluster: shop", f"postgres: {{bin_dir: {self.bin}}}", f"local: {{dir: {self.place}, user: {USER}}}"]
        lines += ["nodes:"]
        for i, name in enumerate(self.names):
            etcd = f"etcd_client_port: {ports[3 * i + 1]}, etcd_peer_port: {ports[3 * i + 2]}"
            where = f"port: {ports[3 * i]}, data_dir: {self.data(name)}"
            lines.append(f"  {name}: {{host: 127.0.0.1, {where}, {etcd}}}")
        self.path.write_text("\n".join(lines) + "\n")
        self.running = self.names[: 1 + standbys]
        self._first(more)
        for name in self.running[1:]:
            self._standby(name)

    def data(self, name: str) -> Path:
        """The node's data directory."""
        return self.place / f"old-{name}" / "pg"

    def run(self, *argv: str) -> str:
        """One of PostgreSQL's programs, as the servers' user."""
        account = USER if os.geteuid() == 0 else None
        done = subprocess.run(
            [f"{self.bin}/{argv[0]}", *argv[1:]], user=account, group=account, extra_groups=[] if account else None,
            cwd=self.place, env=ENV, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{argv[0]}: {done.stderr}"
        return done.stdout.strip()

    def start(self, name: str) -> None:
        """By pg_ctl, with its own configuration."""
        log = str(self.data(name).parent / "log")
        account = USER if os.geteuid() == 0 else None
        subprocess.run(
            [f"{self.bin}/pg_ctl", "-D", str(self.data(name)), "-l", log, "-w", "start"], user=account, group=account,
            extra_groups=[] if account else None, cwd=self.place, env=ENV, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, check=True,
        )  # fmt: skip

    def _first(self, more: str) -> None:
        name = self.names[0]
        give_to_user(self.data(name).parent)
        login = ["-U", "postgres", "--auth-local=peer", "--auth-host=scram-sha-256"]
        self.run("initdb", "-D", str(self.data(name)), *login, "-k", "-E", "UTF8", "--no-sync", "--wal-segsize=1")
        self._own(name, more)
        self.start(name)
        self.sql(name, "CREATE ROLE app LOGIN SUPERUSER PASSWORD 'x'")
        self.sql(name, "CREATE TABLE t (i int)")
        self.sql(name, "ALTER SYSTEM SET maintenance_work_mem = '99MB'")
        self.sql(name, "SELECT pg_reload_conf()")

    def _standby(self, name: str) -> None:
        give_to_user(self.data(name).parent)
        way = ["-w", "-h", str(self.data(self.names[0]).parent), "-p", str(self.ports[self.names[0]]), "-U", "postgres"]
        self.run("pg_basebackup", *way, "-D", str(self.data(name)), "-R", "-X", "stream", "-c", "fast", "--no-sync")
        self._own(name, "")
        self.start(name)
        until(
            lambda: self.sql(name, "SELECT status FROM pg_stat_wal_receiver") == "streaming",
            within_s=20,
            what=f"{name} streams",
        )

    def _own(self, name: str, more: str) -> None:
        with (self.data(name) / "postgresql.conf").open("a") as f:
            f.write(OWN.format(port=self.ports[name], folder=self.data(name).parent) + more)

    def sql(self, name: str, sql: str) -> str:
        """Through the socket that is its own."""
        way = ["-h", str(self.data(name).parent), "-p", str(self.ports[name]), "-U", "postgres", "-d", "postgres"]
        return self.run("psql", "-XAtqw", *way, "-c", sql)

    def postmaster(self, name: str) -> int:
        """Its pid, as postmaster.pid says."""
        return int((self.data(name) / "postmaster.pid").read_text().split("\n", 1)[0])

    @property
    def postmasters(self) -> list[int]:
        """Of all that ran before pgha came."""
        return [self.postmaster(name) for name in self.running]

    def files(self) -> dict[str, bytes]:
        """Everything that is nobody's but the servers': their configuration, and the names in the cluster's place."""
        kinds = ("postgresql.conf", "postgresql.auto.conf", "pg_hba.conf", "pg_ident.conf", "standby.signal")
        paths = [self.data(name) / kind for name in self.running for kind in kinds]
        found = {str(path): path.read_bytes() for path in paths if path.exists()}
        return found | {str(path): b"" for path in self.place.iterdir()}

    def pgha(self, *words: str) -> Said:
        """A command on this cluster."""
        return pgha(*words, "-i", str(self.path), within_s=120.0)

    def _left(self) -> list[Proc]:
        return [p for p in living() if any(str(self.root) in word for word in p.argv) or p.works_in(str(self.root))]

    def close(self) -> None:
        """Whatever runs here ends, and the files go."""
        self.pgha("destroy", "--confirm", "shop")
        for proc in self._left():
            send(proc, signal.SIGKILL)
        until(lambda: not self._left(), within_s=20, what="nothing of it runs")
        shutil.rmtree(self.root, ignore_errors=True)


class Client:
    """One connection that writes row after row, over whatever is done to the server."""

    def __init__(self, legacy: Legacy) -> None:
        self.rows, self.longest_s, self.error = 0, 0.0, ""
        self._stop = threading.Event()
        port = legacy.ports[legacy.names[0]]
        self._way = f"host=127.0.0.1 port={port} user=app password=x dbname=postgres"
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()
        until(lambda: self.rows > 10 or bool(self.error), within_s=10, what="rows are written")

    def _write(self) -> None:
        try:
            with psycopg.connect(self._way, autocommit=True) as line:
                while not self._stop.wait(0.002):
                    began = time.monotonic()
                    line.execute("INSERT INTO t VALUES (%s)", (self.rows,))
                    self.rows, self.longest_s = self.rows + 1, max(self.longest_s, time.monotonic() - began)
        except psycopg.Error as e:
            self.error = str(e)

    def more(self, rows: int = 50) -> None:
        """So many more are written."""
        wanted = self.rows + rows
        until(lambda: self.rows >= wanted or bool(self.error), within_s=20, what="rows go on")
        assert not self.error, self.error

    def end(self) -> int:
        """Gives the number of rows that were acknowledged."""
        self._stop.set()
        self._thread.join(10)
        assert not self.error, self.error
        return self.rows
