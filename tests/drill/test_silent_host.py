"""A host that answers nothing, not even with a refusal, holds up nobody: neither the judge nor an agent's SQL."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from pgha.adapters.client import Line, Target, wait_for
from pgha.adapters.database import Session, SqlError
from pgha.adapters.local import SystemClock

AT_ONCE_S = 0.5


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port of loopback whose queue is full: the kernel drops what asks for a connection."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        callers = [socket.socket() for _ in range(4)]
        for caller in callers:
            caller.setblocking(False)
            caller.connect_ex(listener.getsockname())
        try:
            yield int(listener.getsockname()[1])
        finally:
            for caller in callers:
                caller.close()


def test_the_judges_line_to_a_silent_host_never_waits_and_fails_at_its_deadline(silent_port: int) -> None:
    line = Line(Target("n1", "127.0.0.1", silent_port, "u", "d", "p"))
    line.connect(within_s=0.3)
    longest_s = 0.0
    while not line.closed:
        begun = time.monotonic()
        line.advance()
        longest_s = max(longest_s, time.monotonic() - begun)
        wait_for([line], until_s=time.monotonic() + 0.02)
    assert longest_s < AT_ONCE_S
    assert "no answer within its time" in line.problem


def test_a_session_with_a_silent_host_ends_at_its_deadline(silent_port: int) -> None:
    clock, begun = SystemClock(), time.monotonic()
    with pytest.raises(SqlError):
        Session(f"host=127.0.0.1 port={silent_port} user=u dbname=d", clock, deadline_s=clock.now_s() + 0.3)
    assert time.monotonic() - begun < AT_ONCE_S + 0.3
