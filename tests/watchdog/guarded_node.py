"""A node on this machine for a test: node file, data directory, watchdog, and the agents that its guard starts."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pgha.nodefile import NodeFile, Peer, StoreAccess, dump
from pgha.watchdog.guard_os import now_s
from pgha.watchdog.guard_tree import descendants_of, status_of

CHECKOUT = Path(__file__).resolve().parents[2]
USER = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
AS_USER = USER if os.geteuid() == 0 else None
ENV = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "PYTHONPATH": str(CHECKOUT), "PYTHONDONTWRITEBYTECODE": "1"}
DRIVER = """
import json, sys
from pgha.watchdog import guard, main
guard.STOP_BUDGET_S = float(sys.argv[2])
sys.exit(main.main(sys.argv[3:], json.loads(sys.argv[1])))
"""

State = dict[str, object]


def until(condition: Callable[[], object], within_s: float, what: str) -> None:
    """Await a condition; AssertionError with `what` when it does not come."""
    end_s = now_s() + within_s
    while not condition():
        assert now_s() < end_s, f"not within {within_s} s: {what}"
        time.sleep(0.005)


def alive(pid: int) -> bool:
    """May this process still run?"""
    status = status_of(pid)
    return status is not None and status.may_run


def stopped(pid: int) -> bool:
    """Did SIGSTOP reach it?"""
    return "\nState:\tT" in Path(f"/proc/{pid}/status").read_text()


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """The process is in a cgroup freezer: SIGKILL stays pending, as it does in I/O that hangs. Skips without one."""
    group = Path(f"/sys/fs/cgroup/freezer/pgha-test-{pid}")
    if not os.access(group.parent, os.W_OK):
        pytest.skip("no cgroup freezer (v1) to write to")
    group.mkdir()
    try:
        (group / "cgroup.procs").write_text(str(pid))
        (group / "freezer.state").write_text("FROZEN")
        until(lambda: (group / "freezer.state").read_text() == "FROZEN\n", 2, "it is frozen")
        yield
    finally:
        (group / "freezer.state").write_text("THAWED")
        until(lambda: not (group / "cgroup.procs").read_text(), 5, "the thawed one is dead")
        group.rmdir()


class Refusal(Exception):
    """The fake agent's call failed: the name of the exception, then its text."""


class AgentHandle:
    """One life of the fake agent. `states`: all it was told, the newest last; `at_s`: when, on its clock."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._lines = connection.makefile("r", encoding="utf-8")
        hello = json.loads(self._lines.readline())
        self.pid: int = hello["pid"]
        self.hello: State = hello["hello"]
        self.states: list[State] = [self.hello]
        self._news = threading.Condition()
        self._answers: dict[int, State] = {}
        self._calls = 0
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for line in self._lines:
                message = json.loads(line)
                with self._news:
                    if "state" in message:
                        self.states.append(message["state"])
                    else:
                        self._answers[message["id"]] = message
                    self._news.notify_all()
        except (OSError, ValueError):
            return

    def order(self, call: str, /, **args: object) -> int:
        """Have it call something, without waiting; gives the number for `answer`."""
        self._calls += 1
        self._socket.sendall(json.dumps({"id": self._calls, "call": call, **args}).encode() + b"\n")
        return self._calls

    def answer(self, number: int, within_s: float = 10.0) -> State:
        """What came of it. Raises Refusal when the call failed."""
        with self._news:
            assert self._news.wait_for(lambda: number in self._answers, within_s), "the agent got no answer"
            message = self._answers[number]
        if "error" in message:
            raise Refusal(f"{message['error']}: {message['text']} {message['because']}")
        return message

    def call(self, name: str, /, **args: object) -> object:
        """Order and result."""
        return self.answer(self.order(name, **args))["result"]

    def told(self, condition: Callable[[State], object], within_s: float = 10.0) -> State:
        """The first state, from the beginning on, that meets the condition."""

        def found() -> State | None:
            return next((state for state in self.states if condition(state)), None)

        with self._news:
            assert self._news.wait_for(lambda: found() is not None, within_s), f"never told: {self.states}"
            state = found()
        assert state is not None
        return state

    def close(self) -> None:
        """Hang up; the agent ends."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            return
        finally:
            self._thread.join(5)
            self._lines.close()
            self._socket.close()


