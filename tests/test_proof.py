"""The page of runs says what the file of runs holds, and the file holds runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pgha.ops.judge import Fault, History, Row, Survivors, dump_history
from tests.hosts import proof
from tests.hosts.proof import Run

RUN = Run("2026-11-24T12:00:00Z", "a cut", 22, "0.1.0", "15.18", "3.4.23", "cron", 7, 5.5, 7.0, 0, 0, 0, 900, 2, 12.0)


def test_the_page_is_made_from_the_file() -> None:
    text = proof.PAGE.read_text()
    assert text == proof.page(text, proof.parse(proof.FILE.read_text())), "python -m tests.hosts.proof table"


def test_every_line_is_a_run_and_a_green_one_kept_its_rules() -> None:
    runs = proof.parse(proof.FILE.read_text())
    assert runs and runs == [proof.parse(proof.line(run))[0] for run in runs]
    for run in runs:
        kept = run.outage_s is not None and run.limit_s is not None and run.outage_s <= run.limit_s
        assert run.red or (kept and (run.lost, run.two_writers, run.duplicates) == (0, 0, 0)), run


def test_a_red_run_stays_in_the_table_with_what_came_of_it() -> None:
    runs = [RUN, replace(RUN, outage_s=9.25, red="late"), replace(RUN, red="lost", lost=2, fixed="abc1234")]
    (row,) = [line for line in proof.table(runs).splitlines() if line.startswith("| a cut")]
    assert row == "| a cut | 22 | 3 | 2026-11-24 | 9.25 s | 7 s | 2 | 0 | 12 s | 2; abc1234; open |"
    assert "3 runs of 1 scenarios" in proof.table(runs) and "2 red" in proof.table(runs)


def test_a_line_that_is_no_run_is_named() -> None:
    with pytest.raises(ValueError, match="line 2"):
        proof.parse(proof.line(RUN) + '\n{"at": "now", "what": 1}\n')


def test_a_kept_history_is_judged_again(tmp_path: Path) -> None:
    rows = tuple(Row(1, n, "n1", 1, n * 0.1, n * 0.1 + 0.01) for n in range(1, 9))
    seen = History(0.0, 1.0, rows, Survivors("n1", 0.95, tuple((1, n) for n in range(2, 9))), (Fault("x", 0.5),))
    path = tmp_path / "seen.jsonl"
    path.write_text("".join(line + "\n" for line in dump_history(seen)))
    assert (proof.judge(path).lost, proof.judge(path).two_writers) == (1, 0)
    assert proof.main(["judge", str(path)]) == 1
