"""What an inventory says, as values: one cluster, its nodes, its store, and how to reach the hosts.

May import `pgha.core.model` only. Paths, hosts and names in here have passed the checks of `pgha.inventory`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pgha.core.model import MAX_LAG

BULLETS = "••••••"


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """Where a secret comes from, never the secret: form "env" or "file" (`source`: which), or "generate".

    It shows itself as bullets, so that no log line and no traceback says more than that there is one.
    """

    form: str
    source: str = ""

    def __repr__(self) -> str:
        return BULLETS

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class PostgresSpec:
    """PostgreSQL on every node.

    version: the major one, None for what the hosts have. parameters: name to PostgreSQL's own text.
    """

    version: int | None = None
    port: int = 5432
    data_dir: str | None = None
    bin_dir: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    hba: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One node. port and data_dir are its own or the cluster's; data_dir None leaves the place to bootstrap.

    follow: the node that it streams from instead of the primary, "" for none.
    """

    name: str
    host: str
    port: int
    data_dir: str | None = None
    priority: int = 0
    nofailover: bool = False
    nosync: bool = False
    clonefrom: bool = False
    noloadbalance: bool = False
    follow: str = ""
    etcd_client_port: int = 2379
    etcd_peer_port: int = 2380


@dataclass(frozen=True, slots=True)
class EtcdSpec:
    """The store: `nodes` run a member each, or `endpoints` (`host:port`) of an existing etcd; the other is empty.

    ca, cert, key: files for TLS, "" for none.
    """

    nodes: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    ca: str = ""
    cert: str = ""
    key: str = ""
    user: str = ""
    password: Secret | None = None
    bin_dir: str | None = None

    @property
    def tls(self) -> bool:
        """Whether the store is spoken to with TLS."""
        return bool(self.ca)


@dataclass(frozen=True, slots=True)
class SshSpec:
    """How to log in to the hosts. user and key "": what the ssh configuration says."""

    user: str = ""
    key: str = ""
    sudo: bool = True
    port: int = 22


@dataclass(frozen=True, slots=True)
class HaSpec:
    """failover_after_s: H of the lease (design, section 5). copies 0: the default of the number of voters.

    max_lag: bytes that a node may lack and still take over where nothing is promised (async).
    """

    failover_after_s: float = 6.0
    durability: str = "quorum"
    copies: int = 0
    max_lag: int = MAX_LAG


@dataclass(frozen=True, slots=True)
class LocalSpec:
    """All nodes are processes of `user` on this machine, under `dir` (what `pgha demo` writes)."""

    dir: str
    user: str


@dataclass(frozen=True, slots=True)
class Inventory:
    """One cluster. supervisor: "cron" or "systemd"."""

    cluster: str
    postgres: PostgresSpec
    nodes: tuple[NodeSpec, ...]
    etcd: EtcdSpec
    ssh: SshSpec = SshSpec()
    ha: HaSpec = HaSpec()
    supervisor: str = "cron"
    local: LocalSpec | None = None
