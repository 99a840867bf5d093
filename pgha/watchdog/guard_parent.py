"""The guard as its agent sees it: the parent process, which the agent ends when it is silent.

Standard library only; may import nothing of pgha.
"""

from __future__ import annotations

import os
import signal


class Parent:
    """The process that started this one. While it is the parent its number is nobody else's."""

    def __init__(self) -> None:
        self._pid = os.getppid()

    def ask_for_newer(self) -> None:
        """SIGHUP: have it replaced by the version that is installed now."""
        self._send(signal.SIGHUP)

    def kill(self) -> None:
        """SIGKILL, which also ends one that was stopped; nothing happens when it is gone."""
        self._send(signal.SIGKILL)

    def _send(self, signum: int) -> None:
        if os.getppid() != self._pid:
            return
        try:
            os.kill(self._pid, signum)
        except ProcessLookupError:
            return
