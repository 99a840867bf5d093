"""This machine: the clock, the node's durable memory, and a host whose programs run as the node's user.

Standard library only. May import `pgha.ports`, `pgha.errors` and the values of `pgha.host`. Holds no policy.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from pgha.errors import Busy, Refused
from pgha.host import Identity, Ran

SEARCH_PATH = "/usr/local/bin:/usr/bin:/bin"


class SystemClock:
    """`ports.Clock` on CLOCK_BOOTTIME."""

    def now_s(self) -> float:
        """Seconds since boot, suspend included."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def sleep(self, seconds: float) -> None:
        """Wait; nothing for zero and less."""
        if seconds > 0:
            time.sleep(seconds)


def replace_file(path: str, data: bytes, mode: int, owner: tuple[int, int] | None = None) -> None:
    """Write beside it, fsync, rename over it, fsync the directory. `owner`: (uid, gid) to give it to, as root.

    The temporary file is created exclusively and never followed, so a link planted in the user's directory is
    not written through by root.
    """
    folder = os.path.dirname(path)
    temporary = f"{path}.{secrets.token_hex(6)}.tmp"
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as f:
            f.write(data)
            f.flush()
            if owner is not None:
                os.fchown(f.fileno(), *owner)
            os.fchmod(f.fileno(), mode)
            os.fsync(f.fileno())
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_dir(folder)


