"""What can happen to a node's processes: killed, frozen, thawed; all of them at one moment where that matters.

Signals go through pidfds to nothing but the processes that /proc shows to be the node's.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

from pgha.ops import local_nodes, procs
from pgha.ops.local_nodes import LocalNode
from pgha.ops.procs import Proc
from tests.support.postgres_pair import until

SERVER = ("postgres", "tool")
WATCHDOG = ("guard", "agent")
NODE = ("guard", "agent", "tool", "postgres", "etcd")
GONE_S = 10.0


def of(node: LocalNode, *kinds: str) -> list[Proc]:
    """The node's living processes of these kinds; of a server the postmaster comes first."""
    found = local_nodes.sort_out(node, procs.living())
    servers = {p.pid for p in found["postgres"]}
    found["postgres"].sort(key=lambda p: (p.parent in servers, p.pid))
    return [proc for kind in kinds for proc in found[kind]]


def postmaster(node: LocalNode) -> Proc:
    """The parent of the server's other processes."""
    return of(node, "postgres")[0]


def titled(node: LocalNode, word: str) -> list[Proc]:
    """The server's processes whose title says so: walsender, walreceiver, a user's name."""
    return [p for p in of(node, "postgres") if any(word in part for part in " ".join(p.argv).split())]


def freeze(them: Sequence[Proc]) -> None:
    """SIGSTOP, and wait until each stands still."""
    for proc in them:
        procs.send(proc, signal.SIGSTOP)
    until(lambda: all(map(_stands_still, them)), within_s=GONE_S, what="the processes stand still")


def thaw(them: Sequence[Proc]) -> None:
    """SIGCONT."""
    for proc in them:
        procs.send(proc, signal.SIGCONT)


def kill(them: Sequence[Proc]) -> None:
    """SIGKILL, and wait for the end."""
    for proc in them:
        procs.send(proc, signal.SIGKILL)
    left = procs.await_end(list(them), timeout_s=GONE_S)
    assert not left, left
    for proc in them:
        _reap(proc)


def kill_at_once(node: LocalNode, *kinds: str) -> None:
    """All of these kinds at one moment: frozen first, so that none sees another one die; then killed."""
    kill_at_once_of([node], *kinds)


def kill_at_once_of(nodes: Sequence[LocalNode], *kinds: str) -> None:
    """The same on several nodes."""
    them: list[Proc] = []
    while more := [p for node in nodes for p in of(node, *kinds) if p.pid not in {q.pid for q in them}]:
        freeze(more)
        them += more
    kill(them)


def power_off(node: LocalNode) -> None:
    """Everything of the node ends at one moment and stays away."""
    local_nodes.hold_down(node)
    kill_at_once(node, *NODE)


def _stands_still(proc: Proc) -> bool:
    """Every thread is in state T, or the process is gone."""
    states = set()
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{proc.pid}/task").iterdir():
            states.add((task / "stat").read_text().rpartition(")")[2].split()[0])
    return states <= set("TtZX")


def _reap(proc: Proc) -> None:
    """What was started by us (an etcd member that was powered on again) is ours to reap."""
    if proc.parent == os.getpid():
        _CHILDREN.append(proc.pid)
        reap()


_CHILDREN: list[int] = []


def reap() -> None:
    """Collect ended children of ours."""
    for pid in list(_CHILDREN):
        with contextlib.suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG) == (0, 0):
                continue
        _CHILDREN.remove(pid)


@contextlib.contextmanager
def frozen(them: Sequence[Proc]) -> Iterator[None]:
    """Frozen for as long as the block runs."""
    freeze(them)
    try:
        yield
    finally:
        thaw(them)
