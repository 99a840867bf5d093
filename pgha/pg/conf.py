"""The texts PostgreSQL reads: postgresql.conf, the live settings, pg_hba.conf, pg_ident.conf, conninfo. Pure.

All quoting for PostgreSQL's files lives here. The files lie in the node's state directory, outside the data directory:
pg_basebackup and pg_rewind copy whatever lies inside (redteam 6).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from pgha.core.voters import barrier
from pgha.nodefile import NodeFile

MAIN = "postgresql.conf"
LIVE = "pgha.live.conf"
PARAMETERS = "pgha.parameters.conf"
ADOPTED = "pgha.adopted.conf"  # what a server that was taken over as it ran includes, until its first start by pgha
SLOT_PREFIX = "pgha_"
DRILL = "pgha_drill"  # role and database of `pgha drill`: they exist, with a password of their own, only while it runs

DEFAULTS: dict[str, str] = {
    "wal_keep_size": "64MB",
    "max_slot_wal_keep_size": "10GB",
    "max_wal_senders": "20",
    "max_replication_slots": "20",
    "max_standby_streaming_delay": "1s",
    "wal_retrieve_retry_interval": "100ms",
    "wal_receiver_status_interval": "1s",
    "wal_sender_timeout": "5s",
    "wal_receiver_timeout": "5s",
    "tcp_user_timeout": "5s",
    "tcp_keepalives_idle": "5",
    "tcp_keepalives_interval": "2",
    "tcp_keepalives_count": "2",
    "password_encryption": "scram-sha-256",
    "log_line_prefix": "%m [%p] %q%u@%d %a ",
}
"""Set unless the inventory says otherwise (design, section 12)."""

FIXED: dict[str, str] = {
    "wal_log_hints": "on",
    "restart_after_crash": "off",
    "hot_standby": "on",
    "recovery_target_timeline": "latest",
    "restore_command": "",
    "recovery_min_apply_delay": "0",
    "logging_collector": "off",
    "log_destination": "stderr",
    "lc_messages": "C",
    "event_source": "PostgreSQL",
}
"""Never otherwise. An empty restore_command: an archive moves a sealed standby (redteam 12). pgha reads the messages in
the log: why a server ended, and whether its WAL is gone."""


AT_START = frozenset({
    "max_wal_senders", "max_replication_slots", "wal_log_hints", "hot_standby", "recovery_target_timeline",
    "logging_collector", "event_source", "listen_addresses", "wal_level", "data_directory", "hba_file", "ident_file",
    "unix_socket_directories", "unix_socket_permissions", "port", "cluster_name", "log_destination", "lc_messages",
})  # fmt: skip
"""Not for a server that runs already: these take a start; its log stays where it is."""


def quote(value: str) -> str:
    """A value of postgresql.conf: in single quotes, quotes and backslashes doubled. Raises ValueError for newlines."""
    if any(ord(c) < 32 for c in value):
        raise ValueError("a setting can't hold control characters")
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def conninfo(parts: Mapping[str, str | int]) -> str:
    """libpq's `key='value' ...`. Raises ValueError for control characters."""
    words = []
    for key, value in parts.items():
        text = str(value)
        if any(ord(c) < 32 for c in text):
            raise ValueError(f"{key} can't hold control characters")
        words.append(f"{key}='" + text.replace("\\", "\\\\").replace("'", "\\'") + "'")
    return " ".join(words)


def upstream(node: NodeFile, holder: str, name: str, *, dbname: str = "") -> str:
    """How this node reaches the holder for streaming, cloning and rewinding. The password stays in the passfile."""
    peer = node.nodes[holder]
    parts: dict[str, str | int] = {"host": peer.host, "port": peer.port, "user": node.replication_user}
    if dbname:
        parts["dbname"] = dbname
    if node.tls is not None and node.tls.required:
        parts |= {"sslmode": "verify-full", "sslrootcert": node.tls.ca_file}
    parts |= {
        "passfile": f"{node.state_dir}/passfile",
        "application_name": name,
        "connect_timeout": 5,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 2,
        "tcp_user_timeout": 5000,
    }
    return conninfo(parts)


def slot_name(node: str) -> str:
    """The physical slot of a member; slot names know no hyphen."""
    return SLOT_PREFIX + node.replace("-", "_")


