"""A drill on a cluster of this machine: `drill_ground.Ground` by signals. May import the local nodes and processes."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

from pgha.errors import PghaError, Refused
from pgha.host import Host
from pgha.ops import drill_faults, local_nodes, procs
from pgha.ops.drill_ground import FAULTS
from pgha.ops.local_nodes import LocalNode
from pgha.ports import Clock

SQL_S = 30.0


class LocalGround:
    """host: runs programs as the nodes' user."""

    def __init__(self, nodes: Sequence[LocalNode], host: Host, clock: Clock) -> None:
        self.nodes: Mapping[str, LocalNode] = {node.name: node for node in nodes}
        self._host, self._clock = host, clock

    def ready(self, fault: str) -> None:
        """Processes only: all nodes of one machine share its network and its power."""
        if FAULTS[fault].hosts_only:
            why = "its nodes are processes of this machine and share its network and power"
            raise Refused(f"{fault} needs nodes on hosts of their own", why, "pgha drill kill-node")

    def sql(self, node: str, dbname: str, statements: Sequence[str]) -> None:
        """Through the node's socket, as its user."""
        local = self.nodes.get(node)
        if local is None:
            raise PghaError("the drill's role can't be changed", f"no primary is known, or {node!r} is not local")
        run_sql(self._host, [sys.executable], {"host": local.socket_dir, "port": local.port}, dbname, statements)

    def inflict(self, fault: str, node: str, hold_s: float, begun: Callable[[], None]) -> None:
        """The dead man's timer is a process of its own that sleeps."""
        local = self.nodes[node]
        if FAULTS[fault].held:
            path = _file(local)
            self._host.write(path, json.dumps({"fault": fault, "hold_s": hold_s, "local": asdict(local)}))
            argv = [sys.executable, "-m", "pgha.ops.drill_main", "later", path, f"{hold_s:.0f}"]
            self._host.spawn(argv, cwd=local.dir, log_file=f"{local.log_dir}/drill.log")
        begun()
        if fault == "kill-postgres":
            drill_faults.kill_postgres(local)
        elif fault == "kill-node":
            local_nodes.hold_down(local)
            drill_faults.kill_node(local, self._clock)
        elif fault == "kill-agent":
            drill_faults.signal_agent(local, signal.SIGKILL)
        elif fault == "stop-agent":
            drill_faults.signal_agent(local, signal.SIGSTOP)

    def take_back(self, node: str) -> None:
        """Then the timer ends."""
        local = self.nodes[node]
        drill_faults.signal_agent(local, signal.SIGCONT)
        drill_faults.start_node(local, self._host)
        path = _file(local)
        self._host.run(["rm", "-f", "--", path], timeout_s=SQL_S)
        procs.end_all([p for p in procs.living() if path in p.argv and "later" in p.argv], timeout_s=2.0)

    def leads_store(self, node: str, endpoints: Sequence[str]) -> bool:
        """By its port: all have one address."""
        local = self.nodes[node]
        return local.has_etcd and any(e.endswith(f":{local.etcd_client_port}") for e in endpoints)

    def close(self) -> None:
        """There is no connection."""


def _file(node: LocalNode) -> str:
    return f"{node.dir}/drill.json"


def run_sql(
    host: Host, python: Sequence[str], place: Mapping[str, object], dbname: str, statements: Sequence[str]
) -> None:
    """Statements as superuser through a socket (`pgha.ops.sql_main`). Raises PghaError with the server's answer."""
    text = json.dumps({**place, "user": "postgres", "dbname": dbname, "statements": list(statements)})
    ran = host.run([*python, "-m", "pgha.ops.sql_main"], timeout_s=SQL_S, stdin=text)
    if not ran.ok:
        reply = json.loads(ran.out) if ran.out.startswith("{") else {}
        why = str(reply.get("problem", "")) or ran.tail()
        raise PghaError("the server did not take the drill's role", why)
