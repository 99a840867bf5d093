"""A whole cluster of real processes on this machine, as `pgha demo up` makes it, to be looked at and put right again.

May use the operations on local clusters. What is done to it is in `faults`, what a client sees of it in `writing`.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from pgha import inventory, records
from pgha.adapters.client import Target as Login
from pgha.adapters.client import ask_all
from pgha.adapters.etcd import EtcdStore
from pgha.adapters.local import LocalHost, SystemClock
from pgha.core.model import Copy, Leader, Member
from pgha.core.timing import Timing, timing_for
from pgha.ops import demo, drill_faults, drill_role, local_nodes, newdata, status, switchover
from pgha.ops.local_nodes import LocalNode
from pgha.ops.procs import Proc
from pgha.ops.status import Seen, Status
from pgha.ops.target import Target, from_inventory
from pgha.ports import Committed, Guard, StoreDown, Write
from tests.loopback import faults
from tests.support import programs
from tests.support.postgres_pair import until

CHECKOUT = Path(__file__).resolve().parents[2]
UP_S = 120.0
STORE_S = 3.0
HEALTHY_S = 75.0
LOGS = ("watchdog.log", "guard.log", "postgresql.log")


@dataclass(frozen=True, slots=True)
class Said:
    """How a command ended and what it said."""

    code: int
    text: str


def pgha(*words: str, within_s: float = 60.0) -> Said:
    """The command line in a process of its own, as an operator runs it."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("PGHA_")} | {"PYTHONPATH": str(CHECKOUT)}
    argv = [sys.executable, "-m", "pgha", *words]
    ran = subprocess.run(
        argv, cwd="/", env=env, capture_output=True, text=True, timeout=within_s, check=False, stdin=subprocess.DEVNULL
    )
    return Said(ran.returncode, ran.stdout + ran.stderr)


