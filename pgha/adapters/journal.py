"""The node's own log, and the start of a new watchdog by an agent whose guard is dead. Standard library only."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping


class Journal:
    """One JSON line an event, with the wall-clock time for people. `rotate` keeps the file bounded."""

    def __init__(self, path: str, rotate: Callable[[str], None]) -> None:
        self._path, self._lock, self._rotate = path, threading.Lock(), rotate

    def write(self, facts: Mapping[str, object], now_s: float) -> None:
        """Append; a full disk is no reason to stop."""
        wall = time.time()
        shown = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(wall)) + f".{int(wall % 1 * 1000):03d}Z"
        line = json.dumps({"time": shown, "boot_s": round(now_s, 3), **facts}, default=str)
        with self._lock:
            try:
                self._rotate(self._path)
                with open(self._path, "a", encoding="utf-8") as f:
                    f.write(line + "\n")
            except OSError:
                return


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
