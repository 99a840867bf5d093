"""Single keys of the terminal on stdin, without Enter; Ctrl-C stays what it is."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from types import TracebackType

ARROWS = {"\x1b[A": "up", "\x1b[B": "down", "\x1bOA": "up", "\x1bOB": "down"}


class Keyboard:
    """While entered, keys come one by one. Without a terminal on stdin there are none."""

    def __init__(self) -> None:
        self._fd = sys.stdin.fileno()
        self._before: list[int | list[bytes | int]] | None = None

    def __enter__(self) -> Keyboard:
        if os.isatty(self._fd):
            self._before = termios.tcgetattr(self._fd)
            tty.setcbreak(self._fd)
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        if self._before is not None:
            termios.tcsetattr(self._fd, termios.TCSADRAIN, self._before)

    def pressed(self, within_s: float) -> str:
        """The next key within that time, "" when none came; arrows are `up` and `down`."""
        if self._before is None:
            select.select([], [], [], within_s)
            return ""
        ready, _, _ = select.select([self._fd], [], [], within_s)
        text = os.read(self._fd, 8).decode(errors="replace") if ready else ""
        return ARROWS.get(text, text[:1])
