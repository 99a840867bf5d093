"""One SQL connection that never blocks: the judge's line to one server, on psycopg.pq with a poll loop of its own.

libpq's `connect_timeout` can't be less than 2 s, and a statement on a frozen backend hangs whatever is set; here every
step has its own deadline. Times are seconds of CLOCK_MONOTONIC. psycopg is imported when the first line connects.
May import nothing of pgha.
"""

from __future__ import annotations

import select
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn, PGresult


def now() -> float:
    """Seconds of CLOCK_MONOTONIC: one clock for all processes of a machine."""
    return time.clock_gettime(time.CLOCK_MONOTONIC)


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to ask, and as whom. `host` is an address, so that no name lookup can block.

    bound: over TLS, to a server that knows the password's verifier (SCRAM with channel binding): nobody in between.
    """

    name: str
    host: str
    port: int
    user: str
    dbname: str
    password: str = field(default="", repr=False)
    bound: bool = False

    def conninfo(self) -> bytes:
        """libpq's connection string, quoted."""
        parts = {
            "host": self.host,
            "port": str(self.port),
            "user": self.user,
            "dbname": self.dbname,
            "password": self.password,
            "channel_binding": "require" if self.bound else "",
            "application_name": "pgha-drill",
            "gssencmode": "disable",
            "tcp_user_timeout": "3000",
        }
        quoted = ((key, value.replace("\\", "\\\\").replace("'", "\\'")) for key, value in parts.items() if value)
        return " ".join(f"{key}='{value}'" for key, value in quoted).encode()


class Phase(Enum):
    """Where a line stands."""

    CLOSED = "closed"
    CONNECTING = "connecting"
    READY = "ready"
    BUSY = "busy"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a statement brought: its rows as text, or a problem with its SQLSTATE.

    warned: a WARNING came along; for a commit that means that it was not confirmed by a voter.
    """

    rows: tuple[tuple[str | None, ...], ...] = ()
    warned: bool = False
    problem: str = ""
    sqlstate: str = ""


class Line:
    """A connection to one server. `phase` says what it does; `advance` moves it on and never waits."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.phase = Phase.CLOSED
        self.problem = ""
        self.deadline_s = 0.0
        self._conn: PGconn | None = None
        self._events = 0
        self._warned = False
        self._results: list[PGresult] = []

    @property
    def node(self) -> str:
        """The server's name."""
        return self.target.name

    @property
    def closed(self) -> bool:
        """Not connected, and not about to be."""
        return self.phase is Phase.CLOSED

    @property
    def ready(self) -> bool:
        """Connected, with nothing under way."""
        return self.phase is Phase.READY

    def connect(self, *, within_s: float) -> None:
        """Begin to connect; a failure shows as CLOSED with `problem`."""
        from psycopg import pq

        self.close()
        self.problem, self.deadline_s = "", now() + within_s
        self._conn = pq.PGconn.connect_start(self.target.conninfo())
        self._conn.notice_handler = self._notice
        self.phase, self._events = Phase.CONNECTING, select.POLLOUT
        if self._conn.status == pq.ConnStatus.BAD:
            self._fail(self._words())

    def send(self, sql: str, values: Sequence[int] = (), *, within_s: float) -> None:
        """Begin a statement with its $1, $2, ...; `advance` gives its answer."""
        from psycopg import OperationalError

        assert self.phase is Phase.READY and self._conn is not None, f"send while {self.phase.value}"
        self.deadline_s, self._warned, self._results = now() + within_s, False, []
        try:
            self._conn.send_query_params(sql.encode(), [str(value).encode() for value in values])
            self.phase = Phase.BUSY
            self._flush()
        except OperationalError as e:
            self._fail(str(e))

    def advance(self) -> Answer | None:
        """Do what can be done at once. Gives an answer when a statement has just ended, also by a lost connection."""
        from psycopg import OperationalError

        was = self.phase
        try:
            if was is Phase.CONNECTING:
                if self._is_readable_or_writable():
                    self._connecting()
            elif was is Phase.BUSY and self._reading():
                return self._finished()
            elif was is Phase.READY:
                self._idle()
        except OperationalError as e:
            self._fail(str(e))
        if self.phase in (Phase.CONNECTING, Phase.BUSY) and now() >= self.deadline_s:
            self._fail(f"no answer within its time while {self.phase.value}")
        if was is Phase.BUSY and self.phase is Phase.CLOSED:
            return Answer(problem=self.problem, sqlstate="08006")
        return None

    def close(self) -> None:
        """Hang up."""
        if self._conn is not None:
            self._conn.finish()
        self._conn, self.phase, self._events = None, Phase.CLOSED, 0

    def poll_on(self) -> tuple[int, int] | None:
        """The socket and the events that `advance` waits for; None when closed."""
        if self._conn is None or self.phase is Phase.CLOSED:
            return None
        return self._conn.socket, self._events

    def _is_readable_or_writable(self) -> bool:
        """What libpq waits for has come. Asked before that, PQconnectPoll itself waits: for a silent host, 3 s."""
        assert self._conn is not None
        poll = select.poll()
        poll.register(self._conn.socket, self._events)
        return bool(poll.poll(0))

    def _connecting(self) -> None:
        from psycopg import pq

        assert self._conn is not None
        state = self._conn.connect_poll()
        if state == pq.PollingStatus.OK:
            self._conn.nonblocking = 1
            self.phase, self._events = Phase.READY, select.POLLIN
        elif state == pq.PollingStatus.FAILED:
            self._fail(self._words())
        else:
            self._events = select.POLLIN if state == pq.PollingStatus.READING else select.POLLOUT

    def _reading(self) -> bool:
        assert self._conn is not None
        self._flush()
        self._conn.consume_input()
        while not self._conn.is_busy():
            result = self._conn.get_result()
            if result is None:
                return True
            self._results.append(result)
        return False

    def _idle(self) -> None:
        """A server that goes down says so on idle connections; nothing else is expected here."""
        assert self._conn is not None
        self._conn.consume_input()
        self._conn.is_busy()
        if self._conn.status != 0:
            self._fail(self._words())

    def _finished(self) -> Answer:
        from psycopg import pq

        assert self._conn is not None
        answer = Answer(warned=self._warned)
        for result in self._results:
            if result.status not in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.TUPLES_OK):
                state = result.error_field(pq.DiagnosticField.SQLSTATE) or b""
                answer = Answer(
                    warned=self._warned, problem=result.get_error_message().strip() or "failed", sqlstate=state.decode()
                )
                break
            answer = Answer(_rows(result), self._warned)
        self.phase, self._events, self._results = Phase.READY, select.POLLIN, []
        if self._conn.status != pq.ConnStatus.OK:
            self._fail(answer.problem or self._words())
        return answer

    def _flush(self) -> None:
        assert self._conn is not None
        self._events = select.POLLIN | (select.POLLOUT if self._conn.flush() else 0)

    def _notice(self, result: PGresult) -> None:
        from psycopg import pq

        if result.error_field(pq.DiagnosticField.SEVERITY_NONLOCALIZED) == b"WARNING":
            self._warned = True

    def _words(self) -> str:
        return self._conn.get_error_message().strip() if self._conn is not None else "closed"

    def _fail(self, why: str) -> None:
        self.close()
        self.problem = why.strip() or "connection lost"


