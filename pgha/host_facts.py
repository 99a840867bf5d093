"""What a host says of itself: one fixed shell script, and its answer as values. Pure; changes nothing on the host.

A shell script and not Python, because a bare host has no Python. Paths to look at are its arguments, never its text.
May import nothing of pgha.
"""

from __future__ import annotations

import ipaddress
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

BEGIN, END = "@@pgha facts 1", "@@end"

SCRIPT = r"""
say() { printf '@@%s\n' "$1"; }
say 'pgha facts 1'
say release; cat /etc/os-release 2>/dev/null
say machine; cat /etc/machine-id 2>/dev/null
say hostname; uname -n
say arch; uname -m
say now; date +%s.%N
say glibc; getconf GNU_LIBC_VERSION 2>/dev/null
say python
command -v python3 >/dev/null && python3 -I -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null
say accounts; getent passwd postgres pgha-etcd
say manager; [ -d /run/systemd/system ] && echo systemd
say apt; command -v apt-get
say postgres
for d in "$1" /usr/lib/postgresql/*/bin; do
  [ -x "$d/postgres" ] && [ -x "$d/initdb" ] && printf '%s\t%s\n' "$d" "$("$d/postgres" --version 2>/dev/null)"
done
say etcd
for p in "$2" "$2/etcd" "$(command -v etcd)" /usr/local/bin/etcd /usr/bin/etcd; do
  [ -n "$p" ] && [ -f "$p" ] && [ -x "$p" ] || continue
  printf '%s\t%s\n' "$p" "$("$p" --version 2>/dev/null | head -n 1)"
  break
done
shift 2
say units
systemctl list-units --all --plain --no-legend --no-pager 'postgres*.service' 'etcd*.service' 'patroni*.service' \
  'pgha*.service' cron.service crond.service 2>/dev/null
say sockets; cat /proc/net/tcp /proc/net/tcp6 2>/dev/null
say owners; ss -ltnpH 2>/dev/null
say locales; locale -a 2>/dev/null
say room; df -Pk /var/lib /opt 2>/dev/null | tail -n +2
say pgha; readlink /opt/pgha/current
say paths
for p in "$@"; do
  what=$(stat -L -c '%F/%U/%a' -- "$p" 2>/dev/null || echo absent//)
  printf '%s\t%s\t%s\n' "$p" "$what" "$(ls -A -- "$p" 2>/dev/null | head -n 20 | tr '\n\t' '  ')"
done
say end
"""


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening TCP socket. address: "" for all addresses."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class PathFact:
    """What lies at a path. kind: absent, directory, regular file, ...; entries: a few names, "" for none."""

    kind: str = "absent"
    owner: str = ""
    mode: str = ""
    entries: str = ""

    @property
    def empty(self) -> bool:
        """Absent, or a directory with nothing in it."""
        return self.kind == "absent" or (self.kind == "directory" and not self.entries.strip())


@dataclass(frozen=True, slots=True)
class Facts:
    """One host. clock_s: its wall clock when asked; postgres: directory to major version; builds: to what
    a server started from it would name itself; room_kb: free, by mount.

    units: name to active state. owners: port to the program that listens, where it could be seen.
    """

    release: Mapping[str, str] = field(default_factory=dict)
    machine: str = ""
    hostname: str = ""
    arch: str = ""
    clock_s: float = 0.0
    glibc: str = ""
    python: str = ""
    accounts: tuple[str, ...] = ()
    systemd: bool = False
    apt: bool = False
    postgres: Mapping[str, int] = field(default_factory=dict)
    builds: Mapping[str, str] = field(default_factory=dict)
    etcd: str = ""
    etcd_version: str = ""
    units: Mapping[str, str] = field(default_factory=dict)
    listeners: tuple[Listener, ...] = ()
    owners: Mapping[int, str] = field(default_factory=dict)
    locales: tuple[str, ...] = ()
    room_kb: Mapping[str, int] = field(default_factory=dict)
    pgha: str = ""
    paths: Mapping[str, PathFact] = field(default_factory=dict)

    @property
    def system(self) -> str:
        """`debian 12`."""
        return f"{self.release.get('ID', 'unknown')} {self.release.get('VERSION_ID', '')}".strip()

    def taken(self, address: str, port: int) -> str | None:
        """Why a server could not listen there, None when it could."""
        if not is_taken(self.listeners, address, port):
            return None
        return f"in use by {self.owners[port]}" if port in self.owners else "in use"


