"""The health of a primary: a new connection is answered, and WAL that waits for the disk gets there.

A frozen disk leaves a server that answers every SELECT from memory, and acknowledges nothing for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing

from pgha.adapters.database import Session, SqlError
from pgha.pg import look
from pgha.ports import Clock

PROBE_S = 1.0
STALL_S = 2.0  # WAL may wait for a slow disk for so long


class Health:
    """One server's. connect: opens a connection whose commits wait for nobody, by this deadline."""

    def __init__(self, connect: Callable[[float], Session], clock: Clock) -> None:
        self._connect, self._clock = connect, clock
        self._stalled_s = 0.0

    def probe(self) -> bool:
        """A new connection that ran a query; an answer of the server's own is health too (redteam 20)."""
        deadline_s = self._clock.now_s() + PROBE_S
        try:
            with closing(self._connect(deadline_s)) as session:
                waiting = session.query(look.WAL_WAITS, deadline_s=deadline_s)[0][0] == "t"
                return self._flushes(session) if waiting else self._well()
        except SqlError as e:
            return bool(e.sqlstate)

    def _flushes(self, session: Session) -> bool:
        """Nothing is written unless WAL waits anyway: then a commit that waits for the disk, and for no voter."""
        began_s = self._clock.now_s()
        try:
            session.query(look.NUDGE, deadline_s=began_s + PROBE_S)
        except SqlError as e:
            if e.sqlstate:
                return True
            self._stalled_s = self._stalled_s or began_s
            return self._clock.now_s() - self._stalled_s < STALL_S
        return self._well()

    def _well(self) -> bool:
        self._stalled_s = 0.0
        return True
