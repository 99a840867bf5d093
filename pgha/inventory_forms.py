"""The forms a single value may have: each reader takes a scalar and gives the checked value, or raises `Wrong`.

May import `pgha.core.model` and `pgha.inventory_*` below it. No I/O: whether a path or host exists is `pgha check`'s.
"""

from __future__ import annotations

import ipaddress
import posixpath
import re
from collections.abc import Callable
from typing import TypeVar

from pgha.core.model import BARRIER, MAX_NODE_NAME
from pgha.inventory_model import Secret
from pgha.inventory_yaml import Scalar, shown

T = TypeVar("T")
Reader = Callable[[Scalar], T]

KINDS = {"whole": "a number", "float": "a number with a point", "flag": "true or false"}
NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
PATH = re.compile(r"[A-Za-z0-9._+@/-]+")
DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(ms|s|min|h)")
SIZE = re.compile(r"([0-9]{1,12})(B|kB|MB|GB|TB)")
BYTES = {"B": 1, "kB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30, "TB": 1 << 40}
SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}
# Not to be taken over, they or anything in them; and those that are only not to be taken themselves.
SYSTEM_TREES = ("bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "proc", "run", "sbin", "sys", "usr")
HOMES = re.compile(r"/root|/home/[^/]+|/var/[^/]+|/var/lib/(?:postgresql|pgsql)")


class Wrong(Exception):
    """A value that is not accepted. `accepted` and `next_step`, when empty, are filled from the table of keys."""

    def __init__(self, what: str, accepted: str = "", next_step: str = "") -> None:
        super().__init__(what)
        self.what, self.accepted, self.next_step = what, accepted, next_step


def text(value: Scalar) -> str:
    """Any text of one line, not empty."""
    if value.kind != "text":
        raise Wrong(f"found {shown(value.text)} ({KINDS[value.kind]})", next_step="quote it when it is meant as text")
    if not value.text.strip():
        raise Wrong("it is empty")
    if "\n" in value.text:
        raise Wrong("it has more than one line")
    if not value.text.isprintable():
        raise Wrong("it has characters that can't be seen")
    return value.text


def whole(lowest: int, highest: int) -> Reader[int]:
    """A whole number within these bounds, unquoted."""

    def read(value: Scalar) -> int:
        if value.kind == "text" and value.quoted and value.text.strip().isdecimal():
            raise Wrong(f"found the text {shown(value.text)}, not a number", next_step="take the quotes away")
        if value.kind != "whole":
            raise Wrong(f"found {shown(value.text)}, not a whole number")
        if not lowest <= int(value.text) <= highest:
            raise Wrong(f"{int(value.text)} is not in {lowest} to {highest}")
        return int(value.text)

    return read


port = whole(1, 65535)


def flag(value: Scalar) -> bool:
    """true or false, unquoted; `yes` and `no` are text in YAML 1.2."""
    if value.kind != "flag":
        hint = {"yes": "true", "on": "true", "no": "false", "off": "false"}.get(value.text.lower(), "")
        raise Wrong(f"found {shown(value.text)}", "true or false", f"write {hint}" if hint else "")
    return value.text.lower() == "true"


def duration(lowest_s: float, highest_s: float, because: str) -> Reader[float]:
    """Seconds. A number without a unit is refused: nobody remembers whether it was seconds or milliseconds."""

    def read(value: Scalar) -> float:
        match = DURATION.fullmatch(value.text)
        if value.kind in ("whole", "float"):
            raise Wrong(f"{shown(value.text)} has no unit", "a number with a unit: 500ms, 6s, 2min, 1h")
        if value.kind != "text" or match is None:
            raise Wrong(f"found {shown(value.text)}", "a number with a unit: 500ms, 6s, 2min, 1h")
        seconds = float(match[1]) * SECONDS[match[2]]
        if not lowest_s <= seconds <= highest_s:
            raise Wrong(f"{match[0]} is out of bounds", because)
        return seconds

    return read


def size(lowest: int, highest: int) -> Reader[int]:
    """Bytes. A number without a unit is refused; kB and the rest are powers of 1024, as in PostgreSQL."""
    accepted = "a number with a unit: 512kB, 16MB, 1GB"

    def read(value: Scalar) -> int:
        match = SIZE.fullmatch(value.text)
        if value.kind in ("whole", "float"):
            raise Wrong(f"{shown(value.text)} has no unit", accepted)
        if value.kind != "text" or match is None:
            raise Wrong(f"found {shown(value.text)}", accepted)
        count = int(match[1]) * BYTES[match[2]]
        if not lowest <= count <= highest:
            raise Wrong(f"{match[0]} is out of bounds")
        return count

    return read


def choice(*words: str) -> Reader[str]:
    """One of these words."""

    def read(value: Scalar) -> str:
        if value.kind != "text" or value.text not in words:
            raise Wrong(f"found {shown(value.text)}", " or ".join(words))
        return value.text

    return read


def check_name(candidate: str, longest: int) -> str:
    """A name that can stand in paths, in store keys and in PostgreSQL's lists without quoting. Raises Wrong."""
    if not NAME.fullmatch(candidate):
        raise Wrong(f"the name {shown(candidate)} is not accepted", "a-z, 0-9 and, not at an end, -")
    if len(candidate) > longest:
        raise Wrong(f"the name {shown(candidate)} is too long", f"{len(candidate)} characters, at most {longest}")
    return candidate


def node_name(candidate: str) -> str:
    """A node's name: `<node>.<data id>.<epoch>` has to fit PostgreSQL's 63 characters. Raises Wrong."""
    if candidate == BARRIER:
        raise Wrong(
            f"the name {BARRIER} is reserved", "pgha uses it for a standby that does not exist", "choose another name"
        )
    return check_name(candidate, MAX_NODE_NAME)


def named_node(value: Scalar) -> str:
    """A node's name where it is a value; a number may be one. Raises Wrong."""
    return node_name(value.text if value.kind == "whole" else text(value))


def cluster_name(value: Scalar) -> str:
    """The cluster's name."""
    return check_name(text(value), 63)


def user(value: Scalar) -> str:
    """An account's name."""
    if not USER.fullmatch(text(value)):
        raise Wrong(
            f"{shown(value.text)} is no account name", "letters, digits, _ . and -, at most 32, first a letter or _"
        )
    return value.text


def local_user(value: Scalar) -> str:
    """An account that PostgreSQL agrees to run as."""
    if user(value) == "root":
        raise Wrong("PostgreSQL refuses to run as root", next_step="name an unprivileged user")
    return value.text


def host(value: Scalar) -> str:
    """An address or DNS name in one canonical spelling: lower case, IPv6 compressed."""
    if value.kind in ("whole", "float"):
        raise Wrong(f"{shown(value.text)} is no address")
    return check_host(text(value))


def check_host(written: str) -> str:
    """The same for text that is part of a longer value. Raises Wrong."""
    candidate = written.lower()
    if re.fullmatch(r"[0-9.]+|[0-9a-f.]*:[0-9a-f:.]*", candidate):
        return _address(written, candidate)
    labels = candidate.split(".")
    if not all(LABEL.fullmatch(label) for label in labels) or len(candidate) > 253 or labels[-1].isdecimal():
        hint = "for a user, a port or other settings write a map of nodes" if set(written) & set("@:/") else ""
        raise Wrong(
            f"{shown(written)} is no host", "an IPv4 or IPv6 address or a DNS name without a dot at the end", hint
        )
    return candidate


def _address(written: str, candidate: str) -> str:
    try:
        address = ipaddress.ip_address(candidate)
    except ValueError:
        hint = (
            "write {host: ADDRESS, port: PORT} under a node's name"
            if re.fullmatch(r"[0-9.]+:[0-9]+", candidate)
            else ""
        )
        raise Wrong(f"{shown(written)} is no address", "IPv4 without leading zeros, or IPv6", hint) from None
    mapped = getattr(address, "ipv4_mapped", None)
    if mapped is not None:
        raise Wrong(f"{shown(written)} is an IPv4 address in disguise", next_step=f"write {mapped}")
    if address.is_unspecified or address.is_multicast or str(address) == "255.255.255.255":
        raise Wrong(f"{shown(written)} is not the address of one host")
    if address.version == 6 and address.is_link_local:
        raise Wrong(f"{shown(written)} holds on one network link only", next_step="use a global address or a DNS name")
    return str(address)


def is_loopback(checked_host: str) -> bool:
    """Whether a host, as `check_host` gives it, is this very machine."""
    if checked_host == "localhost" or checked_host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(checked_host).is_loopback
    except ValueError:
        return False


def absolute(value: Scalar) -> str:
    """A path on the nodes: absolute, normalised, of characters that no shell, crontab or configuration takes amiss."""
    candidate = text(value)
    if len(candidate) > 255:
        raise Wrong("the path is too long", f"{len(candidate)} characters, at most 255")
    if not candidate.startswith("/"):
        raise Wrong(f"{shown(candidate)} is not absolute", next_step="begin with /")
    if not PATH.fullmatch(candidate):
        raise Wrong(f"{shown(candidate)} has characters that are not accepted", "letters, digits and . _ + @ / -")
    normal = posixpath.normpath(candidate)
    if candidate != normal or candidate.startswith("//"):
        raise Wrong(f"{shown(candidate)} is not normalised", next_step=f"write {'/' + normal.strip('/')}")
    return candidate


def directory(value: Scalar) -> str:
    """A directory that pgha may fill: not the system's, not a home, and with a parent of its own to put clones in."""
    candidate = absolute(value)
    parts = candidate.split("/")[1:]
    step = "use a directory of its own, as /srv/postgres/data"
    if candidate == "/" or parts[0] in SYSTEM_TREES:
        raise Wrong(f"{candidate} belongs to the system", next_step=step)
    if HOMES.fullmatch(candidate):
        raise Wrong(f"{candidate} is a home or system directory itself", next_step=step)
    if len(parts) < 2:
        raise Wrong(f"{candidate} stands directly under /", "clones are made beside it, in its parent", step)
    return candidate


def local_file(value: Scalar) -> str:
    """A file where pgha runs: absolute or below ~/; the operator's own, so blanks are fine."""
    candidate = text(value)
    if not candidate.startswith(("/", "~/")) or "/../" in f"{candidate}/" or candidate.endswith("/"):
        raise Wrong(f"{shown(candidate)} is not an absolute path of a file")
    return candidate


def secret(value: Scalar) -> Secret:
    """Where a secret comes from. The text is never shown: it may be the secret itself."""
    forms = "env:NAME, file:PATH or generate"
    form, colon, source = value.text.partition(":")
    if value.kind == "text" and value.text == "generate":
        return Secret("generate")
    if colon and form == "env" and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", source):
        return Secret("env", source)
    if colon and form == "file" and source.startswith(("/", "~/")) and source.isprintable():
        return Secret("file", source)
    if colon and form in ("env", "file"):
        raise Wrong(f"not a usable {form}: form", "env:NAME with letters, digits and _; file:PATH absolute or ~/")
    raise Wrong(
        "a secret must not stand in the inventory", forms, "put it into a file, mode 0600, and write file:/its/path"
    )


def host_port(value: Scalar) -> tuple[str, str]:
    """An endpoint: (scheme or "", `host:port`). IPv6 stands in brackets."""
    written = text(value)
    if "@" in written:
        raise Wrong("an endpoint with a user or password in it", "host:port", "use etcd.user and etcd.password")
    match = re.fullmatch(r"(?:(https?)://)?(\[[0-9A-Fa-f:.]+\]|[^\[\]:/]+):([0-9]{1,5})/?", written)
    if match is None:
        raise Wrong(
            f"{shown(written)} is no endpoint", "host:port, http://host:port or https://host:port; IPv6 as [::1]:2379"
        )
    number = int(match[3])
    if not 1 <= number <= 65535:
        raise Wrong(f"port {number} is not in 1 to 65535")
    checked = check_host(match[2].strip("[]"))
    return match[1] or "", f"[{checked}]:{number}" if ":" in checked else f"{checked}:{number}"
