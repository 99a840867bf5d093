"""Where a standby that is cut off stands: the one state that proves it, and the WAL that it does not prove.

Finding 2 of redteam: the startup process in RecoveryRetrieveRetryInterval, seen on a connection opened after the reload
that shows an empty primary_conninfo, proves that no walreceiver lives or can come.

That all local WAL is replayed it proves only when the process has looked into pg_wal since the walreceiver ended. When
the attempt before failed less than wal_retrieve_retry_interval ago (the server was cut off, followed for a moment, and
is cut off again), it waits first and looks then (xlogrecovery.c, WaitForWALToBecomeAvailable). IDENTIFY_SYSTEM counts
what was received on the timeline that is replayed, but not what was received and confirmed on a newer one, whose first
record is not replayed yet: a seal at that position would lose what it has confirmed. So with WAL received beyond the
position its replay is waited for; what is not replayed in several intervals is no whole record.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

from pgha.adapters.database import Session, SqlError
from pgha.core.model import Position, parse_lsn
from pgha.pg import look
from pgha.ports import Clock, ServerTrouble

PACE_S = 0.002
UNREAD_S = 0.5  # five intervals in which pg_wal is looked into


class Sealing:
    """connect, sql: the server's own ways to a session and to one statement."""

    def __init__(self, clock: Clock, *, connect: Callable[..., Session], sql: Callable[..., object]) -> None:
        self._clock, self._connect, self._sql = clock, connect, sql
        self._unread_s = 0.0

    def position(self, deadline_s: float) -> Position | None:
        """Of a server whose primary_conninfo was emptied; None when it does not get there in time. Raises
        ServerTrouble when it is no standby."""
        self._unread_s = 0.0
        with suppress(SqlError):
            while self._clock.now_s() < deadline_s:
                session = self._connect(deadline_s=deadline_s, replication="database")
                try:
                    position = self._on(session, deadline_s)
                finally:
                    session.close()
                if position is not None:
                    return position
                self._clock.sleep(PACE_S)
        return None

    def _on(self, session: Session, deadline_s: float) -> Position | None:
        """None: this connection was opened before the reload was seen."""
        while self._clock.now_s() < deadline_s:
            conninfo, recovery, event, paused, received = session.query(look.SEALED, deadline_s=deadline_s)[0]
            if conninfo:
                return None
            if recovery != "t":
                raise ServerTrouble("it is no standby")
            if event == "RecoveryRetrieveRetryInterval":
                row = session.query("IDENTIFY_SYSTEM", deadline_s=deadline_s)[0]
                position = Position(int(row[1] or 0), parse_lsn(row[2] or ""))
                if self._all_read(position, parse_lsn(received) if received else 0):
                    return position
            if paused == "t":
                self._sql("SELECT pg_wal_replay_resume()", deadline_s=deadline_s)
            if (event or "").startswith("RecoveryConflict") or event == "BufferPin":
                self._sql(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type = 'client backend'"
                    " AND pid <> pg_backend_pid() AND (backend_xmin IS NOT NULL OR state <> 'idle')",
                    deadline_s=deadline_s,
                )
            self._clock.sleep(PACE_S)
        return None

    def _all_read(self, position: Position, received: int) -> bool:
        now_s = self._clock.now_s()
        if received <= position.lsn:
            return True
        self._unread_s = self._unread_s or now_s
        return now_s - self._unread_s >= UNREAD_S
