"""Where the machine gets Debian's packages from: read from apt's own configuration, never written down here.

May import `shell`.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from tests.hosts.shell import LabError, must


@dataclass(frozen=True, slots=True)
class Source:
    """One suite of one mirror, e.g. suite `bookworm-security`."""

    uri: str
    suite: str
    components: tuple[str, ...]

    @property
    def plain(self) -> str:
        """Its address as a host behind the lab's proxy asks for it: always over HTTP."""
        parts = urlsplit(self.uri)
        return urlunsplit(("http", parts.netloc.rpartition("@")[2], parts.path, "", ""))


def of_machine() -> list[Source]:
    """Debian's own sources, as apt is configured here. Raises LabError when there is none."""
    layout = "$(REPO_URI) $(RELEASE) $(COMPONENT)"
    said = must(["apt-get", "indextargets", "--format", layout, "Created-By: Packages", "Origin: Debian"])
    found: dict[tuple[str, str], list[str]] = {}
    for line in said.splitlines():
        uri, suite, component = line.split()
        if urlsplit(uri).scheme in ("http", "https"):
            components = found.setdefault((uri, suite), [])
            components += [component] if component not in components else []
    if not found:
        raise LabError("apt knows no source of Debian's packages here: run apt-get update and look at its answer")
    return [Source(uri, suite, tuple(components)) for (uri, suite), components in found.items()]


def for_release(sources: list[Source], release: str) -> list[Source]:
    """The same mirrors' suites for another release of Debian, e.g. `trixie`."""
    mine = main_suite(sources)
    return [Source(s.uri, release + s.suite.removeprefix(mine), s.components) for s in sources]


def main_suite(sources: list[Source]) -> str:
    """The release the machine's sources are for: the shortest of their suites' names."""
    return min((s.suite for s in sources), key=len)


def main_mirror(sources: list[Source]) -> str:
    """The mirror of the release itself."""
    suite = main_suite(sources)
    return next(s.uri for s in sources if s.suite == suite)


def sources_list(sources: list[Source]) -> str:
    """As a file for /etc/apt/sources.list."""
    return "".join(f"deb {s.plain} {s.suite} {' '.join(s.components)}\n" for s in sources)
