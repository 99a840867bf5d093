"""What one asks a server to see what it is, and what the answers mean. SQL text and parsing; nothing runs here."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace

from pgha.core.model import Position, parse_lsn, parse_standby_name
from pgha.core.server import Running, ServerView, Walsender

LOOK = """SELECT r, current_setting('server_version'), current_setting('primary_conninfo'),
 current_setting('synchronous_standby_names'),
 CASE WHEN r THEN coalesce(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) ELSE pg_current_wal_flush_lsn() END,
 CASE WHEN r THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_flush_lsn() END,
 CASE WHEN r THEN NULL ELSE substr(pg_walfile_name(pg_current_wal_flush_lsn()), 1, 8) END,
 (SELECT status || ' ' || coalesce(received_tli, 0) FROM pg_stat_wal_receiver),
 (SELECT min_recovery_end_timeline FROM pg_control_recovery()),
 CASE WHEN r THEN NULL ELSE (SELECT json_agg(json_build_array(application_name, state, flush_lsn, sync_priority,
 reply_time, extract(epoch FROM replay_lag))) FROM pg_stat_replication) END
 FROM (SELECT pg_is_in_recovery() AS r) x"""

SEALED = """SELECT current_setting('primary_conninfo'), pg_is_in_recovery(),
 (SELECT wait_event FROM pg_stat_activity WHERE backend_type = 'startup'),
 CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() ELSE false END, pg_last_wal_receive_lsn()"""

# Sizes need pg_read_all_stats, but for the tablespace of one's own database (dbsize.c, calculate_tablespace_size).
SPACES = """SELECT t.oid, pg_tablespace_location(t.oid),
 CASE WHEN pg_has_role('pg_read_all_stats', 'USAGE') OR t.oid = d.dattablespace THEN pg_tablespace_size(t.oid) END
 FROM pg_tablespace t, pg_database d WHERE d.datname = current_database()"""

WAL_WAITS = """SELECT CASE WHEN pg_is_in_recovery() THEN false
 ELSE pg_current_wal_insert_lsn() > pg_current_wal_flush_lsn() END"""
"""Is there WAL that is not on the disk? (A hair of it at the start of a page: a page's header is no record.)"""

NUDGE = "SET synchronous_commit = local; SELECT pg_logical_emit_message(true, 'pgha', 'nudge')"


def slots(names: Sequence[str], *, held: Sequence[str]) -> tuple[str, str]:
    """SQL for these physical slots: the first makes them, the second, to be run before it, drops a removed node's,
    those whose WAL is gone, and all that hold WAL but those `held`. Two, because a slot that is taken at this moment
    fails its statement. Names are pgha's own."""
    wanted, kept = (f"ARRAY[{', '.join(repr(name) for name in found)}]::text[]" for found in (names, held))
    drop = (
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_type = 'physical'"  # noqa: S608
        f" AND NOT active AND starts_with(slot_name, 'pgha_') AND (slot_name <> ALL ({wanted})"
        f" OR wal_status = 'lost' OR (restart_lsn IS NOT NULL AND slot_name <> ALL ({kept})))"
    )
    create = (
        f"SELECT pg_create_physical_replication_slot(v) FROM unnest({wanted}) AS x(v)"  # noqa: S608
        " WHERE v NOT IN (SELECT slot_name FROM pg_replication_slots)"
    )
    return create, drop


def view(before: ServerView, row: Sequence[str], now_s: float) -> ServerView:
    """The row of LOOK (NULL as "") as a view; `before` gives what SQL does not tell."""
    recovery, version, conninfo, names, end, replay, timeline, receiver, control_tli, walsenders = row
    name = re.search(r"application_name='([^']*)'", conninfo)
    parsed = parse_standby_name(name.group(1)) if name else None
    epoch = parsed[1] if parsed else (-1 if conninfo else 0)
    status, _, received = receiver.partition(" ")
    # Without a walreceiver only pg_control tells, and late: what was seen of this very server stands (redteam 3).
    tli = int(timeline, 16) if timeline else int(received or 0) or max(int(control_tli or 0), before.position.timeline)
    senders = tuple(
        Walsender(a or "", s or "", parse_lsn(f) if f else 0, int(p or 0), replied=t or "", lag_s=max(0.0, lag or 0.0))
        for a, s, f, p, t, lag in (json.loads(walsenders) if walsenders else ())
    )
    return replace(
        before,
        running=Running.STANDBY if recovery == "t" else Running.PRIMARY,
        position=Position(tli, parse_lsn(end) if end else 0),
        replay=Position(tli, parse_lsn(replay) if replay else 0),
        upstream_epoch=epoch,
        receiving=status == "streaming",
        heard_s=now_s if status == "streaming" else before.heard_s,
        histories=(),
        wal_gone=before.wal_gone and status != "streaming",
        names=names,
        walsenders=senders,
        answered_s=now_s,
        version=version,
        why="",
    )