def main_conf(node: NodeFile, *, running: bool = False) -> str:
    """postgresql.conf of this node. Later lines win: defaults, the inventory's, the store's, what is fixed, the live
    file. running: without what takes a start."""
    own: dict[str, str] = {
        "data_directory": node.data_dir,
        "hba_file": f"{node.state_dir}/pg_hba.conf",
        "ident_file": f"{node.state_dir}/pg_ident.conf",
        "unix_socket_directories": node.socket_dir,
        "unix_socket_permissions": "0777",
        "port": str(node.me.port),
        "cluster_name": f"{node.cluster}/{node.node}",
    }
    if node.tls is not None:
        own |= {"ssl": "on", "ssl_cert_file": node.tls.cert_file, "ssl_key_file": node.tls.key_file}
    listen = {} if "listen_addresses" in node.parameters else {"listen_addresses": node.me.host}
    level = {} if "wal_level" in node.parameters else {"wal_level": "replica"}
    left_out = AT_START if running else frozenset[str]()
    lines = ["# Written by pgha before every start; edit the inventory instead."]
    for part in (DEFAULTS, listen, level, node.parameters):
        lines += [f"{key} = {quote(value)}" for key, value in part.items() if key not in left_out]
    lines.append(f"include_if_exists {quote(f'{node.state_dir}/{PARAMETERS}')}")
    for part in (FIXED, own):
        lines += [f"{key} = {quote(value)}" for key, value in part.items() if key not in left_out]
    lines.append(f"include {quote(f'{node.state_dir}/{LIVE}')}")
    return "\n".join(lines) + "\n"


FIRST_SEGMENT = "wal_init_zero = off\n"
"""For a standby that begins to follow: its first segment on a new timeline is a new file, and commits wait for
it. It is not filled with zeros first (20 ms for 16 MB). Once it streams there, the setting goes:
a full file is faster to flush."""


def live_conf(*, primary_conninfo: str = "", slot: str = "", names: str | None = None) -> str:
    """The settings that move at run time; a server that is no promoted holder has the barrier's names (redteam 4)."""
    return (
        "# Written by pgha at run time.\n"
        f"primary_conninfo = {quote(primary_conninfo)}\n"
        f"primary_slot_name = {quote(slot)}\n"
        f"synchronous_standby_names = {quote(barrier() if names is None else names)}\n"
    )


def parameters_conf(values: Mapping[str, str]) -> str:
    """The parameters of the store's settings. Raises ValueError for control characters."""
    lines = [f"{key} = {quote(value)}" for key, value in sorted(values.items())]
    return "\n".join(["# Written by pgha from the settings in the store: pgha config.", *lines]) + "\n"


def followed(node: NodeFile, primary_conninfo: str) -> str:
    """The node whose address stands in a text of `upstream`; "" for none of the cluster's."""
    found = dict(re.findall(r"\b(host|port)='([^']*)'", primary_conninfo))
    aim = (found.get("host"), found.get("port"))
    return next((n for n, peer in node.nodes.items() if (peer.host, str(peer.port)) == aim), "")


def followed_anew(node: NodeFile, live: str) -> str:
    """The live settings with the same node followed in the way that the node file now says; else as they are."""
    line = re.search(r"^primary_conninfo = .*$", live, re.MULTILINE)
    told = line.group(0).replace("''", "'") if line else ""
    source, name = followed(node, told), re.search(r"\bapplication_name='([^']*)'", told)
    if line is None or not source or name is None:
        return live
    text = f"primary_conninfo = {quote(upstream(node, source, name.group(1)))}"
    return live[: line.start()] + text + live[line.end() :]


def hba_conf(node: NodeFile) -> str:
    """pg_hba.conf: the superuser through the socket only, replication from the members, then the inventory's lines."""
    user, repl = node.superuser, node.replication_user
    lines = [
        f'local all "{user}" peer map=pgha',
        f'local replication "{user}" peer map=pgha',
        f'host all "{user}" all reject',
    ]
    host_kind = "hostssl" if node.tls is not None and node.tls.required else "host"
    for host in sorted({peer.host for peer in node.nodes.values()}):
        address = f"{host}/128" if ":" in host else f"{host}/32" if host.replace(".", "").isdecimal() else host
        lines += [f'{host_kind} {db} "{repl}" {address} scram-sha-256' for db in ("replication", "postgres")]
    lines.append(f'host all "{repl}" all reject')
    lines.append(f'{host_kind} "{DRILL}" "{DRILL}" all scram-sha-256')
    lines += node.hba or ("local all all scram-sha-256", "host all all samenet scram-sha-256")
    return "# Written by pgha before every start.\n" + "\n".join(lines) + "\n"


def ident_conf(node: NodeFile, os_user: str) -> str:
    """pg_ident.conf: the account the server runs under may be the superuser."""
    return f'# Written by pgha before every start.\npgha "{os_user}" "{node.superuser}"\n'
