"""The one door to SSH: a checked connection to a host, and argument lists run over it as some user.

fabric makes the connection (it reads ~/.ssh/config, jump hosts and keys); commands run on paramiko's channels below it,
because fabric's own `run` feeds standard input one byte each 10 ms and has no deadline of its own. Quoting for the
remote shell happens in `command_line` and nowhere else. Host keys are checked: an unknown one is refused with its
fingerprint, a changed one always. May import errors and the values of `pgha.host`; fabric and paramiko only in here.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import logging
import os
import shlex
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from pgha.adapters.ssh_host import CommandHost
from pgha.adapters.tunnel import Stream
from pgha.errors import Busy, Refused, Unreachable
from pgha.host import Host, Ran

if TYPE_CHECKING:
    import fabric

CONNECT_S = 5.0
AUTH_S = 10.0
CHANNEL_S = 5.0
SPARE_S = 8.0  # beyond a command's own time: its end is reported over the network
HELD = b"held\n"
SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
ENVIRONMENT = ("LC_ALL=C.UTF-8", "HOME=/", "DEBIAN_FRONTEND=noninteractive")
KNOWN_HOSTS = "~/.ssh/known_hosts"
SYSTEM_KNOWN_HOSTS = "/etc/ssh/ssh_known_hosts"
# umask for what a program writes; `timeout` ends the program on the host also when the connection is gone.
RUN = 'umask 077; exec timeout -k 5 "$0" "$@"'


@dataclass(frozen=True, slots=True)
class Login:
    """How to log in to one host. user, key "" and port 0: what the ssh configuration says. sudo: to become others."""

    host: str
    user: str = ""
    key: str = ""
    sudo: bool = True
    port: int = 0


class _Key(Protocol):
    """paramiko's PKey, as far as we ask it."""

    def get_name(self) -> str: ...
    def get_base64(self) -> str: ...
    def asbytes(self) -> bytes: ...