def _rows(result: PGresult) -> tuple[tuple[str | None, ...], ...]:
    def cell(row: int, column: int) -> str | None:
        value = result.get_value(row, column)
        return None if value is None else value.decode()

    return tuple(tuple(cell(r, c) for c in range(result.nfields)) for r in range(result.ntuples))


def wait_for(lines: Iterable[Line], *, until_s: float, also: int | None = None) -> None:
    """Wait until a line can move, or a deadline of one passes, or `also` (a file descriptor) is readable."""
    poll = select.poll()
    for line in lines:
        on = line.poll_on()
        if on is not None:
            poll.register(*on)
            if line.phase is not Phase.READY:
                until_s = min(until_s, line.deadline_s)
    if also is not None:
        poll.register(also, select.POLLIN)
    poll.poll(max(0.0, until_s - now()) * 1000)


def readable(fd: int) -> bool:
    """Something can be read from it now, or its other end is closed."""
    return bool(select.select([fd], [], [], 0)[0])


def ask_all(target: Target, statements: Sequence[str], *, within_s: float) -> list[Answer]:
    """Statements one after another on a new connection, all of it within `within_s`; the first problem ends it.

    A failure is an answer with a problem. An empty list only for no statements.
    """
    line, end, answers = Line(target), now() + within_s, list[Answer]()
    line.connect(within_s=within_s)
    try:
        while line.phase is not Phase.CLOSED and len(answers) < len(statements):
            wait_for([line], until_s=end if line.phase is not Phase.READY else now())
            answer = line.advance()
            if answer is not None:
                answers.append(answer)
                if answer.problem:
                    return answers
            elif line.phase is Phase.READY:
                line.send(statements[len(answers)], within_s=max(0.0, end - now()))
        if len(answers) < len(statements):
            answers.append(Answer(problem=line.problem or "not connected", sqlstate="08001"))
        return answers
    finally:
        line.close()
