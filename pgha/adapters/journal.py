"""The node's own log, and the start of a new watchdog by an agent whose guard is dead. Standard library only."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping

WAITING_MAX = 1000


class Journal:
    """One JSON line an event, with the wall-clock time for people. `rotate` keeps the file bounded.

    A thread of its own writes: whoever has something to tell must not hang with a disk. What a hanging disk does not
    take is dropped and counted; a full one is no reason to stop.
    """

    def __init__(self, path: str, rotate: Callable[[str], None]) -> None:
        self._path, self._rotate = path, rotate
        self._lines: queue.Queue[str] = queue.Queue(WAITING_MAX)
        self._dropped = 0
        threading.Thread(target=self._run, name="journal", daemon=True).start()

    def write(self, facts: Mapping[str, object], now_s: float) -> None:
        """Have it appended, without waiting."""
        wall = time.time()
        shown = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(wall)) + f".{int(wall % 1 * 1000):03d}Z"
        dropped = {"dropped": self._dropped} if self._dropped else {}
        line = json.dumps({"time": shown, "boot_s": round(now_s, 3), **facts, **dropped}, default=str)
        try:
            self._lines.put_nowait(line)
            self._dropped = 0
        except queue.Full:
            self._dropped += 1

    def flush(self, within_s: float) -> None:
        """Wait until all is written, at most so long."""
        with self._lines.all_tasks_done:
            self._lines.all_tasks_done.wait_for(lambda: not self._lines.unfinished_tasks, within_s)

    def _run(self) -> None:
        torn = ""
        while True:
            line = self._lines.get()
            try:
                self._rotate(self._path)
                with open(self._path, "a", encoding="utf-8") as f:
                    f.write(f"{torn}{line}\n")
                torn = ""
            except OSError:
                torn = "\n"  # half of it may be there
            finally:
                self._lines.task_done()


def start_watchdog(node_file: str) -> None:
    """As cron would: it daemonises, or exits at once when another one was quicker."""
    subprocess.Popen(
        [sys.executable, "-m", "pgha", "watchdog", "--node", node_file],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
        start_new_session=True,
    )
