"""A machine through commands: `host.Host` by coreutils and util-linux, over whatever runs an argument list there.

Holds no policy and knows no SSH. The scripts are fixed texts; paths and data reach them as arguments and on standard
input only. May import errors and the values of `pgha.host`.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from pgha.adapters.local import EMPTY_SLOT, newest, slot_text
from pgha.errors import Refused
from pgha.host import Host, Identity, Ran
from pgha.host_facts import is_taken, listening

FILE_S = 20.0
TREE_S = 120.0
HOLD_S = 3600.0
ABSENT = "No such file or directory"

# $1 path, $2 chance, $3 mode: written beside it (never through a link), synced, renamed over it.
WRITE = (
    'set -eu; t="$1.$2.tmp"; trap \'rm -f -- "$t"\' EXIT; set -C; cat >"$t"; set +C; chmod -- "$3" "$t"; sync -- "$t"; '
    'mv -fT -- "$t" "$1"; sync -- "${1%/*}/"; trap - EXIT'
)
MAKE = 'set -eu; [ -d "$1" ] && exit 0; umask 022; mkdir -p -m "$2" -- "$1"; sync -- "${1%/*}/"'
MOVE = 'set -eu; mv -T -- "$1" "$2"; sync -- "${2%/*}/"'
SPAWN = 'log=$1; shift; setsid "$@" </dev/null >>"$log" 2>&1 & echo $!'


class HostKeep:
    """`ports.Keep` of a node on another machine, in the form that its watchdog reads (`local.JsonKeep`)."""

    def __init__(self, host: Host, path: str) -> None:
        self._host, self._path = host, path

    def load(self) -> Mapping[str, object]:
        """Empty when there is none. Raises ValueError when it can't be read."""
        text = self._host.read(self._path)
        return {} if text is None else newest(self._path, text.encode())[1]

    def save(self, body: Mapping[str, object]) -> None:
        """Only before the node's watchdog runs: the file is replaced as a whole."""
        text = self._host.read(self._path)
        number = 0 if text is None else newest(self._path, text.encode())[0]
        slot = slot_text(self._path, number + 1, body)
        self._host.write(self._path, (slot + EMPTY_SLOT if number % 2 == 0 else EMPTY_SLOT + slot).decode("ascii"))


class Runner(Protocol):
    """Runs argument lists as some user of one machine."""

    address: str

    def execute(self, user: str, argv: Sequence[str], *, timeout_s: float, stdin: bytes = b"", cwd: str = "/") -> Ran:
        """To the end; killed there when the time is over."""
        ...

    def hold(self, user: str, path: str, within_s: float) -> AbstractContextManager[None]:
        """A lock on a directory."""
        ...


class CommandHost:
    """`host.Host` as `user`."""

    def __init__(self, user: str, runner: Runner) -> None:
        self.user, self._runner = user, runner

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: str = "", cwd: str = "/") -> Ran:
        """A failing program raises nothing; a lost connection raises Unreachable."""
        return self._runner.execute(self.user, argv, timeout_s=timeout_s, stdin=stdin.encode(), cwd=cwd)

    def _script(self, text: str, *words: str, stdin: str = "", timeout_s: float = FILE_S) -> Ran:
        return self.run(["sh", "-c", text, "sh", *words], timeout_s=timeout_s, stdin=stdin)

    def spawn(self, argv: Sequence[str], *, cwd: str, log_file: str) -> int:
        """Start detached, output appended to `log_file`."""
        ran = self.run(["sh", "-c", SPAWN, "sh", log_file, *argv], timeout_s=FILE_S, cwd=cwd)
        if not ran.ok or not ran.out.strip().isdecimal():
            raise self._refused(f"{argv[0]} can't be started", ran)
        return int(ran.out)

    def make_dir(self, path: str, mode: int = 0o700) -> None:
        """An existing one is left as it is."""
        ran = self._script(MAKE, path, f"{mode:04o}")
        if not ran.ok:
            raise self._refused(f"{path} can't be made", ran)

    def write(self, path: str, text: str, mode: int = 0o600) -> None:
        """Replace the file durably."""
        ran = self._script(WRITE, path, secrets.token_hex(6), f"{mode:04o}", stdin=text)
        if not ran.ok:
            raise self._refused(f"{path} can't be written", ran)

    def read(self, path: str) -> str | None:
        """None when there is none."""
        ran = self.run(["cat", "--", path], timeout_s=FILE_S)
        if ran.ok:
            return ran.out
        if ran.err.strip().endswith(ABSENT):
            return None
        raise self._refused(f"{path} can't be read", ran)

    def hold(self, path: str) -> AbstractContextManager[None]:
        """By flock(1), whose standard input ends with the connection."""
        return self._runner.hold(self.user, path, HOLD_S)

    def holds_something(self, path: str) -> bool:
        """Not absent, and not an empty directory."""
        ran = self.run(["ls", "-A", "--", path], timeout_s=FILE_S)
        return bool(ran.out.strip()) if ran.ok else not ran.err.strip().endswith(ABSENT)

    def remove_tree(self, path: str) -> None:
        """Nothing when it is absent."""
        ran = self.run(["rm", "-rf", "--one-file-system", "--", path], timeout_s=TREE_S)
        if not ran.ok:
            raise self._refused(f"{path} can't be removed", ran)

    def move_dir(self, source: str, target: str) -> None:
        """An empty directory at `target` gives way, anything else refuses."""
        ran = self._script(MOVE, source, target)
        if not ran.ok:
            raise self._refused(f"{source} can't be moved to {target}", ran)

    def identity(self, path: str) -> Identity:
        """Device, inode and PG_VERSION's time."""
        ran = self.run(["stat", "-c", "%d %i %.9Y", "--", path, f"{path}/PG_VERSION"], timeout_s=FILE_S)
        words = ran.out.split()
        if not ran.ok or len(words) != 6:
            raise self._refused(f"{path} can't be looked at", ran)
        return Identity(int(words[0]), int(words[1]), int(words[5].replace(".", "")))

    def port_taken(self, host: str, port: int) -> str | None:
        """By the kernel's table of listening sockets."""
        tables = self.run(["cat", "/proc/net/tcp", "/proc/net/tcp6"], timeout_s=FILE_S)
        return "in use" if is_taken(listening(tables.out), host, port) else None

    def _refused(self, what: str, ran: Ran) -> Refused:
        return Refused(f"{self._runner.address}: {what}", ran.tail())
