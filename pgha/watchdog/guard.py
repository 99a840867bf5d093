"""The guard: parent of the agent, of PostgreSQL and of the tools; owns the deadline, and ends the server with it.

One thread, one loop, no disk in the loop (children write, open and exec). Standard library only; of pgha only the
guard's own files: it must work when everything else does not.
"""

from __future__ import annotations

import json
import os
import select
import signal
from collections.abc import Sequence

from pgha.watchdog import guard_os, guard_values
from pgha.watchdog.guard_agent import Agent
from pgha.watchdog.guard_log import EventLog
from pgha.watchdog.guard_os import now_s
from pgha.watchdog.guard_restart import FORMAT, MARGIN_S, PROTOCOL, Handover, Restart, let_signals_in
from pgha.watchdog.guard_server import Server
from pgha.watchdog.guard_tools import Tools

STOP_BUDGET_S = 10.0
FAST_STOP_S = 5.0
_KILL_S = 2.0
_LAST_WORDS_S = 0.5
_TOOLS_PAUSE_S = 0.01
_TRY_AGAIN_S = 1.0
_POLL_S = 0.02
_LEAVE_S = 1.0


class Guard:
    """One life of the guard of one data directory.

    agent_argv: the agent's command line without `--fd N`; agent_output: file of its output, None: the guard's own.
    lock, again: what a guard that takes its place needs: the lock's descriptor, its own command line.
    handover: what the one before has left. incarnation: random, for as long as the process lives.
    """

    def __init__(
        self,
        *,
        data_dir: str,
        log_file: str,
        agent_argv: Sequence[str],
        agent_output: str | None = None,
        lock: int = -1,
        again: Sequence[str] | None = None,
        handover: Handover | None = None,
    ) -> None:
        os.umask(0o077)
        guard_os.become_subreaper()
        guard_os.stay_in_memory()
        self._oom_score = guard_os.spare_from_oom() if handover is None else handover.text("oom_score")
        self.incarnation = os.getrandom(8).hex()
        self._alarm = guard_os.AlarmClock()
        self._wakeup = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._epoll = select.epoll()
        self._watch(self._wakeup[0])
        self._watch(self._alarm.fileno())
        self._log = EventLog(log_file)
        self._agent = Agent(agent_argv, agent_output, self._watch, self._epoll.unregister, self._log)
        self._tools = Tools(self._watch, self._epoll.unregister, self._answer_tool, self._log, self._oom_score)
        self._deadline_s: float | None = None
        self._kill_orders: list[tuple[int, float]] = []
        self._held: tuple[bytes, float] | None = None  # an order to start, while the killed server leaves
        self._lock, self._generation = lock, 0
        self._restart = Restart(again, self._log, self._oom_score)
        self._server = Server(data_dir, self._spared, self._log, self._oom_score, (self._watch, self._epoll.unregister))
        self._told: dict[str, object] = {}
        self._stop_since_s = self._fast_since_s = 0.0
        self._stop_signals = self._stop_agents = 0
        self._done = self._leave = False
        self._take_signals()
        if handover is not None:
            self._take_over(handover)
        self._log.note("guard started", pid=os.getpid(), incarnation=self.incarnation, tree=self._server.tree)

    def run(self) -> None:
        """The guard's life, until an orderly stop is over."""
        while not self._done:
            ready = self._wait()
            self._fence_if_overdue()  # before any word of the agent is read: it may have been away, or we
            self._reap()
            self._server.turn()
            self._tools.turn()
            self._serve(ready)
            self._answer_kill_orders()
            self._obey_held()
            self._stop_turn()
            self._leave_turn()
            self._restart.turn(self._handover)
            self._respawn()
            self._tell()
            self._log.flush()
        self._log.note("guard stopped", tree=self._server.tree)
        self._last_words()

    # -- waiting -----------------------------------------------------------------------------------------------

    def _take_signals(self) -> None:
        signal.set_wakeup_fd(self._wakeup[1], warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._on_stop_signal)
        signal.signal(signal.SIGHUP, lambda *_: self._restart.ask())
        signal.signal(signal.SIGUSR1, self._on_leave_signal)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        let_signals_in()

    def _on_stop_signal(self, *_: object) -> None:
        self._stop_signals += 1

    def _on_leave_signal(self, *_: object) -> None:
        self._leave = True

    def _watch(self, fd: int) -> None:
        self._epoll.register(fd, select.EPOLLIN)

    def _wait(self) -> list[int]:
        """Sleep until something happens or is due. Gives the descriptors of agent and tools that are ready."""
        self._set_alarm()
        if self._agent.fileno() >= 0:
            wanted = select.EPOLLIN | (select.EPOLLOUT if self._agent.backlog else 0)
            self._epoll.modify(self._agent.fileno(), wanted)
        ready = [fd for fd, _ in self._epoll.poll()]
        self._alarm.drain()
        try:
            while os.read(self._wakeup[0], 512):
                pass
        except BlockingIOError:
            pass
        return [fd for fd in ready if fd not in (self._wakeup[0], self._alarm.fileno())]

    def _set_alarm(self) -> None:
        dues = [self._deadline_s, self._server.due_s(), self._tools.due_s(), self._stop_due_s(), self._restart.due_s()]
        dues += [until_s for _, until_s in self._kill_orders]
        dues.append(self._held[1] if self._held else None)
        if self._agent.due_s is not None and self._wants_agent():
            # tools that don't die keep the next agent waiting: their end gives a SIGCHLD, a hanging one is looked at
            dues.append(max(self._agent.due_s, now_s() + (0.0 if self._tools.all_gone() else _TOOLS_PAUSE_S)))
        self._alarm.set(min((due for due in dues if due is not None), default=None))

    # -- the deadline ------------------------------------------------------------------------------------------

    def _fence_if_overdue(self) -> None:
        if self._deadline_s is None or now_s() < self._deadline_s:
            return
        late_s = now_s() - self._deadline_s
        self._deadline_s = None
        self._agent.kill(fenced=True)  # a thawed one must not go on where it was
        self._server.kill()
        self._tools.kill_all()
        self._log.note("deadline passed: server and agent killed", late_s=round(late_s, 4))

    # -- children ----------------------------------------------------------------------------------------------

    def _spared(self) -> set[int]:
        """Leaders of the process groups that are not the server's."""
        return {p for p in (self._agent.pid, self._log.writer, self._restart.rehearsal, *self._tools.pids()) if p}

    def _reap(self) -> None:
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            pid = ended.si_pid
            self._tools.ending(pid)
            self._agent.ending(pid)
            _, wait_status = os.waitpid(pid, 0)
            self._note_end(pid, os.waitstatus_to_exitcode(wait_status))

    def _note_end(self, pid: int, code: int) -> None:
        status = f"exit {code}" if code >= 0 else f"signal {-code}"
        if self._server.reaped(pid, status) or self._tools.reaped(pid, code) or self._log.reaped(pid):
            return
        if self._restart.reaped(pid, code):
            return
        if self._agent.reaped(pid, status):
            self._stop_agents = 0 if code >= 0 else self._stop_agents - 1
            self._tools.kill_all()
            self._kill_orders, self._held = [], None  # nobody waits for an answer any more

    def _wants_agent(self) -> bool:
        """In an orderly stop as well: one that is killed, or was replaced just now, leaves the key unreleased."""
        return not self._stop_since_s or self._stop_agents > 0

    def _respawn(self) -> None:
        due_s = self._agent.due_s
        if due_s is None or not self._wants_agent() or now_s() < due_s or not self._tools.all_gone():
            return
        try:
            self._agent.start(self._oom_score)
            self._told = {}
        except OSError as e:  # a limit on processes or descriptors is no reason to take the server down
            self._agent.due_s = now_s() + _TRY_AGAIN_S
            self._log.note("agent not started", why=str(e))

    # -- the agent's orders ------------------------------------------------------------------------------------

    def _serve(self, ready: list[int]) -> None:
        for fd in ready:
            if fd != self._agent.fileno():
                self._tools.read(fd)
                continue
            self._agent.flush()
            for line in self._agent.receive():
                self._fence_if_overdue()
                if self._agent.fileno() < 0:
                    break
                self._obey(line)

    def _obey(self, line: bytes) -> None:
        order: dict[str, object] = {}
        try:
            order = guard_values.table(json.loads(line))
            refused = self._do(order, guard_values.whole(order["id"]))
        except (ValueError, KeyError, TypeError) as e:
            refused = f"not a valid order: {e!r}"
        except OSError as e:
            refused = f"the system refused: {e}"
        if refused is not None:
            self._tell()  # who has its answer finds the state that goes with it
            self._agent.send({"answer": order.get("id"), "refused": refused})

    def _do(self, order: dict[str, object], number: int) -> str | None:
        """Carry out one order. Gives "" when done, the reason when refused, None when the answer comes later."""
        what = order["do"]
        if what == "ping":
            return ""
        if what == "deadline":
            at_s = order["at_s"]
            self._deadline_s = None if at_s is None else guard_values.number(at_s)
            self._set_alarm()  # in force before the answer
            return ""
        if what == "start":
            if self._server.leaving and self._held is None:
                self._held = (json.dumps(order).encode(), now_s() + _LEAVE_S)
                return None
            return self._server.start(
                guard_values.strings(order["argv"]),
                guard_values.environment(order["env"]),
                guard_values.text(order["data_dir"]),
                guard_values.text(order["log_file"]),
            )
        if what == "signal":
            self._server.signal(guard_values.text(order["name"]))
            return ""
        if what == "kill":
            self._kill_orders.append((number, guard_values.number(order["deadline_s"])))
            self._server.kill()
            return None
        if what == "tool":
            self._tools.start(
                number,
                guard_values.strings(order["argv"]),
                guard_values.environment(order["env"]),
                guard_values.number(order["deadline_s"]),
            )
            return None
        return f"unknown order {what!r}"

    def _obey_held(self) -> None:
        """The start that came before the former postmaster was reaped; refused when that takes too long."""
        if self._agent.fileno() < 0:
            self._held = None
        if self._held is not None and (not self._server.leaving or now_s() >= self._held[1]):
            self._obey(self._held[0])
            self._held = None

    def _answer_kill_orders(self) -> None:
        if not self._kill_orders:
            return
        self._server.turn()
        over = self._server.tree == 0 and not self._server.killing_since_s
        now = now_s()
        self._tell()
        for number, until_s in self._kill_orders:
            if over or now >= until_s:
                self._agent.send({"answer": number, "refused": "", "gone": over})
        self._kill_orders = [] if over else [(n, until_s) for n, until_s in self._kill_orders if now < until_s]

    def _answer_tool(self, number: int, code: int, tail: str) -> None:
        self._agent.send({"answer": number, "refused": "", "code": code, "tail": tail})

    def _tell(self) -> None:
        """Tell the agent whatever is new; a new agent is told everything."""
        state: dict[str, object] = {
            "incarnation": self.incarnation,
            **self._server.state(),
            "deadline_s": self._deadline_s,
            "stop": bool(self._stop_since_s),
            "protocol": PROTOCOL,
        }
        if state != self._told and self._agent.fileno() >= 0:
            self._told = state
            self._agent.send({"state": state})

    # -- a newer guard in this process --------------------------------------------------------------------------

    def _handover(self) -> Handover | None:
        """What the next one needs; None while something is at work that only this one can bring to its end."""
        busy = bool(self._tools.pids()) or bool(self._kill_orders) or self._held is not None
        near = self._deadline_s is not None and now_s() > self._deadline_s - MARGIN_S
        if busy or near or self._stop_since_s or self._server.killing_since_s or not self._agent.is_calm:
            return None
        server, agent = self._server, self._agent
        return Handover({
            "format": FORMAT, "generation": self._generation + 1, "lock": self._lock,
            "incarnation": self.incarnation, "oom_score": self._oom_score, "deadline_s": self._deadline_s,
            "data_dir": server.data_dir, "postmaster": server.postmaster, "started_s": float(server.started_s),
            "exits": server.exits, "exit_status": server.exit_status,
            "agent": agent.pid, "agent_fd": agent.fileno(), "agent_started_s": float(agent.started_s),
            "log_writer": self._log.writer,
        })  # fmt: skip

    def _take_over(self, past: Handover) -> None:
        """Go on where the one before was; its agent is replaced: the next one is of this version."""
        deadline_s = past.values["deadline_s"]
        self._generation, self.incarnation = past.count("generation"), past.text("incarnation")
        self._deadline_s = None if deadline_s is None else guard_values.number(deadline_s)
        self._log.writer = past.count("log_writer")
        if past.count("agent"):
            self._agent.adopt(past.count("agent"), past.count("agent_fd"), past.time_s("agent_started_s"))
        self._server.adopt(
            past.count("postmaster"), past.time_s("started_s"), past.count("exits"), past.text("exit_status")
        )
        self._log.note("guard replaced", pid=os.getpid(), generation=self._generation, tree=self._server.tree)
        self._agent.kill(fenced=True)
        os.write(self._wakeup[1], b"r")  # whoever ended over the exec has had no signal

    # -- orderly stop ------------------------------------------------------------------------------------------

    def _stop_due_s(self) -> float | None:
        if not self._stop_since_s:
            return None
        budget_s = self._stop_since_s + STOP_BUDGET_S
        if self._fast_since_s:
            return min(self._fast_since_s + FAST_STOP_S, budget_s) + (_KILL_S if self._server.killing_since_s else 0.0)
        return budget_s

    def _stop_turn(self) -> None:
        """The agent stops the server and releases; what it leaves is stopped fast, then killed, all in the budget."""
        if not self._stop_since_s:
            if not self._stop_signals:
                return
            self._stop_since_s, self._stop_agents = now_s(), 2
            self._log.note("stop asked for")
        if self._agent.pid or self._wants_agent():
            if now_s() < self._stop_since_s + STOP_BUDGET_S:
                return
            self._agent.kill()
        if not self._fast_since_s:
            self._fast_since_s = now_s()
            self._server.signal("SIGINT")
        kill_s = min(self._fast_since_s + FAST_STOP_S, self._stop_since_s + STOP_BUDGET_S)
        if self._server.postmaster and now_s() < kill_s:
            return
        if self._server.tree and not self._server.killing_since_s:
            self._server.kill()
        self._done = not self._server.tree or now_s() >= kill_s + _KILL_S

    def _leave_turn(self) -> None:
        """A server that was taken over is left as it runs, and nobody ends it any more: the agent goes first."""
        if not self._leave:
            return
        self._leave = False
        if not self._server.is_adopted or self._stop_since_s or self._server.killing_since_s:
            self._log.note("leave refused", why="the server is this guard's child, or at its end")
            return
        self._agent.kill(fenced=True)
        self._deadline_s, self._done = None, True
        self._log.note("the server is left as it runs", pid=self._server.postmaster)

    def _last_words(self) -> None:
        """Have the log written, unless the disk hangs."""
        self._agent.kill()
        self._tools.kill_all()
        until_s = now_s() + _LAST_WORDS_S
        self._log.flush()
        while self._log.writer and now_s() < until_s:
            self._epoll.poll(_POLL_S)
            self._reap()
            self._log.flush()