class GuardedNode:
    """A node in `root`, a directory that the database's user owns. `close` ends every process of it."""

    def __init__(self, root: Path, bin_dir: str) -> None:
        self.root, self.bin_dir = root, bin_dir
        self.data, self.state, self.file = root / "data", root / "state", root / "node.json"
        self._make(self.state)
        store = StoreAccess(("127.0.0.1:1",))
        node = NodeFile(
            "shop", "a", str(self.state), str(self.data), str(root), bin_dir, store, {"a": Peer("127.0.0.1", 1)}
        )
        self.file.write_text(dump(node))
        self.file.chmod(0o644)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(root / "control"))
        (root / "control").chmod(0o777)
        self._listener.listen(16)
        self._listener.settimeout(0.1)
        self._agents: queue.Queue[AgentHandle] = queue.Queue()
        self._known: list[AgentHandle] = []
        self._closing = False
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        self._processes: list[subprocess.Popen[bytes]] = []
        self._pids: set[int] = set()

    def _make(self, path: Path) -> None:
        path.mkdir(mode=0o700)
        if AS_USER:
            account = pwd.getpwnam(AS_USER)
            os.chown(path, account.pw_uid, account.pw_gid)

    def _accept(self) -> None:
        while not self._closing:
            try:
                connection, _ = self._listener.accept()
            except TimeoutError:
                continue
            connection.settimeout(None)
            try:
                handle = AgentHandle(connection)
            except ValueError:  # ended before it said hello
                connection.close()
                continue
            self._known.append(handle)
            self._agents.put(handle)

    def popen(self, argv: list[str]) -> subprocess.Popen[bytes]:
        """A process as the database's user, its output in `root/out`."""
        with (self.root / "out").open("ab") as out:
            process = subprocess.Popen(
                argv, user=AS_USER, group=AS_USER, env=ENV, cwd="/", stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
        self._processes.append(process)
        return process

    def watchdog(self, *args: str, budget_s: float = 10.0) -> subprocess.Popen[bytes]:
        """`pgha watchdog --node FILE`, with the fake agent for an agent; budget_s: of an orderly stop."""
        agent = [sys.executable, str(CHECKOUT / "tests/support/fake_agent.py"), str(self.root / "control")]
        return self.popen(
            [sys.executable, "-c", DRIVER, json.dumps(agent), str(budget_s), "--node", str(self.file), *args]
        )

    def guard(self, budget_s: float = 10.0) -> tuple[subprocess.Popen[bytes], AgentHandle]:
        """A guard in the foreground, and its first agent."""
        process = self.watchdog("--foreground", budget_s=budget_s)
        return process, self.agent()

    def agent(self, within_s: float = 10.0) -> AgentHandle:
        """The next agent that the guard starts."""
        try:
            return self._agents.get(timeout=within_s)
        except queue.Empty:
            raise AssertionError(f"no agent came; output: {(self.root / 'out').read_text()}") from None

    def server_order(self, *settings: str) -> dict[str, object]:
        """The arguments of `start`."""
        argv = [f"{self.bin_dir}/postgres", "-D", str(self.data), *(w for s in settings for w in ("-c", s))]
        env = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
        return {"argv": argv, "env": env, "data_dir": str(self.data), "log_file": str(self.root / "server.log")}

    def start_server(self, agent: AgentHandle) -> int:
        """Start the server by the agent's order and wait until it answers; gives the postmaster's pid."""
        state = agent.answer(agent.order("start", **self.server_order()))["state_then"]
        assert isinstance(state, dict)
        pid = int(state["postmaster"])
        until(lambda: self.serves(pid), 20, "the server answers")
        self._pids.update((pid, *self.server_processes(pid)))
        return pid

    def serves(self, pid: int) -> bool:
        """Does its postmaster.pid say that this postmaster is ready?"""
        try:
            text = (self.data / "postmaster.pid").read_text()
        except FileNotFoundError:
            return False
        return text.startswith(f"{pid}\n") and "ready" in text

    def server_processes(self, postmaster: int) -> list[int]:
        """The postmaster and its children."""
        return [postmaster, *descendants_of(postmaster, ())]

    def events(self) -> list[State]:
        """The guard's log."""
        path = self.state / "guard.log"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def close(self) -> None:
        """End the watchdogs, and whatever of the node is left."""
        for process in self._processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        self._closing = True
        self._thread.join(5)
        self._listener.close()  # an agent that comes now ends at once
        for agent in self._known:
            agent.close()
        for process in self._processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._end_background_guard()
        left = [pid for pid in self._pids if alive(pid) and self._works_here(pid)]
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        until(lambda: not any(alive(pid) for pid in left), 5, "the server is gone")

    def holder(self) -> int:
        """Pid of the guard that wrote itself into the lock, 0 when none did."""
        lock = self.state / "watchdog.lock"
        return int((lock.read_text().split() or ["0"])[0]) if lock.exists() else 0

    def _end_background_guard(self) -> None:
        pid = self.holder()
        if pid and alive(pid) and str(self.file).encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
            os.kill(pid, signal.SIGKILL)
            until(lambda: not alive(pid), 5, "the guard in the background is gone")

    def _works_here(self, pid: int) -> bool:
        try:
            return os.readlink(f"/proc/{pid}/cwd") == str(self.data)
        except OSError:
            return False
