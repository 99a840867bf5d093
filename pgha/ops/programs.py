"""Which PostgreSQL a node has: what is installed, and what its distribution offers. Values, and how they are read.

May import errors and host values. `ops.host_programs` asks hosts, `LocalReach` this machine.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pgha.errors import Refused
from pgha.host import Host

SAID = "postgres (PostgreSQL) "
ASK_S = 10.0


@dataclass(frozen=True, slots=True)
class Package:
    """One of those that PostgreSQL was installed from. offered: every version that can be had, the candidate first."""

    name: str
    installed: str
    candidate: str
    offered: tuple[str, ...] = ()

    @property
    def is_behind(self) -> bool:
        """Another version than the candidate is installed."""
        return self.installed != self.candidate


@dataclass(frozen=True, slots=True)
class Programs:
    """installed: as a server started now would name itself (`server_version`). packages: none where it has none, that
    of `postgres` first."""

    installed: str
    packages: tuple[Package, ...] = ()

    @property
    def is_behind(self) -> bool:
        """A package is not what it is to be."""
        return any(package.is_behind for package in self.packages)

    @property
    def coming(self) -> str:
        """The release that is there once the packages are what they are to be: `15.20`."""
        return release_of(self.packages[0].candidate if self.is_behind else self.installed)


class Reach(Protocol):
    """The way to one node's programs."""

    def look(self, *, packages: bool) -> Programs:
        """packages: ask the distribution anew what it offers. Raises PghaError."""
        ...

    def bring(self, packages: Sequence[Package]) -> None:
        """Install these packages' candidates; no running server is touched. Raises PghaError."""
        ...


@dataclass(frozen=True, slots=True)
class LocalReach:
    """A node that is processes of this machine: it runs what lies in this directory, and installs nothing."""

    host: Host
    bin_dir: str

    def look(self, *, packages: bool) -> Programs:  # nobody's packages
        """Its own word. Raises Refused."""
        ran = self.host.run([f"{self.bin_dir}/postgres", "--version"], timeout_s=ASK_S)
        if not ran.ok:
            raise Refused(f"{self.bin_dir}/postgres does not run", ran.tail())
        try:
            return Programs(installed_of(ran.out))
        except ValueError as e:
            raise Refused(f"{self.bin_dir}/postgres is not understood", str(e)) from e

    def bring(self, packages: Sequence[Package]) -> None:
        """There are none."""
        assert not packages


def installed_of(said: str) -> str:
    """What `postgres --version` says, as the server's `server_version` has it. Raises ValueError."""
    if not said.startswith(SAID):
        raise ValueError(f"not a version of PostgreSQL: {said[:80]!r}")
    return said.removeprefix(SAID).strip()


def release_of(version: str) -> str:
    """`15.20` of `15.20 (Debian 15.20-0+deb12u1)`, of `15.20-1.pgdg120+1`, and of `1:15.20`; "" of nothing."""
    found = re.match(r"(?:\d+:)?(\d+(?:\.\d+|(?:beta|rc)\d+)?)", version)
    return found[1] if found else ""


def numbers_of(version: str) -> tuple[int, int]:
    """Major and minor release, to compare; what comes before a release of its own counts as its first."""
    found = re.match(r"(\d+)(?:\.(\d+))?", release_of(version))
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)


def parse_policy(text: str) -> tuple[Package, ...]:
    """The answer of `apt-cache policy` (LC_ALL=C) for packages that are installed."""
    found: list[Package] = []
    name, installed, candidate, offered = "", "", "", list[str]()

    def over() -> None:
        if name and installed not in ("", "(none)"):
            wanted = installed if candidate in ("", "(none)") else candidate
            found.append(Package(name, installed, wanted, tuple(sorted(set(offered), key=lambda v: v != wanted))))

    for line in text.splitlines():
        if line and not line[0].isspace():
            over()
            name, installed, candidate, offered = line.strip().removesuffix(":"), "", "", []
        elif line.startswith("  Installed: "):
            installed = line.split()[1]
        elif line.startswith("  Candidate: "):
            candidate = line.split()[1]
        elif version := re.fullmatch(r" (?:\*\*\*|   ) (\S+) -?\d+", line):
            offered.append(version[1])
    over()
    return tuple(found)


def chosen(packages: Sequence[Package], release: str) -> tuple[Package, ...]:
    """The same packages with this release for candidate. Raises LookupError with what is offered instead."""
    if not release:
        return tuple(packages)
    found = []
    for package in packages:
        fit = [version for version in package.offered if release_of(version) == release]
        if not fit:
            there = sorted({release_of(version) for version in package.offered}, key=numbers_of)
            raise LookupError(f"{package.name} is offered as {', '.join(there) or 'nothing'}")
        found.append(Package(package.name, package.installed, fit[0], package.offered))
    return tuple(found)
