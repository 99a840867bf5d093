"""The next command to type below `list`, and the page of the runbook below `explain`. Pure.

May import core, errors and its neighbours in ops.
"""

from __future__ import annotations

from collections.abc import Sequence

from pgha.core.decide import Rule
from pgha.errors import Exit
from pgha.ops.promise import WRITES_WAIT
from pgha.ops.rows import Row
from pgha.ops.target import Target

PASSING = ("starting", "stopping", "cloning", "rewinding", "following", "promoting", "sealed", "waiting")  # by itself


RUNBOOK = "docs/runbook/"


def runbook(code: Exit, verdict: str, rows: Sequence[Row]) -> str:
    """The page for what this looks like; "" when there is nothing to do."""
    if code is Exit.STORE:
        return f"{RUNBOOK}etcd-lost.md"
    if code is Exit.NO_PRIMARY:
        pages = {"TWO PRIMARIES": "split-suspicion", WRITES_WAIT: "read-only-primary"}
        return f"{RUNBOOK}{pages.get(verdict, 'no-primary')}.md"
    if code is Exit.DEGRADED and _silent(rows):
        return f"{RUNBOOK}watchdog-not-running.md"
    return ""


def _silent(rows: Sequence[Row]) -> list[str]:
    return [row.node for row in rows if row.state.startswith("silent") or row.state == "never reported"]


def next_step(target: Target, code: Exit, rows: Sequence[Row]) -> str:
    """What leads on from this page; "" when there is nothing to do."""
    if code in (Exit.STORE, Exit.NO_PRIMARY):
        return target.command("explain")
    silent = _silent(rows)
    if code is Exit.OK:
        return target.command("restart --rolling --pending") if any(row.pending for row in rows) else ""
    if silent:
        return target.command(f"explain {silent[0]}")
    if moved := moves(target, rows):
        return moved
    stuck = [row.node for row in rows if row.alert and row.state not in (*PASSING, "streaming", "primary")]
    return target.command(f"explain {stuck[0]}" if stuck else "list -w")


def moves(target: Target, rows: Sequence[Row]) -> str:
    """Where the primary hangs and is borne with, only an order moves it before its time; "" where it is not so."""
    borne = any(row.problem == Rule.R449_BEAR.sentence for row in rows)
    return target.command("switchover") if borne else ""
