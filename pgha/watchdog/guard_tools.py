"""Tools (pg_basebackup, pg_rewind, ...) that the guard runs for its agent, and that end with it.

Standard library only; of pgha only the guard's own files.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence

from pgha.watchdog import guard_tree
from pgha.watchdog.guard_log import EventLog
from pgha.watchdog.guard_os import now_s
from pgha.watchdog.guard_spawn import Child, spawn

TAIL_BYTES = 4096

Answer = Callable[[int, int, str], None]
"""Takes the number of the order, the exit code (negative: signal) and the end of the output."""


class _Tool:
    __slots__ = ("deadline_s", "killed", "order", "output", "tail")

    def __init__(self, order: int, output: int, deadline_s: float) -> None:
        self.order, self.output, self.deadline_s = order, output, deadline_s
        self.tail, self.killed = b"", False


class Tools:
    """The tools at work; each leads a process group of its own.

    watch, unwatch: have a descriptor's readiness reported to `read`.
    """

    def __init__(
        self,
        watch: Callable[[int], None],
        unwatch: Callable[[int], None],
        answer: Answer,
        log: EventLog,
        oom_score: str,
    ) -> None:
        self._watch, self._unwatch, self._answer, self._log = watch, unwatch, answer, log
        self._oom_score = oom_score
        self._tools: dict[int, _Tool] = {}

    def pids(self) -> set[int]:
        """The tools' pids, which are their process groups too."""
        return set(self._tools)

    def start(self, order: int, argv: Sequence[str], env: Mapping[str, str], deadline_s: float) -> None:
        """Start one; `order` is given back with its answer. Raises OSError when fork fails."""
        ours, theirs = os.pipe()
        os.set_blocking(ours, False)
        try:
            pid = spawn(Child(argv, env, death_signal=signal.SIGKILL, output=theirs), self._oom_score)
        finally:
            os.close(theirs)
        self._tools[pid] = _Tool(order, ours, deadline_s)
        self._watch(ours)
        self._log.note("tool started", pid=pid, program=argv[0])

    def read(self, fd: int) -> None:
        """Take what a tool has written."""
        for tool in self._tools.values():
            if tool.output == fd:
                self._read(tool)

    def ending(self, pid: int) -> None:
        """Before a tool is reaped, while nobody else can get its number: end its whole group."""
        if pid in self._tools:
            guard_tree.send_group(pid, signal.SIGKILL)

    def reaped(self, pid: int, code: int) -> bool:
        """Was that a tool? Then it is answered for."""
        tool = self._tools.pop(pid, None)
        if tool is None:
            return False
        self._read(tool)
        self._close(tool)
        self._log.note("tool ended", pid=pid, code=code)
        if tool.order:
            self._answer(tool.order, code, tool.tail.decode("utf-8", "replace"))
        return True

    def due_s(self) -> float | None:
        """The earliest deadline."""
        return min((t.deadline_s for t in self._tools.values() if not t.killed), default=None)

    def turn(self) -> None:
        """Kill those whose deadline has passed."""
        now = now_s()
        for pid, tool in self._tools.items():
            if not tool.killed and now >= tool.deadline_s:
                self._kill(pid, tool)

    def kill_all(self) -> None:
        """The agent that ordered them is gone. The next one counts its orders anew: no answer must reach it."""
        for pid, tool in self._tools.items():
            tool.order = 0
            self._kill(pid, tool)

    def all_gone(self) -> bool:
        """None of them may run any more (one with SIGKILL pending may hang in I/O for long)."""
        states = (guard_tree.status_of(pid) for pid in self._tools)
        return not any(status is not None and status.may_run for status in states)

    def _kill(self, pid: int, tool: _Tool) -> None:
        tool.killed = True
        guard_tree.send_group(pid, signal.SIGKILL)

    def _read(self, tool: _Tool) -> None:
        if tool.output < 0:
            return
        try:
            while data := os.read(tool.output, 65536):
                tool.tail = (tool.tail + data)[-TAIL_BYTES:]
        except BlockingIOError:
            return
        self._close(tool)

    def _close(self, tool: _Tool) -> None:
        if tool.output >= 0:
            self._unwatch(tool.output)
            os.close(tool.output)
            tool.output = -1
