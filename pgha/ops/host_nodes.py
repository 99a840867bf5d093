"""Nodes on hosts of their own: where pgha's files are there, and the texts of its units and cron lines. Pure.

docs/hosts.md lists all of it for the operator.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pgha.inventory import Inventory, NodeSpec

USER = "postgres"
ETCD_USER = "pgha-etcd"
ETC = "/etc/pgha"
LIB = "/var/lib/pgha"
ETCD_LIB = "/var/lib/pgha-etcd"
OPT = "/opt/pgha"
PGHA = f"{OPT}/current/bin/pgha"
PYTHON = f"{OPT}/current/bin/python"
UNITS = "/etc/systemd/system"
CRON = "/etc/cron.d"
SOCKETS = "/run/postgresql"  # made at every boot by the distribution (tmpfiles.d of postgresql-common)
STOP_S = 30
_BEGINNING = re.compile(r' "--initial-cluster(?:-token|-state)?" "[^"]*"')


@dataclass(frozen=True, slots=True)
class HostNode:
    """`fleet.Place` of one node on a host of its own. etcd ports are 0 when it has no member."""

    name: str
    cluster: str
    host: str
    port: int
    data_dir: str
    etcd_client_port: int = 0
    etcd_peer_port: int = 0

    @property
    def dir(self) -> str:
        """The cluster's own, of user postgres."""
        return f"{LIB}/{self.cluster}"

    @property
    def state_dir(self) -> str:
        """pgha's own durable files, 0700."""
        return f"{self.dir}/state"

    @property
    def socket_dir(self) -> str:
        """The distribution's, so that psql finds it."""
        return SOCKETS

    @property
    def passfile(self) -> str:
        """The replication password, 0600."""
        return f"{self.state_dir}/passfile"

    @property
    def marker_path(self) -> str:
        """Says that this cluster's files here are pgha's."""
        return f"{self.dir}/marker.json"

    @property
    def journal_path(self) -> str:
        """What bootstrap did here, one JSON document a line."""
        return f"{LIB}/{self.cluster}.journal"

    @property
    def etcd_dir(self) -> str:
        """Its member's data."""
        return f"{ETCD_LIB}/{self.cluster}"

    @property
    def has_etcd(self) -> bool:
        """An etcd member runs beside it."""
        return self.etcd_client_port > 0

    @property
    def node_file_path(self) -> str:
        """What its watchdog reads; root's."""
        return f"{ETC}/{self.cluster}.json"

    @property
    def tls_dir(self) -> str:
        """The cluster's certificates and keys."""
        return f"{ETC}/{self.cluster}"

    def tls(self, name: str) -> str:
        """One of them: ca.pem, client.pem, client.key, etcd.pem, ..."""
        return f"{self.tls_dir}/{name}"

    @property
    def unit(self) -> str:
        """Stops the node in order at shutdown; under `supervisor: systemd` it runs the watchdog."""
        return f"pgha-{self.cluster}.service"

    @property
    def etcd_unit(self) -> str:
        """Runs the member."""
        return f"pgha-etcd-{self.cluster}.service"

    @property
    def cron_path(self) -> str:
        """cron(8) takes no file with a dot in its name."""
        return f"{CRON}/pgha-{self.cluster}"

    def watchdog_argv(self) -> list[str]:
        """How its watchdog is started."""
        return [PGHA, "watchdog", "--node", self.node_file_path]


def node_of(inventory: Inventory, spec: NodeSpec) -> HostNode:
    """The inventory's node on its host."""
    own = spec.name in inventory.etcd.nodes and not inventory.etcd.endpoints
    return HostNode(
        name=spec.name,
        cluster=inventory.cluster,
        host=spec.host,
        port=spec.port,
        data_dir=spec.data_dir or f"{LIB}/{inventory.cluster}/data",
        etcd_client_port=spec.etcd_client_port if own else 0,
        etcd_peer_port=spec.etcd_peer_port if own else 0,
    )


# -- units and cron ------------------------------------------------------------------------------------------


