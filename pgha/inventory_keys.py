"""Every key an inventory may have, in one table: the reader knows names by it, docs/inventory.md is written from it.

May import nothing of pgha. A path is dotted; NAME stands for any name in a map, [] for the entries of a list.
"""

from __future__ import annotations

from dataclasses import dataclass

PORTS = "1 to 65535"
NAME = "`a-z`, `0-9` and inner `-`"
DIR = "absolute, normalised, of its own"


@dataclass(frozen=True, slots=True)
class Key:
    """One key. form: type and unit; bounds: what is accepted; example: a YAML value that is."""

    path: str
    form: str
    default: str
    bounds: str
    example: str
    meaning: str

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition(".")[2]

    @property
    def accepted(self) -> str:
        """Form and bounds in one phrase."""
        return f"accepted: {self.form}" + ("" if self.bounds == "-" else f", {self.bounds.replace('`', '')}")

    @property
    def parent(self) -> str:
        """The path of the map it stands in, "" for the file itself."""
        return self.path.rpartition(".")[0]


KEYS = (
    Key(
        "cluster", "name", "required", f"{NAME}; at most 63", "shop", "the cluster's name, also its place in the store"
    ),
    Key(
        "postgres",
        "whole number or map",
        "what the hosts have",
        "13 to 18",
        "15",
        "the major version, or a map of what follows",
    ),
    Key("postgres.version", "whole number", "what the hosts have", "13 to 18", "15", "the major version"),
    Key("postgres.port", "whole number", "5432", PORTS, "5432", "where every node's server listens"),
    Key(
        "postgres.data_dir",
        "path",
        "chosen by bootstrap",
        DIR,
        "/srv/postgres/data",
        "the data directory on every node; clones are made beside it",
    ),
    Key(
        "postgres.bin_dir",
        "path",
        "found by bootstrap",
        "absolute, normalised",
        "/usr/lib/postgresql/15/bin",
        "PostgreSQL's programs",
    ),
    Key(
        "postgres.parameters",
        "map",
        "none",
        "settings that are not pgha's",
        "{max_connections: 300}",
        "PostgreSQL settings, in PostgreSQL's own units",
    ),
    Key(
        "postgres.parameters.NAME",
        "text, number or true/false",
        "-",
        "one line",
        "8GB",
        "one setting; lists are written as one text",
    ),
    Key(
        "postgres.hba",
        "list",
        "none",
        "lines of pg_hba.conf",
        "[hostssl app all 192.0.2.0/24 scram-sha-256]",
        "client access, before pgha's own lines",
    ),
    Key(
        "postgres.hba[]",
        "text",
        "-",
        "one line; never `trust`",
        "hostssl app all 192.0.2.0/24 scram-sha-256",
        "one line of pg_hba.conf",
    ),
    Key(
        "nodes",
        "list of hosts or map",
        "required",
        "1 to 100; 2 only with etcd.endpoints",
        "[192.0.2.11, 192.0.2.12, 192.0.2.13]",
        "the hosts; in a list they are named by the first DNS label or `node-192-0-2-11`",
    ),
    Key(
        "nodes[]", "host", "-", "IPv4, IPv6 or DNS name", "192.0.2.11", "one host; for settings of its own write a map"
    ),
    Key(
        "nodes.NAME",
        "host or map",
        "-",
        f"{NAME}; at most 40; not `pgha-barrier`",
        "{host: 192.0.2.11}",
        "one node by name",
    ),
    Key(
        "nodes.NAME.host",
        "host",
        "required",
        "IPv4, IPv6 or DNS name",
        "192.0.2.11",
        "its address, for SSH, PostgreSQL and etcd",
    ),
    Key("nodes.NAME.port", "whole number", "postgres.port", PORTS, "5433", "where its server listens"),
    Key("nodes.NAME.data_dir", "path", "postgres.data_dir", DIR, "/srv/postgres/data", "its data directory"),
    Key("nodes.NAME.priority", "whole number", "0", "0 to 1000", "100", "the higher one takes over among equals"),
    Key("nodes.NAME.nofailover", "true or false", "false", "not on all nodes", "true", "never becomes primary"),
    Key("nodes.NAME.nosync", "true or false", "false", "-", "true", "never a voter: commits don't wait for it"),
    Key(
        "nodes.NAME.clonefrom", "true or false", "false", "-", "true", "other nodes are cloned from it, when it streams"
    ),
    Key(
        "nodes.NAME.follow",
        "a node's name",
        "-",
        "another node, not in a circle",
        "db2",
        "streams from that standby instead of the primary while it can; never a voter",
    ),
    Key("nodes.NAME.noloadbalance", "true or false", "false", "-", "true", "left out of `pgha dsn --ro`"),
    Key(
        "nodes.NAME.etcd_client_port",
        "whole number",
        "2379",
        PORTS,
        "2379",
        "where its etcd member listens for clients",
    ),
    Key(
        "nodes.NAME.etcd_peer_port",
        "whole number",
        "2380",
        PORTS,
        "2380",
        "where its etcd member listens for the others",
    ),
    Key("etcd", "map", "on the first nodes", "-", "{nodes: [db1, db2, db3]}", "the store"),
    Key(
        "etcd.nodes",
        "list of node names",
        "the first 1, 3 or 5",
        "an odd number, at most 7",
        "[db1, db2, db3]",
        "nodes that run a member; fixed at bootstrap",
    ),
    Key("etcd.nodes[]", "node name", "-", "in `nodes`", "db1", "one node that runs a member"),
    Key("etcd.endpoints", "list", "none", "not together with `nodes`", "[etcd1.example.org:2379]", "an existing etcd"),
    Key(
        "etcd.endpoints[]",
        "host:port",
        "-",
        "also http:// and, with `ca`, https://",
        "etcd1.example.org:2379",
        "one member of an existing etcd",
    ),
    Key(
        "etcd.ca",
        "path",
        "no TLS",
        "absolute or ~/",
        "/etc/pgha/etcd-ca.pem",
        "the authority that signed an existing store's certificates, carried to the nodes; turns TLS on",
    ),
    Key(
        "etcd.cert",
        "path",
        "none",
        "together with `key`, needs `ca`",
        "/etc/pgha/etcd.pem",
        "client certificate, carried to the nodes",
    ),
    Key(
        "etcd.key",
        "path",
        "none",
        "together with `cert`, needs `ca`",
        "/etc/pgha/etcd.key",
        "its private key, carried to the nodes",
    ),
    Key("etcd.user", "name", "pgha; none with endpoints", "together with `password`", "pgha", "user of the store"),
    Key(
        "etcd.password",
        "secret",
        "generate; none with endpoints",
        "env:NAME, file:PATH or generate",
        "file:/run/secrets/etcd",
        "its password, never written here in clear",
    ),
    Key("etcd.bin_dir", "path", "found by bootstrap", "absolute, normalised", "/usr/local/bin", "etcd's programs"),
    Key("ssh", "map", "as `ssh HOST` does", "-", "{user: admin}", "how to log in to the hosts"),
    Key("ssh.user", "name", "of the ssh configuration", "an account name", "admin", "log in as"),
    Key("ssh.key", "path", "of the ssh configuration", "absolute or ~/", "~/.ssh/id_ed25519", "private key"),
    Key("ssh.sudo", "true or false", "true", "-", "true", "become root with sudo; false when the user is root"),
    Key("ssh.port", "whole number", "22", PORTS, "22", "sshd's port"),
    Key(
        "ha",
        "map",
        "as below",
        "-",
        "{failover_after: 6s}",
        "when to fail over and what a commit promises; later changes go through `pgha config`",
    ),
    Key(
        "ha.failover_after",
        "duration: ms, s, min, h",
        "6s",
        "5s to 5min",
        "6s",
        "silence after which another node takes over",
    ),
    Key(
        "ha.durability",
        "word",
        "quorum",
        "quorum, strict or async",
        "quorum",
        "quorum: commits wait for voters; strict: also when none is left; async: they never wait",
    ),
    Key(
        "ha.copies",
        "whole number",
        "half of the voters, rounded up",
        "0 to the number of nodes - 1",
        "1",
        "standbys that must have a commit; 0 is the default",
    ),
    Key(
        "ha.max_lag",
        "size: B, kB, MB, GB, TB",
        "16MB",
        "0B to 1TB",
        "16MB",
        "async: who lacks more of the WAL known of does not take over by itself",
    ),
    Key("supervisor", "word", "cron", "cron or systemd", "cron", "what starts `pgha watchdog` on the nodes"),
    Key(
        "local", "map", "none", "-", "{dir: /srv/pgha-demo, user: postgres}", "all nodes are processes on this machine"
    ),
    Key(
        "local.dir",
        "path",
        "required",
        f"{DIR}; short, for sockets",
        "/srv/pgha-demo",
        "everything of every node is under it",
    ),
    Key("local.user", "name", "required", "an account name, not root", "postgres", "who runs the processes"),
)

