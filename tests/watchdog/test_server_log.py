"""Of a server's log the line is told that says why it ended."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pgha.adapters.server_log import ServerLog, telling

STAMP = "2026-11-24 08:00:00.000 UTC [42] "


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        (["LOG:  starting PostgreSQL", "LOG:  database system is ready"], ""),
        (
            ["FATAL:  the database system is starting up", 'FATAL:  lock file "postmaster.pid" is empty'],
            'FATAL: lock file "postmaster.pid" is empty',
        ),
        (
            [
                "LOG:  server process (PID 7) was terminated by signal 6: Aborted",
                'PANIC:  could not write to file "pg_wal/xlogtemp.7": No space left on device',
            ],
            'PANIC: could not write to file "pg_wal/xlogtemp.7": No space left on device',
        ),
        (
            [
                'LOG:  could not bind IPv4 address "127.0.0.1": Address already in use',
                "FATAL:  could not create any TCP/IP sockets",
            ],
            'could not bind IPv4 address "127.0.0.1": Address already in use',
        ),
        (
            ["LOG:  server process (PID 7) was terminated by signal 9: Killed"],
            "server process (PID 7) was terminated by signal 9: Killed",
        ),
        (["pgha: /x/postgres was not started: no such file"], "pgha: /x/postgres was not started: no such file"),
    ],
)  # fmt: skip
def test_the_line_that_says_why_is_found(lines: list[str], wanted: str) -> None:
    assert telling([line if line.startswith("pgha") else STAMP + line for line in lines]) == wanted


def test_an_earlier_start_and_what_comes_after_the_exit_is_not_told(tmp_path: Path) -> None:
    path = tmp_path / "postgresql.log"
    path.write_text("FATAL:  of an earlier start\n")
    log = ServerLog(str(path))
    log.mark()
    assert log.why(1, "exit 1") == "exit 1"
    with path.open("a") as f:
        f.write("FATAL:  of this start\n")
    assert log.why(1, "exit 1") == "exit 1", "read once for each exit"
    assert log.why(2, "exit 1") == "exit 1: FATAL: of this start"
    assert [log.why(n, status) for n, status in ((3, "exit 0"), (4, "signal 9"))] == ["exit 0", "signal 9"]


def test_a_log_that_is_not_there_tells_nothing(tmp_path: Path) -> None:
    log = ServerLog(str(tmp_path / "none"))
    log.mark()
    assert log.why(1, "exit 1") == "exit 1"


def test_a_full_disk_is_told_although_the_log_that_lies_on_it_could_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = ServerLog(str(tmp_path / "none"), (str(tmp_path),))
    assert log.why(1, "exit 1") == "exit 1" and log.no_room() == ""
    there = os.statvfs(tmp_path)
    full = os.statvfs_result((*there[:4], 0, *there[5:]))
    monkeypatch.setattr(os, "statvfs", lambda _path: full)
    assert log.why(2, "exit 1") == f"exit 1: No space left on the disk of {tmp_path}"
    assert log.why(3, "exit 0") == "exit 0"
    assert log.no_room() == f"No space left on the disk of {tmp_path}", "also of a server that runs"
