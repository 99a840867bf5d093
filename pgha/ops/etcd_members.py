"""etcd members as processes of this machine: their command lines, and whether they are there.

Policy only: starting goes through `Host`, asking through `ports.Store`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pgha.errors import StoreUnreachable
from pgha.host import Host
from pgha.ops.fleet import Place
from pgha.ops.local_nodes import LocalNode, sort_out
from pgha.ops.procs import living
from pgha.ops.progress import Progress
from pgha.ports import Clock, Store, StoreHealth, StoreMember

HEALTHY_S = 20.0
ASK_S = 1.0
COMPACT = "5m"  # the heartbeats are writes: without compaction the history grows for ever


def scheme_of(*, local: bool) -> str:
    """How members and clients speak: plainly on loopback, else by TLS."""
    return "http" if local else "https"


def member_argv(
    etcd: str, node: Place, members: Sequence[Place], token: str, tls: Mapping[str, str] | None = None
) -> list[str]:
    """etcd's command line for one member. `token` keeps members of two clusters from joining each other.

    tls: its options for certificates, None for plain HTTP (on loopback).
    """
    scheme = scheme_of(local=not tls)
    client = f"{scheme}://{node.host}:{node.etcd_client_port}"
    peer = f"{scheme}://{node.host}:{node.etcd_peer_port}"
    everybody = ",".join(f"{m.name}={scheme}://{m.host}:{m.etcd_peer_port}" for m in members)
    options = {
        "--name": node.name,
        "--data-dir": node.etcd_dir,
        "--listen-client-urls": client,
        "--advertise-client-urls": client,
        "--listen-peer-urls": peer,
        "--initial-advertise-peer-urls": peer,
        "--initial-cluster": everybody,
        "--initial-cluster-token": token,
        "--initial-cluster-state": "new",
        "--auto-compaction-mode": "periodic",
        "--auto-compaction-retention": COMPACT,
        "--logger": "zap",
        "--log-outputs": "stderr",
    }
    return [etcd, *(word for pair in options.items() for word in pair), *(f"{k}={v}" for k, v in (tls or {}).items())]


def option(argv: Sequence[str], name: str) -> str:
    """The word after an option of `member_argv`."""
    return argv[list(argv).index(name) + 1]


def peer_url(argv: Sequence[str]) -> str:
    """Where the member of this command line listens for the others."""
    return option(argv, "--initial-advertise-peer-urls")


def existing_argv(argv: Sequence[str], name: str, listed: Sequence[StoreMember]) -> list[str]:
    """The same member, let into a store that runs: told of exactly the members that the store lists."""
    urls = [(name if peer_url(argv) in m.peer_urls else m.name, m.peer_urls) for m in listed]
    everybody = ",".join(f"{who}={url}" for who, found in urls for url in found)
    changed = {"--initial-cluster": everybody, "--initial-cluster-state": "existing"}
    before = ["", *argv[:-1]]
    return [changed.get(option, word) for option, word in zip(before, argv, strict=True)]


def start_missing(argvs: dict[str, list[str]], nodes: Sequence[LocalNode], host: Host, progress: Progress) -> None:
    """Start each member that does not run."""
    there = living()
    for node in nodes:
        if not node.has_etcd:
            continue
        if sort_out(node, there)["etcd"]:
            progress.step(node.name, "etcd member already running")
            continue
        host.make_dir(node.etcd_dir)
        host.spawn(argvs[node.name], cwd=node.dir, log_file=f"{node.log_dir}/etcd.log")
        progress.step(node.name, f"etcd member started on {node.host}:{node.etcd_client_port}")


def await_healthy(store: Store, clock: Clock, *, members: int, timeout_s: float = HEALTHY_S) -> StoreHealth:
    """Wait until every member answers and a linearizable read does. Raises StoreUnreachable with what is missing."""
    end = clock.now_s() + timeout_s
    while True:
        health = store.health(deadline_s=min(end, clock.now_s() + ASK_S))
        if health.quorum and sum(m.reachable for m in health.members) >= members:
            return health
        if clock.now_s() >= end:
            silent = ", ".join(f"{m.endpoint} {m.problem or 'silent'}" for m in health.members if not m.reachable)
            raise StoreUnreachable(
                f"etcd is not healthy after {timeout_s:g} s", silent or "no quorum", "look into <node>/log/etcd.log"
            )
        clock.sleep(0.05)
