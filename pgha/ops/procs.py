"""Processes of this machine, as /proc shows them, and careful signals to them.

Reads files only. May import nothing of pgha: the restarter and the drill use it too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Proc:
    """One living process. start: its start time in clock ticks, which with the pid tells it from a later one.

    cwd and exe are "" when they may not be read (another user's process).
    """

    pid: int
    parent: int
    start: int
    uid: int
    argv: tuple[str, ...]
    cwd: str = ""
    exe: str = ""

    @property
    def program(self) -> str:
        """The name of the running program, without its folder: of the executable, else of argv[0]."""
        return os.path.basename(self.exe.removesuffix(" (deleted)") or (self.argv[0] if self.argv else ""))

    def works_in(self, folder: str) -> bool:
        """Its working directory is the folder or lies below it."""
        return self.cwd == folder or self.cwd.startswith(folder + "/")

    def option(self, name: str) -> str:
        """The argument after `name` (or of `name=...`), "" when it is not there."""
        for i, word in enumerate(self.argv):
            if word == name and i + 1 < len(self.argv):
                return self.argv[i + 1]
            if word.startswith(name + "="):
                return word[len(name) + 1 :]
        return ""


def _link(path: str) -> str:
    try:
        return os.readlink(path).removesuffix(" (deleted)")
    except OSError:
        return ""


def look_at(pid: int) -> Proc | None:
    """The process, None when there is none, or only a zombie of it."""
    base = f"/proc/{pid}"
    try:
        stat = Path(f"{base}/stat").read_text(errors="replace")
        argv = Path(f"{base}/cmdline").read_bytes()
        uid = os.stat(base).st_uid
    except OSError:
        return None
    fields = stat[stat.rindex(")") + 2 :].split()  # the name may hold spaces and brackets
    if fields[0] in "ZX":
        return None
    words = tuple(w.decode(errors="replace") for w in argv.rstrip(b"\0").split(b"\0") if argv)
    return Proc(pid, int(fields[1]), int(fields[19]), uid, words, _link(f"{base}/cwd"), _link(f"{base}/exe"))


def living() -> list[Proc]:
    """All living processes of this machine that are not kernel threads."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    return [p for pid in pids if (p := look_at(pid)) is not None and p.argv]


def is_alive(proc: Proc) -> bool:
    """The very process still lives (same pid, same start)."""
    now = look_at(proc.pid)
    return now is not None and now.start == proc.start


def send(proc: Proc, number: signal.Signals) -> bool:
    """Signal the very process, not one that got its number since. False when it is gone or not ours to signal."""
    try:
        fd = os.pidfd_open(proc.pid)
    except OSError:
        return False
    try:
        if not is_alive(proc):
            return False
        with contextlib.suppress(ProcessLookupError, PermissionError):
            signal.pidfd_send_signal(fd, number)
            return True
        return False
    finally:
        os.close(fd)


def await_end(procs: list[Proc], *, timeout_s: float) -> list[Proc]:
    """Wait until they have all ended; gives those that have not when the time is over."""
    end = time.clock_gettime(time.CLOCK_BOOTTIME) + timeout_s
    left = [p for p in procs if is_alive(p)]
    while left and time.clock_gettime(time.CLOCK_BOOTTIME) < end:
        time.sleep(0.02)
        left = [p for p in left if is_alive(p)]
    return left


def end_all(procs: list[Proc], *, timeout_s: float) -> list[Proc]:
    """SIGTERM, then SIGKILL to what is left when the time is over; gives what survived even that for 2 s."""
    for proc in procs:
        send(proc, signal.SIGTERM)
    left = await_end(procs, timeout_s=timeout_s)
    for proc in left:
        send(proc, signal.SIGCONT)
        send(proc, signal.SIGKILL)
    return await_end(left, timeout_s=2.0)
