"""When the leader key's newest revision was first seen on this node, kept for the agent that comes after. Standard
library and `server_files.boot_id` only.

A holder is silent when its key's revision has not moved for H on the observer's own clock. The node's clock is the same
for every agent of one boot (and one time namespace): a fresh agent whose first linearizable read shows the revision
that the one before has seen need not count anew. Another boot's note, or one from the future, is none; a note that
is late or lost costs the wait, never a commit. So it is written without fsync, by a thread that may hang with its disk.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Callable

from pgha.adapters.server_files import boot_id


def clock_id() -> str:
    """Whose CLOCK_BOOTTIME it is; "" when that can't be told, and then nothing is believed."""
    try:
        return f"{boot_id()}/{os.stat('/proc/self/ns/time').st_ino}" if boot_id() else ""
    except OSError:  # a kernel without time namespaces (before 5.6) has one clock
        return boot_id()


class KeySeen:
    """`path`: its file. `now_s`: CLOCK_BOOTTIME. `clock`: see `clock_id`."""

    def __init__(self, path: str, now_s: Callable[[], float], clock: str) -> None:
        self._path, self._clock = path, clock
        self._before = _read(path, clock, now_s())
        self._noted = self._written = (0, 0.0)
        self._news = threading.Condition()
        threading.Thread(target=self._run, name="key-seen", daemon=True).start()

    def first_seen_s(self, revision: int) -> float | None:
        """When an agent before this one saw this revision first; None when it was another one, or none of this boot."""
        return self._before[1] if self._before[0] == revision else None

    def note(self, revision: int, seen_s: float) -> None:
        """Have it kept, without waiting."""
        if (revision, seen_s) != self._noted:
            with self._news:
                self._noted = (revision, seen_s)
                self._news.notify()

    def _run(self) -> None:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._noted != self._written)
                self._written = self._noted
            self._write(*self._written)

    def _write(self, revision: int, seen_s: float) -> None:
        body = json.dumps({"clock": self._clock, "revision": revision, "seen_s": seen_s})
        fresh = f"{self._path}.new"
        with contextlib.suppress(OSError):
            with open(fresh, "w", encoding="ascii") as f:
                f.write(body)
            os.rename(fresh, self._path)


def _read(path: str, clock: str, now_s: float) -> tuple[int, float]:
    try:
        with open(path, encoding="ascii") as f:
            body = json.loads(f.read(4096))
        found = (int(body["revision"]), float(body["seen_s"])) if body["clock"] == clock else (0, 0.0)
    except (OSError, ValueError, KeyError, TypeError):
        return 0, 0.0
    return found if clock and 0.0 < found[1] <= now_s else (0, 0.0)
