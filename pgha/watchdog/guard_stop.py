"""`pgha watchdog --stop`, `--restart`, `--leave`: ask the running guard for its end, its replacement; wait for it.

Standard library only; of pgha only the guard's own files.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time

from pgha.watchdog import guard_tree
from pgha.watchdog.guard_os import await_readable, now_s
from pgha.watchdog.guard_restart import RESUME, Handover

_PAUSE_S = 0.02


def stop(lock_file: str, *, within_s: float) -> bool:
    """Signal the guard that holds the lock; true once nobody does, false when that takes longer than `within_s`.

    Raises PermissionError when the guard is another user's.
    """
    return _ended(lock_file, signal.SIGTERM, within_s)


def leave(lock_file: str, *, within_s: float) -> bool:
    """Have the guard go without the server, which was taken over; true once nobody holds the lock.

    False when it does not: a server that the guard has started ends with it. Raises PermissionError.
    """
    return _ended(lock_file, signal.SIGUSR1, within_s)


def _ended(lock_file: str, signum: int, within_s: float) -> bool:
    deadline_s = now_s() + within_s
    while _held(lock_file):
        if now_s() >= deadline_s:
            return False
        _signal_holder(lock_file, signum, deadline_s)
    return True


def restart(lock_file: str, *, within_s: float) -> str:
    """Have the guard that holds the lock replaced: "done" once a newer one is there and the former agent is gone,
    "absent" when nobody holds the lock, "late" when it takes longer.

    Raises PermissionError when the guard is another user's.
    """
    deadline_s = now_s() + within_s
    before: dict[int, int] = {}  # generation by process; the one that is signalled may be just starting
    while now_s() < deadline_s:
        if not _held(lock_file):
            return "absent"
        holder = _holder(lock_file)
        if holder is not None:
            try:
                pid = holder[1]
                if pid not in before:
                    before[pid] = handed_over(pid)[0]
                    signal.pidfd_send_signal(holder[0], signal.SIGHUP)
                generation, agent = handed_over(pid)
                if generation > before[pid] and guard_tree.status_of(agent) is None:
                    return "done"
            except ProcessLookupError:
                continue
            finally:
                os.close(holder[0])
        time.sleep(_PAUSE_S)
    return "late"


def handed_over(pid: int) -> tuple[int, int]:
    """(generation, pid of the former agent) as the guard's command line has them; (0, 0) for a first one."""
    try:
        with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="replace") as f:
            words = f.read().split("\0")
        past = Handover.parse(words[words.index(RESUME) + 1])
    except (OSError, ValueError, IndexError):
        return 0, 0
    return past.count("generation"), past.count("agent")


def _held(lock_file: str) -> bool:
    try:
        fd = os.open(lock_file, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _signal_holder(lock_file: str, signum: int, deadline_s: float) -> None:
    holder = _holder(lock_file)
    if holder is None:
        time.sleep(_PAUSE_S)
        return
    try:
        signal.pidfd_send_signal(holder[0], signum)
        await_readable(holder[0], deadline_s - now_s())
    except ProcessLookupError:
        return
    finally:
        os.close(holder[0])


def _holder(lock_file: str) -> tuple[int, int] | None:
    """(descriptor, pid) of the process that wrote itself into the lock; its number alone may be another's soon.
    None while it is only just starting, or has ended."""
    try:
        with open(lock_file, encoding="ascii") as f:
            pid, born = (int(word) for word in f.read().split())
        process = os.pidfd_open(pid)
    except (ValueError, OSError):
        return None
    if _born(pid) != born:
        os.close(process)
        return None
    return process, pid


def _born(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
            return int(f.read().rsplit(")", 1)[1].split()[19])
    except OSError:
        return -1
