"""synchronous_standby_names of a running primary: the barrier, the names, read back after each change.

Used by `PostgresServer`, whose connections it takes. Design, 6 "Change of voters"; redteam 4 and 14.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, suppress
from typing import Protocol

from pgha.adapters.database import Session, SqlError
from pgha.core.voters import barrier
from pgha.pg import conf, look
from pgha.ports import Clock

NAMES_S = 3.0
PACE_S = 0.002


class Sql(Protocol):
    """A query on the standing connection."""

    def __call__(self, sql: str, *, deadline_s: float) -> list[list[str | None]]:
        """Rows; raises SqlError."""
        ...


class Connect(Protocol):
    """A new connection."""

    def __call__(self, *, deadline_s: float, **more: str) -> Session:
        """Raises SqlError."""
        ...


class Names:
    """Changes the setting. reload: writes the file of changing settings and tells the postmaster."""

    def __init__(self, clock: Clock, *, sql: Sql, connect: Connect, reload: Callable[[str], None]) -> None:
        self._clock, self._sql, self._connect, self._reload = clock, sql, connect, reload

    def change(self, names: str, *, barrier: bool) -> bool:
        """True once the names are in force for every process, and a commit has shown it to the walsenders."""
        deadline_s = self._clock.now_s() + NAMES_S
        waiting: Session | None = None
        try:
            if barrier:
                waiting = self._raise_barrier(deadline_s)
                if waiting is None:
                    return False
            self._reload(conf.live_conf(names=names))
            if not self._shown(names, deadline_s):
                return False
            self._sql(look.NUDGE, deadline_s=deadline_s)
            return True
        except SqlError:
            return False
        finally:
            if waiting is not None:
                waiting.close()

    def _raise_barrier(self, deadline_s: float) -> Session | None:
        """Returns once no process evaluates the old rule: every walsender shows priority 0 and a commit waits."""
        self._reload(conf.live_conf(names=barrier()))
        if not self._shown(barrier(), deadline_s):
            return None
        waiting = self._connect(deadline_s=deadline_s, options="-c synchronous_commit=on -c log_statement=none")
        waiting.send("SELECT pg_logical_emit_message(true, 'pgha', 'barrier')")
        waiting.answered  # noqa: B018  # flushes
        proof = (
            f"SELECT (SELECT count(*) FROM pg_stat_replication WHERE sync_priority > 0), (SELECT wait_event FROM"  # noqa: S608
            f" pg_stat_activity WHERE pid = {waiting.pid:d})"
        )
        while self._clock.now_s() < deadline_s:
            count, event = self._sql(proof, deadline_s=deadline_s)[0]
            if count == "0" and event == "SyncRep":
                return waiting
            if waiting.answered:  # acknowledged: some process still had the old rule; try once more
                waiting.send("SELECT pg_logical_emit_message(true, 'pgha', 'barrier')")
            self._clock.sleep(PACE_S)
        waiting.close()
        return None

    def _shown(self, names: str, deadline_s: float) -> bool:
        """A connection opened after the reload shows the names."""
        while self._clock.now_s() < deadline_s:
            with suppress(SqlError), closing(self._connect(deadline_s=deadline_s)) as session:
                if session.query("SHOW synchronous_standby_names", deadline_s=deadline_s)[0][0] == names:
                    return True
            self._clock.sleep(PACE_S)
        return False
