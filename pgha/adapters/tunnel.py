"""The store through SSH, when it can't be reached from here: a port on loopback for each of its endpoints.

Each connection goes through the first host that carries it: the endpoint's own first, then any other, so that one dead
host hides no other. Threads are daemons: a tunnel lasts as long as the command. Knows no etcd.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from pgha.errors import PghaError, Unreachable

DIRECT_S = 1.0
BLOCK = 1 << 16


class Stream(Protocol):
    """A connection carried by a host (`ssh.SshConnection.stream`)."""

    def sendall(self, data: bytes) -> None:
        """All of it."""
        ...

    def recv(self, size: int) -> bytes:
        """Some of it, nothing at its end."""
        ...

    def shutdown(self, how: int) -> None:
        """As of a socket: 1 no more is sent, 2 nothing more at all."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class Carrier(Protocol):
    """An SSH connection that carries others."""

    def stream(self, host: str, port: int) -> Stream:
        """Raises Unreachable."""
        ...


def split(endpoint: str) -> tuple[str, int]:
    """`host:port` or `[v6]:port`."""
    host, _, port = endpoint.rpartition(":")
    return host.strip("[]"), int(port)


def is_direct(endpoints: Sequence[str], within_s: float = DIRECT_S) -> bool:
    """Some endpoint's host answers from here, if only by refusing: then a tunnel would show nothing else."""
    waiting: list[socket.socket] = []
    try:
        for endpoint in endpoints:
            host, port = split(endpoint)
            with contextlib.suppress(OSError):
                family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
                probe = socket.socket(family, socket.SOCK_STREAM)
                waiting.append(probe)
                probe.setblocking(False)
                if probe.connect_ex((host, port)) in (0, errno.ECONNREFUSED):
                    return True
        end = time.monotonic() + within_s
        while waiting and (left := end - time.monotonic()) > 0:
            _, ready, _ = select.select([], waiting, [], left)
            for probe in ready:
                if probe.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in (0, errno.ECONNREFUSED):
                    return True
                waiting.remove(probe)
                probe.close()
        return False
    finally:
        for probe in waiting:
            probe.close()


class Tunnels:
    """connect: an SSH connection to a host, by address; hosts: tried in this order after the endpoint's own."""

    def __init__(self, connect: Callable[[str], Carrier], hosts: Sequence[str]) -> None:
        self._connect, self._hosts = connect, list(hosts)
        self._lock = threading.Lock()
        self._open: dict[str, Carrier | PghaError] = {}

    def local(self, endpoints: Sequence[str]) -> tuple[str, ...]:
        """The same endpoints as ports here. Raises Unreachable when no host can be reached."""
        self._connect_all()
        found = [problem for problem in self._open.values() if isinstance(problem, PghaError)]
        if len(found) == len(self._open):
            raise found[0]
        return tuple(self._listen(endpoint) for endpoint in endpoints)

    def _connect_all(self) -> None:
        def one(host: str) -> None:
            try:
                carrier: Carrier | PghaError = self._connect(host)
            except PghaError as e:
                carrier = e
            with self._lock:
                self._open[host] = carrier

        threads = [threading.Thread(target=one, args=(host,), daemon=True) for host in self._hosts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _listen(self, endpoint: str) -> str:
        server = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, args=(server, endpoint), daemon=True).start()
        return f"127.0.0.1:{server.getsockname()[1]}"

    def _serve(self, server: socket.socket, endpoint: str) -> None:
        while True:
            near, _ = server.accept()
            threading.Thread(target=self._carry, args=(near, endpoint), daemon=True).start()

    def _carry(self, near: socket.socket, endpoint: str) -> None:
        try:
            far = self._stream(*split(endpoint))
        except Unreachable:
            near.close()
            return
        up = threading.Thread(target=_pump, args=(near, far), daemon=True)
        up.start()
        _pump(far, near)
        up.join()
        for end in (near, far):
            with contextlib.suppress(OSError, EOFError):
                end.close()

    def _stream(self, host: str, port: int) -> Stream:
        why: PghaError = Unreachable(f"no host carries a connection to {host}:{port}")
        for name in sorted(self._hosts, key=lambda known: known != host):
            carrier = self._open.get(name)
            if carrier is None or isinstance(carrier, PghaError):
                continue
            try:
                return carrier.stream(host, port)
            except Unreachable as e:
                why = e
        raise why


def _pump(source: Stream, sink: Stream) -> None:
    """Until the source ends; the sink is told so. When either breaks, both are ended."""
    try:
        while data := source.recv(BLOCK):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except (OSError, EOFError):
        for end in (source, sink):
            with contextlib.suppress(OSError, EOFError):
                end.shutdown(socket.SHUT_RDWR)
