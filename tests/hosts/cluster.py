"""A cluster that `pgha bootstrap` made on a lab's hosts, as an operator makes it; looked at and judged from outside.

May import the lab, the loopback stage's client, and of pgha what the operator's machine has.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pgha.adapters.local_judge import JudgeProcess
from pgha.ops import drill_role, newdata
from pgha.ops.judge import longest_gap, parse_history
from tests.hosts import network
from tests.hosts.host import Host
from tests.hosts.lab import Lab
from tests.hosts.shell import PLAIN, LabError, Ran, run, until
from tests.loopback.writing import Writing

CHECKOUT = Path(__file__).resolve().parents[2]
NAME = "shop"
STATE = f"/var/lib/pgha/{NAME}/state"
ETCD_PORTS = (2379, 2380)
PORT = 5432
LOGS = ("watchdog.log", "guard.log", "postgresql.log")
BOOTSTRAP_S = 400.0
PREFIX = f"/pgha/{NAME}/"
ETCDCTL = 'ETCDCTL_API=3 ETCDCTL_USER="root:$(cat "$0")" exec etcdctl "$@"'
TLS = {"cacert": "ca.pem", "cert": "client.pem", "key": "client.key"}

MADE: list[HostCluster] = []  # those that are there, for the report of a failed test


class HostCluster:
    """The hosts of the lab as one cluster. `supervisor`: cron or systemd. version: None: what the hosts bring."""

    def __init__(self, lab: Lab, supervisor: str = "cron", version: int | None = 15) -> None:
        self.version = version
        self.lab = lab
        self.supervisor = supervisor
        self.inventory = lab.place / "inventory.yaml"
        self.password = secrets.token_hex(16)
        self._looking: subprocess.Popen[str] | None = None

    # -- its life --------------------------------------------------------------------------------------------

    def bootstrap(self, extra: Sequence[str] = ()) -> float:
        """From hosts to a healthy cluster with the writing client's role and table; gives bootstrap's seconds.

        extra: lines of the inventory.
        """
        allowed = f"host {drill_role.NAME} {drill_role.NAME} {network.OPERATOR}/32 scram-sha-256"
        version = f"version: {self.version}, " if self.version else ""
        lines = [f"cluster: {NAME}", f"postgres: {{{version}hba: ['{allowed}']}}", "nodes:"]
        lines += [f"  {host.name}: {host.address}" for host in self.lab.hosts.values()]
        lines += [f"ssh: {{user: {self.lab.user}, key: {self.lab.key}}}", f"supervisor: {self.supervisor}", *extra]
        self.inventory.write_text("\n".join(lines) + "\n")
        begun = time.monotonic()
        said = self.pgha("bootstrap", "-y", within_s=BOOTSTRAP_S)
        took_s = time.monotonic() - begun
        if said.code != 0:
            raise LabError(f"bootstrap: {said}\n{said.out}")
        self.await_whole()
        self.make_role()
        return took_s

    def make_role(self) -> None:
        """The writing client's role and table, anew."""
        verifier = newdata.scram_verifier(self.password, secrets.token_bytes(16))
        first, second = drill_role.make_sql(verifier)
        self.sql(self.primary, first)
        self.sql(self.primary, second, dbname=drill_role.NAME)

    def close(self) -> None:
        """The looking process ends; the hosts are the lab's."""
        if self._looking is not None:
            assert self._looking.stdin is not None and self._looking.stdout is not None
            self._looking.stdin.close()
            self._looking.wait(10.0)
            self._looking.stdout.close()
            self._looking = None

    def pgha(self, *words: str, within_s: float = 60.0) -> Ran:
        """The command line, as the operator runs it."""
        argv = [sys.executable, "-m", "pgha", *words, "-i", str(self.inventory)]
        return run(network.within(self.lab.network.operator, argv), within_s=within_s, env=self.environment())

    def environment(self) -> dict[str, str]:
        """Of the operator's commands."""
        cache = os.environ.get("XDG_CACHE_HOME") or "/var/cache/pgha-hosts/operator"
        return {"HOME": str(self.lab.home), "PYTHONPATH": str(CHECKOUT), "XDG_CACHE_HOME": cache}

    # -- looking ---------------------------------------------------------------------------------------------

    def look(self) -> Mapping[str, object]:
        """One look at the store (see tests.hosts.look)."""
        if self._looking is None:
            argv = [sys.executable, "-m", "tests.hosts.look", str(self.inventory)]
            self._looking = subprocess.Popen(
                network.within(self.lab.network.operator, argv),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd="/",
                env={**PLAIN, **self.environment()},
            )
        assert self._looking.stdin is not None and self._looking.stdout is not None
        self._looking.stdin.write("\n")
        self._looking.stdin.flush()
        found: Mapping[str, object] = json.loads(self._looking.stdout.readline())
        return found

    @property
    def primary(self) -> str:
        """The node that the leader key names."""
        return str(self.look()["leader"])

    @property
    def standbys(self) -> list[str]:
        """The others."""
        primary = self.primary
        return [name for name in self.lab.hosts if name != primary]

    @property
    def store_leader(self) -> str:
        """The node whose etcd member leads."""
        until(lambda: bool(self.look()["store_leader"]), within_s=30.0, what="etcd has a leader", every_s=0.2)
        return str(self.look()["store_leader"])

    def await_whole(self, *, within_s: float = 120.0) -> float:
        """Until `list` is content, all nodes have reported since, the voters are the standbys; gives the seconds."""
        since, told = time.time(), [""]

        def is_whole() -> bool:
            found = self.look()
            reported = found["reported"]
            assert isinstance(reported, dict)
            late = sorted(n for n in self.lab.hosts if float(reported.get(n, 0.0)) < since)
            told[0] = f"{found['told']}; settled: {found['settled']}; not reported since: {late}"
            return found["exit"] == 0 and bool(found["settled"]) and not late

        begun = time.monotonic()
        while not is_whole():
            if time.monotonic() > begun + within_s:
                raise LabError(f"not whole within {within_s:g} s: {told[0]}")
            time.sleep(0.2)
        return time.monotonic() - begun

    def bear_no_longer(self) -> None:
        """A hand-over for bad health is followed by none for 10 H: a planned move ends that."""
        if self.look()["unwell"]:
            self.switch()

    def switch(self, to: str = "") -> None:
        """A switchover by the command; whole afterwards. Raises LabError."""
        said = self.pgha("switchover", *(["--to", to] if to else []), "-y")
        if said.code != 0:
            raise LabError(f"switchover: {said}")
        self.await_whole()

    def etcdctl(self, node: str, *words: str, stdin: str | None = None, within_s: float = 20.0) -> str:
        """etcd's own client on a node's console, as etcd's root. Raises LabError when it fails."""
        tls = [f"--{flag}=/etc/pgha/{NAME}/{name}" for flag, name in TLS.items()]
        argv = ["sh", "-c", ETCDCTL, f"/etc/pgha/{NAME}/etcd-root.password", *words]
        argv[4:4] = [f"--endpoints={self.lab.host(node).address}:2379", *tls]
        return self.lab.host(node).must(argv, stdin=stdin, within_s=within_s)

    def etcd_revision(self) -> int:
        """The store's newest revision."""
        said = json.loads(self.etcdctl(self.store_leader, "endpoint", "status", "-w", "json"))
        return int(said[0]["Status"]["header"]["revision"])

    def bump(self, count: int) -> None:
        """So many revisions more, by writes that nobody reads."""
        for number in range(count):
            self.etcdctl(self.store_leader, "put", "/bump", stdin=str(number))

    def key(self, name: str) -> str:
        """A key's value, "" when there is none."""
        return self.etcdctl(self.store_leader, "get", PREFIX + name, "--print-value-only").strip()

    def put(self, name: str, value: str) -> None:
        """Write a key past all agents."""
        self.etcdctl(self.store_leader, "put", PREFIX + name, stdin=value)

    def sql(self, node: str, statements: Sequence[str], *, dbname: str = "postgres") -> str:
        """As superuser on the node's console, each statement by itself; raises LabError when one fails."""
        argv = ["psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-p", str(PORT), "-d", dbname]
        return self.lab.host(node).must(argv, user="postgres", stdin=";\n".join(statements) + ";\n", within_s=30.0)

    @property
    def history(self) -> Path:
        """All that the last client saw, once it has given its verdict (see pgha.ops.judge)."""
        return self.lab.place / "history.jsonl"

    def around_the_gap(self) -> str:
        """What the client saw just before, during and just after the longest gap, for the report of a failed test."""
        seen = parse_history(self.history.read_text().splitlines())
        acked = sorted(row.acked_s for row in seen.rows if row.acked_s is not None)
        gap = longest_gap(acked, start_s=seen.start_s, end_s=seen.end_s)
        near = [r for r in seen.rows if r.sent_s > gap.from_s - 0.1 and r.sent_s < gap.to_s + 0.05]
        lines = [
            f"{r.node} epoch {r.epoch} n {r.n}: sent {r.sent_s - gap.from_s:+.3f} s, "
            + ("no answer" if r.acked_s is None else f"acknowledged {r.acked_s - gap.from_s:+.3f} s")
            for r in sorted(near, key=lambda row: row.sent_s)
        ]
        return "\n".join([f"longest gap: {gap.seconds:.3f} s, from its begin:", *lines])

    # -- its processes ---------------------------------------------------------------------------------------

    def pids(self, node: str, kind: str) -> list[int]:
        """The machine's numbers of a node's guard, agent (of this cluster alone), postmaster or etcd."""
        found = {pid: argv for pid, argv in self.lab.host(node).processes().items() if argv and _kind(argv) == kind}
        own = f"/etc/pgha/{NAME}.json"
        return [pid for pid, argv in found.items() if kind not in ("guard", "agent") or own in argv]

    def servers(self, node: str, title: str = "") -> list[int]:
        """The machine's numbers of the server's processes whose title says so (walsender, checkpointer); all for ""."""
        found = []
        for pid, argv in self.lab.host(node).processes().items():
            words = " ".join(argv)
            is_ours = words.startswith("postgres:") or (argv and _kind(argv) == "postmaster")
            if is_ours and title in words:
                found.append(pid)
        return found

    # -- logs ------------------------------------------------------------------------------------------------

    def log_ends(self, lines: int = 60) -> list[tuple[str, str]]:
        """The ends of every node's logs, read from its disk: it may be off."""
        ends = []
        for host in self.lab.hosts.values():
            for name in LOGS:
                path = _on_disk(host, f"{STATE}/{name}")
                text = path.read_text(errors="replace") if path.exists() else ""
                ends.append((f"{host.name}/{name}", "\n".join(text.splitlines()[-lines:])))
        return ends


def _on_disk(host: Host, path: str) -> Path:
    return host.disk / path.lstrip("/")


def _kind(argv: Sequence[str]) -> str:
    """By whole words: the shell of a cron line has the guard's words in one, a backend its title."""
    program = argv[0].rpartition("/")[2]
    if program == "etcd":
        return "etcd"
    if program == "postgres":
        return "postmaster"
    if "pgha.watchdog.agent_main" in argv:
        return "agent"
    return "guard" if "watchdog" in argv and "--stop" not in argv else ""


@contextlib.contextmanager
def writing(cluster: HostCluster) -> Iterator[Writing]:
    """The client that never stops writing, in the operator's network, to an empty table; its first rows are there."""
    cluster.sql(cluster.primary, [f"TRUNCATE {drill_role.NAME}"], dbname=drill_role.NAME)
    nodes = [{"name": h.name, "host": h.address, "port": PORT} for h in cluster.lab.hosts.values()]
    login = {"user": drill_role.NAME, "password": cluster.password, "dbname": drill_role.NAME}
    with cluster.lab.inside():
        judge = JudgeProcess({"nodes": nodes, **login, "history": str(cluster.history)})
    with judge:
        writer = Writing(judge)
        writer.await_rows()
        judge.order("begin")
        yield writer