def fingerprint(key: bytes) -> str:
    """As `ssh-keygen -l` shows it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key).digest()).decode().rstrip("=")


def command_line(argv: Sequence[str], become: Sequence[str], *, timeout_s: float, cwd: str) -> str:
    """The text the remote shell gets: `argv` as another user, in `cwd`, ended there after `timeout_s`.

    Raises ValueError for what no argument can hold.
    """
    if any("\0" in word for word in (*argv, cwd)):
        raise ValueError("an argument can't hold a NUL byte")
    clean = ["env", "-i", f"--chdir={cwd}", f"PATH={SEARCH_PATH}", *ENVIRONMENT]
    return shlex.join([*become, *clean, "/bin/sh", "-c", RUN, f"{timeout_s:g}", *argv])


def connect(login: Login) -> SshConnection:
    """A connection whose host key was checked. Raises Unreachable with what to do."""
    return SshConnection(login, _open(login))


# -- opening -------------------------------------------------------------------------------------------------


def _open(login: Login) -> fabric.Connection:
    import fabric

    logging.getLogger("paramiko").addHandler(logging.NullHandler())  # else its complaints go to stderr beside ours
    options: dict[str, object] = {
        "banner_timeout": CONNECT_S,
        "auth_timeout": AUTH_S,
        "channel_timeout": CHANNEL_S,
        "look_for_keys": not login.key,
    }
    if login.key:
        options["key_filename"] = [os.path.expanduser(login.key)]
    connection = fabric.Connection(
        login.host,
        user=login.user or None,
        port=login.port or None,
        connect_timeout=CONNECT_S,
        connect_kwargs=options,
    )
    hop: object = connection
    while isinstance(hop, fabric.Connection):
        _be_strict(hop)
        hop = hop.gateway
    with _explained(login, connection):
        connection.open()
    connection.transport.set_keepalive(5)
    return connection


def _be_strict(connection: fabric.Connection) -> None:
    """fabric accepts any host key and reads no known_hosts; jump hosts are checked as well."""
    import paramiko

    class Refuse(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]  # paramiko ships no types
        """An unknown key ends the connection."""

        def missing_host_key(self, _client: object, hostname: str, key: _Key) -> None:
            raise _unknown_key(hostname, key)

    client = connection.client
    for path in (SYSTEM_KNOWN_HOSTS, KNOWN_HOSTS):
        with contextlib.suppress(OSError):
            client.load_system_host_keys(os.path.expanduser(path))
    client.set_missing_host_key_policy(Refuse())


def _unknown_key(hostname: str, key: _Key) -> Unreachable:
    line = f"{hostname} {key.get_name()} {key.get_base64()}"
    kind = key.get_name().removeprefix("ssh-").partition("-")[0]
    why = f"it shows {key.get_name()} {fingerprint(key.asbytes())}, which stands in no known_hosts"
    look = f"on the host's console: ssh-keygen -lf /etc/ssh/ssh_host_{kind}_key.pub"
    return Unreachable(
        f"the host key of {hostname} is unknown",
        why,
        f"compare it ({look}); when it is the same: echo {shlex.quote(line)} >> {KNOWN_HOSTS}",
    )


@contextlib.contextmanager
def _explained(login: Login, connection: fabric.Connection) -> Iterator[None]:
    """Every way a connection can fail, as an Unreachable."""
    import paramiko

    where = f"{login.host}:{connection.port}"
    who = f"as {connection.user}, with " + (login.key or "the agent's keys and those of ~/.ssh")
    by_hand = shlex.join(["ssh", *(["-i", login.key] if login.key else []), f"{connection.user}@{login.host}"])
    try:
        yield
    except paramiko.BadHostKeyException as e:
        why = f"it shows {fingerprint(e.key.asbytes())}, known_hosts has {fingerprint(e.expected_key.asbytes())}"
        step = f"find out why; only when the host was set up anew: ssh-keygen -R {shlex.quote(e.hostname)}"
        raise Unreachable(f"the host key of {login.host} has changed", why, step) from e
    except paramiko.PasswordRequiredException as e:
        raise Unreachable(f"the key for {where} has a passphrase", who, "ssh-add it, then run this again") from e
    except paramiko.AuthenticationException as e:
        raise Unreachable(f"{where} does not let us in", f"{who}: {e}", f"make this work: {by_hand}") from e
    except (socket.gaierror, UnicodeError) as e:
        step = "correct the address in the inventory"
        raise Unreachable(f"{login.host} has no address", str(e), step) from e
    except (paramiko.SSHException, OSError, EOFError) as e:
        why = "no answer within " + f"{CONNECT_S:g} s" if isinstance(e, TimeoutError) else _reason(e)
        raise Unreachable(f"{where} can't be reached by SSH", why, f"make this work: {by_hand} true") from e


def _reason(problem: Exception) -> str:
    """The system's word where paramiko packs it, one for each address that was tried."""
    packed = getattr(problem, "errors", None)
    inner = next((e for e in packed.values() if isinstance(e, OSError)), None) if isinstance(packed, dict) else None
    return (inner.strerror if inner is not None else None) or str(problem) or type(problem).__name__


# -- an open connection --------------------------------------------------------------------------------------


class _Channel(Protocol):
    """paramiko's Channel, as far as we use it."""

    def settimeout(self, seconds: float) -> None: ...
    def exec_command(self, command: str) -> None: ...
    def sendall(self, data: bytes) -> None: ...
    def shutdown_write(self) -> None: ...
    def recv(self, size: int) -> bytes: ...
    def recv_stderr(self, size: int) -> bytes: ...
    def recv_exit_status(self) -> int: ...
    def close(self) -> None: ...


