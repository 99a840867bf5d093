"""Nodes that are processes of this machine (inventory `local:`): where their files are and which processes are theirs.

Paths and process facts only; starting goes through the given `Host`. Used by bootstrap, demo, drill and the tests.
"""

from __future__ import annotations

import hashlib
import os
import pwd
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pgha.errors import RolledBack
from pgha.host import Host
from pgha.ops.procs import Proc, living

if TYPE_CHECKING:
    from pgha.inventory import Inventory, NodeSpec

MARKER = ".pgha-local"
START_S = 15.0
SOCKET_PATH_MAX = 107  # sun_path holds 108 bytes with the final zero
KINDS = ("guard", "agent", "postgres", "etcd", "tool")
SERVER_TOOLS = frozenset({"initdb", "pg_basebackup", "pg_rewind", "pg_controldata", "pg_ctl", "pg_waldump"})


class Known(Protocol):
    """What a node's processes are known by, on whatever machine this runs (a LocalNode, a host_nodes.HostNode)."""

    @property
    def dir(self) -> str:
        """The node's files are below it."""
        ...

    @property
    def data_dir(self) -> str:
        """PostgreSQL's."""
        ...

    @property
    def etcd_dir(self) -> str:
        """Its etcd member's data."""
        ...

    @property
    def node_file_path(self) -> str:
        """What its watchdog reads."""
        ...


@dataclass(frozen=True, slots=True)
class LocalNode:
    """One node of a cluster on this machine. etcd ports are 0 when it has no member of its own."""

    name: str
    root: str
    user: str
    host: str
    port: int
    data_dir: str
    etcd_client_port: int = 0
    etcd_peer_port: int = 0

    @property
    def dir(self) -> str:
        """All of the node's files lie below it."""
        return f"{self.root}/{self.name}"

    @property
    def node_file_path(self) -> str:
        """What its watchdog reads."""
        return f"{self.dir}/node.json"

    @property
    def state_dir(self) -> str:
        """pgha's own durable files, 0700."""
        return f"{self.dir}/state"

    @property
    def log_dir(self) -> str:
        """Output of its detached processes."""
        return f"{self.dir}/log"

    @property
    def etcd_dir(self) -> str:
        """Its etcd member's data."""
        return f"{self.dir}/etcd"

    @property
    def down_file(self) -> str:
        """While it exists the restarter leaves the node alone."""
        return f"{self.dir}/down"

    @property
    def passfile(self) -> str:
        """The replication password, 0600."""
        return f"{self.state_dir}/passfile"

    @property
    def socket_dir(self) -> str:
        """Of the server's Unix socket: below the node, or a short one when that path would be too long."""
        near = f"{self.dir}/run"
        if len(f"{near}/.s.PGSQL.{self.port}.lock".encode()) < SOCKET_PATH_MAX:
            return near
        return f"/tmp/pgha-{hashlib.sha256(self.dir.encode()).hexdigest()[:16]}"  # noqa: S108  # its owner is checked

    @property
    def has_etcd(self) -> bool:
        """An etcd member runs beside it."""
        return self.etcd_client_port > 0

    def watchdog_argv(self) -> list[str]:
        """How its watchdog is started."""
        return [sys.executable, "-m", "pgha", "watchdog", "--node", self.node_file_path]


def node_of(inventory: Inventory, spec: NodeSpec) -> LocalNode:
    """The inventory's node as a local one. The inventory must have `local:`."""
    assert inventory.local is not None
    root = os.path.abspath(inventory.local.dir)
    own = spec.name in inventory.etcd.nodes and not inventory.etcd.endpoints
    return LocalNode(
        name=spec.name,
        root=root,
        user=inventory.local.user or pwd.getpwuid(os.geteuid()).pw_name,
        host=spec.host,
        port=spec.port,
        data_dir=spec.data_dir or f"{root}/{spec.name}/data",
        etcd_client_port=spec.etcd_client_port if own else 0,
        etcd_peer_port=spec.etcd_peer_port if own else 0,
    )


def load(inventory: Inventory) -> list[LocalNode]:
    """The cluster's nodes on this machine, in the inventory's order."""
    return [node_of(inventory, spec) for spec in inventory.nodes]


# -- processes -----------------------------------------------------------------------------------------------


def kind_of(node: Known, proc: Proc) -> str | None:
    """What this process is of the node (see KINDS), None when it is not the node's.

    A name in the arguments is not enough: an editor or `tail` on one of our files is not ours to end.
    """
    if proc.program.startswith("python") and node.node_file_path in proc.argv:
        if any(word.endswith("agent_main") for word in proc.argv):
            return "agent"
        asking = {"--stop", "--restart", "--leave", "--rehearse"} & set(proc.argv)
        return "guard" if "watchdog" in proc.argv and not asking else None
    if proc.program == "etcd" and proc.option("--data-dir") == node.etcd_dir:
        return "etcd"
    if proc.program == "postgres" and (proc.works_in(node.dir) or proc.works_in(node.data_dir)):
        return "postgres"
    named = any(word == node.dir or word.startswith(node.dir + "/") or f"={node.dir}/" in word for word in proc.argv)
    if proc.program in SERVER_TOOLS and (named or proc.works_in(node.dir)):
        return "tool"
    return None


def is_restarter(proc: Proc, root: str) -> bool:
    """It is the stand-in for cron of the cluster in this directory."""
    return proc.program.startswith("python") and "pgha.ops.restarter" in proc.argv and proc.option("--dir") == root


def sort_out(node: Known, procs: list[Proc]) -> dict[str, list[Proc]]:
    """The node's processes among these, by kind; every kind is there."""
    found: dict[str, list[Proc]] = {kind: [] for kind in KINDS}
    for proc in procs:
        kind = kind_of(node, proc)
        if kind is not None:
            found[kind].append(proc)
    return found


def processes(node: LocalNode) -> dict[str, list[int]]:
    """Pids of the node's living processes: guard, agent, postgres (the postmaster first), etcd, tool."""
    found = sort_out(node, living())
    servers = {p.pid for p in found["postgres"]}
    found["postgres"].sort(key=lambda p: (p.parent in servers, p.pid))
    return {kind: [p.pid for p in procs] for kind, procs in found.items()}


# -- down and up ---------------------------------------------------------------------------------------------


def hold_down(node: LocalNode) -> None:
    """Tell the restarter to leave the node alone; ends nothing."""
    with open(node.down_file, "w", encoding="ascii") as f:
        f.write("held down\n")


def let_up(node: LocalNode) -> None:
    """Let the restarter have the node again (within its interval; `start` does it at once)."""
    if os.path.exists(node.down_file):
        os.unlink(node.down_file)


def start(node: LocalNode, host: Host) -> None:
    """Start its watchdog, as cron would; nothing happens when one runs already. Raises RolledBack with what it said."""
    ran = host.run(node.watchdog_argv(), timeout_s=START_S, cwd=node.dir)
    if not ran.ok:
        raise RolledBack(f"the watchdog of {node.name} did not start", ran.tail(), f"look into {node.state_dir}")


def replace(node: LocalNode, host: Host) -> None:
    """Have its watchdog replaced by one that has read the node's file anew. Raises RolledBack with what it said."""
    ran = host.run([*node.watchdog_argv(), "--restart"], timeout_s=START_S + 5.0, cwd=node.dir)
    if not ran.ok:
        raise RolledBack(f"the watchdog of {node.name} was not replaced", ran.tail(), f"look into {node.state_dir}")
