"""An agent without a mind of its own: it does with its guard link what a test says over a Unix socket.

    python fake_agent.py CONTROL_SOCKET --fd N

It says `{"hello": ...}` first and `{"state": ...}` at every change; an order `{"id": 1, "call": "deadline", ...}` gets
`{"id": 1, "result": ..., "took_s": ..., "state_then": ...}` or `{"id": 1, "error": ...,
"text": ...}`. It ends when the test does.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
from dataclasses import asdict

from pgha.errors import PghaError
from pgha.ports import ServerStart
from pgha.watchdog.guard_os import now_s
from pgha.watchdog.guard_parent import Parent
from pgha.watchdog.guard_tree import kill_tree_by_directory
from pgha.watchdog.link import Link

Order = dict[str, object]


class FakeAgent:
    """One agent: a link to the guard, a socket to the test."""

    def __init__(self, control: str, fd: int) -> None:
        self._test = socket.socket(socket.AF_UNIX)
        self._test.connect(control)
        self._saying = threading.Lock()
        self._link = Link(fd)
        self._parent = Parent()
        self._say({"hello": self._state(), "pid": os.getpid()})
        self._link.on_change = lambda: self._say({"state": self._state()})
        self._say({"state": self._state()})

    def run(self) -> None:
        """Obey until the test hangs up."""
        with self._test.makefile("r", encoding="utf-8") as orders:
            for line in orders:
                threading.Thread(target=self._obey, args=(json.loads(line),), daemon=True).start()
        os._exit(3)

    def _obey(self, order: Order) -> None:
        began_s = now_s()
        try:
            answer: Order = {"result": self._do(str(order["call"]), order)}
            answer |= {"took_s": now_s() - began_s, "state_then": self._state()}
        except (OSError, ValueError, PghaError) as e:
            answer = {"error": type(e).__name__, "text": str(e), "because": getattr(e, "because", "")}
        self._say({"id": order["id"], **answer})

    def _do(self, call: str, order: Order) -> object:
        link = self._link
        match call, order:
            case "deadline", {"at_s": float() | None as at_s}:
                link.deadline(at_s)
            case "start", {"argv": list(argv), "env": dict(env), "data_dir": str(data_dir), "log_file": str(log_file)}:
                link.start(ServerStart(argv, env, data_dir, log_file))
            case "signal", {"name": str(name)}:
                link.signal(name)
            case "kill_tree", {"deadline_s": float(deadline_s)}:
                return link.kill_tree(deadline_s=deadline_s)
            case "run_tool", {"argv": list(argv), "deadline_s": float(deadline_s)}:
                return asdict(link.run_tool(argv, {"PATH": "/usr/bin:/bin"}, deadline_s=deadline_s))
            case "kill_by_directory", {"data_dir": str(data_dir), "deadline_s": float(deadline_s)}:
                return kill_tree_by_directory(data_dir, deadline_s)
            case "answers", {"within_s": float(within_s)}:
                return link.answers(within_s)
            case "ask_for_newer", _:
                self._parent.ask_for_newer()
            case "end_silent_guard", _:
                self._parent.kill()
                link.give_up()
            case "say_raw", {"text": str(text)}:
                link._sock.sendall(text.encode())
            case "close", _:
                link.close()
            case "exit", {"code": int(code)}:
                os._exit(code)
            case _:
                raise ValueError(f"no such order: {order}")
        return None

    def _state(self) -> Order:
        link = self._link
        seen: Order = {"closed": link.closed, "stop": link.stop_asked, "armed": link.armed(), "at_s": now_s()}
        return {**asdict(link.state()), **seen}

    def _say(self, message: Order) -> None:
        with self._saying:
            self._test.sendall(json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    FakeAgent(sys.argv[1], int(sys.argv[sys.argv.index("--fd") + 1])).run()
