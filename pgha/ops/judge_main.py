"""The judge as a process of its own: `python -m pgha.ops.judge_main`, JSON lines on stdin and stdout.

The first line of stdin is the task (servers, user, password, rows per second, history file); it is answered by
`ready`. Then one reply for each order: `begin` (open the observed window), `fault` (label, at_s), `status`,
`verdict` (ask the surviving primary for its rows and judge), `end` (the last verdict, and the history is written).
It ends by itself when stdin is closed. May import the judge, its writers and the SQL client; a root of its own.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass, field

from pgha.adapters.client import Answer, Line, Target, now, readable, wait_for
from pgha.adapters.local_judge import save_lines
from pgha.ops.judge import Fault, History, Ident, Row, Survivors, dump_history, verdict
from pgha.ops.judge_writer import ROWS_SQL, Writer

VERIFY_S = 15.0


@dataclass(slots=True)
class Judge:
    """The writers, and what is known so far."""

    targets: list[Target]
    lines: list[Line]
    writers: list[Writer]
    history: str
    start_s: float = 0.0
    faults: list[Fault] = field(default_factory=list)

    def rows(self) -> list[Row]:
        """All rows so far, those on their way included."""
        flying = [row for writer in self.writers if (row := writer.in_flight()) is not None]
        return [row for writer in self.writers for row in writer.rows] + flying

    def step(self, until_s: float, *, order: int | None = None, extra: Line | None = None) -> None:
        """One turn of the loop: until something moves, at most until `until_s`."""
        lines = self.lines + ([extra] if extra is not None else [])
        wait_for(lines, until_s=min([until_s, *(w.next_s() for w in self.writers)]), also=order)
        for writer in self.writers:
            writer.step()

    def newest(self) -> Row | None:
        """The last row acknowledged under the newest epoch."""
        last = [w.last for w in self.writers if w.last is not None]
        return max(last, key=lambda r: (r.epoch, r.acked_s or 0.0), default=None)

    def status(self) -> dict[str, object]:
        """Who acknowledged last, and how much in all; for each node its writer's last problem."""
        newest = self.newest()
        return {
            "node": newest.node if newest else "",
            "epoch": newest.epoch if newest else 0,
            "acked_s": newest.acked_s if newest else None,
            "now_s": now(),
            "acked": sum(w.acked for w in self.writers),
            "problems": {w.line.node: w.problem for w in self.writers if w.problem},
        }

    def survivors(self) -> Survivors | None:
        """The rows on the server that acknowledged under the newest epoch, asked while the writers go on.

        None when none of them answers in time.
        """
        end_s = now() + VERIFY_S
        while now() < end_s and (newest := self.newest()) is not None:
            asked_s = now()
            target = next(t for t in self.targets if t.name == newest.node)
            idents = _idents(self._ask(target, end_s))
            if idents is not None:
                return Survivors(newest.node, asked_s, idents)
            self.step(now() + 0.05)
        return None

    def _ask(self, target: Target, end_s: float) -> Answer:
        line = Line(target)
        line.connect(within_s=2.0)
        try:
            while not line.closed:
                self.step(end_s, extra=line)
                answer = line.advance()
                if answer is not None:
                    return answer
                if line.ready:
                    line.send(ROWS_SQL, within_s=max(0.0, end_s - now()))
            return Answer(problem=line.problem or "no connection")
        finally:
            line.close()

    def verdict(self) -> dict[str, object]:
        """Judge what was seen so far."""
        end_s, survivors = now(), self.survivors()
        history = History(self.start_s or end_s, end_s, tuple(self.rows()), survivors, tuple(self.faults))
        if self.history:
            save_lines(self.history, dump_history(history))
        found = verdict(history)
        return {**asdict(found), "clean": found.clean}

    def obey(self, order: dict[str, object]) -> dict[str, object]:
        """One order, one reply."""
        what = order.get("do")
        if what == "begin":
            self.start_s = now()
            return self.status()
        if what == "fault":
            self.faults.append(Fault(str(order["label"]), float(str(order["at_s"]))))
            return {}
        if what in ("verdict", "end"):
            return self.verdict()
        return self.status() if what == "status" else {"error": f"unknown order: {what!r}"}


def _idents(answer: Answer) -> tuple[Ident, ...] | None:
    if answer.problem or any(row[0] != "f" for row in answer.rows):
        return None
    return tuple((int(row[1] or 0), int(row[2] or 0)) for row in answer.rows)


def build(task: dict[str, object]) -> Judge:
    """The judge for a task. Raises KeyError, TypeError or ValueError for one that is not complete."""
    nodes = task["nodes"]
    assert isinstance(nodes, list)
    user, password, dbname = str(task["user"]), str(task["password"]), str(task["dbname"])
    interval_s = 1.0 / float(str(task.get("rate", 200)))
    bound = task.get("bound") is True
    targets = [Target(str(n["name"]), str(n["host"]), int(n["port"]), user, dbname, password, bound) for n in nodes]
    lines = [Line(target) for target in targets]
    writers = [Writer(number, line, interval_s, now) for number, line in enumerate(lines, 1)]
    return Judge(targets, lines, writers, str(task.get("history", "")))


def _say(body: dict[str, object]) -> None:
    sys.stdout.write(json.dumps(body) + "\n")
    sys.stdout.flush()


def serve(judge: Judge, orders: int) -> None:
    """Write and obey until `end`, or until the other end of stdin is gone."""
    text = b""
    while True:
        judge.step(now() + 1.0, order=orders)
        if not readable(orders):
            continue
        chunk = os.read(orders, 65536)
        text += chunk
        *lines, text = text.split(b"\n")
        for line in lines:
            order = json.loads(line)
            _say(judge.obey(order))
            if order.get("do") == "end":
                return
        if not chunk:
            return


def main() -> int:
    """Read the task, write until told to end. Exit code 2 for a task that is not complete."""
    task = b""
    while not task.endswith(b"\n"):  # byte by byte: nothing behind the first line may be taken from the loop
        byte = os.read(0, 1)
        if not byte:
            return 2
        task += byte
    try:
        judge = build(json.loads(task))
    except (KeyError, TypeError, ValueError, AssertionError) as e:
        _say({"error": f"not a complete task: {e!r}"})
        return 2
    _say({"ready": True, "pid": os.getpid()})
    try:
        serve(judge, 0)
    finally:
        for writer in judge.writers:
            writer.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
