"""Causes that a scenario holds for a while: processes that stand still, and what ends them. May import cluster, lab."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Sequence

from tests.hosts.cluster import HostCluster
from tests.hosts.processes import send


def kill(pids: Sequence[int]) -> None:
    """SIGKILL to each."""
    for pid in pids:
        send(pid, signal.SIGKILL)


@contextlib.contextmanager
def stopped(pids: Sequence[int]) -> Iterator[None]:
    """They stand still while the block runs."""
    assert pids
    for pid in pids:
        send(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            send(pid, signal.SIGCONT)


@contextlib.contextmanager
def rules(cluster: HostCluster, nodes: Sequence[str], text: str, table: str) -> Iterator[None]:
    """Rules of nft inside these hosts."""
    for node in nodes:
        cluster.lab.host(node).must(["nft", "-f", "-"], stdin=text)
    try:
        yield
    finally:
        for node in nodes:
            cluster.lab.host(node).must(["nft", "delete", "table", "inet", table])


def others(cluster: HostCluster, node: str) -> list[str]:
    """All nodes but this one."""
    return [name for name in cluster.lab.hosts if name != node]
