"""The seam between bootstrap and where the nodes are: processes of this machine, or hosts reached over SSH.

Ports and values only. `ops.local_fleet` and `ops.host_fleet` are the two ways.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from pgha.host import Host
from pgha.nodefile import ServerTls
from pgha.ops.leaving import Leaver
from pgha.ops.store_login import Login
from pgha.ports import Keep

READ = "node.read"  # in the state directory: the node file by which the watchdog runs


@dataclass(frozen=True, slots=True)
class Marker:
    """What a marker file says: this place is pgha's, of which cluster, its random ident; demo: may be removed."""

    cluster: str
    ident: str
    demo: bool = False

    def text(self) -> str:
        """The file's text."""
        return json.dumps({"schema": 1, "cluster": self.cluster, "ident": self.ident, "demo": self.demo}) + "\n"


def new_marker(cluster: str, *, demo: bool) -> Marker:
    """For a place that has none yet."""
    return Marker(cluster, secrets.token_hex(8), demo)


def parse_marker(text: str) -> Marker:
    """Raises ValueError, KeyError or TypeError when it can't be understood."""
    body = json.loads(text)
    if body["schema"] != 1:
        raise ValueError(f"schema {body['schema']}")
    return Marker(str(body["cluster"]), str(body["ident"]), body.get("demo") is True)


class Place(Protocol):
    """Where one node's files are, and where it and its etcd member listen. etcd ports are 0 without a member."""

    @property
    def name(self) -> str:
        """In the inventory."""
        ...

    @property
    def host(self) -> str:
        """Its address."""
        ...

    @property
    def port(self) -> int:
        """Its server's."""
        ...

    @property
    def data_dir(self) -> str:
        """PostgreSQL's."""
        ...

    @property
    def dir(self) -> str:
        """The node's files are below it."""
        ...

    @property
    def state_dir(self) -> str:
        """pgha's own durable files, 0700."""
        ...

    @property
    def socket_dir(self) -> str:
        """Of the server's Unix socket."""
        ...

    @property
    def passfile(self) -> str:
        """The replication password, 0600."""
        ...

    @property
    def etcd_dir(self) -> str:
        """Its member's data."""
        ...

    @property
    def etcd_client_port(self) -> int:
        """For clients."""
        ...

    @property
    def etcd_peer_port(self) -> int:
        """For the other members."""
        ...

    @property
    def has_etcd(self) -> bool:
        """A member runs beside it."""
        ...


@dataclass(frozen=True, slots=True)
class Ready:
    """What preflight found out. marker: the place's, or a new one that is not written yet (`fresh`).

    etcd: its program, "" when no node has a member. warnings: nothing to refuse for, but to be said. adopts: data of
    nodes were there before the cluster.
    """

    nodes: tuple[Place, ...]
    bin_dir: str
    etcd: str
    marker: Marker
    fresh: bool
    warnings: tuple[str, ...] = ()
    adopts: bool = False


def is_read(host: Host, node: Place, text: str) -> bool:
    """Its watchdog runs by this node file, as far as the last start or replacement noted it (never noted: taken so)."""
    noted = host.read(f"{node.state_dir}/{READ}")
    return noted is None or noted.strip() == _digest(text)


def note_read(host: Host, node: Place, text: str) -> None:
    """Its watchdog was started, or replaced, with this node file: an interruption before is seen by the next run."""
    path = f"{node.state_dir}/{READ}"
    if host.read(path) != _digest(text) + "\n":
        host.write(path, _digest(text) + "\n")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


class Fleet(Protocol):
    """The nodes of one inventory, past preflight. Every method may be called again after an interruption."""

    ready: Ready

    def hold(self) -> AbstractContextManager[None]:
        """Be the only pgha at work on them. Raises Busy."""
        ...

    def lay_out(self) -> None:
        """Marker, programs, accounts, directories: from here on the place is ours."""
        ...

    def host(self, node: Place) -> Host:
        """The node's machine, as the node's user."""
        ...

    def keep(self, node: Place) -> Keep:
        """The node's durable memory."""
        ...

    def each(self, work: Callable[[Place], None]) -> None:
        """Do it for every node, at once where they are on hosts of their own."""
        ...

    def node_file(self, node: Place) -> str | None:
        """What its watchdog reads, None when there is none."""
        ...

    def put_node_file(self, node: Place, text: str) -> bool:
        """Write what its watchdog reads; False when it was that already."""
        ...

    def member_tls(self, node: Place) -> Mapping[str, str] | None:
        """etcd's options for TLS, None for a member that speaks plainly."""
        ...

    def has_member(self, node: Place) -> bool:
        """Its etcd member has been up already: there are data of one."""
        ...

    def leaver(self, node: Place) -> Leaver:
        """For taking the node down."""
        ...

    def login(self) -> Login | None:
        """Of the etcd that is the cluster's own; None where it asks nobody for one."""
        ...

    def server_tls(self, node: Place) -> ServerTls | None:
        """Of the node's PostgreSQL; None where it speaks plainly."""
        ...

    def tighten(self) -> bool:
        """The servers run: may more be asked of them than the node files do? Then these are to be written again."""
        ...

    def start_store(self, argvs: Mapping[str, list[str]]) -> None:
        """Start the etcd members that do not run, by node name."""
        ...

    def start(self) -> None:
        """Start the watchdogs that do not run, and what restarts them; replace those whose file has changed."""
        ...

    def logs(self, node: Place) -> str:
        """Where to look when the node does not come up."""
        ...

    def close(self) -> None:
        """End the connections."""
        ...