def argv(bin_dir: str, etcd: str, paths: Sequence[str]) -> list[str]:
    """How the script, on standard input, is run. bin_dir, etcd: places to look at besides the usual ones, or ""."""
    return ["sh", "-s", "--", bin_dir, etcd, *paths]


def parse(text: str) -> Facts:
    """The script's answer. Raises ValueError when it is not whole (a shell that talks, a cut connection)."""
    lines = text.split("\n")
    if BEGIN not in lines or END not in lines:
        raise ValueError(f"expected {BEGIN!r} to {END!r}, got {text[:80]!r}")
    parts: dict[str, list[str]] = {}
    part: list[str] = []
    for line in lines[lines.index(BEGIN) + 1 : lines.index(END)]:
        if line.startswith("@@"):
            part = parts.setdefault(line[2:], [])
        elif line.strip():
            part.append(line)
    first = {name: (found[0].strip() if found else "") for name, found in parts.items()}
    etcd = _tabbed(parts["etcd"])
    return Facts(
        release=_release(parts["release"]),
        machine=first["machine"],
        hostname=first["hostname"],
        arch=first["arch"],
        clock_s=float(first["now"] or 0),
        glibc=first["glibc"].removeprefix("glibc "),
        python=first["python"],
        accounts=tuple(line.partition(":")[0] for line in parts["accounts"]),
        systemd=first["manager"] == "systemd",
        apt=bool(first["apt"]),
        postgres={d: int(m[1]) for d, said in _tabbed(parts["postgres"]) if (m := re.search(r"\) (\d+)", said))},
        builds={d: said.partition(") ")[2] for d, said in _tabbed(parts["postgres"]) if ") " in said},
        etcd=etcd[0][0] if etcd else "",
        etcd_version=etcd[0][1].removeprefix("etcd Version:").strip() if etcd else "",
        units={w[0]: w[2] for line in parts["units"] if len(w := line.split()) > 3},
        listeners=listening("\n".join(parts["sockets"])),
        owners=dict(_owners(parts["owners"])),
        locales=tuple(parts["locales"]),
        room_kb={w[5]: int(w[3]) for line in parts["room"] if len(w := line.split()) > 5},
        pgha=first["pgha"],
        paths=dict(_paths(parts["paths"])),
    )


def _tabbed(lines: Sequence[str]) -> list[tuple[str, str]]:
    return [(before, after) for line in lines for before, _, after in [line.partition("\t")]]


def _release(lines: Sequence[str]) -> dict[str, str]:
    pairs = (line.partition("=") for line in lines)
    return {name: value.strip("\"'") for name, _, value in pairs}


def _paths(lines: Sequence[str]) -> Iterator[tuple[str, PathFact]]:
    for line in lines:
        path, _, rest = line.partition("\t")
        what, _, entries = rest.partition("\t")
        kind, owner, mode = [*what.split("/"), "", ""][:3]
        yield path, PathFact(kind, owner, mode, entries)


def _owners(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Of `ss -ltnpH`: `LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=1,fd=3))`."""
    for line in lines:
        words = line.split()
        found = re.search(r'\(\("([^"]+)",pid=(\d+)', line)
        if found and len(words) > 4 and words[3].rpartition(":")[2].isdecimal():
            yield int(words[3].rpartition(":")[2]), f"{found[1]} (pid {found[2]})"


def listening(tables: str) -> tuple[Listener, ...]:
    """The listening sockets of /proc/net/tcp and tcp6 (proc(5): little-endian words in hexadecimal)."""
    rows = (line.split() for line in tables.splitlines())
    return tuple(_listener(row[1]) for row in rows if len(row) > 3 and row[3] == "0A")


def _listener(text: str) -> Listener:
    digits, _, port = text.partition(":")
    words = [int(digits[i : i + 8], 16) for i in range(0, len(digits), 8)]
    raw = b"".join(struct.pack("<I", word) for word in words)
    found = ipaddress.ip_address(raw)
    plain = found.ipv4_mapped or found if isinstance(found, ipaddress.IPv6Address) else found
    return Listener("" if plain.is_unspecified else str(plain), int(port, 16))


def is_taken(listeners: Sequence[Listener], address: str, port: int) -> bool:
    """Somebody listens on this port there, or on all addresses; a host name is taken for any address."""
    named = not re.fullmatch(r"[0-9.]+|[0-9a-fA-F:]+", address)
    return any(x.port == port and (not x.address or named or x.address == address) for x in listeners)
