"""The baseline of the design, section 8: what PostgreSQL alone needs to move a primary.

Three plain servers with pgha's settings and a script that knows everything: it waits for nothing but PostgreSQL and
asks nobody. Its steps are timed one by one; the outage is what the drill's judge saw.
"""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg

from pgha.adapters.local_judge import JudgeProcess
from tests.support.postgres_pair import DRILL_PASSWORD, SHUTDOWNED, PlainServer, free_ports, until

POLL_S = 0.002
SEALED_SQL = """
SELECT current_setting('primary_conninfo') = '' AND EXISTS (SELECT FROM pg_stat_activity
  WHERE backend_type = 'startup' AND wait_event = 'RecoveryRetrieveRetryInterval')"""
Connection = psycopg.Connection[tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class Round:
    """One move: the outage a client saw, and the script's steps in milliseconds, in their order."""

    outage_s: float
    steps_ms: dict[str, float]


class Trio:
    """A primary and two standbys with quorum commit ANY 1 of 2."""

    def __init__(self, root: Path) -> None:
        names = ("n1", "n2", "n3")
        ports = free_ports(3)
        self.servers = [PlainServer(n, root / n, p) for n, p in zip(names, ports, strict=True)]
        self.primary = self.servers[0]

    def others(self, server: PlainServer) -> list[PlainServer]:
        """All but that one."""
        return [s for s in self.servers if s is not server]

    def names_for(self, server: PlainServer) -> str:
        """Its setting of the voters: in force before it is promoted."""
        voters = ", ".join(f'"{s.name}"' for s in self.others(server))
        return f"synchronous_standby_names = 'ANY 1 ({voters})'\n"

    def set_up(self) -> None:
        """From nothing to three servers that replicate."""
        first = self.primary
        first.initdb()
        first.start()
        first.make_roles()
        for standby in self.others(first):
            self.clone(standby)
        first.configure(self.names_for(first))
        first.run("SELECT pg_reload_conf()")

    def clone(self, standby: PlainServer) -> None:
        """Replace a standby's data by a copy of the primary, and start it."""
        standby.clone_from(self.primary, self.names_for(standby))
        self.rejoin(standby)

    def rejoin(self, standby: PlainServer) -> None:
        """Start a server that is to follow the primary, and wait until it streams."""
        self.primary.make_slots([s.name for s in self.others(self.primary)])
        standby.start()
        standby.make_slots([s.name for s in self.others(standby)])
        until(lambda: self.primary.streaming(standby.name), within_s=20, what=f"{standby.name} streams")

    def tear_down(self) -> None:
        """End every process."""
        for server in self.servers:
            server.kill()


@contextlib.contextmanager
def connections(servers: list[PlainServer]) -> Iterator[list[Connection]]:
    """One for each, closed at the end."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(s.connect()) for s in servers]


def wait_ms(condition: Callable[[], bool], what: str) -> None:
    """Poll as often as the design says."""
    until(condition, within_s=20, what=what, every_s=POLL_S)


def sealed(server: PlainServer) -> bool:
    """On a new connection that shows no upstream, the startup process waits for its next try."""
    with server.connect() as c:
        row = c.execute(SEALED_SQL).fetchone()
    return row is not None and row[0] is True


def settings(c: Connection, conninfo: str) -> None:
    """Change the upstream of a running standby."""
    c.execute(f"ALTER SYSTEM SET primary_conninfo = '{conninfo}'".encode())
    c.execute("SELECT pg_reload_conf()")


def position(c: Connection) -> int:
    """How far a sealed standby has replayed."""
    row = c.execute("SELECT pg_last_wal_replay_lsn() - '0/0'::pg_lsn").fetchone()
    assert row is not None
    return int(str(row[0]))


def stop(trio: Trio) -> None:
    """Fast; it is over when pg_control says so."""
    trio.primary.signal(signal.SIGINT)
    wait_ms(lambda: trio.primary.control_state() in SHUTDOWNED, "pg_control says shut down")


def crash(trio: Trio) -> None:
    """SIGKILL to the postmaster and all its children."""
    trio.primary.kill()


def move(trio: Trio, end_primary: Callable[[Trio], None]) -> tuple[float, dict[str, float], PlainServer]:
    """The script. Gives when it began, its steps (the last one still open), and the old primary."""
    old, standbys = trio.primary, trio.others(trio.primary)
    old.run("CHECKPOINT")
    marks: list[tuple[str, float]] = []
    with connections(standbys) as lines:
        began = time.monotonic()
        end_primary(trio)
        marks.append(("end", time.monotonic()))
        for c in lines:
            settings(c, "")
        left = list(standbys)
        while left:
            left = [s for s in left if not sealed(s)]
            time.sleep(POLL_S if left else 0)
        marks.append(("seal", time.monotonic()))
        best = max((0, 1), key=lambda i: position(lines[i]))
        lines[best].execute("SELECT pg_promote(false)")
        wait_ms(lambda: lines[best].execute("SELECT pg_is_in_recovery()").fetchone() == (False,), "promotion")
        marks.append(("promote", time.monotonic()))
        other = 1 - best
        settings(lines[other], standbys[other].conninfo_to(standbys[best]))
        marks.append(("point", time.monotonic()))
        trio.primary = standbys[best]
    steps, last = {}, began
    for name, at in marks:
        steps[name], last = (at - last) * 1000, at
    return began, steps, old


def one_round(trio: Trio, judge: JudgeProcess, kind: str) -> Round:
    """Move the primary once under a writing client, then make the cluster whole again."""
    began, steps, old = move(trio, stop if kind == "switchover" else crash)
    pointed = began + sum(steps.values()) / 1000
    ack = _await_ack(judge, trio.primary.name)
    assert old.process is not None
    old.process.wait(timeout=30)
    with trio.primary.connect() as c:
        c.execute("CHECKPOINT")
    if kind == "switchover":
        old.follow(trio.primary)
        trio.rejoin(old)
    else:
        trio.clone(old)
    judge.order("fault", label=kind, at_s=began)
    return Round(ack - began, {**steps, "client": max(0.0, ack - pointed) * 1000})


def _await_ack(judge: JudgeProcess, node: str) -> float:
    """When that node's first row after the move was acknowledged, as near as asking every 10 ms tells."""
    found: list[float] = []

    def seen() -> bool:
        status = judge.order("status")
        if status["node"] == node and status["acked_s"] is not None:
            found.append(float(str(status["acked_s"])))
        return bool(found)

    until(seen, within_s=20, what=f"{node} acknowledges", every_s=0.01)
    return found[0]


Judged = tuple[list[Round], int, int]  # the rounds, rows lost, two writers


def measure(root: Path, kinds: list[str], rounds: int, say: Callable[[str], None]) -> dict[str, Judged]:
    """For each kind of move: what came of it."""
    trio = Trio(root)
    out: dict[str, Judged] = {}
    try:
        trio.set_up()
        for kind in kinds:
            out[kind] = _judged(trio, kind, rounds, say)
    finally:
        trio.tear_down()
    return out


def _judged(trio: Trio, kind: str, rounds: int, say: Callable[[str], None]) -> Judged:
    nodes = [{"name": s.name, "host": "127.0.0.1", "port": s.port} for s in trio.servers]
    task = {"nodes": nodes, "user": "pgha_drill", "password": DRILL_PASSWORD, "dbname": "pgha_drill"}
    trio.primary.run("TRUNCATE pgha_drill", dbname="pgha_drill")
    done: list[Round] = []
    with JudgeProcess(task) as judge:
        _await_ack(judge, trio.primary.name)
        judge.order("begin")
        for number in range(1, rounds + 1):
            done.append(one_round(trio, judge, kind))
            steps = ", ".join(f"{name} {ms:.0f}" for name, ms in done[-1].steps_ms.items())
            say(f"baseline {kind} {number}/{rounds}: {steps} ms")
            time.sleep(0.5)  # the client writes for a while: not a wait for a condition, a part of the load
        verdict = judge.order("end", within_s=30.0)
    faults = verdict["faults"]
    assert isinstance(faults, list)
    done = [Round(float(f["outage_s"]), r.steps_ms) for f, r in zip(faults, done, strict=True)]
    return done, int(str(verdict["lost"])), int(str(verdict["two_writers"]))
