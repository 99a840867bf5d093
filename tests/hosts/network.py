"""The lab's network: one namespace with a bridge, where the operator sits; one namespace and one cable a host.

Nothing of it touches the machine's own network: the bridge's namespace has no route out, so every lab may use the same
addresses (198.18.0.0/15 is reserved for tests of networks, RFC 2544). Faults are made outside the hosts, on the
bridge's end of a cable: what is dropped there is silent for both sides, and no host sees a rule of its own.
May import `shell`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.hosts.shell import must, run, until

OPERATOR = "198.18.0.1"
PREFIX = 24
BRIDGE = "lab"
NIC = "eth0"  # what a host calls its end of the cable
TABLE = "faults"
_CLONE_NEWNET = 0x40000000
LOSS = "numgen random mod 100 < 30"
LARGE = "meta length > 1400"
ESTABLISHED = "tcp flags & syn == 0"  # a new connection's first two packets pass, nothing after them


def address(number: int) -> str:
    """The address of the lab's host number 1, 2, ..."""
    return f"198.18.0.{10 + number}"


def _hardware(at: str) -> str:
    """A network card's address: the same whenever it is plugged in, so that nobody remembers a wrong one."""
    return "02:00:" + ":".join(f"{int(part):02x}" for part in at.split("."))


def namespace_file(name: str) -> Path:
    """Where `ip netns` keeps the namespace."""
    return Path("/run/netns", name)


def within(namespace: str, argv: Sequence[str | Path]) -> list[str]:
    """The command, run in the network of a namespace."""
    return ["nsenter", f"--net={namespace_file(namespace)}", "--", *(str(word) for word in argv)]


@contextlib.contextmanager
def inside(namespace: str) -> Iterator[None]:
    """This thread, and the threads and processes it starts, in the namespace's network for as long as the block runs.

    For clients that run in this process (etcd's, PostgreSQL's). Raises OSError.
    """
    libc = ctypes.CDLL(None, use_errno=True)

    def enter(fd: int) -> None:
        if libc.setns(fd, _CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns: {namespace}")

    back = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(namespace_file(namespace), os.O_RDONLY)
    try:
        enter(there)
        try:
            yield
        finally:
            enter(back)
    finally:
        os.close(there)
        os.close(back)


class Network:
    """The bridge and the cables of a lab called `name`."""

    def __init__(self, name: str) -> None:
        self.operator = f"pgha-{name}"  # the namespace of the bridge

    def namespace(self, host: str) -> str:
        """The namespace of a host."""
        return f"{self.operator}-{host}"

    @staticmethod
    def cable(host: str) -> str:
        """The bridge's end of a host's cable."""
        return f"c-{host}"

    # -- making it -------------------------------------------------------------------------------------------

    def make(self) -> None:
        """The bridge, with the operator's address."""
        must(["ip", "netns", "add", self.operator])
        self._ip("link", "set", "lo", "up")
        self._ip("link", "add", BRIDGE, "address", _hardware(OPERATOR), "type", "bridge", "forward_delay", "0")
        self._ip("addr", "add", f"{OPERATOR}/{PREFIX}", "dev", BRIDGE)
        self._ip("link", "set", BRIDGE, "up")
        self._nft(f"add table netdev {TABLE}")

    def plug(self, host: str, at: str) -> None:
        """A fresh network stack for a host, with its address; whatever an earlier one still had under way is gone."""
        self.unplug(host)
        name, cable = self.namespace(host), self.cable(host)
        must(["ip", "netns", "add", name])
        self._ip("link", "add", cable, "type", "veth", "peer", "name", NIC, "netns", name)
        must(["ip", "-n", name, "link", "set", NIC, "address", _hardware(at)])
        self._ip("link", "set", cable, "master", BRIDGE)
        must(["ip", "-n", name, "link", "set", "lo", "up"])
        must(["ip", "-n", name, "addr", "add", f"{at}/{PREFIX}", "dev", NIC])
        must(["ip", "-n", name, "link", "set", NIC, "up"])
        self._ip("link", "set", cable, "up")

    def unplug(self, host: str) -> None:
        """The host's cable and network stack are gone."""
        self._forget(host)
        run(["ip", "-n", self.operator, "link", "del", self.cable(host)])
        if namespace_file(self.namespace(host)).exists():
            must(["ip", "netns", "del", self.namespace(host)])

    def remove(self) -> None:
        """The bridge is gone too."""
        if namespace_file(self.operator).exists():
            must(["ip", "netns", "del", self.operator])

    # -- faults ----------------------------------------------------------------------------------------------

    def cut(self, host: str) -> None:
        """The cable is pulled: the host sees no carrier, the others see silence."""
        self._ip("link", "set", self.cable(host), "down")

    def heal(self, host: str) -> None:
        """The cable is back, and no rule is left on it."""
        self._forget(host)
        if (f"{self.cable(host)}@") in self._ip("-o", "link", "show"):
            self._ip("link", "set", self.cable(host), "up")
            until(lambda: self._is_up(host), within_s=5.0, what=f"{host}'s cable has a carrier")

    def drop(self, host: str, *, source: str = "", target: str = "", ports: Sequence[int] = (), only: str = "") -> None:
        """Drop what goes to the host from `source`, or comes from it for `target` ("": everybody); of TCP `ports` only.

        A port means both ends of a connection to it, so what is answered from the port is dropped as well.
        only: a further condition, as nft writes it (LOSS, LARGE, ESTABLISHED).
        """
        hook, match = (
            ("ingress", f"ip daddr {target}") if target else ("egress", f"ip saddr {source}" if source else "")
        )
        chain = f"{hook}-{host}".replace("-", "_")
        lines = [
            f"add chain netdev {TABLE} {chain} {{ type filter hook {hook} device {self.cable(host)} priority 0; }}"
        ]
        listed = ", ".join(map(str, ports))
        matches = [f"tcp {end} {{ {listed} }}" for end in ("dport", "sport")] if ports else [""]
        lines += [f"add rule netdev {TABLE} {chain} {match} {ends} {only} drop" for ends in matches]
        self._nft("\n".join(lines))

    def slow(self, host: str, rate: str) -> None:
        """What goes to the host, at this rate at most (tc's form, `256kbit`)."""
        shape = ["tbf", "rate", rate, "burst", "16kb", "latency", "400ms"]
        must(["tc", "-n", self.operator, "qdisc", "add", "dev", self.cable(host), "root", *shape])

    def rules(self) -> str:
        """The rules in force, as nft shows them."""
        return must(within(self.operator, ["nft", "list", "table", "netdev", TABLE]))

    def _forget(self, host: str) -> None:
        """No rule on the host's cable is left."""
        run(["tc", "-n", self.operator, "qdisc", "del", "dev", self.cable(host), "root"])
        for hook in ("ingress", "egress"):
            chain = f"{hook}-{host}".replace("-", "_")
            run(within(self.operator, ["nft", "delete", "chain", "netdev", TABLE, chain]))

    def _is_up(self, host: str) -> bool:
        said = must(["ip", "-n", self.namespace(host), "-o", "link", "show", NIC])
        return "LOWER_UP" in said

    def _ip(self, *words: str) -> str:
        return must(["ip", "-n", self.operator, *words])

    def _nft(self, text: str) -> None:
        must(within(self.operator, ["nft", "-f", "-"]), stdin=text + "\n")
