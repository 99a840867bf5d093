"""The few kernel calls of the guard that the standard library lacks, and its clock.

Standard library only; may import nothing of pgha.
"""

from __future__ import annotations

import ctypes
import os
import select
import time

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_TFD_TIMER_ABSTIME = 1
_MCL_CURRENT, _MCL_ONFAULT = 1, 4
_OOM_SCORE = "-900"

_libc = ctypes.CDLL(None, use_errno=True)


class _Timespec(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


class _Timer(ctypes.Structure):
    _fields_ = [("interval", _Timespec), ("value", _Timespec)]


def now_s() -> float:
    """Seconds of CLOCK_BOOTTIME: counts suspend, never steps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def await_readable(fd: int, within_s: float) -> bool:
    """Wait for a descriptor to be readable, at most so long; true when it is."""
    return bool(select.select([fd], [], [], max(0.0, within_s))[0])


def become_subreaper() -> None:
    """Orphans of all descendants become children of this process (prctl(2)). Raises OSError."""
    if _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def die_with_parent(signum: int) -> None:
    """This process gets `signum` when the thread that forked it ends (prctl(2)). Raises OSError.

    The caller must look at os.getppid() afterwards: the parent may be dead already.
    """
    if _libc.prctl(_PR_SET_PDEATHSIG, signum, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")


def stay_in_memory() -> bool:
    """Keep the pages in use from being paged out, where the limits allow it; true when they do.

    A guard whose code must be read from a hung disk first can't kill anything. Not inherited by children.
    """
    return int(_libc.mlockall(_MCL_CURRENT | _MCL_ONFAULT)) == 0


def spare_from_oom() -> str:
    """Make the kernel prefer other victims, where allowed. Gives the former score for the children, "" if unchanged."""
    try:
        with open("/proc/self/oom_score_adj", "r+", encoding="ascii") as f:
            former = f.read().strip()
            f.seek(0)
            f.write(_OOM_SCORE)
            f.flush()
    except OSError:
        return ""
    return former


class AlarmClock:
    """A timer on CLOCK_BOOTTIME as a readable descriptor: unlike the timeout of poll(2) it counts suspend."""

    def __init__(self) -> None:
        self._fd = int(_libc.timerfd_create(time.CLOCK_BOOTTIME, os.O_NONBLOCK | os.O_CLOEXEC))
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create(CLOCK_BOOTTIME)")
        self._at_s: float | None = None

    def fileno(self) -> int:
        """The descriptor, readable once the time has come."""
        return self._fd

    def set(self, at_s: float | None) -> None:
        """Ring at this absolute BOOTTIME (at once when it has passed); None: never. Raises OSError."""
        if at_s == self._at_s:
            return
        seconds, nanoseconds = 0, 0  # disarms
        if at_s is not None:
            at_s = max(at_s, 0.001)
            seconds, nanoseconds = int(at_s), int(at_s % 1 * 1e9)
        timer = _Timer(_Timespec(0, 0), _Timespec(seconds, nanoseconds))
        if _libc.timerfd_settime(self._fd, _TFD_TIMER_ABSTIME, ctypes.byref(timer), None) != 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")
        self._at_s = at_s

    def drain(self) -> None:
        """Take the ring; the clock must be set anew."""
        try:
            os.read(self._fd, 8)
        except BlockingIOError:
            return
        self._at_s = None

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._fd)