class Cluster:
    """Three nodes (or as many as asked for), each with an etcd member. `up` makes it, `down` leaves nothing."""

    def __init__(self) -> None:
        self.root = ""
        self.clock = SystemClock()
        self.password = secrets.token_hex(16)

    # -- its life --------------------------------------------------------------------------------------------

    def up(self, nodes: int = 3, *, segment_mb: int = 1) -> None:
        """Make it, with the writing client's role and table."""
        self.root = tempfile.mkdtemp(prefix="pgha-lb-", dir="/var/tmp")
        os.rmdir(self.root)
        words = ["--nodes", str(nodes), "--wal-segment", str(segment_mb), *programs.demo_words()]
        said = pgha("demo", "up", "--dir", self.root, *words, within_s=UP_S)
        assert said.code == 0, said.text
        self.adopt(f"{self.root}/inventory.yaml")

    def adopt(self, path: str) -> None:
        """A cluster that was made from this inventory."""
        found = inventory.parse(Path(path).read_text(), path)
        assert found.local is not None
        self.host = LocalHost(found.local.user)
        self.nodes = {n.name: n for n in local_nodes.load(found)}
        self.target: Target = from_inventory(found, path, f"-i {path} ")
        self.store = EtcdStore(self.target.store, self.clock)
        self._make_role()

    def down(self) -> None:
        """No process and no file is left."""
        if not self.root:
            return
        if hasattr(self, "store"):
            self.store.close()
        faults.thaw(demo.processes(self.root))
        said = pgha("demo", "down", "--dir", self.root, within_s=UP_S)
        faults.reap()
        left = demo.processes(self.root)
        shutil.rmtree(self.root, ignore_errors=True)
        assert said.code == 0, said.text
        assert not left, left
        self.root = ""

    def _make_role(self) -> None:
        verifier = newdata.scram_verifier(self.password, secrets.token_bytes(16))
        first, second = drill_role.make_sql(verifier)
        self.sql(self.primary, *first)
        self.sql(self.primary, *second, dbname=drill_role.NAME)

    def mend(self) -> None:
        """Whatever a scenario left: everything runs and nothing is held down."""
        faults.thaw(demo.processes(self.root))
        for node in self.nodes.values():
            self.power_on(node)

    # -- looking ---------------------------------------------------------------------------------------------

    @property
    def timing(self) -> Timing:
        """H and what follows from it."""
        settings = self.seen().records.settings
        assert settings is not None
        return timing_for(settings.failover_after_s)

    def seen(self) -> Seen:
        """One look at the store."""
        return status.gather(self.store, self.clock, self.target.cluster, timeout_s=STORE_S)

    def status(self) -> Status:
        """What `pgha list` would say."""
        return status.judge(self.target, self.seen())

    @property
    def leader(self) -> Leader:
        """The leader key."""
        leader = self.seen().records.leader
        assert leader is not None, "there is no leader key"
        return leader

    @property
    def primary(self) -> LocalNode:
        """The node that the leader key names."""
        return self.nodes[self.leader.holder.node]

    @property
    def standbys(self) -> list[LocalNode]:
        """The others."""
        holder = self.leader.holder.node
        return [n for n in self.nodes.values() if n.name != holder]

    def member(self, node: LocalNode) -> Member:
        """What the node publishes of itself."""
        return self.seen().records.members[node.name]

    def copy(self, node: LocalNode) -> Copy:
        """The data directory the node has."""
        return self.member(node).copy

    def store_leader(self) -> LocalNode:
        """The node whose etcd member leads."""
        ports = {int(m.endpoint.rpartition(":")[2]) for m in self.seen().health.members if m.leader}
        return next(n for n in self.nodes.values() if n.etcd_client_port in ports)

    def store_answers(self) -> bool:
        """A linearizable read succeeds."""
        try:
            self.store.read(records.prefix(self.target.cluster), deadline_s=self.clock.now_s() + 0.2)
        except StoreDown:
            return False
        return True

    # -- waiting ---------------------------------------------------------------------------------------------

    def await_healthy(self, *, within_s: float = HEALTHY_S) -> Status:
        """`list` is content, the voters are the standbys as they are, and all have reported since this was called."""
        since, end = time.time(), time.monotonic() + within_s
        while True:
            seen = self.seen()
            found = status.judge(self.target, seen)
            fresh = {m.node for m in seen.records.members.values() if m.written_at >= since}
            if found.exit == 0 and fresh >= set(self.nodes) and seen.records.order is None and _is_settled(seen):
                return found
            told = f"{found.sentence()}; {'; '.join(found.notes)}; reported since: {sorted(fresh)}"
            assert time.monotonic() < end, f"not healthy within {within_s:g} s: {told}"
            time.sleep(0.1)

    def await_calm(self, *, within_s: float = HEALTHY_S) -> None:
        """`list` is content, no order is at work, every process is there (between scenarios; records may be old)."""
        kinds = ("guard", "agent", "postgres", "etcd")

        def is_calm() -> bool:
            seen = self.seen()
            if status.judge(self.target, seen).exit != 0 or seen.records.order is not None:
                return False
            return all(faults.of(node, kind) for node in self.nodes.values() for kind in kinds)

        until(is_calm, within_s=within_s, what="the cluster is calm", every_s=0.1)

    def await_status(self, wanted: Callable[[Status], bool], what: str, *, within_s: float = 30.0) -> Status:
        """Until `list` would say so."""
        found: list[Status] = []

        def is_so() -> bool:
            found[:] = [self.status()]
            return wanted(found[0])

        until(is_so, within_s=within_s, what=what, every_s=0.05)
        return found[0]

    def await_seen(self, wanted: Callable[[Seen], bool], what: str, *, within_s: float = 30.0) -> Seen:
        """Until the store shows it."""
        found: list[Seen] = []

        def is_so() -> bool:
            found[:] = [self.seen()]
            return wanted(found[0])

        until(is_so, within_s=within_s, what=what, every_s=0.05)
        return found[0]

    # -- doing -----------------------------------------------------------------------------------------------

    def sql(self, node: LocalNode, *statements: str, dbname: str = "postgres") -> list[list[str | None]]:
        """As superuser over the node's socket; the last statement's rows."""
        done = self.said(node, statements, dbname)
        assert not done["problem"], done
        rows = done["rows"]
        assert isinstance(rows, list)
        return rows

    def say(self, node: LocalNode, statement: str) -> None:
        """The same, of a server that may be ended before it has answered."""
        self.said(node, (statement,))

    def said(self, node: LocalNode, statements: tuple[str, ...], dbname: str = "postgres") -> Mapping[str, object]:
        """What the server answered: rows, or a problem."""
        order = {"host": node.socket_dir, "port": node.port, "user": "postgres", "dbname": dbname}
        text = json.dumps({**order, "statements": statements})
        ran = self.host.run([sys.executable, "-m", "pgha.ops.sql_main"], timeout_s=30.0, stdin=text)
        body: Mapping[str, object] = json.loads(ran.out)
        return body

    def walsender(self, node: LocalNode, name: str) -> Proc:
        """The process of the primary that feeds the standby of this name."""
        ((pid,),) = self.sql(node, f"SELECT pid FROM pg_stat_replication WHERE application_name = '{name}'")
        (found,) = (p for p in faults.of(node, "postgres") if p.pid == int(pid or 0))
        return found

    def login(self, node: LocalNode) -> Login:
        """How the writing client reaches the node."""
        name = drill_role.NAME
        return Login(node.name, node.host, node.port, name, name, self.password)

    def ask(self, node: LocalNode, sql: str) -> tuple[tuple[str | None, ...], ...]:
        """One statement as the writing client; its rows."""
        answer = ask_all(self.login(node), [sql], within_s=10.0)[-1]
        assert not answer.problem, answer.problem
        return tuple(tuple(row) for row in answer.rows)

    def switch(self, to: LocalNode) -> float:
        """A switchover to its end; the seconds it took. Raises what `pgha switchover` would say."""
        plan = switchover.plan(self.target, self.seen(), to.name)
        asked = switchover.ask(self.store, self.clock, self.target, self.seen(), plan, asked_by="a test")
        return switchover.watch(self.store, self.clock, self.target, asked, lambda _what, _after_s: None)

    def power_on(self, node: LocalNode) -> None:
        """Its etcd member, then its watchdog, as the restarter would, only at once."""
        drill_faults.start_node(node, self.host)

    def value(self, key: str) -> tuple[bytes, int]:
        """A key's value and revision; (b"", 0) when it is absent."""
        full = records.prefix(self.target.cluster) + key
        entry = self.store.read(full, deadline_s=self.clock.now_s() + STORE_S).entries.get(full)
        return (entry.value, entry.revision) if entry else (b"", 0)

    def put(self, key: str, value: bytes | None) -> None:
        """Write (None: delete) a key past all agents; tried again while they write it too."""
        full = records.prefix(self.target.cluster) + key

        def is_done() -> bool:
            guard = Guard(full, self.value(key)[1])
            done = self.store.commit([guard], [Write(full, value)], deadline_s=self.clock.now_s() + STORE_S)
            return isinstance(done, Committed)

        until(is_done, within_s=10.0, what=f"{key} is written")

    # -- logs ------------------------------------------------------------------------------------------------

    def log(self, node: LocalNode, name: str = "watchdog.log") -> str:
        """One of the node's logs."""
        path = Path(node.state_dir, name)
        return path.read_text(errors="replace") if path.exists() else ""

    def events(self, node: LocalNode, event: str, *, since_s: float = 0.0) -> list[Mapping[str, object]]:
        """The agent's log lines of one kind, written since a moment of CLOCK_BOOTTIME."""
        found = []
        for line in self.log(node).splitlines():
            try:
                body = json.loads(line) if line.startswith("{") else {}
            except ValueError:  # a full disk took half of it
                continue
            if body.get("event") == event and float(body["boot_s"]) >= since_s:
                found.append(body)
        return found

    def log_ends(self, lines: int = 60) -> list[tuple[str, str]]:
        """The end of every log, for a failed test's report."""
        if not self.root:
            return []
        ends = [(f"{n.name}/{name}", self.log(n, name)) for n in self.nodes.values() for name in LOGS]
        return [(title, "\n".join(text.splitlines()[-lines:])) for title, text in ends]


def _is_settled(seen: Seen) -> bool:
    """One rule counts, and its voters are the copies that the other nodes have now, but who follows one of them."""
    leader = seen.records.leader
    if leader is None or len(leader.sync) != 1:
        return False
    others = (m for m in seen.records.members.values() if m.copy != leader.holder)
    return leader.sync[0].voters == {m.copy for m in others if not m.follow}
