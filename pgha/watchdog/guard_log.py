"""The guard's own log: one JSON line per event, bounded, and never in the guard's way.

Each write happens in a short-lived child: a hung disk must not stop the one who has to kill the server.
Standard library only; may import nothing of pgha.
"""

from __future__ import annotations

import json
import os
import signal
import time

from pgha.watchdog.guard_os import now_s

_MAX_BYTES = 1_000_000
_MAX_WAITING = 200


def rotate(path: str, limit_bytes: int = _MAX_BYTES) -> None:
    """Rename to `.1` when the file has grown beyond the limit. Raises OSError, not for a missing file."""
    try:
        if os.stat(path).st_size > limit_bytes:
            os.replace(path, path + ".1")
    except FileNotFoundError:
        return


class EventLog:
    """Notes events, and writes those noted so far whenever no writer is at work.

    writer: pid of the child that writes at the moment, 0 when there is none.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._waiting: list[str] = []
        self._dropped = 0
        self.writer = 0

    def note(self, event: str, **facts: object) -> None:
        """Remember an event; the oldest are dropped, and counted, when a hung disk takes no more."""
        shown = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._waiting.append(json.dumps({"time": shown, "boot_s": round(now_s(), 3), "event": event, **facts}))
        if len(self._waiting) > _MAX_WAITING:
            del self._waiting[0]
            self._dropped += 1

    def flush(self) -> None:
        """Have the events written, without waiting."""
        if self.writer or not self._waiting:
            return
        if self._dropped:
            self._waiting.append(json.dumps({"event": "dropped", "count": self._dropped}))
        lines, self._waiting, self._dropped = self._waiting, [], 0
        try:
            pid = os.fork()
        except OSError:  # no more processes: the log is what can be done without
            self._dropped += len(lines)
            return
        if pid == 0:
            self._write(lines)
        self.writer = pid

    def reaped(self, pid: int) -> bool:
        """Was that the writer?"""
        if pid != self.writer:
            return False
        self.writer = 0
        return True

    def _write(self, lines: list[str]) -> None:
        try:
            signal.set_wakeup_fd(-1)
            os.closerange(3, 256)  # no exec here: close-on-exec does not help, and the lock must not stay held
            rotate(self._path)
            fd = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.write(fd, ("\n".join(lines) + "\n").encode())
        except OSError:
            os._exit(1)
        finally:
            os._exit(0)
