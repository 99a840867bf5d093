"""The guard as its agent sees it: the parent process, which the agent ends when it is silent.

Standard library only; may import nothing of pgha.
"""

from __future__ import annotations

import os
import signal


class Parent:
    """The process that started this one, held by a descriptor: its number may be another's once it is gone."""

    def __init__(self) -> None:
        """Raises OSError when it is gone already (or the kernel is older than 5.3)."""
        pid = os.getppid()
        self._process = os.pidfd_open(pid)
        if os.getppid() != pid:
            os.close(self._process)
            raise ProcessLookupError("the parent process has ended")

    def ask_for_newer(self) -> None:
        """SIGHUP: have it replaced by the version that is installed now."""
        try:
            signal.pidfd_send_signal(self._process, signal.SIGHUP)
        except ProcessLookupError:
            return

    def kill(self) -> None:
        """SIGKILL, which also ends one that was stopped; nothing happens when it is gone."""
        try:
            signal.pidfd_send_signal(self._process, signal.SIGKILL)
        except ProcessLookupError:
            return
