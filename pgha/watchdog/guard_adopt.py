"""A postmaster that ran before its guard: found again by its identity, watched by a descriptor, ended like a child.

What is promised less than of a child is told ("fence not armed"): it gets no signal when the guard dies.
Standard library only; of pgha only the guard's own files.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
from collections.abc import Callable, Mapping

from pgha.watchdog import guard_os, guard_tree
from pgha.watchdog.guard_restart import FORMAT, Handover

FILE = "adopted.json"  # in the state directory; written by `pgha bootstrap --adopt`
ENDED = "ended (it was no child: its status is not known)"
RENEWED_S = 10.0
"""A guard that comes when guard and agent of before are both dead gives its agent so long for a first renewal: another
node may have taken over meanwhile. The very first one sets no deadline: nobody else can take over from it yet."""


class Adopted:
    """The postmaster by a descriptor of its process: its number alone may be another's soon."""

    def __init__(self, pid: int, watch: Callable[[int], None], unwatch: Callable[[int], None]) -> None:
        """Raises ProcessLookupError when it has ended."""
        self.pid, self._unwatch = pid, unwatch
        self._fd = os.pidfd_open(pid)
        watch(self._fd)

    def has_ended(self) -> bool:
        """Its parent may not have reaped it yet."""
        return bool(select.select([self._fd], [], [], 0)[0])

    def send(self, signum: int) -> None:
        """Nothing happens when it has ended."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            signal.pidfd_send_signal(self._fd, signum)

    def close(self) -> None:
        """It is watched no more."""
        self._unwatch(self._fd)
        os.close(self._fd)


def is_child(pid: int) -> bool:
    """This very process has started it."""
    status = guard_tree.status_of(pid)
    return status is not None and status.parent == os.getpid()


def taken_over(state_dir: str, data_dir: str, lock: int) -> Handover | None:
    """What a guard begins with where a running server was taken over; None where none was, or it has ended since.

    Raises ValueError when the server that was to be taken over is not the one that runs, before it ever was.
    """
    path = f"{state_dir}/{FILE}"
    try:
        with open(path, encoding="utf-8") as f:
            said: object = json.load(f)
    except FileNotFoundError:
        return None
    if not isinstance(said, dict):
        raise ValueError(f"{path} holds no object")
    why = _other_than(said, data_dir)
    if why and said.get("guarded") is not True and guard_tree.servers_in(os.path.realpath(data_dir)):
        raise ValueError(f"the server in {data_dir} is not the one that was to be taken over: {why}")
    if why:
        return None
    again = said.get("guarded") is True
    if not again:
        _write(path, {**said, "guarded": True})
    pid = int(str(said["postmaster"]))
    return Handover({
        "format": FORMAT, "generation": 0, "lock": lock, "incarnation": said["incarnation"],
        "oom_score": guard_os.spare_from_oom(),
        "deadline_s": guard_os.now_s() + RENEWED_S if again and said.get("primary") is True else None,
        "data_dir": data_dir, "postmaster": pid, "started_s": started_s(pid), "exits": 0, "exit_status": "",
        "agent": 0, "agent_fd": -1, "agent_started_s": 0.0, "log_writer": 0,
    })  # fmt: skip


def _other_than(said: Mapping[str, object], data_dir: str) -> str:
    """Why the process of that number is not the postmaster that was looked at; "" when it is."""
    try:
        pid, there = int(str(said["postmaster"])), os.stat(data_dir)
        works_in = os.readlink(f"/proc/{pid}/cwd")
    except (KeyError, ValueError, OSError) as e:
        return str(e)
    if not guard_tree.is_running_server(pid):
        return f"process {pid} is no server"
    if works_in != os.path.realpath(data_dir):
        return f"process {pid} works in {works_in}"
    found = {"born": born(pid), "device": there.st_dev, "inode": there.st_ino}
    return ", ".join(
        f"{name} {value}, then {said.get(name)}" for name, value in found.items() if value != said.get(name)
    )


def born(pid: int) -> int:
    """When the process was started, in the kernel's ticks since boot (field 22 of proc(5)); -1 when there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
            return int(f.read().rsplit(")", 1)[1].split()[19])
    except OSError:
        return -1


def started_s(pid: int) -> float:
    """The same on CLOCK_BOOTTIME, in seconds."""
    return born(pid) / os.sysconf("SC_CLK_TCK")


def _write(path: str, body: Mapping[str, object]) -> None:
    with open(f"{path}.tmp", "w", encoding="utf-8") as f:
        json.dump(body, f)
        f.flush()
        os.fsync(f.fileno())
    os.replace(f"{path}.tmp", path)
