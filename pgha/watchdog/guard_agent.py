"""The agent as the guard's child: its life, its respawns, and the lines that go both ways.

Standard library only; of pgha only the guard's own files.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections.abc import Callable, Sequence

from pgha.watchdog import guard_tree
from pgha.watchdog.guard_log import EventLog, rotate
from pgha.watchdog.guard_os import now_s
from pgha.watchdog.guard_spawn import Child, spawn

_YOUNG_S = 5.0
_DELAYS_S = (0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 2.0)
_MAX_LINE = 1_000_000
_MAX_UNREAD = 1_000_000


class Agent:
    """One agent at a time.

    argv: its command line, to which `--fd N` is added; output: the file of its output, None: the guard's own;
    watch, unwatch: have the readiness of a descriptor reported.
    pid: of the running one, or 0, started_s: when it was started; due_s: when the next one is, None while one runs.
    """

    def __init__(
        self,
        argv: Sequence[str],
        output: str | None,
        watch: Callable[[int], None],
        unwatch: Callable[[int], None],
        log: EventLog,
    ) -> None:
        self._argv, self._output, self._watch, self._unwatch, self._log = list(argv), output, watch, unwatch, log
        self.pid = 0
        self.due_s: float | None = now_s()
        self._sock: socket.socket | None = None
        self._received = b""
        self._unsent = b""
        self.started_s = 0.0
        self._young_deaths = 0
        self._fenced = False

    def fileno(self) -> int:
        """Our end of the socket, -1 while there is none."""
        return self._sock.fileno() if self._sock is not None else -1

    def start(self, oom_score: str) -> None:
        """Start a new agent. Raises OSError when fork fails."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        ours.setblocking(False)
        fd = theirs.fileno()
        output = self._output

        def prepare() -> None:
            if output is not None:
                with contextlib.suppress(OSError):  # a disk that takes nothing is no reason to have no agent
                    rotate(output)

        try:
            child = Child([*self._argv, "--fd", str(fd)], os.environ, output=output, keep=fd, prepare=prepare)
            self.pid = spawn(child, oom_score)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self._sock, self._received, self._unsent = ours, b"", b""
        self.started_s, self.due_s, self._fenced = now_s(), None, False
        self._watch(ours.fileno())
        self._log.note("agent started", pid=self.pid)

    def adopt(self, pid: int, fd: int, started_s: float) -> None:
        """The one that a guard before has started, on its socket."""
        self.pid, self.started_s, self.due_s = pid, started_s, None
        if fd >= 0:
            self._sock = socket.socket(fileno=fd)
            self._sock.set_inheritable(False)
            self._sock.setblocking(False)
            self._watch(fd)

    @property
    def is_calm(self) -> bool:
        """Nothing is half read or half sent."""
        return not self._received and not self._unsent

    def kill(self, *, fenced: bool = False) -> None:
        """SIGKILL it with all that it started; not a word of it is read any more."""
        self._fenced = self._fenced or fenced
        self._close()
        if self.pid:
            guard_tree.send_group(self.pid, signal.SIGKILL)

    def ending(self, pid: int) -> None:
        """Before it is reaped, while nobody else can get its number: end what it started."""
        if pid == self.pid:
            guard_tree.send_group(pid, signal.SIGKILL)

    def reaped(self, pid: int, status: str) -> bool:
        """Was that the agent? Then the next one is due: at once, later and later if they die young."""
        if pid != self.pid:
            return False
        self._close()
        lived_s = now_s() - self.started_s
        self._log.note("agent ended", pid=pid, status=status, lived_s=round(lived_s, 3))
        self.pid = 0
        delay_s = 0.0
        if lived_s >= _YOUNG_S:
            self._young_deaths = 0
        elif not self._fenced:
            delay_s = _DELAYS_S[min(self._young_deaths, len(_DELAYS_S) - 1)]
            self._young_deaths += 1
        self.due_s = now_s() + delay_s
        return True

    def send(self, message: dict[str, object]) -> None:
        """Queue a message and send what the socket takes. An agent that reads nothing for long is killed."""
        if self._sock is None:
            return
        self._unsent += json.dumps(message, separators=(",", ":")).encode() + b"\n"
        self.flush()
        if len(self._unsent) > _MAX_UNREAD:
            self.kill()

    def flush(self) -> None:
        """Send what is queued, as far as the socket takes it."""
        if self._sock is None or not self._unsent:
            return
        try:
            self._unsent = self._unsent[self._sock.send(self._unsent) :]
        except BlockingIOError:
            return
        except OSError:  # it has closed its end: the same as its death
            self.kill()

    @property
    def backlog(self) -> bool:
        """Is there something that the socket did not take?"""
        return bool(self._unsent)

    def receive(self) -> list[bytes]:
        """Complete lines that came. An agent that has closed its end, or babbles, is killed."""
        if self._sock is None:
            return []
        try:
            data = self._sock.recv(65536)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data or len(self._received) > _MAX_LINE:
            self.kill()
            return []
        *lines, self._received = (self._received + data).split(b"\n")
        return lines

    def _close(self) -> None:
        if self._sock is not None:
            self._unwatch(self._sock.fileno())
            self._sock.close()
            self._sock = None
        self._received = self._unsent = b""