BY_PATH = {key.path: key for key in KEYS}

# What people who know other tools write, and what it is called here.
KNOWN_ELSEWHERE = {
    "scope": "cluster",
    "name": "cluster",
    "hosts": "nodes",
    "version": "postgres.version",
    "ttl": "ha.failover_after",
    "synchronous_mode": "ha.durability",
    "pg_hba": "postgres.hba",
    "address": "nodes.NAME.host",
}


def children(path: str) -> tuple[str, ...]:
    """The names that may stand in the map at `path` ("" for the file); empty when the names are free."""
    return tuple(key.name for key in KEYS if key.parent == path and key.name != "NAME" and not key.name.endswith("[]"))


def elsewhere() -> dict[str, str]:
    """Every name that means something anywhere, and the path of the key (the one nearest to the top) it stands for."""
    # Later ones win: deeper before shallower, later rows of the table before earlier ones.
    free = [key.path for key in reversed(KEYS) if not key.name.endswith(("[]", "NAME"))]
    paths = sorted(free, key=lambda path: -path.count("."))
    return KNOWN_ELSEWHERE | {BY_PATH[path].name: path for path in paths}


def markdown() -> str:
    """The table of docs/inventory.md."""
    rows = ["| key | type, unit | default | accepted | example | meaning |", "|---|---|---|---|---|---|"]
    for key in KEYS:
        cells = (f"`{key.path}`", key.form, key.default, key.bounds, f"`{key.example}`", key.meaning)
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"
