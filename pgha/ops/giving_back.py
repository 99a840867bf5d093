"""The way back from `bootstrap --adopt`, before any restart by pgha: servers stand alone again, as they run.

First every watchdog leaves (the standbys', then the primary's), then the files are as they were, the primary's first:
no commit waits for somebody who is gone. May import core, pg and its neighbours in ops.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping

from pgha.core.model import Member
from pgha.errors import RolledBack
from pgha.host import Host
from pgha.nodefile import NodeFile
from pgha.ops import newdata
from pgha.ops.node_notes import FENCE
from pgha.pg import adopted

NOTE = "adopted.json"  # in the state directory: who it is, for the guard; what was there before, for the way back
SQL_S = 30.0
SLOTS_S = 15.0
_DROP_SLOTS = """SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots
 WHERE slot_type = 'physical' AND starts_with(slot_name, 'pgha_') AND NOT active;
SELECT count(*) FROM pg_replication_slots WHERE slot_type = 'physical' AND starts_with(slot_name, 'pgha_');"""
_DROP_ROLE = f"DROP OWNED BY {newdata.REPLICATION_USER}; DROP ROLE {newdata.REPLICATION_USER};"


def are_as_taken_over(members: Iterable[Member]) -> bool:
    """All of them report, and pgha has started none of their servers."""
    known = list(members)
    return bool(known) and all(FENCE in member.pending for member in known)


def give_back(host: Host, node: NodeFile, *, primary: bool) -> str:
    """One node's server has its own configuration again; says so. Its watchdog has left. Raises RolledBack."""
    path = f"{node.state_dir}/{NOTE}"
    text = host.read(path)
    if text is None:
        return "its configuration is its own already"
    put_back(host, node.data_dir, json.loads(text))
    if primary:
        host.run(["rm", "-f", "--", f"{node.data_dir}/standby.signal"], timeout_s=SQL_S)
    _sql(host, node, "SELECT pg_reload_conf();")
    return "its configuration is its own again"


def put_back(host: Host, data_dir: str, note: Mapping[str, object]) -> None:
    """The server's own files as they were, as far as pgha has changed them; what else was changed in them stays."""
    files = note["files"]
    assert isinstance(files, dict)
    for name, mode in (("config_file", 0o644), ("hba_file", 0o640), ("ident_file", 0o640)):
        path = str(files[name])
        text = host.read(path)
        if text is not None and adopted.without_block(text) != text:
            host.write(path, adopted.without_block(text), mode)
    before, auto = note.get("auto_conf"), f"{data_dir}/postgresql.auto.conf"
    if isinstance(before, str) and host.read(auto) != before:
        host.write(auto, before)


def clean_up(host: Host, node: NodeFile, *, primary: bool) -> None:
    """What pgha has made in the server: slots on every node, the role on the primary. After all were given back."""
    path = f"{node.state_dir}/{NOTE}"
    if host.read(path) is None:
        return
    end = time.monotonic() + SLOTS_S
    while _sql(host, node, _DROP_SLOTS).splitlines()[-1:] != ["0"] and time.monotonic() < end:
        time.sleep(0.2)  # a standby leaves its slot when it has read its own configuration
    if primary:
        _sql(host, node, _DROP_ROLE)
    host.run(["rm", "-f", "--", path], timeout_s=SQL_S)


def _sql(host: Host, node: NodeFile, sql: str) -> str:
    at = adopted.pid_file_of(host.read(f"{node.data_dir}/postmaster.pid") or "")
    ran = host.run(adopted.psql(node.bin_dir, at, node.superuser), timeout_s=SQL_S, stdin=sql)
    if not ran.ok:
        raise RolledBack(f"{node.node}: the server can't be asked", ran.tail(), "the same command, once more")
    return ran.out.strip()
