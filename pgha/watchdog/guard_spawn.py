"""Fork and exec for the guard: from its one thread, with a parent-death signal, and nothing inherited by accident.

Standard library only; of pgha only the guard's own files.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Mapping, Sequence

from pgha.watchdog import guard_os

NOT_STARTED = 127
_FILE_MODE = 0o600
# Ignored ones would survive the exec; the guard's handlers would swallow an order that comes before it.
_TO_DEFAULT = (signal.SIGPIPE, signal.SIGHUP, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)


class Child:
    """How a child is to be started.

    death_signal: what it gets when the guard dies; 0: nothing.
    output: the file its output is appended to (to nowhere when it can't be opened: a full disk is no reason not to
    start), or a descriptor; None: the guard's own.
    keep: a descriptor that it inherits under the same number; -1: none.
    prepare: run in the child just before the exec, its output already in place; OSError there ends the child.
    """

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        *,
        death_signal: int = 0,
        output: str | int | None = None,
        keep: int = -1,
        prepare: Callable[[], None] | None = None,
    ) -> None:
        self.argv, self.env, self.death_signal = list(argv), dict(env), death_signal
        self.output, self.keep, self.prepare = output, keep, prepare


def spawn(child: Child, oom_score: str = "") -> int:
    """Start it in a process group of its own and give its pid. A failure after the fork is exit code 127.

    Everything that touches a disk happens in the child: the guard itself must not hang with it.
    oom_score: written to the child's oom_score_adj when not empty. Raises OSError when fork fails.
    """
    guard = os.getpid()
    pid = os.fork()
    if pid == 0:
        _run(child, guard, oom_score)
    with contextlib.suppress(OSError):  # in both processes, whoever comes first; refused once it has called exec
        os.setpgid(pid, pid)
    return pid


def _run(child: Child, guard: int, oom_score: str) -> None:
    try:
        os.setpgid(0, 0)
        signal.set_wakeup_fd(-1)
        for signum in _TO_DEFAULT:
            signal.signal(signum, signal.SIG_DFL)
        if child.death_signal:
            guard_os.die_with_parent(child.death_signal)
            if os.getppid() != guard:
                os._exit(NOT_STARTED)
        _connect(child.output)
        if oom_score:
            _write_oom_score(oom_score)
        if child.prepare is not None:
            child.prepare()
        if child.keep >= 0:
            os.set_inheritable(child.keep, True)
        os.execvpe(child.argv[0], child.argv, child.env)  # noqa: S606
    except (OSError, ValueError) as e:
        os.write(2, f"pgha: {child.argv[0]} was not started: {e}\n".encode())
    finally:
        os._exit(NOT_STARTED)


def _connect(output: str | int | None) -> None:
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    if output is None:
        return
    fd = output if isinstance(output, int) else null
    if isinstance(output, str):
        with contextlib.suppress(OSError):
            fd = os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _FILE_MODE)
    os.dup2(fd, 1)
    os.dup2(fd, 2)


def _write_oom_score(score: str) -> None:
    try:
        with open("/proc/self/oom_score_adj", "w", encoding="ascii") as f:
            f.write(score)
    except OSError:
        return  # only a preference