class SshConnection:
    """`host.Remote`: one connection, kept for the command's life. Several threads may use it."""

    def __init__(self, login: Login, connection: fabric.Connection) -> None:
        self.login, self.address = login, login.host
        self._connection = connection
        self.user = str(connection.user)

    def as_user(self, user: str) -> Host:
        """The host, programs running and files owned as `user`."""
        return CommandHost(user, self)

    def send(self, user: str, argv: Sequence[str], data: bytes, *, timeout_s: float) -> Ran:
        """`execute` with bytes on standard input."""
        return self.execute(user, argv, timeout_s=timeout_s, stdin=data)

    def close(self) -> None:
        """End the connection and what is under way on it."""
        self._connection.close()

    def _become(self, user: str) -> list[str]:
        if user == self.user:
            return []
        if self.login.sudo:
            return ["sudo", "-n", "-u", user, "--"]
        return ["runuser", "-u", user, "--"]

    def execute(self, user: str, argv: Sequence[str], *, timeout_s: float, stdin: bytes = b"", cwd: str = "/") -> Ran:
        """Run to the end as `user`. Raises Unreachable when the connection fails or stands still."""
        command = command_line(argv, self._become(user), timeout_s=timeout_s, cwd=cwd)
        began = time.monotonic()
        with self._channel(timeout_s + SPARE_S) as channel:
            channel.exec_command(command)
            err: list[bytes] = []
            reader = threading.Thread(target=lambda: err.append(_all_of(channel.recv_stderr)), daemon=True)
            reader.start()
            with contextlib.suppress(OSError):  # the program may end without reading all of it
                channel.sendall(stdin)
                channel.shutdown_write()
            out = _all_of(channel.recv)
            code = channel.recv_exit_status()
            reader.join(CHANNEL_S)
        if code in (124, 137) and time.monotonic() - began >= timeout_s:
            return Ran(-9, err=f"not done after {timeout_s:g} s", late=True)
        said = b"".join(err).decode(errors="replace")
        return Ran(code, out.decode(errors="replace"), said)

    @contextlib.contextmanager
    def _channel(self, within_s: float) -> Iterator[_Channel]:
        """A channel; when the time is over the whole connection is closed, because paramiko's waits have no end."""
        import paramiko

        late = threading.Event()

        def cut() -> None:
            late.set()
            self._connection.transport.close()

        timer = threading.Timer(within_s, cut)
        timer.daemon = True
        timer.start()
        try:
            transport = self._connection.transport
            if transport is None or not transport.is_active():
                raise Unreachable(f"the connection to {self.address} is lost", "it was closed", "run it again")
            channel = transport.open_session(timeout=CHANNEL_S)
            try:
                channel.settimeout(within_s)
                yield channel
            finally:
                channel.close()
        except (paramiko.SSHException, OSError, EOFError) as e:
            why = f"it did not answer within {within_s:g} s" if late.is_set() else str(e) or type(e).__name__
            raise Unreachable(f"the connection to {self.address} is lost", why, "run it again") from e
        finally:
            timer.cancel()

    def lines(self, user: str, argv: Sequence[str], *, within_s: float, silent_s: float) -> Iterator[str]:
        """The lines a program writes, until its end; its standard input ends with the context or the connection.

        Raises Unreachable when nothing comes for `silent_s`, or the connection is lost.
        """
        with self._channel(within_s) as channel:
            channel.settimeout(silent_s)
            channel.exec_command(command_line(argv, self._become(user), timeout_s=within_s, cwd="/"))
            rest = b""
            while part := channel.recv(1 << 16):
                *whole, rest = (rest + part).split(b"\n")
                yield from (line.decode(errors="replace") for line in whole)
            if rest:
                yield rest.decode(errors="replace")

    @contextlib.contextmanager
    def hold(self, user: str, path: str, within_s: float) -> Iterator[None]:
        """A lock on the directory for as long as the context, and the connection, lasts. Raises Busy, Refused."""
        argv = ["flock", "-n", "-E", "75", path, "sh", "-c", "echo held; exec cat"]
        with self._channel(within_s) as channel:
            channel.exec_command(command_line(argv, self._become(user), timeout_s=within_s, cwd="/"))
            said = channel.recv(len(HELD))
            if said != HELD:
                code, why = channel.recv_exit_status(), _all_of(channel.recv_stderr).decode(errors="replace").strip()
                if code == 75:
                    what = f"another pgha is at work on {self.address} in {path}"
                    raise Busy(what, "one command at a time works in a directory", "wait for its end, or stop it")
                raise Refused(f"{path} on {self.address} can't be locked", why or f"exit {code}")
            yield

    def stream(self, host: str, port: int) -> Stream:
        """A connection made by the host to somewhere, carried through ours. Raises Unreachable."""
        import paramiko

        try:
            transport = self._connection.transport
            ends = (host, port), ("127.0.0.1", 0)
            channel: Stream = transport.open_channel("direct-tcpip", *ends, timeout=CHANNEL_S)
        except (paramiko.SSHException, OSError, EOFError, AttributeError) as e:
            raise Unreachable(f"{host}:{port} can't be reached through {self.address}", str(e)) from e
        return channel


class _Read(Protocol):
    def __call__(self, size: int, /) -> bytes: ...


def _all_of(read: _Read) -> bytes:
    """Until its end."""
    parts = []
    with contextlib.suppress(TimeoutError):
        while part := read(1 << 16):
            parts.append(part)
    return b"".join(parts)
