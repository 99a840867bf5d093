"""Real packets between hosts: what is sent at one end, and whether it comes out at the other. May import `lab`."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from tests.hosts import network
from tests.hosts.lab import Lab
from tests.hosts.shell import PLAIN

WAIT_S = 1.0
LISTEN = """
import socket, sys
kind = socket.SOCK_DGRAM if sys.argv[1] == "udp" else socket.SOCK_STREAM
with socket.socket(socket.AF_INET, kind) as s:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("", int(sys.argv[2])))
    if kind == socket.SOCK_STREAM:
        s.listen()
    print("ready", flush=True)
    s.settimeout(float(sys.argv[3]))
    try:
        s.recv(100) if kind == socket.SOCK_DGRAM else s.accept()
        print("came")
    except TimeoutError:
        print("silence")
"""
SEND = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
    s.sendto(b"x", (sys.argv[1], int(sys.argv[2])))
"""
CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3])).close()
    print("connected")
except TimeoutError:
    print("silence")
except OSError as e:
    print(type(e).__name__)
"""


def _argv(lab: Lab, at: str, script: str, words: Sequence[str]) -> list[str]:
    space = lab.network.operator if at == "operator" else lab.network.namespace(at)
    return network.within(space, ["/usr/bin/python3", "-I", "-c", script, *words])


def _address(lab: Lab, name: str) -> str:
    return network.OPERATOR if name == "operator" else lab.host(name).address


def arrives(lab: Lab, source: str, target: str, *, port: int = 9999) -> bool:
    """Whether a datagram from one host comes out at the other."""
    words = ["udp", str(port), str(WAIT_S)]
    argv = _argv(lab, target, LISTEN, words)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=PLAIN, stdin=subprocess.DEVNULL) as listener:
        assert listener.stdout is not None
        assert listener.stdout.readline() == "ready\n"
        send = _argv(lab, source, SEND, [_address(lab, target), str(port)])
        subprocess.run(send, check=True, timeout=10.0, env=PLAIN, stdin=subprocess.DEVNULL)
        return listener.stdout.read() == "came\n"


def connects(lab: Lab, source: str, target: str, port: int, *, listen: bool = True) -> str:
    """How a TCP connection ends: `connected`, `silence`, or the error's name. `listen`: somebody accepts it."""
    call = _argv(lab, source, CONNECT, [_address(lab, target), str(port), str(WAIT_S)])
    if not listen:
        return subprocess.run(call, capture_output=True, text=True, timeout=10.0, env=PLAIN, check=True).stdout.strip()
    argv = _argv(lab, target, LISTEN, ["tcp", str(port), str(WAIT_S + 0.5)])
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=PLAIN, stdin=subprocess.DEVNULL) as listener:
        assert listener.stdout is not None
        assert listener.stdout.readline() == "ready\n"
        how = subprocess.run(call, capture_output=True, text=True, timeout=10.0, env=PLAIN, check=True).stdout.strip()
        assert (how == "connected") == (listener.stdout.read() == "came\n")
        return how
