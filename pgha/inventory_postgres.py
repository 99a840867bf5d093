"""The postgres section: version, places, settings that are the operator's, and client access.

May import `pgha.inventory_*` below it. The reasons are the design's sections 5, 6 and 12, and PostgreSQL's manual.
"""

from __future__ import annotations

import re
from functools import partial

from pgha import inventory_forms as forms
from pgha.inventory_forms import Wrong
from pgha.inventory_keys import BY_PATH
from pgha.inventory_model import PostgresSpec
from pgha.inventory_section import Section, apply, nearest
from pgha.inventory_yaml import Report, Scalar, Table, Tree, shown

OLDEST, NEWEST = 13, 18

_PLACES = "pgha starts the server with its own"
_LEASE = "the single writer rests on it"
_FOLLOW = "whom a standby follows is decided by pgha"
RECOVERY = "it moves or stops a standby that pgha has sealed"
_SPEED = "pgha sets it: how soon a loss is seen rests on it"
_CERTIFICATES = "pgha makes the servers' certificates: by them the nodes know each other"
OWNED = {
    "port": "write postgres.port or nodes.NAME.port",
    "data_directory": "write postgres.data_dir or nodes.NAME.data_dir",
    "config_file": _PLACES,
    "hba_file": "write lines under postgres.hba",
    "ident_file": _PLACES,
    "external_pid_file": _PLACES,
    "include": _PLACES,
    "include_dir": _PLACES,
    "include_if_exists": _PLACES,
    "unix_socket_directories": _PLACES,
    "primary_conninfo": _FOLLOW,
    "primary_slot_name": _FOLLOW,
    "synchronous_standby_names": "no acknowledged commit is lost because of what pgha writes there; see ha.durability",
    "restart_after_crash": _LEASE,
    "hot_standby": "a standby that answers no queries can't be measured",
    "wal_log_hints": "pgha sets it to on, for pg_rewind",
    "restore_command": RECOVERY,
    "archive_cleanup_command": RECOVERY,
    "promote_trigger_file": _LEASE,
    "trigger_file": _LEASE,
    "standby_mode": _LEASE,
    "wal_retrieve_retry_interval": "pgha sets it: how fast a standby seals rests on it",
    "wal_receiver_status_interval": _SPEED,
    "wal_sender_timeout": _SPEED,
    "wal_receiver_timeout": _SPEED,
    "tcp_user_timeout": _SPEED,
    "ssl": _CERTIFICATES,
    "ssl_cert_file": _CERTIFICATES,
    "ssl_key_file": _CERTIFICATES,
    "max_standby_streaming_delay": "pgha sets it: a voter must not lag behind because of a query",
}
TRUE = ("on", "true", "tru", "tr", "t", "yes", "ye", "y", "1")
# Only these values keep what a commit promises; compared in lower case.
ALLOWED = {
    "fsync": (TRUE, "a commit that is not on disk is lost with the power"),
    "full_page_writes": (TRUE, "a torn page is not repaired after a crash"),
    "synchronous_commit": (
        ("on", "remote_apply", "true", "yes", "1"),
        "a lower level acknowledges commits that a failover loses",
    ),
    "wal_level": (("replica", "logical"), "standbys need it"),
    "archive_mode": (("on", "off", "true", "false", "yes", "no", "1", "0"), "`always` lets standbys archive as well"),
    "data_sync_retry": (("off", "false", "no", "0"), "a failed fsync tried again may lose what was acknowledged"),
}
METHODS = (
    "scram-sha-256",
    "md5",
    "password",
    "gss",
    "sspi",
    "ident",
    "peer",
    "ldap",
    "radius",
    "cert",
    "pam",
    "bsd",
    "oauth",
    "reject",
    "trust",
)
ORIGINS = ("local", "host", "hostssl", "hostnossl", "hostgssenc", "hostnogssenc")
FIELD = re.compile(r'(?:"[^"]*"|[^\s"#])+')


