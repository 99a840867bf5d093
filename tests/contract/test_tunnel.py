"""The store through SSH: whose connection carries what, and what a dead host hides (nothing)."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import pytest

from pgha.adapters.tunnel import Stream, Tunnels, is_direct
from pgha.errors import Unreachable


class Carrier:
    """Carries to loopback whatever the port's name was; `dead`: hosts' ports it can't reach."""

    def __init__(self, name: str, port: int, log: list[tuple[str, str]], dead: set[str]) -> None:
        self.name, self.port, self.log, self.dead = name, port, log, dead

    def stream(self, host: str, port: int) -> Stream:
        if host in self.dead:
            raise Unreachable(f"{host} is not reached")
        self.log.append((self.name, host))
        return socket.create_connection(("127.0.0.1", self.port))


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that gives back what it gets."""
    server = socket.create_server(("127.0.0.1", 0))

    def one(near: socket.socket) -> None:
        with near:
            while data := near.recv(1000):
                near.sendall(data)

    def serve() -> None:
        while True:
            try:
                near, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=one, args=(near,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield server.getsockname()[1]
    server.shutdown(socket.SHUT_RDWR)
    server.close()


def ask(endpoint: str) -> bytes:
    host, _, port = endpoint.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5.0) as s:
        with contextlib.suppress(OSError):  # closed by then: also "not connected"
            s.sendall(b"hello")
            s.shutdown(socket.SHUT_WR)
        parts = []
        with contextlib.suppress(ConnectionError):
            while part := s.recv(100):
                parts.append(part)
    return b"".join(parts)


def tunnels(echo: int, log: list[tuple[str, str]], *, down: str = "") -> Tunnels:
    def connect(host: str) -> Carrier:
        if host == down:
            raise Unreachable(f"{host} is down")
        return Carrier(host, echo, log, {down})

    return Tunnels(connect, ["h1", "h2", "h3"])


def test_each_endpoint_goes_through_its_own_host(echo: int) -> None:
    log: list[tuple[str, str]] = []
    here = tunnels(echo, log).local(["h2:2379", "h3:2379"])
    assert [ask(e) for e in here] == [b"hello", b"hello"]
    assert log == [("h2", "h2"), ("h3", "h3")]


def test_a_dead_host_hides_no_other_and_an_outside_store_goes_through_any(echo: int) -> None:
    log: list[tuple[str, str]] = []
    here = tunnels(echo, log, down="h1").local(["h1:2379", "h2:2379", "etcd.example.org:2379"])
    assert ask(here[1]) == ask(here[2]) == b"hello"
    assert log == [("h2", "h2"), ("h2", "etcd.example.org")]
    assert ask(here[0]) == b"", "closed at once: that member counts as silent"


def test_without_any_host_it_says_so(echo: int) -> None:
    def connect(host: str) -> Carrier:
        raise Unreachable(f"{host} is down")

    with pytest.raises(Unreachable, match="h1 is down"):
        Tunnels(connect, ["h1"]).local(["h1:2379"])


def test_a_store_that_listens_or_refuses_is_reached_directly(echo: int) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        assert is_direct([f"127.0.0.1:{echo}"])
        assert is_direct([f"127.0.0.1:{unused.getsockname()[1]}"])


def test_a_store_behind_silence_is_not() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]  # a full queue drops what comes next, as a firewall does
        for s in waiting:
            s.setblocking(False)
            s.connect_ex(full.getsockname())
        assert not is_direct([f"127.0.0.1:{full.getsockname()[1]}"], within_s=0.5)
        for s in waiting:
            s.close()
