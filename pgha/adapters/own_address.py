"""Whether this host still has the address under which the others know it. Asks the kernel alone.

May import the standard library and ports.
"""

from __future__ import annotations

import errno
import ipaddress
import socket

from pgha.ports import Clock


class OwnAddress:
    """Of one node. A name is never missed, nor an address that the host never had (it is translated on the way)."""

    def __init__(self, host: str, clock: Clock) -> None:
        self._host, self._clock = host, clock
        self._had = False
        self._gone_s: float | None = None
        try:
            is_six = ipaddress.ip_address(host).version == 6
        except ValueError:
            self._family: socket.AddressFamily | None = None  # of a name others decide
        else:
            self._family = socket.AF_INET6 if is_six else socket.AF_INET

    def gone_since_s(self) -> float | None:
        """When a look first missed the address, by this clock; None while the host has it. Never raises."""
        if self._family is None:
            return None
        if self._is_there():
            self._had, self._gone_s = True, None
        elif self._had and self._gone_s is None:
            self._gone_s = self._clock.now_s()
        return self._gone_s

    def _is_there(self) -> bool:
        """A socket can be bound to it; what hinders that otherwise says nothing of the address."""
        try:
            with socket.socket(self._family or socket.AF_INET, socket.SOCK_STREAM) as one:
                one.bind((self._host, 0))
        except OSError as e:
            return e.errno != errno.EADDRNOTAVAIL
        return True
