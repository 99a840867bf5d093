"""`pgha watchdog --stop`: asks the running guard for an orderly stop and waits for its end.

Standard library only; of pgha only the guard's own files.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time

from pgha.watchdog.guard_os import await_readable, now_s

_PAUSE_S = 0.02


def stop(lock_file: str, *, within_s: float) -> bool:
    """Signal the guard that holds the lock; true once nobody does, false when that takes longer than `within_s`.

    Raises PermissionError when the guard is another user's.
    """
    deadline_s = now_s() + within_s
    while _held(lock_file):
        if now_s() >= deadline_s:
            return False
        _stop_holder(lock_file, deadline_s)
    return True


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


def _stop_holder(lock_file: str, deadline_s: float) -> None:
    """Signal the process that wrote itself into the lock, through a descriptor: its number may be another's soon."""
    try:
        with open(lock_file, encoding="ascii") as f:
            pid, born = (int(word) for word in f.read().split())
        process = os.pidfd_open(pid)
    except (ValueError, OSError):  # it is only just starting, or has ended
        time.sleep(_PAUSE_S)
        return
    try:
        if _born(pid) != born:
            time.sleep(_PAUSE_S)
            return
        signal.pidfd_send_signal(process, signal.SIGTERM)
        await_readable(process, deadline_s - now_s())
    except ProcessLookupError:
        return
    finally:
        os.close(process)


def _born(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
            return int(f.read().rsplit(")", 1)[1].split()[19])
    except OSError:
        return -1
