"""SQL with a deadline: psycopg's libpq layer under a poll loop of our own. The door to psycopg for the node.

No timeout of libpq bounds a stopped backend (libraries.md 5), so every wait here is a poll with the time that is left.
No policy: errors carry the server's SQLSTATE, callers decide.
"""

from __future__ import annotations

import select
from collections.abc import Sequence

from psycopg import Error, pq

from pgha.ports import Clock

Row = Sequence[str | None]


class SqlError(Exception):
    """`sqlstate` is the server's, or "" when it did not answer in time or the connection broke."""

    def __init__(self, message: str, sqlstate: str = "") -> None:
        super().__init__(message.strip())
        self.sqlstate = sqlstate


class Session:
    """One connection. Not thread-safe. Any SqlError without a sqlstate closes it."""

    def __init__(self, conninfo: str, clock: Clock, *, deadline_s: float) -> None:
        self._clock = clock
        self._conn = pq.PGconn.connect_start(conninfo.encode())
        self._conn.notice_handler = None
        try:
            self._connect(deadline_s)
        except Error as e:
            self.close()
            raise SqlError(str(e)) from e
        except SqlError:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The server process of this connection."""
        return self._conn.backend_pid

    def _connect(self, deadline_s: float) -> None:
        conn = self._conn
        while True:
            if conn.status == pq.ConnStatus.BAD:
                raise self._refused()
            status = conn.connect_poll()
            if status == pq.PollingStatus.OK:
                conn.nonblocking = 1
                return
            if status == pq.PollingStatus.FAILED:
                raise self._refused()
            self._await(write=status == pq.PollingStatus.WRITING, deadline_s=deadline_s)

    def _refused(self) -> SqlError:
        """libpq gives no SQLSTATE for a refused connection: the texts that are an answer of the server's own."""
        text = self._conn.error_message.decode(errors="replace")
        known = {
            "too many clients": "53300",
            "connection slots": "53300",
            "starting up": "57P03",
            "shutting down": "57P03",
            "not yet accepting": "57P03",
            "recovery mode": "57P03",
        }
        return SqlError(text, next((code for words, code in known.items() if words in text), ""))

    def _await(self, *, write: bool, deadline_s: float) -> None:
        left_s = deadline_s - self._clock.now_s()
        poller = select.poll()
        poller.register(self._conn.socket, select.POLLIN | (select.POLLOUT if write else 0))
        if left_s <= 0 or not poller.poll(left_s * 1000):
            raise SqlError("no answer in time")

    def send(self, sql: str) -> None:
        """Send without waiting for the answer: `receive` collects it."""
        try:
            self._conn.send_query(sql.encode())
        except Error as e:
            self.close()
            raise SqlError(str(e)) from e

    def receive(self, *, deadline_s: float) -> list[Row]:
        """Rows of the last result. Raises SqlError."""
        try:
            return self._receive(deadline_s)
        except Error as e:
            self.close()
            raise SqlError(str(e)) from e
        except SqlError as e:
            if not e.sqlstate:
                self.close()
            raise

    def _receive(self, deadline_s: float) -> list[Row]:
        conn, failed = self._conn, None
        rows: list[Row] = []
        while conn.flush():
            self._await(write=True, deadline_s=deadline_s)
        while True:
            while conn.is_busy():
                self._await(write=False, deadline_s=deadline_s)
                conn.consume_input()
            result = conn.get_result()
            if result is None:
                break
            if result.status == pq.ExecStatus.TUPLES_OK:
                rows = [[_text(result.get_value(r, c)) for c in range(result.nfields)] for r in range(result.ntuples)]
            elif result.status not in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.EMPTY_QUERY):
                state = result.error_field(pq.DiagnosticField.SQLSTATE)
                failed = SqlError(result.error_message.decode(errors="replace"), (state or b"").decode())
        if failed is not None:
            raise failed
        return rows

    def query(self, sql: str, *, deadline_s: float) -> list[Row]:
        """One or several statements by the simple protocol; the rows of the last. Raises SqlError."""
        self.send(sql)
        return self.receive(deadline_s=deadline_s)

    @property
    def answered(self) -> bool:
        """The answer to the last `send` is complete, or the connection broke. Never waits."""
        try:
            self._conn.flush()
            poller = select.poll()
            poller.register(self._conn.socket, select.POLLIN)
            if poller.poll(0):
                self._conn.consume_input()
            return not self._conn.is_busy()
        except Error:
            self.close()
            return True

    @property
    def closed(self) -> bool:
        """Closed, or broken."""
        return self._conn.status != pq.ConnStatus.OK

    def close(self) -> None:
        """Close without waiting."""
        self._conn.finish()


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode(errors="replace")
