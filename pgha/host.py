"""The seam to a machine: what the operator's moves need of one. The local one is `pgha.adapters.local.LocalHost`.

May import nothing of pgha. Paths are absolute; durations are seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended. code: exit status, negative for a signal; -9 also when the time was over (`late`)."""

    code: int
    out: str = ""
    err: str = ""
    late: bool = False

    @property
    def ok(self) -> bool:
        """It ended by itself with 0."""
        return self.code == 0 and not self.late

    def tail(self) -> str:
        """The end of what it said, on one line, for an error's `because`."""
        lines = [line.strip() for line in (self.err + "\n" + self.out).splitlines() if line.strip()]
        return "; ".join(lines[-3:])[-400:] or f"exit {self.code}"


@dataclass(frozen=True, slots=True)
class Identity:
    """Which data directory it is: device, inode, and when its PG_VERSION was written (nanoseconds)."""

    device: int
    inode: int
    made: int


class Host(Protocol):
    """Runs programs and keeps files as the node's user."""

    user: str

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: str = "", cwd: str = "/") -> Ran:
        """Run to the end, killed with its children when the time is over. A failing program raises nothing."""
        ...

    def spawn(self, argv: Sequence[str], *, cwd: str, log_file: str) -> int:
        """Start a detached process in a session of its own; both outputs are appended to `log_file`. Gives its pid."""
        ...

    def make_dir(self, path: str, mode: int = 0o700) -> None:
        """Make the directory, and its missing parents (0755), owned by the user. An existing one is left as it is."""
        ...

    def write(self, path: str, text: str, mode: int = 0o600) -> None:
        """Replace the file durably (temporary file, fsync, rename, fsync of the directory), owned by the user."""
        ...

    def read(self, path: str) -> str | None:
        """The file's text, None when there is none."""
        ...

    def hold(self, path: str) -> AbstractContextManager[None]:
        """Be the only one at work in this directory, until the context ends. Raises Busy when another one is."""
        ...

    def holds_something(self, path: str) -> bool:
        """There is a directory that is not empty (or anything else but an absent or empty directory)."""
        ...

    def remove_tree(self, path: str) -> None:
        """Remove the directory with all that is in it; links are removed, not followed. Nothing when it is absent."""
        ...

    def move_dir(self, source: str, target: str) -> None:
        """Rename durably; an empty directory at `target` gives way. Raises Refused when something is in the way."""
        ...

    def identity(self, path: str) -> Identity:
        """Of a data directory. Raises Refused when it can't be looked at."""
        ...

    def port_taken(self, host: str, port: int) -> str | None:
        """Why a server could not listen there now, None when it could."""
        ...


class Remote(Protocol):
    """A connection to another machine. address: as the inventory has it; user: who we are there."""

    address: str
    user: str

    def as_user(self, user: str) -> Host:
        """The machine, as one of its users. Every method of it raises Unreachable when the connection is lost."""
        ...

    def send(self, user: str, argv: Sequence[str], data: bytes, *, timeout_s: float) -> Ran:
        """Run a program to the end with bytes on its standard input."""
        ...

    def close(self) -> None:
        """End the connection."""
        ...


class Binaries(Protocol):
    """Where the programs are. Both raise PghaError with what to install."""

    def postgres(self) -> str:
        """The directory of initdb, postgres, pg_controldata, ..."""
        ...

    def etcd(self) -> str:
        """The path of the etcd program."""
        ...
