"""The node's own file, /etc/pgha/<cluster>.json or in the demo's directory: all that a watchdog reads at start.

Standard library only; never opens anything (callers pass text). Written by bootstrap from the inventory, whole.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Peer:
    """Where a node's PostgreSQL listens."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class StoreAccess:
    """How to reach etcd: `host:port` of each member; file paths for TLS; user with its password's file."""

    endpoints: tuple[str, ...]
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    user: str = ""
    password_file: str = ""


@dataclass(frozen=True, slots=True)
class ServerTls:
    """The server's certificate and key, and the authority that signed those of all nodes.

    required: nodes reach each other by TLS only, and check whom they reach. Not so at first on a cluster that had no
    TLS: there every server has to offer it before anybody asks for it.
    """

    ca_file: str
    cert_file: str
    key_file: str
    required: bool


@dataclass(frozen=True, slots=True)
class NodeFile:
    """One node of one cluster.

    state_dir: pgha's own on this node (lock, memory, logs, generated configuration, passfile), mode 0700.
    data_dir: PostgreSQL's; its parent must be writable (clones are made beside it).
    socket_dir: of the Unix socket; bin_dir: PostgreSQL's programs.
    replication_user: may stream and be the source of pg_rewind; its password is in state_dir/passfile.
    nodes: every node of the cluster, this one included.
    follow: the node that this one streams from instead of the primary, "" for none.
    parameters: PostgreSQL settings of the inventory; hba: extra pg_hba.conf lines of the inventory.
    tls: of the server; None: it speaks plainly (on loopback).
    """

    cluster: str
    node: str
    state_dir: str
    data_dir: str
    socket_dir: str
    bin_dir: str
    store: StoreAccess
    nodes: Mapping[str, Peer]
    replication_user: str = "pgha_replicator"
    superuser: str = "postgres"
    priority: int = 0
    nofailover: bool = False
    nosync: bool = False
    clonefrom: bool = False
    noloadbalance: bool = False
    follow: str = ""
    parameters: Mapping[str, str] = field(default_factory=dict)
    hba: tuple[str, ...] = ()
    tls: ServerTls | None = None

    @property
    def me(self) -> Peer:
        """This node's own address."""
        return self.nodes[self.node]

    @property
    def lock_file(self) -> str:
        """Held by the guard for as long as it lives."""
        return f"{self.state_dir}/watchdog.lock"


def dump(value: NodeFile) -> str:
    """The file's text."""
    return json.dumps({"schema": SCHEMA, **asdict(value)}, indent=1, sort_keys=True) + "\n"


def parse(text: str) -> NodeFile:
    """Raises ValueError with the reason."""
    body = json.loads(text)
    schema = body.pop("schema", None) if isinstance(body, dict) else None
    if isinstance(schema, int) and schema > SCHEMA:
        why = "a newer pgha has written it, upgrade this one"
        raise ValueError(f"not a node file for this pgha: schema {schema}, it knows {SCHEMA}: {why}")
    if schema != SCHEMA:
        raise ValueError(f"not a pgha node file of schema {SCHEMA}")
    try:
        body["store"] = StoreAccess(**{**body["store"], "endpoints": tuple(body["store"]["endpoints"])})
        body["nodes"] = {name: Peer(**peer) for name, peer in body["nodes"].items()}
        body["hba"] = tuple(body.get("hba", ()))
        body["tls"] = ServerTls(**body["tls"]) if body.get("tls") else None
        return NodeFile(**body)
    except (TypeError, KeyError, AttributeError) as e:
        raise ValueError(f"not a complete pgha node file: {e}") from e
