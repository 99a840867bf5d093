"""What PostgreSQL wrote last before it ended: the line of its log that says why. Standard library only."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

TAIL_BYTES = 32_768
LINE_MAX = 200
ROOM_BYTES = 1 << 20  # with less a server has no room to work
_TELLING = re.compile(r"(?:PANIC|FATAL): +.*|could not bind .*|\w+ process .*(?:terminated by|exited with).*")
_WAL_GONE = re.compile(
    r"WAL (?:stream|streaming): .*(?:[0-9A-F]{24} has already been removed|can no longer .* replication slot)"
)
_NOT_STARTED = re.compile(r"pgha: .* was not started: .*")
# What clients are told is no reason of the server's end.
_CLIENTS = re.compile(
    r"the database system is|terminating (?:connection|walreceiver|background|logical|autovacuum)|too many clients|"
    r"connection slots|authentication failed|no pg_hba|(?:role|database) \".*\" does not exist|canceling|"
    r"connection to client lost|end-of-streaming|could not (?:receive data|connect to the primary|start WAL streaming)"
)


class ServerLog:
    """The node's postgresql.log, read from where the last start began, or the last change of whom to follow.

    disks: directories that may have no room.
    """

    def __init__(self, path: str, disks: Sequence[str] = ()) -> None:
        self.path, self._disks = path, disks
        self._from = 0
        self._known: tuple[int, str] = (0, "")

    def why(self, exits: int, status: str) -> str:
        """How the server ended (`status`, at the exit of this number), and its last words; read once for each exit."""
        if self._known[0] != exits:
            words = [] if status in ("", "exit 0", "signal 9") else [self.last_words(), *map(_full, self._disks)]
            self._known = (exits, ": ".join((status, *dict.fromkeys(w for w in words if w))))
        return self._known[1]

    def mark(self) -> None:
        """A start begins: what is there already is of an earlier one."""
        try:
            self._from = os.path.getsize(self.path)
        except OSError:
            self._from = 0

    def last_words(self) -> str:
        """The most telling line since then; empty when there is none."""
        return telling(self._tail().splitlines())

    def wal_is_gone(self) -> bool:
        """The holder that this standby asks no longer has its WAL (walsender.c, slot.c)."""
        return any(_WAL_GONE.search(line) for line in self._tail().splitlines())

    def no_room(self) -> str:
        """The first of the disks that is full: a server may answer all the while, and refuse whatever needs room."""
        return next((said for said in map(_full, self._disks) if said), "")

    def _tail(self) -> str:
        try:
            with open(self.path, "rb") as f:
                size = f.seek(0, os.SEEK_END)
                start = self._from if self._from <= size else 0
                f.seek(max(start, size - TAIL_BYTES))
                return f.read().decode(errors="replace")
        except OSError:
            return ""


def _full(directory: str) -> str:
    """What a log can't say that lies on that disk itself."""
    try:
        there = os.statvfs(directory)
    except OSError:
        return ""
    if there.f_bavail * there.f_frsize >= ROOM_BYTES:
        return ""
    return f"No space left on the disk of {directory}"


def telling(lines: list[str]) -> str:
    """The line that says why a server ended, without its prefix: a PANIC before all others, else the first one."""
    found = []
    for line in lines:
        match = _TELLING.search(line) or _NOT_STARTED.search(line)
        if match and not _CLIENTS.search(line):
            found.append(match.group(0))
    panics = [text for text in found if text.startswith("PANIC")]
    chosen = (panics or found or [""])[0]
    return re.sub(r"\s+", " ", chosen)[:LINE_MAX]
