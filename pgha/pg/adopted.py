"""A server that was made and started without pgha: what one asks it, the blocks in its own files. Pure; SQL as text.

Its configuration is read from where it is until its first start by pgha: there pgha's part is a block between two
marks, and the way back takes it out again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pgha.nodefile import NodeFile
from pgha.pg import conf

BEGIN, END = "# BEGIN pgha: until the first start by pgha, or the way back (docs/adopt.md)", "# END pgha"
_BLOCK = re.compile(rf"{re.escape(BEGIN)}\n.*?{re.escape(END)}\n", re.DOTALL)

FACTS = """SELECT json_build_object(
 'version', current_setting('server_version_num')::int,
 'system', (SELECT system_identifier::text FROM pg_control_system()),
 'recovery', pg_is_in_recovery(),
 'checksums', current_setting('data_checksums'),
 'timeline', CASE WHEN pg_is_in_recovery()
  THEN greatest((SELECT received_tli FROM pg_stat_wal_receiver), (SELECT timeline_id FROM pg_control_checkpoint()))
  ELSE ('x' || substr(pg_walfile_name(pg_current_wal_flush_lsn()), 1, 8))::bit(32)::int END,
 'lsn', (CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END)::text,
 'super', (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
 'role', EXISTS (SELECT FROM pg_roles WHERE rolname = 'pgha_replicator'),
 'senders', (SELECT coalesce(json_agg(application_name), '[]') FROM pg_stat_replication),
 'slots', (SELECT coalesce(json_agg(slot_name), '[]') FROM pg_replication_slots
  WHERE slot_type = 'physical' AND NOT starts_with(slot_name, 'pgha_')),
 'source', (SELECT sender_host || ' ' || sender_port FROM pg_stat_wal_receiver WHERE status = 'streaming'),
 'rules', (SELECT count(*) FROM pg_hba_file_rules WHERE error IS NULL),
 'settings', (SELECT json_object_agg(lower(name), json_build_array(current_setting(name), source,
  setting IS DISTINCT FROM boot_val)) FROM pg_settings)
);"""
_TYPES: dict[str, type] = {"version": int, "system": str, "recovery": bool, "timeline": int, "lsn": str, "super": bool,
                           "role": bool, "senders": list, "slots": list, "rules": int, "settings": dict}  # fmt: skip
_GIVEN = ("configuration file", "command line", "environment variable", "global")


@dataclass(frozen=True, slots=True)
class Setting:
    """One row of pg_settings. changed: it is not what PostgreSQL has built in, and somebody has given it.

    ordered: by the command line, against which no file is read.
    """

    value: str
    changed: bool
    ordered: bool = False


@dataclass(frozen=True, slots=True)
class Runs:
    """What a running server says of itself. source: whom a standby streams from, "host port", "" for nobody.

    rules: lines of its pg_hba.conf. slots: physical ones that are not pgha's. role: the one for
    replication is there already.
    """

    version: int
    system: str
    standby: bool
    checksums: bool
    timeline: int
    lsn: str
    superuser: bool
    role: bool
    senders: tuple[str, ...]
    slots: tuple[str, ...]
    source: str
    rules: int
    settings: Mapping[str, Setting]

    def value(self, name: str) -> str:
        """Of a setting; "" when this version does not know it."""
        found = self.settings.get(name)
        return found.value if found is not None else ""


def facts_of(text: str) -> Runs:
    """The answer to FACTS. Raises ValueError."""
    said: object = json.loads(text)
    if not isinstance(said, dict):
        raise ValueError("no object")
    wrong = [name for name, kind in _TYPES.items() if not isinstance(said.get(name), kind)]
    if wrong:
        raise ValueError(f"no {', '.join(wrong)}")
    settings = {
        name: Setting(str(value), bool(changed) and source in _GIVEN, source == "command line")
        for name, (value, source, changed) in said["settings"].items()
    }
    return Runs(
        version=said["version"],
        system=said["system"],
        standby=said["recovery"],
        checksums=said.get("checksums") == "on",
        timeline=said["timeline"],
        lsn=said["lsn"],
        superuser=said["super"],
        role=said["role"],
        senders=tuple(str(name) for name in said["senders"]),
        slots=tuple(str(name) for name in said["slots"]),
        source=str(said.get("source") or ""),
        rules=said["rules"],
        settings=settings,
    )


@dataclass(frozen=True, slots=True)
class PidFile:
    """postmaster.pid (src/include/utils/pidfile.h). socket_dir: the first one, "" for none."""

    pid: int
    port: int
    socket_dir: str
    ready: bool


def pid_file_of(text: str) -> PidFile:
    """Raises ValueError."""
    lines = [line.strip() for line in text.splitlines()]
    if len(lines) < 8:
        raise ValueError("it is not whole: the server is starting")
    return PidFile(abs(int(lines[0])), int(lines[3]), lines[4], lines[7] in ("ready", "standby"))


# -- blocks in its files -----------------------------------------------------------------------------------------


def without_block(text: str) -> str:
    """The file as it was."""
    return _BLOCK.sub("", text)


def _block(lines: Iterable[str]) -> str:
    return "\n".join([BEGIN, *lines, END]) + "\n"


def with_include(text: str, node: NodeFile) -> str:
    """postgresql.conf, with pgha's file after everything else: the last line wins."""
    plain = without_block(text)
    plain += "" if plain.endswith("\n") or not plain else "\n"
    return plain + _block([f"include_if_exists {conf.quote(f'{node.state_dir}/{conf.ADOPTED}')}"])


def with_logins(text: str, node: NodeFile) -> str:
    """pg_hba.conf, with pgha's lines before everything else: the first match wins. Nodes may come: any address."""
    kind = "hostssl" if node.tls is not None and node.tls.required else "host"
    lines = [f'local all "{node.superuser}" peer map=pgha']
    lines += [f'{kind} {db} "{node.replication_user}" all scram-sha-256' for db in ("replication", "postgres")]
    return _block(lines) + without_block(text)


def with_map(text: str, node: NodeFile, os_user: str) -> str:
    """pg_ident.conf: the account the server runs under may be the superuser."""
    return _block([f'pgha "{os_user}" "{node.superuser}"']) + without_block(text)


def auto_conf(text: str, names: Iterable[str]) -> str:
    """postgresql.auto.conf without these: it is read after everything else, pgha's file included."""
    gone = set(names)
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if line.split("=", 1)[0].strip().lower() not in gone)


def names_in(text: str) -> tuple[str, ...]:
    """The settings that stand in a postgresql.auto.conf."""
    found = (line.split("=", 1)[0].strip().lower() for line in text.splitlines() if "=" in line and line[:1] != "#")
    return tuple(dict.fromkeys(found))


def psql(bin_dir: str, at: PidFile, superuser: str) -> Sequence[str]:
    """The command that reads SQL from its input, as the superuser through the socket."""
    way = ["-h", at.socket_dir, "-p", str(at.port), "-U", superuser, "-d", "postgres"]
    return [f"{bin_dir}/psql", "-XAtqw", "-v", "ON_ERROR_STOP=1", *way]
