"""The agent's end of the socket to its guard (`ports.GuardLink`).

Lines of JSON. One thread reads: it keeps the newest state and hands answers to the callers that wait for them.
May import ports, errors and the guard's clock.
"""

from __future__ import annotations

import itertools
import json
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields

from pgha.errors import Refused
from pgha.ports import GuardState, ServerStart, ToolResult
from pgha.watchdog.guard_os import now_s
from pgha.watchdog.guard_restart import PROTOCOL

ANSWER_S = 2.0
"""How long a guard may take to answer an order beyond the order's own deadline."""
_HELLO_S = 5.0
_STATE = tuple(field.name for field in fields(GuardState))


class GuardSilent(ConnectionError):
    """The guard did not answer in time. Unlike after a ConnectionError of another kind, it may be alive."""


class Link:
    """`ports.GuardLink` on the descriptor that the guard gave to its agent.

    on_change: called by the reading thread when the state changed, the guard died or an orderly stop was asked for.
    closed: the guard is dead; stop_asked: it wants an orderly stop. protocol: the one it speaks, 0: an old one.
    Calls that need an answer raise ConnectionError when the guard is dead or silent.
    """

    def __init__(self, fd: int, on_change: Callable[[], None] = lambda: None) -> None:
        """Waits for the guard's first state. Raises ConnectionError when none comes."""
        self.on_change = on_change
        self.closed = False
        self.stop_asked = False
        self.protocol = PROTOCOL
        self._sock = socket.socket(fileno=fd)
        self._sock.set_inheritable(False)
        self._sock.settimeout(None)
        self._numbers = itertools.count(1)  # 0 is nobody's
        self._news = threading.Condition()
        self._sending = threading.Lock()
        self._answers: dict[int, dict[str, object]] = {}
        self._awaited: set[int] = set()
        self._state: GuardState | None = None
        self._deadline_s: float | None = None
        threading.Thread(target=self._read, name="guard-link", daemon=True).start()
        with self._news:
            self._news.wait_for(lambda: self._state is not None or self.closed, _HELLO_S)
            if self._state is None:
                raise GuardSilent("the guard did not say what it knows")

    def state(self) -> GuardState:
        """The newest state, without waiting."""
        with self._news:
            if self._state is None:
                raise ConnectionError("the guard never said what it knows")
            return self._state

    def armed(self) -> float | None:
        """The deadline in force (BOOTTIME) as the guard last told it; None when disarmed."""
        with self._news:
            return self._deadline_s

    def deadline(self, at_s: float | None) -> None:
        """Kill the whole tree at this absolute BOOTTIME; None disarms. In force when it returns."""
        self._ask({"do": "deadline", "at_s": at_s}, now_s() + ANSWER_S)
        with self._news:
            self._deadline_s = at_s

    def start(self, order: ServerStart) -> None:
        """Start the postmaster as the guard's child. Raises Refused while a tree is left."""
        self._ask(
            {
                "do": "start",
                "argv": list(order.argv),
                "env": dict(order.env),
                "data_dir": order.data_dir,
                "log_file": order.log_file,
            },
            now_s() + ANSWER_S,
        )

    def signal(self, name: str) -> None:
        """Send SIGHUP, SIGINT, SIGQUIT, SIGTERM or SIGUSR1 to the postmaster. Nothing happens when none runs."""
        self._ask({"do": "signal", "name": name}, now_s() + ANSWER_S)

    def kill_tree(self, *, deadline_s: float) -> bool:
        """SIGKILL every process of the server's tree. True once none may run any more; False at the deadline."""
        return self._ask({"do": "kill", "deadline_s": deadline_s}, deadline_s + ANSWER_S).get("gone") is True

    def run_tool(self, argv: Sequence[str], env: Mapping[str, str], *, deadline_s: float) -> ToolResult:
        """Run a tool as the guard's child: it dies with the agent, and at the deadline (code -9)."""
        answer = self._ask(
            {"do": "tool", "argv": list(argv), "env": dict(env), "deadline_s": deadline_s}, deadline_s + ANSWER_S
        )
        code, tail = answer.get("code"), answer.get("tail")
        if not isinstance(code, int) or not isinstance(tail, str):
            raise ConnectionError(f"the guard's answer makes no sense: {answer}")
        return ToolResult(code, tail)

    def answers(self, within_s: float) -> bool:
        """Does the guard answer at all? False when it is dead, stopped, or hangs."""
        try:
            self._ask({"do": "ping"}, now_s() + within_s)
        except Refused:  # an answer too
            return True
        except ConnectionError:
            return False
        return True

    def give_up(self) -> None:
        """From now on the guard counts as dead: whoever waits for it is told so at once."""
        with self._news:
            self.closed = True
            self._news.notify_all()
        self.close()
        self.on_change()

    def close(self) -> None:
        """Leave the guard. It takes that for the agent's death."""
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    def _ask(self, order: dict[str, object], until_s: float) -> dict[str, object]:
        number = next(self._numbers)
        with self._news:
            self._awaited.add(number)
        try:
            self._send({"id": number, **order})
            with self._news:
                self._news.wait_for(lambda: number in self._answers or self.closed, max(0.0, until_s - now_s()))
                answer = self._answers.pop(number, None)
        finally:
            with self._news:
                self._awaited.discard(number)
                self._answers.pop(number, None)
        if answer is None:
            if self.closed:
                raise ConnectionError("the guard is dead")
            raise GuardSilent(f"the guard did not answer within its time: {order['do']}")
        if refused := answer.get("refused"):
            raise Refused(f"the guard refused to {order['do']}", because=str(refused))
        return answer

    def _send(self, message: dict[str, object]) -> None:
        """Whole lines only. A stopped guard reads nothing: orders are far smaller than the socket's buffer."""
        line = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        with self._sending:
            if self.closed:
                raise ConnectionError("the guard is dead")
            try:
                self._sock.sendall(line)
            except OSError as e:
                raise ConnectionError("the guard is dead") from e

    def _read(self) -> None:
        received = b""
        while data := self._receive():
            *lines, received = (received + data).split(b"\n")
            news = [self._take(line) for line in lines]
            if any(news):
                self.on_change()
        with self._news:
            self.closed = True
            self._news.notify_all()
        self.on_change()

    def _receive(self) -> bytes:
        try:
            return self._sock.recv(65536)
        except OSError:
            return b""

    def _take(self, line: bytes) -> bool:
        """Take one line; true when the state changed. Raises ValueError for nonsense."""
        message: object = json.loads(line)
        if not isinstance(message, dict):
            raise ValueError("the guard sent no object")
        with self._news:
            before = (self._state, self.stop_asked)
            if "state" in message:
                self._take_state(message["state"])
            elif message.get("answer") in self._awaited:
                self._answers[message["answer"]] = message
            self._news.notify_all()
            return (self._state, self.stop_asked) != before

    def _take_state(self, body: object) -> None:
        if not isinstance(body, dict):
            raise ValueError("the guard sent no state")
        deadline_s = body.pop("deadline_s")
        self._deadline_s = None if deadline_s is None else float(deadline_s)
        self.stop_asked = bool(body.pop("stop"))
        self.protocol = int(body.get("protocol", 0))
        self._state = GuardState(**{name: body[name] for name in _STATE if name in body})
