"""One of the judge's writers: pinned to one node, reconnecting every 20 ms, one row at a time, each with its times.

It keeps the connection to a standby and asks again every 20 ms whether that has become a primary; a lost connection
it makes anew as often. May import the judge's values; its line is given to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from pgha.ops.judge import Row

RETRY_S = 0.020
CONNECT_S = 1.0
STATEMENT_S = 5.0
# The first eight digits of a WAL file's name are the timeline. Asked this way a standby logs no error.
EPOCH_SQL = "SELECT CASE WHEN pg_is_in_recovery() THEN NULL ELSE left(pg_walfile_name(pg_current_wal_lsn()), 8) END"
INSERT_SQL = "INSERT INTO pgha_drill VALUES ($1, $2)"
ROWS_SQL = "SELECT pg_is_in_recovery(), writer, n FROM pgha_drill"
CREATE_SQL = "CREATE TABLE pgha_drill (writer int NOT NULL, n bigint NOT NULL)"


class Answer(Protocol):
    """What a statement brought (see pgha.adapters.client.Answer)."""

    @property
    def rows(self) -> Sequence[Sequence[str | None]]:
        """As text."""
        ...

    @property
    def warned(self) -> bool:
        """A WARNING came along."""
        ...

    @property
    def problem(self) -> str:
        """Why it failed, "" when it did not."""
        ...


class SqlLine(Protocol):
    """A connection that never blocks (see pgha.adapters.client.Line)."""

    problem: str
    deadline_s: float

    @property
    def node(self) -> str:
        """Whose it is."""
        ...

    @property
    def closed(self) -> bool:
        """Not connected."""
        ...

    @property
    def ready(self) -> bool:
        """A statement may be sent."""
        ...

    def connect(self, *, within_s: float) -> None:
        """Begin to connect."""
        ...

    def send(self, sql: str, values: Sequence[int] = (), *, within_s: float) -> None:
        """Begin a statement."""
        ...

    def advance(self) -> Answer | None:
        """Move on; the answer of a statement that has just ended."""
        ...

    def close(self) -> None:
        """Hang up."""
        ...


@dataclass(slots=True)
class Writer:
    """Drives one line. `step` does what is due and never waits; `due_s` says when it wants to be called again.

    rows: every row sent and ended, acknowledged or not; acked: how many were; last: the last of those.
    """

    number: int
    line: SqlLine
    interval_s: float
    now: Callable[[], float]
    rows: list[Row] = field(default_factory=list)
    due_s: float = 0.0
    epoch: int = 0
    n: int = 0
    acked: int = 0
    last: Row | None = None
    problem: str = ""
    _pending: tuple[int, float] | None = None

    def step(self) -> None:
        """Take what has come, send what is due."""
        answer = self.line.advance()
        if answer is not None:
            self._answered(answer)
        if self.line.closed:
            self.epoch = 0
            self.problem = self.line.problem or self.problem
        if self.now() < self.due_s:
            return
        if self.line.closed:
            self.due_s = self.now() + RETRY_S
            self.line.connect(within_s=CONNECT_S)
        elif self.line.ready:
            self._send()

    def next_s(self) -> float:
        """When `step` is due if nothing arrives before."""
        waits = not self.line.closed and not self.line.ready
        return self.line.deadline_s if waits else self.due_s

    def in_flight(self) -> Row | None:
        """The row that is on its way."""
        if self._pending is None:
            return None
        return Row(self.number, self._pending[0], self.line.node, self.epoch, self._pending[1])

    def close(self) -> None:
        """Hang up; a row on its way ends without a confirmation."""
        self._ended(None, False)
        self.line.close()

    def _send(self) -> None:
        if not self.epoch:
            self.line.send(EPOCH_SQL, within_s=STATEMENT_S)
            return
        self.n += 1
        self._pending = self.n, self.now()
        self.due_s = self._pending[1] + self.interval_s
        self.line.send(INSERT_SQL, (self.number, self.n), within_s=STATEMENT_S)
        if self.line.closed:
            self._ended(None, False)

    def _answered(self, answer: Answer) -> None:
        if self._pending is not None:
            good = not answer.problem and not answer.warned
            self._ended(self.now() if good else None, answer.warned)
        elif not answer.problem:
            name = answer.rows[0][0]
            self.epoch = int(name, 16) if name else 0
        if answer.problem:
            self.problem, self.epoch = answer.problem, 0
        if not self.epoch:
            self.due_s = self.now() + RETRY_S

    def _ended(self, acked_s: float | None, warned: bool) -> None:
        if self._pending is None:
            return
        n, sent_s = self._pending
        self._pending = None
        row = Row(self.number, n, self.line.node, self.epoch, sent_s, acked_s, warned)
        self.rows.append(row)
        if acked_s is not None:
            self.acked, self.last = self.acked + 1, row