def read(report: Report, tree: Tree | None) -> PostgresSpec:
    """`postgres: 15` or the map."""
    version = forms.whole(OLDEST, NEWEST)
    if isinstance(tree, Scalar):
        return PostgresSpec(version=apply(report, tree, version, key=BY_PATH["postgres"], label="postgres"))
    section = Section(report, tree, path="postgres")
    return PostgresSpec(
        version=section.read("version", version, None),
        port=section.read("port", forms.port, PostgresSpec().port),
        data_dir=section.read("data_dir", forms.directory, None),
        bin_dir=section.read("bin_dir", forms.absolute, None),
        parameters=_parameters(section),
        hba=tuple(line for _, line in section.items("hba", hba_line, empty=True)),
    )


def _parameters(postgres: Section) -> dict[str, str]:
    section, found = postgres.section("parameters"), {}
    for name, spot in section.table.keys.items() if section.table else ():
        try:
            _check_name(name)
        except Wrong as e:
            postgres.report.add(spot, f"postgres.parameters: {e.what}", e.accepted, e.next_step)
            continue
        tree = section.tree(name)
        if isinstance(tree, Scalar):
            key = BY_PATH["postgres.parameters.NAME"]
            value = apply(postgres.report, tree, partial(_value, name), key=key, label=section.named(name))
            if value is not None:
                found[name] = value
        elif tree is not None:
            what = f"{section.named(name)}: found {'a map' if isinstance(tree, Table) else 'a list'}"
            postgres.report.add(tree.spot, what, "a setting is one value", "write a list as one text: 'a, b'")
    return found


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z_][a-z0-9_.]*", name) or len(name) > 63:
        lower = name.lower()
        good = re.fullmatch(r"[a-z_][a-z0-9_.]*", lower) and lower != name
        raise Wrong(
            f"{shown(name)} is no setting's name",
            "a-z, 0-9, _ and . in lower case",
            f"write {lower}" if good else "see the manual for its name",
        )
    reason = OWNED.get(name) or (RECOVERY if name.startswith("recovery_") else "")
    if reason:
        raise Wrong(f"{name} is not the operator's to set", reason, "delete it here")


def _value(name: str, value: Scalar) -> str:
    """PostgreSQL's text of a setting's value. Numbers keep the digits they were written with."""
    if value.text and not value.text.isprintable():
        raise Wrong("its value has line ends or other control characters", "one line", "write it on one line")
    result = {"true": "on", "false": "off"}[value.text.lower()] if value.kind == "flag" else value.text
    if name in ALLOWED and result.strip().lower() not in ALLOWED[name][0]:
        accepted, reason = ALLOWED[name]
        raise Wrong(
            f"{shown(result)} is refused",
            reason,
            f"write {' or '.join(accepted[:2] if len(accepted) < 9 else accepted[:1])}, or delete it",
        )
    return result


def hba_line(value: Scalar) -> str:
    """One line of pg_hba.conf. The line is not shown: an ldap one may hold a password."""
    line = forms.text(value).strip()
    bare = re.sub(r'"[^"]*"', "", line)
    if '"' in bare or line.endswith("\\"):
        raise Wrong("an open quote, or a backslash at the end", "a whole line")
    fields = FIELD.findall(re.sub(r'("[^"]*")|#.*', lambda m: m[1] or "", line))
    if not fields or fields[0] not in ORIGINS:
        raise Wrong(
            f"it begins with {shown(fields[0] if fields else line[:1])}",
            "local, host, hostssl, hostnossl, hostgssenc or hostnogssenc",
        )
    least = 4 if fields[0] == "local" else 5
    if len(fields) < least:
        raise Wrong(f"it has {len(fields)} fields", f"{fields[0]} takes at least {least}: the method is the last")
    # After the address there may be a netmask before the method.
    candidates = [field.strip('"') for field in (fields[3:4] if least == 4 else fields[4:6])]
    method = next((word for word in candidates if word in METHODS), "")
    if method == "trust":
        raise Wrong(
            "trust lets anybody in without a password", "scram-sha-256, or peer for local", "write scram-sha-256"
        )
    if not method:
        close = nearest(candidates[0], METHODS)
        raise Wrong(
            "no known method where it should stand", ", ".join(METHODS[:-1]), f"did you mean {close}?" if close else ""
        )
    return line
