"""The guard becomes a newer one by exec, in the same process: parent and subreaper of the server it stays.

Lock, deadline, incarnation, the server and the agent with its socket go along; the agent watches over the exec, and is
replaced by a fresh one as soon as the new guard is there. Standard library only; of pgha only the guard's own files.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence

from pgha.watchdog import guard_tree
from pgha.watchdog.guard_log import EventLog
from pgha.watchdog.guard_os import now_s
from pgha.watchdog.guard_spawn import Child, spawn

FORMAT = 1  # of what one guard leaves to the next
PROTOCOL = 1  # of the lines between guard and agent: an agent of another one has its guard replaced
RESUME, REHEARSE = "--resume", "--rehearse"
MARGIN_S = 1.5  # no exec this close to the deadline: nobody keeps it meanwhile
_REHEARSAL_S = 10.0
_HELD_BACK = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)  # until the new guard has its handlers
_TEXTS = ("incarnation", "oom_score", "data_dir", "exit_status")
_COUNTS = ("generation", "lock", "postmaster", "exits", "agent", "agent_fd", "log_writer")
_TIMES = ("started_s", "agent_started_s")


class Handover:
    """What one guard leaves to the next one; values by name, checked."""

    def __init__(self, values: Mapping[str, object]) -> None:
        """Raises ValueError."""
        if values.get("format") != FORMAT:
            raise ValueError(f"the running guard hands over format {values.get('format')!r}, this one knows {FORMAT}")
        self.values = dict(values)
        for kind, names in ((str, _TEXTS), (int, _COUNTS), (float, _TIMES)):
            if wrong := [name for name in names if not isinstance(values.get(name), kind)]:
                raise ValueError(f"the running guard hands over no {', '.join(wrong)}")
        if not isinstance(values.get("deadline_s"), float | None) or "deadline_s" not in values:
            raise ValueError("the running guard hands over no deadline_s")

    @classmethod
    def parse(cls, text: str) -> Handover:
        """Raises ValueError."""
        body: object = json.loads(text)
        if not isinstance(body, dict):
            raise ValueError("the running guard hands over no object")
        return cls(body)

    def text(self, name: str) -> str:
        """One of the texts."""
        return str(self.values[name])

    def count(self, name: str) -> int:
        """One of the whole numbers."""
        return int(str(self.values[name]))

    def time_s(self, name: str) -> float:
        """One of the moments of BOOTTIME."""
        return float(str(self.values[name]))

    def __str__(self) -> str:
        return json.dumps(self.values, separators=(",", ":"))


class Restart:
    """A wish to be replaced, from the asking to the exec.

    argv: the command line of the next guard, to which `--resume TEXT` is added; None: it can't be replaced.
    """

    def __init__(self, argv: Sequence[str] | None, log: EventLog, oom_score: str) -> None:
        self._argv, self._log, self._oom_score = argv, log, oom_score
        self._asked_s = self._rehearsal_s = 0.0
        self._rehearsed = False
        self.rehearsal = 0

    def ask(self) -> None:
        """It is wanted; the answer is in the log."""
        if self._argv is None:
            self._log.note("restart refused", why="this guard does not know its own command line")
        elif not self._asked_s:
            self._asked_s = now_s()
            self._log.note("restart asked for")

    def due_s(self) -> float | None:
        """When `turn` wants to be called again even if nothing happens."""
        if self.rehearsal:
            return self._rehearsal_s + _REHEARSAL_S
        return now_s() + 0.05 if self._asked_s else None

    def turn(self, look: Callable[[], Handover | None]) -> None:
        """One step: the next guard is tried in a child; when it works, and nothing is in the way, it takes over.

        look: gives what is to be handed over, None while something is in the way.
        """
        if not self._asked_s:
            return
        if self.rehearsal:
            if now_s() >= self._rehearsal_s + _REHEARSAL_S:
                guard_tree.send(self.rehearsal, signal.SIGKILL)
            return
        handover = look()
        if handover is None:
            return
        if self._rehearsed:
            self._become(handover)
        else:
            self._rehearse(handover)

    def reaped(self, pid: int, code: int) -> bool:
        """Was that the rehearsal? One that failed ends the wish: this guard stays."""
        if pid != self.rehearsal:
            return False
        self.rehearsal = 0
        self._rehearsed = code == 0
        if code != 0:
            self._asked_s = 0.0
            self._log.note("restart refused", why=f"the next guard does not start: {code}; its output has more")
        return True

    def _rehearse(self, handover: Handover) -> None:
        assert self._argv is not None
        self._rehearsal_s = now_s()
        try:
            child = Child([*self._argv, REHEARSE, str(handover)], os.environ, death_signal=signal.SIGKILL)
            self.rehearsal = spawn(child, self._oom_score)
        except OSError as e:
            self._asked_s = 0.0
            self._log.note("restart refused", why=str(e))

    def _become(self, handover: Handover) -> None:
        """Does not return unless the exec fails, and then this guard goes on."""
        assert self._argv is not None
        kept = [fd for fd in (handover.count("lock"), handover.count("agent_fd")) if fd >= 0]
        signal.pthread_sigmask(signal.SIG_BLOCK, _HELD_BACK)
        try:
            for fd in kept:
                os.set_inheritable(fd, True)
            os.execve(self._argv[0], [*self._argv, RESUME, str(handover)], os.environ)  # noqa: S606
        except OSError as e:
            for fd in kept:
                os.set_inheritable(fd, False)
            self._asked_s, self._rehearsed = 0.0, False
            self._log.note("restart refused", why=str(e))
        finally:
            let_signals_in()


def let_signals_in() -> None:
    """Those that were held back over the exec."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD_BACK)


def again_argv(args: Sequence[str]) -> list[str] | None:
    """How this very program is started again, its own interpreter and options included; None when it can't be known.

    args: those of its options that were handed to the watchdog's entry.
    """
    head = sys.orig_argv[: len(sys.orig_argv) - len(args)]
    if sys.orig_argv[len(head) :] != list(args) or not head or not sys.executable:
        return None
    if len(head) > 1 and not head[1].startswith("-"):
        head[1] = os.path.abspath(head[1])
    return [sys.executable, *head[1:], *without_resume(args)]


def without_resume(args: Sequence[str]) -> list[str]:
    """The options without what an earlier guard has handed over."""
    if RESUME not in args:
        return list(args)
    at = list(args).index(RESUME)
    return [*args[:at], *args[at + 2 :]]
