"""A promotion with less than the primary had: the one start that is no hot standby's. Used by `PostgresServer`.

PostgreSQL starts no hot standby with less than pg_control asks for, and every start of pgha's is one. A node that has
claimed may be started once more without hot_standby: it comes up as a standby that nobody can ask, follows nobody,
replays all of its WAL, and is promoted there. What it is promoted into is checked by whoever asked for it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress

from pgha.adapters.database import SqlError
from pgha.adapters.server_files import ServerFiles
from pgha.adapters.server_names import Sql
from pgha.ports import Clock, GuardLink

STOP_S = 4.0
LOWER_S = 8.0
ASK_S = 0.5
PACE_S = 0.02
WITHOUT = ("-c", "hot_standby=off")  # for this start alone: the next one has its own argument list


class Lowering:
    """launch: starts the postmaster with these arguments besides, its files as they lie there."""

    def __init__(
        self, link: GuardLink, clock: Clock, files: ServerFiles, *, sql: Sql, launch: Callable[[tuple[str, ...]], None]
    ) -> None:
        self._link, self._clock, self._files = link, clock, files
        self._sql, self._launch = sql, launch

    def promote(self) -> bool:
        """True once the server is writable; False when it did not get there in time. Raises OSError, Refused."""
        if not self._stop():
            return False
        signal = self._files.path("promote")
        with suppress(FileNotFoundError):
            os.unlink(signal)
        self._launch(WITHOUT)
        try:
            return self._until_writable(signal)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(signal)

    def _until_writable(self, signal: str) -> bool:
        """Told again and again: on its way up the postmaster removes such a file (PostmasterMain), and its handlers are
        there before it writes postmaster.pid."""
        end_s, ran = self._clock.now_s() + LOWER_S, False
        while self._clock.now_s() < end_s:
            postmaster = self._link.state().postmaster
            if ran and not postmaster:
                return False  # it did not come up
            ran = postmaster != 0
            if ran and self._files.pid_in_file() == postmaster:
                self._files.touch(signal)
                self._link.signal("SIGUSR1")
            self._clock.sleep(PACE_S)
            with suppress(SqlError):
                if self._sql("SELECT pg_is_in_recovery()", deadline_s=self._clock.now_s() + ASK_S)[0][0] == "f":
                    return True
        return False

    def _stop(self) -> bool:
        """Cleanly: a standby's fast stop. True when nothing of it is left."""
        end_s = self._clock.now_s() + STOP_S
        self._link.signal("SIGINT")
        while self._link.state().postmaster and self._clock.now_s() < end_s:
            self._clock.sleep(PACE_S)
        return not self._link.state().postmaster and self._link.kill_tree(deadline_s=self._clock.now_s() + 1.0)