def sync_dir(path: str) -> None:
    """Make renames in this directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


SLOT = 4096
EMPTY_SLOT = b" " * (SLOT - 1) + b"\n"


def slot_text(path: str, number: int, body: Mapping[str, object]) -> bytes:
    """One slot with the document. Raises ValueError when it is too large."""
    text = json.dumps(dict(body), sort_keys=True)
    line = json.dumps({"number": number, "crc": zlib.crc32(f"{number} {text}".encode()), "body": text})
    if len(line) >= SLOT:
        raise ValueError(f"{path}: {len(line)} characters do not fit")
    return line.ljust(SLOT - 1).encode("ascii") + b"\n"


def newest(path: str, raw: bytes) -> tuple[int, dict[str, object]]:
    """(number, document) of the newest slot. Raises ValueError when none is whole."""
    found = [s for s in (_slot(raw[:SLOT]), _slot(raw[SLOT:])) if s is not None]
    if not found or len(raw) != 2 * SLOT:
        raise ValueError(f"{path}: no slot of it is whole")
    return max(found, key=lambda s: s[0])


class JsonKeep:
    """`ports.Keep` in one file of two slots, mode 0600, each a line of JSON with a number and a checksum.

    A save writes the slot that is not in use and syncs it: one fdatasync (0.3 ms where a rename takes 5), and a save
    that is cut short leaves the other slot as it was. One writer at a time (the watchdog's lock).
    """

    def __init__(self, path: str, owner: tuple[int, int] | None = None) -> None:
        self._path, self._owner = path, owner
        self._number = 0  # of the newest slot, 0: not known

    def load(self) -> Mapping[str, object]:
        """The last saved document, empty when there is none. Raises ValueError when it can't be read."""
        try:
            with open(self._path, "rb") as f:
                raw = f.read(2 * SLOT + 1)
        except FileNotFoundError:
            return {}
        except OSError as e:
            raise ValueError(f"{self._path}: {e.strerror}") from e
        self._number, body = newest(self._path, raw)
        return body

    def save(self, body: Mapping[str, object]) -> None:
        """Replace the document durably. Raises OSError, ValueError when it is too large."""
        if not self._number:
            self.load()
        number = self._number + 1
        slot = slot_text(self._path, number, body)
        if number == 1:
            replace_file(self._path, slot + EMPTY_SLOT, 0o600, self._owner)
        else:
            fd = os.open(self._path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.pwrite(fd, slot, SLOT * ((number - 1) % 2))
                os.fdatasync(fd)
            finally:
                os.close(fd)
        self._number = number


def _slot(raw: bytes) -> tuple[int, dict[str, object]] | None:
    """(number, document) of a slot; None when it is empty or not whole."""
    try:
        outer = json.loads(raw)
        number, text = outer["number"], outer["body"]
        if outer["crc"] != zlib.crc32(f"{number} {text}".encode()):
            return None
        body = json.loads(text)
    except (ValueError, TypeError, KeyError):
        return None
    return (number, cast("dict[str, object]", body)) if isinstance(body, dict) and isinstance(number, int) else None


class LocalHost:
    """`host.Host`: this machine, as `user`. Another user than oneself only when root."""

    def __init__(self, user: str = "") -> None:
        """Raises Refused when there is no such user, or it may not be changed to."""
        me = pwd.getpwuid(os.geteuid())
        self.user = user or me.pw_name
        try:
            account = pwd.getpwnam(self.user)
        except KeyError:
            raise Refused(f"there is no user {self.user!r} on this machine", "local.user names it") from None
        self._uid, self._gid, self._home = account.pw_uid, account.pw_gid, account.pw_dir
        self._change = os.geteuid() == 0 and account.pw_uid != 0
        if account.pw_uid != os.geteuid() and os.geteuid() != 0:
            raise Refused(f"processes can't be run as {self.user}", f"you are {me.pw_name}, not root")
        if account.pw_uid == 0:
            raise Refused(
                "PostgreSQL does not run as root", "local.user is root", "set local.user to an unprivileged account"
            )

    @classmethod
    def anybody(cls) -> LocalHost:
        """Where no program of a node will run here: an unprivileged account, whoever we are."""
        return cls("nobody" if os.geteuid() == 0 else "")

    @property
    def owner(self) -> tuple[int, int] | None:
        """To whom files are given; None when they are ours anyway."""
        return (self._uid, self._gid) if self._change else None

    def _env(self) -> dict[str, str]:
        """Complete and small: nothing of the operator's environment reaches a server."""
        env = {"PATH": SEARCH_PATH, "LC_ALL": "C.UTF-8", "HOME": self._home}
        package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        if os.path.basename(package) not in ("site-packages", "dist-packages"):
            env["PYTHONPATH"] = package  # a checkout: the child must find this very pgha
        return env

    def _start(self, argv: Sequence[str], cwd: str, stdin: int, out: int, err: int) -> subprocess.Popen[bytes]:
        as_user = self._change
        return subprocess.Popen(
            list(argv),
            cwd=cwd,
            env=self._env(),
            stdin=stdin,
            stdout=out,
            stderr=err,
            start_new_session=True,
            close_fds=True,
            umask=0o077,
            user=self._uid if as_user else None,
            group=self._gid if as_user else None,
            extra_groups=[] if as_user else None,
        )

    def run(self, argv: Sequence[str], *, timeout_s: float, stdin: str = "", cwd: str = "/") -> Ran:
        """Run to the end; the whole session is killed when the time is over, or when we are interrupted."""
        pipe = subprocess.PIPE
        try:
            child = self._start(argv, cwd, pipe, pipe, pipe)
        except OSError as e:
            return Ran(127, err=f"{argv[0]}: {e.strerror}")
        try:
            out, err = child.communicate(stdin.encode(), timeout=timeout_s)
        except subprocess.TimeoutExpired:
            _kill_session(child)
            return Ran(-9, err=f"not done after {timeout_s:g} s", late=True)
        except BaseException:
            _kill_session(child)
            raise
        return Ran(child.returncode, out.decode(errors="replace"), err.decode(errors="replace"))

    def spawn(self, argv: Sequence[str], *, cwd: str, log_file: str) -> int:
        """Start detached, output appended to `log_file` (created 0600). Raises Refused when it can't be started."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            log = os.open(log_file, flags, 0o600)
        except OSError as e:
            raise Refused(f"{log_file} can't be written", e.strerror or "") from e
        try:
            if self._change:
                os.fchown(log, self._uid, self._gid)
            child = self._start(argv, cwd, subprocess.DEVNULL, log, log)
        except OSError as e:
            raise Refused(f"{argv[0]} can't be started", e.strerror or "") from e
        finally:
            os.close(log)
        child.returncode = 0  # not ours to wait for: says so to the destructor, init or our caller reaps it
        return child.pid

    def make_dir(self, path: str, mode: int = 0o700) -> None:
        """Make it and its missing parents, each owned by the user. Raises Refused when that can't be done."""
        if os.path.isdir(path):
            return
        parent = os.path.dirname(path)
        if not os.path.isdir(parent):
            self.make_dir(parent, 0o755)
        try:
            os.mkdir(path, 0o700)
            fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as e:
            raise Refused(f"{path} can't be made", e.strerror or "") from e
        try:
            if self._change:
                os.fchown(fd, self._uid, self._gid)
            os.fchmod(fd, mode)
        finally:
            os.close(fd)
        sync_dir(parent)

    def write(self, path: str, text: str, mode: int = 0o600) -> None:
        """Replace the file durably. Raises Refused when it can't be written."""
        try:
            replace_file(path, text.encode(), mode, self.owner)
        except OSError as e:
            raise Refused(f"{path} can't be written", e.strerror or "") from e

    def read(self, path: str) -> str | None:
        """The file's text, None when there is none. Raises Refused when it can't be read."""
        try:
            with open(path, encoding="utf-8", errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return None
        except OSError as e:
            raise Refused(f"{path} can't be read", e.strerror or "") from e

    @contextlib.contextmanager
    def hold(self, path: str) -> Iterator[None]:
        """A lock on the directory itself: leaves no file, and ends with the process."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            why = "one command at a time works in a directory"
            raise Busy(f"another pgha is at work in {path}", why, "wait for its end, or stop it") from None
        finally:
            os.close(fd)

    def holds_something(self, path: str) -> bool:
        """Not absent, and not an empty directory."""
        try:
            return bool(os.listdir(path))
        except FileNotFoundError:
            return False
        except OSError:
            return True

    def remove_tree(self, path: str) -> None:
        """Nothing when it is absent. Raises Refused when it can't be removed."""
        try:
            shutil.rmtree(path)
        except FileNotFoundError:
            return
        except OSError as e:
            raise Refused(f"{path} can't be removed", e.strerror or "") from e

    def move_dir(self, source: str, target: str) -> None:
        """rename(2) replaces an empty directory and refuses any other."""
        try:
            os.rename(source, target)
        except OSError as e:
            raise Refused(f"{source} can't be moved to {target}", e.strerror or "") from e
        sync_dir(os.path.dirname(target))

    def identity(self, path: str) -> Identity:
        """By stat(2)."""
        try:
            lies, version = os.stat(path), os.stat(f"{path}/PG_VERSION")
        except OSError as e:
            raise Refused(f"{path} can't be looked at", e.strerror or "") from e
        return Identity(lies.st_dev, lies.st_ino, version.st_mtime_ns)

    def port_taken(self, host: str, port: int) -> str | None:
        """Tries to bind it, as a server would (SO_REUSEADDR)."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind((host, port))
            except OSError as e:
                if e.errno == errno.EADDRINUSE:
                    return "in use"
                return e.strerror or "can't be bound"
        return None


def _kill_session(child: subprocess.Popen[bytes]) -> None:
    """The child leads its session; what it forked is in its process group unless it left on purpose."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait(timeout=5.0)
    for stream in (child.stdin, child.stdout, child.stderr):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()


def lines_of(argv: Sequence[str], *, keep_open: bool) -> Iterator[str]:
    """The lines a program of ours writes, until its end; ended when nobody reads on. keep_open: its standard input."""
    child = subprocess.Popen(
        list(argv),
        cwd="/",
        env={"PATH": SEARCH_PATH, "LC_ALL": "C.UTF-8"},
        stdin=subprocess.PIPE if keep_open else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert child.stdout is not None
    try:
        for raw in child.stdout:
            yield raw.decode(errors="replace").rstrip("\n")
    finally:
        _kill_session(child)


def interpreter() -> str:
    """The Python that runs us."""
    return sys.executable
