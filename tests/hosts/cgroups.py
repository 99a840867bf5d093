"""A control group for each host: systemd in a container must not meet another one in the same group.

Works with version 2 of cgroups alone, and beside version 1 (there systemd's own hierarchy counts as well).
May import `shell`.
"""

from __future__ import annotations

import contextlib
import os
from functools import partial
from pathlib import Path

from tests.hosts.shell import until

PARENT = "pgha-hosts"
GONE_S = 20.0


def _hierarchies() -> list[Path]:
    """Where systemd keeps its processes: version 2, and the named hierarchy of version 1."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options):
            found.append(Path(before.split()[4]))
    return found


def why_not() -> str:
    """Why no group can be made here; "" when it can."""
    try:
        for root in _hierarchies():
            (root / PARENT / "may").mkdir(parents=True, exist_ok=True)
            (root / PARENT / "may").rmdir()
            with contextlib.suppress(OSError):  # another lab's are in it
                (root / PARENT).rmdir()
    except OSError as e:
        return f"test hosts need control groups of their own: {e}"
    return ""


def make(name: str) -> list[Path]:
    """The group of this name; gives the files into which a process that joins it writes its number."""
    groups = [root / PARENT / name for root in _hierarchies()]
    for group in groups:
        group.mkdir(parents=True, exist_ok=True)
    return [group / "cgroup.procs" for group in groups]


def remove(name: str) -> None:
    """The group and those that a host's systemd made in it are gone; they must be empty."""
    for root in _hierarchies():
        group = root / PARENT / name
        until(partial(_is_gone, group), within_s=GONE_S, what=f"{group} is empty")
        with contextlib.suppress(OSError):
            group.parent.rmdir()


def _is_gone(group: Path) -> bool:
    """Try; a process that was just killed keeps its group for a moment."""
    try:
        for folder, _, _ in os.walk(group, topdown=False):
            os.rmdir(folder)
    except OSError:
        return False
    return True


def left(prefix: str) -> list[str]:
    """The groups whose names begin so."""
    return [str(group) for root in _hierarchies() for group in (root / PARENT).glob(prefix + "*")]
