"""This machine as root: for what a drill does to a host of its own (rules of nft, timers and units of systemd).

May import `adapters.local`. No server of PostgreSQL is ever started through it.
"""

from __future__ import annotations

import os

from pgha.adapters.local import LocalHost
from pgha.errors import Refused


class RootHost(LocalHost):
    """`host.Host` as root."""

    def __init__(self) -> None:
        """Raises Refused when we are not."""
        if os.geteuid() != 0:
            raise Refused("this needs root", f"it runs as user number {os.geteuid()}")
        self.user, self._uid, self._gid, self._home, self._change = "root", 0, 0, "/root", False
