"""Which cluster a command works on: from an inventory, or on a node from its own file.

May import inventory, nodefile and records. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pgha.nodefile import NodeFile, StoreAccess

if TYPE_CHECKING:
    from pgha.inventory import Inventory


TLS_DIR = "/etc/pgha"
TLS_FILES = ("ca.pem", "client.pem", "client.key")
LOGIN_FILE = "store.password"
ROOT_LOGIN_FILE = "etcd-root.password"
STORE_FILES = ("store-ca.pem", "store.pem", "store.key")  # an existing store's, as the nodes keep them
STORE_USER = "pgha"


@dataclass(frozen=True, slots=True)
class NodeRef:
    """A node the cluster should have."""

    name: str
    host: str
    port: int
    nofailover: bool = False
    noloadbalance: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """A cluster, its store and the nodes it should have.

    where: the file that said so. local_dir: of a cluster on this machine, "" else. flags: what a command that is
    suggested must be given to work on the same cluster, "" when it finds it by itself. tls: its servers ask for it.
    """

    cluster: str
    store: StoreAccess
    nodes: tuple[NodeRef, ...]
    where: str = ""
    local_dir: str = ""
    flags: str = ""
    tls: bool = False

    def command(self, rest: str) -> str:
        """A command line that can be pasted, on this very cluster."""
        return f"pgha {self.flags}{rest}"


def store_access(inventory: Inventory) -> StoreAccess:
    """How the operator reaches the inventory's etcd: its endpoints, else the members on its own nodes."""
    etcd = inventory.etcd
    members = [n for n in inventory.nodes if n.name in etcd.nodes]
    own = tuple(f"{n.host}:{n.etcd_client_port}" for n in members)
    if inventory.local is None and not etcd.endpoints:
        # Its own members on hosts: as the nodes see it. The CLI keeps copies where these files are not (cli.sources).
        return _kept_on_nodes(inventory, own, TLS_FILES, etcd.user or STORE_USER)
    secret = etcd.password  # other forms than a file are for the CLI to turn into one
    return StoreAccess(
        endpoints=tuple(etcd.endpoints) or own,
        ca_file=etcd.ca,
        cert_file=etcd.cert,
        key_file=etcd.key,
        user=etcd.user,
        password_file=secret.source if secret is not None and secret.form == "file" else "",
    )


def node_store_access(inventory: Inventory) -> StoreAccess:
    """The same as a node does: by files that bootstrap has carried there."""
    etcd = inventory.etcd
    if inventory.local is not None or not etcd.endpoints:
        return store_access(inventory)
    there = tuple(n if given else "" for n, given in zip(STORE_FILES, (etcd.ca, etcd.cert, etcd.key), strict=True))
    return _kept_on_nodes(inventory, etcd.endpoints, there, etcd.user)


def _kept_on_nodes(inventory: Inventory, endpoints: tuple[str, ...], names: tuple[str, ...], user: str) -> StoreAccess:
    folder = f"{TLS_DIR}/{inventory.cluster}"
    ca, cert, key, password = (f"{folder}/{n}" if n else "" for n in (*names, LOGIN_FILE if user else ""))
    return StoreAccess(endpoints, ca_file=ca, cert_file=cert, key_file=key, user=user, password_file=password)


def from_inventory(inventory: Inventory, where: str, flags: str = "") -> Target:
    """The target an inventory names."""
    return Target(
        cluster=inventory.cluster,
        store=store_access(inventory),
        nodes=tuple(NodeRef(n.name, n.host, n.port, n.nofailover, n.noloadbalance) for n in inventory.nodes),
        where=where,
        local_dir=inventory.local.dir if inventory.local else "",
        flags=flags,
        tls=inventory.local is None,
    )


def from_node_file(node: NodeFile, where: str, flags: str = "") -> Target:
    """The target a node's own file names."""
    peers = tuple(NodeRef(name, peer.host, peer.port) for name, peer in node.nodes.items())
    return Target(node.cluster, node.store, peers, where, "", flags, node.tls is not None and node.tls.required)
