"""`pgha pause` and `pgha resume` as they are typed: exit codes, and nothing written where nothing may be."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pgha.adapters.memory import MemoryStore
from pgha.cli import main as cli
from pgha.cli import sources
from pgha.errors import Exit
from pgha.ops import status
from pgha.ops.status import Seen
from tests.ops.cases import NOW, PAUSE, TARGET, leader, member, order, seen
from tests.ops.test_switchover import Clock

PAUSED = seen(key=leader(paused=PAUSE))
GONE = seen(member("n1", written_at=NOW - 60.0), key=leader(paused=PAUSE))
ASK = ["pause", "--for", "30m", "--reason", "new kernel"]
CASES: dict[str, tuple[list[str], Seen, Exit, str]] = {
    "no length": (["pause", "--reason", "x"], seen(), Exit.USAGE, "--for"),
    "no reason": (["pause", "--for", "30m"], seen(), Exit.USAGE, "--reason"),
    "an empty reason": (["pause", "--for", "30m", "--reason", ""], seen(), Exit.USAGE, "--reason"),
    "no unit": (["pause", "--for", "30", "--reason", "x"], seen(), Exit.USAGE, "accepted: 5s to 7d"),
    "the plan only": ([*ASK, "--dry-run"], seen(), Exit.OK, "plan: pause shop for 30m: new kernel"),
    "no answer": (ASK, seen(), Exit.DECLINED, "declined; nothing was changed"),
    "paused already": ([*ASK, "-y"], PAUSED, Exit.REFUSED, "next: pgha resume"),
    "another order": ([*ASK, "-y"], seen(asked=order()), Exit.BUSY, "anna@desk"),
    "no store": ([*ASK, "-y"], replace(seen(), down="silent"), Exit.STORE, "the store gave no answer"),
    "not paused": (["resume", "-y"], seen(), Exit.REFUSED, "the cluster is not paused"),
    "its plan only": (["resume", "--dry-run"], PAUSED, Exit.OK, "plan: resume shop"),
    "a silent holder": (["resume", "-y"], GONE, Exit.REFUSED, "next: pgha resume --holder-down n1"),
    "vouched for": (["resume", "--holder-down", "n1", "--dry-run"], GONE, Exit.OK, "you say that n1 is off"),
    "for another": (["resume", "--holder-down", "n2", "-y"], GONE, Exit.USAGE, "n1 does"),
    "that reports": (["resume", "--holder-down", "n1", "-y"], PAUSED, Exit.REFUSED, "n1 is not down"),
    "a switchover meanwhile": (["switchover", "-y"], PAUSED, Exit.REFUSED, "next: pgha resume"),
    "a failover meanwhile": (["failover", "-y"], GONE, Exit.REFUSED, "next: pgha resume --holder-down n1"),
    "a list": (["list"], PAUSED, Exit.DEGRADED, "! PAUSED: new kernel on n1; asked by anna@desk 2m ago, 28m left"),
    "a list without a primary": (["list"], GONE, Exit.NO_PRIMARY, "shop  PAUSED, no primary"),
    "a reason why": (["explain"], PAUSED, Exit.DEGRADED, "! PAUSED: new kernel on n1"),
}


@pytest.mark.parametrize("case", CASES)
def test_it_ends_with_its_code_says_why_and_writes_nothing(
    case: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words, look, code, said = CASES[case]
    clock = Clock()
    store = MemoryStore(clock, threaded=False)
    monkeypatch.setattr(sources, "target_of", lambda choice: TARGET)
    monkeypatch.setattr(sources, "open_store", lambda access: store)
    monkeypatch.setattr(sources, "clock", lambda: clock)
    monkeypatch.setattr(status, "gather", lambda *args, **more: look)
    before = store.keyspace.revision
    assert cli.run(words) == code
    shown = capsys.readouterr()
    assert said in shown.out + shown.err
    assert store.keyspace.revision == before
