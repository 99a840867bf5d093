"""The drill's faults on a node of this very machine: which processes are ended or stopped, all of them at once.

May import the local nodes and processes. Signals go through pidfds, to nothing but the node's own processes.
"""

from __future__ import annotations

import signal

from pgha.errors import PghaError
from pgha.host import Host
from pgha.ops import local_nodes, procs
from pgha.ops.local_nodes import Known, LocalNode
from pgha.ops.procs import Proc
from pgha.ops.restarter import read_plan
from pgha.ports import Clock

GONE_S = 5.0


def _of(node: Known, kinds: tuple[str, ...]) -> list[Proc]:
    found = local_nodes.sort_out(node, procs.living())
    return [proc for kind in kinds for proc in found[kind]]


def kill_postgres(node: Known) -> int:
    """SIGKILL to the postmaster and every child of it; gives how many there were.

    The postmaster first, so that it forks no more. pgha's own processes are left: they may start a server again.
    """
    found = local_nodes.sort_out(node, procs.living())["postgres"]
    servers = {p.pid for p in found}
    tree = sorted(found, key=lambda p: (p.parent in servers, p.pid))
    for proc in tree:
        procs.send(proc, signal.SIGKILL)
    newest = max((p.start for p in tree), default=0)
    for late in local_nodes.sort_out(node, procs.living())["postgres"]:
        if late.start <= newest or late.parent in servers:  # forked between the look and the kill
            procs.send(late, signal.SIGKILL)
    return len(tree)


def kill_node(node: Known, clock: Clock) -> int:
    """SIGKILL to all of the node: guard, agent, server and its etcd member, which is held down already. Gives how many.

    All are stopped first, pgha's own before the server: killed one after another, the agent would still release the
    key of a server that is gone already, which a power cut never lets it do.

    Raises PghaError when something of it is still there after 5 s.
    """
    found = _of(node, ("agent", "guard", "etcd", "postgres", "tool"))
    for signum in (signal.SIGSTOP, signal.SIGKILL):
        for proc in found:
            procs.send(proc, signum)
    end = clock.now_s() + GONE_S
    while left := _of(node, local_nodes.KINDS):
        if clock.now_s() > end:
            raise PghaError(f"{node.dir} could not be ended", f"{len(left)} processes are left after {GONE_S:g} s")
        for proc in left:
            procs.send(proc, signal.SIGKILL)
        clock.sleep(0.005)
    return len(found)


def signal_agent(node: Known, number: signal.Signals) -> int:
    """SIGKILL, SIGSTOP or SIGCONT to the agent; gives how many there were. The guard is left alone."""
    return sum(procs.send(proc, number) for proc in _of(node, ("agent",)))


def start_node(node: LocalNode, host: Host) -> None:
    """Power on: its etcd member, then its watchdog, as the restarter would, only at once."""
    etcd = read_plan(node.root)[1].get(node.name)
    local_nodes.let_up(node)
    running = local_nodes.sort_out(node, procs.living())
    if etcd and not running["etcd"]:
        host.spawn(etcd, cwd=node.dir, log_file=f"{node.log_dir}/etcd.log")
    if not running["guard"]:
        local_nodes.start(node, host)
