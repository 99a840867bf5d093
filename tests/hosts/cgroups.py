"""A control group for each host: systemd in a container must not meet another one in the same group.

Works with version 2 of cgroups alone, and beside version 1 (there systemd's own hierarchy counts as well).
Standard library only.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

PARENT = "pgha-hosts"


def _hierarchies() -> list[Path]:
    """Where systemd keeps its processes: version 2, and the named hierarchy of version 1."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options):
            found.append(Path(before.split()[4]))
    return found


def join(name: str) -> None:
    """Put this process, and what it starts, into the group of this name."""
    for root in _hierarchies():
        group = root / PARENT / name
        group.mkdir(parents=True, exist_ok=True)
        (group / "cgroup.procs").write_text(str(os.getpid()))


def remove(name: str) -> None:
    """The group and those that a host's systemd made in it are gone; they must be empty."""
    for root in _hierarchies():
        group = root / PARENT / name
        for folder, _, _ in os.walk(group, topdown=False):
            os.rmdir(folder)
        with contextlib.suppress(OSError):
            group.parent.rmdir()


def left(prefix: str) -> list[str]:
    """The groups whose names begin so."""
    return [str(group) for root in _hierarchies() for group in (root / PARENT).glob(prefix + "*")]