def words(argv: Sequence[str]) -> str:
    """An argument list as systemd reads it: quoted, with its `%` and `$` meant as they are (systemd.service(5))."""
    escapes = {"\\": "\\\\", '"': '\\"', "%": "%%", "$": "$$", "\n": "\\n"}
    return " ".join('"' + "".join(escapes.get(c, c) for c in word) + '"' for word in argv)


def unit_text(about: str, unit: Sequence[str], service: Sequence[str]) -> str:
    """The lines of [Unit] and [Service] as a file; started at boot."""
    head = ["# Written by pgha bootstrap; edit the inventory instead.", "[Unit]", f"Description={about}", *unit, ""]
    tail = ["", "[Install]", "WantedBy=multi-user.target", ""]
    return "\n".join([*head, "[Service]", *service, *tail])


def etcd_unit(node: HostNode, argv: Sequence[str]) -> str:
    """Not `Type=notify`: a member without a majority would hold up the boot."""
    service = [
        f"User={ETCD_USER}",
        f"ExecStart={words(argv)}",
        "Restart=always",
        "RestartSec=1",
        "LimitNOFILE=65536",
        "ProtectSystem=full",
        "ProtectHome=yes",
        "PrivateTmp=yes",
        "NoNewPrivileges=yes",
    ]
    unit = ["After=network-online.target", "Wants=network-online.target", "StartLimitIntervalSec=0"]
    return unit_text(f"etcd member {node.name} of pgha cluster {node.cluster}", unit, service)


def is_same_member(one: str, other: str) -> bool:
    """Two units of a member differ in nothing but how it began (etcd reads that only without data)."""
    return _BEGINNING.sub("", one) == _BEGINNING.sub("", other)


def _order(node: HostNode) -> str:
    """Stopped before network and etcd go."""
    return f"After=network-online.target {node.etcd_unit}"


def stop_unit(node: HostNode) -> str:
    """Starts nothing; at shutdown it stops the node, after cron (which would start it again) has ended."""
    service = [
        "Type=oneshot",
        "RemainAfterExit=yes",
        f"User={USER}",
        "ExecStart=/bin/true",
        f"ExecStop={words([*node.watchdog_argv(), '--stop', '--within', str(STOP_S)])}",
        f"TimeoutStopSec={STOP_S + 10}",
    ]
    unit = [_order(node), "Before=cron.service crond.service"]
    return unit_text(f"orderly stop of pgha node {node.name} of cluster {node.cluster}", unit, service)


def service_unit(node: HostNode) -> str:
    """`supervisor: systemd`."""
    service = [
        "Type=exec",
        f"User={USER}",
        f"ExecStart={words([*node.watchdog_argv(), '--foreground'])}",
        f"ExecStop={words([*node.watchdog_argv(), '--stop', '--within', str(STOP_S)])}",
        "KillMode=mixed",
        f"TimeoutStopSec={STOP_S + 10}",
        "Restart=always",
        "RestartSec=1",
        "LimitNOFILE=65536",
    ]
    unit = [_order(node), "Wants=network-online.target", "StartLimitIntervalSec=0"]
    return unit_text(f"pgha node {node.name} of cluster {node.cluster}", unit, service)


def cron_text(node: HostNode) -> str:
    """Both lines; names are [a-z0-9-], so nothing needs quoting. What a start complains of goes to the journal."""
    line = f"{USER} {' '.join(node.watchdog_argv())} 2>&1 | /usr/bin/systemd-cat -t pgha-{node.cluster}"
    return f'# Written by pgha bootstrap; edit the inventory instead.\nMAILTO=""\n@reboot {line}\n* * * * * {line}\n'


def first_start_argv(node: HostNode) -> list[str]:
    """The first start, in a unit of its own: in the session of whoever ran bootstrap it would end with it."""
    settings = {
        "Type": "forking",
        "User": USER,
        "KillMode": "process",
        "TimeoutStopSec": str(STOP_S + 10),
        "After": f"network.target {node.etcd_unit}",
    }
    chosen = [f"--property={name}={value}" for name, value in settings.items()]
    about = f"--description=pgha node {node.name} of cluster {node.cluster}, first start"
    return ["systemd-run", "--quiet", "--collect", about, *chosen, *node.watchdog_argv()]
