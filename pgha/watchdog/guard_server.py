"""The server as the guard's child: its start, its end, and the end of everything it left behind.

Standard library only; of pgha only the guard's own files.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence

from pgha.watchdog import guard_tree
from pgha.watchdog.guard_adopt import ENDED, Adopted, is_child
from pgha.watchdog.guard_log import EventLog
from pgha.watchdog.guard_os import now_s
from pgha.watchdog.guard_spawn import Child, spawn

# SIGUSR1: there is a promote file.
SIGNALS = {name: signal.Signals[name] for name in ("SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGUSR1")}
_AGAIN_S = (0.005, 0.2)  # a killing is repeated after the first, later at most every second one
_LOOK_S = 2.0  # how often to look for a server that somebody else started,
_LOOK_AGAIN_S = 0.2  # and for its end
_LEAVE_S = 2.0  # how long the next postmaster waits for killed processes that are still on their way out


class Server:
    """One data directory: the postmaster that runs there, and the tree of processes that may still run.

    data_dir: the directory; directory: the same as the kernel prints it; spared: gives the leaders of the process
    groups that belong to the guard but not to the server. ways: have a descriptor wake the guard, and no more.
    """

    def __init__(
        self,
        data_dir: str,
        spared: Callable[[], set[int]],
        log: EventLog,
        oom_score: str,
        ways: tuple[Callable[[int], None], Callable[[int], None]],
    ) -> None:
        self.data_dir, self.directory = data_dir, os.path.realpath(data_dir)
        self._spared, self._log, self._oom_score, self._uid = spared, log, oom_score, os.getuid()
        self._ways = ways
        self.postmaster = 0
        self._adopted: Adopted | None = None  # no child: fenced as one, but not with the guard itself
        self.started_s = 0.0
        self.exits = 0
        self.exit_status = ""
        self.tree = 0
        self.killing_since_s = 0.0
        self._next_s = 0.0
        self._pause_s = _AGAIN_S[0]
        self.look()

    def adopt(self, postmaster: int, started_s: float, exits: int, exit_status: str) -> None:
        """What a guard before has started, in this very process; or somebody else, and it was taken over."""
        self.postmaster, self.started_s, self.exits, self.exit_status = postmaster, started_s, exits, exit_status
        if postmaster and not is_child(postmaster):
            try:
                self._adopted = Adopted(postmaster, *self._ways)
            except ProcessLookupError:
                self.reaped(postmaster, ENDED)
        self.look()

    def state(self) -> dict[str, object]:
        """The server's part of the guard's state, as it goes to the agent."""
        return {
            "postmaster": self.postmaster if self.tree else 0,  # with SIGKILL pending it does not run
            "tree": self.tree,
            "started_s": self.started_s,
            "exits": self.exits,
            "exit_status": self.exit_status,
            "child": self._adopted is None,
        }

    def start(self, argv: Sequence[str], env: Mapping[str, str], data_dir: str, log_file: str) -> str:
        """Start the postmaster. Gives the reason when it is refused, else "". Raises OSError when fork fails."""
        if os.path.normpath(data_dir) != os.path.normpath(self.data_dir):
            return f"this guard is responsible for {self.data_dir}, not for {data_dir}"
        if self.postmaster:
            return f"a server runs already: postmaster {self.postmaster}"
        self.directory = os.path.realpath(data_dir)  # it may be a link, and lead elsewhere since a clone
        self.look()
        if self.tree:
            return f"{self.tree} processes of a former server are left in {data_dir}"
        self.killing_since_s = 0.0

        def prepare() -> None:
            guard_tree.await_leavers(self.directory, now_s() + _LEAVE_S)
            if pid := guard_tree.remove_stale_pid_file(data_dir):
                os.write(2, f"pgha: removed a postmaster.pid of pid {pid}, which runs no server here\n".encode())

        child = Child(argv, env, death_signal=signal.SIGQUIT, output=log_file, prepare=prepare)
        self.postmaster = spawn(child, self._oom_score)
        self.started_s, self.tree = now_s(), 1
        self._log.note("server started", pid=self.postmaster)
        return ""

    @property
    def is_adopted(self) -> bool:
        """A server runs that this guard has not started."""
        return self._adopted is not None

    @property
    def leaving(self) -> bool:
        """The postmaster was killed, and is not reaped yet."""
        status = guard_tree.status_of(self.postmaster) if self.postmaster else None
        return status is not None and not status.may_run

    def signal(self, name: str) -> None:
        """Signal the postmaster, if there is one. Raises KeyError for a signal that is not allowed."""
        signum = SIGNALS[name]
        self._send(signum)

    def _send(self, signum: int) -> None:
        if self._adopted is not None:
            self._adopted.send(signum)
        elif self.postmaster:
            guard_tree.send(self.postmaster, signum)

    def reaped(self, pid: int, status: str) -> bool:
        """The postmaster is gone? Then everything that it left is killed, unasked: orphans acknowledge commits."""
        if pid != self.postmaster:
            return False
        if self._adopted is not None:
            self._adopted.close()
        self.postmaster, self.started_s, self._adopted = 0, 0.0, None
        self.exits += 1
        self.exit_status = status
        self._log.note("server ended", pid=pid, status=status)
        self.kill()
        return True

    def kill(self) -> None:
        """Kill the tree, and go on (see `due_s`) until nothing of it may run."""
        if not self.killing_since_s:
            self.killing_since_s, self._pause_s = now_s(), _AGAIN_S[0]
        self._send(signal.SIGSTOP)  # it forks; the others come first
        children = self._running_children()
        for pid in sorted(children, key=lambda p: p == self.postmaster):
            guard_tree.send(pid, signal.SIGKILL)
        guard_tree.kill_all(lambda: self._strangers(children))  # found by a walk that takes a millisecond
        self._next_s = now_s() + self._pause_s
        self._pause_s = min(self._pause_s * 2, _AGAIN_S[1])

    def due_s(self) -> float | None:
        """When `turn` wants to be called again even if nothing happens."""
        if self.killing_since_s or not self.postmaster:
            return self._next_s
        return None

    def turn(self) -> None:
        """After anything happened: see whether a killing is over, or kill again; look for foreign servers."""
        if self._adopted is not None and self._adopted.has_ended():
            self.reaped(self.postmaster, ENDED)
        if self.killing_since_s:
            self._count()
            if self.tree == 0:
                took_s, self.killing_since_s = now_s() - self.killing_since_s, 0.0
                self._next_s = now_s() + _LOOK_S
                self._log.note("tree empty", took_s=round(took_s, 4))
            elif now_s() >= self._next_s:
                self.kill()
        elif not self.postmaster and now_s() >= self._next_s:
            self.look()

    def look(self) -> None:
        """Count the tree anew, foreign servers in the directory included."""
        self._count()
        self._next_s = now_s() + (_LOOK_AGAIN_S if self.tree else _LOOK_S)

    def _count(self) -> None:
        """No descendant left? Then look again (see `children_of`), and for those that are none."""
        children = self._running_children() or self._running_children()
        self.tree = len(children) + (0 if children and self.killing_since_s else len(self._strangers(children)))

    def _running_children(self) -> list[int]:
        return [pid for pid in guard_tree.descendants_of(os.getpid(), self._spared()) if self._counts(pid)]

    def _strangers(self, children: list[int]) -> list[int]:
        pids = guard_tree.servers_in(self.directory, self._spared())
        return [pid for pid in pids if pid not in children and self._counts(pid)]

    def _counts(self, pid: int) -> bool:
        """May it still run, and is it ours to end? (sudo in archive_command is neither ours nor a server.)"""
        status = guard_tree.status_of(pid)
        return status is not None and status.may_run and (status.uid == self._uid or status.is_server)
