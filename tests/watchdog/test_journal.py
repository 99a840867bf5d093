"""The agent's log: whoever has something to tell waits for no disk."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

from pgha.adapters.journal import WAITING_MAX, Journal

QUICK_S = 0.5


def lines(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


def test_lines_are_written_in_order_and_flush_waits_for_the_last_one(tmp_path: Path) -> None:
    log = Journal(str(tmp_path / "log"), lambda _path: None)
    for n in range(50):
        log.write({"n": n}, 1.0)
    log.flush(5.0)
    found = lines((tmp_path / "log").read_text())
    assert [x["n"] for x in found] == list(range(50)) and "dropped" not in found[-1]


def test_a_disk_that_hangs_holds_nobody_up_and_what_it_did_not_take_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "log"
    os.mkfifo(path)  # opening it hangs until somebody reads
    log = Journal(str(path), lambda _path: None)
    began_s = time.monotonic()
    for n in range(WAITING_MAX + 50):
        log.write({"n": n}, 1.0)
    log.flush(0.05)
    assert time.monotonic() - began_s < QUICK_S
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    taken = b""
    while taken.count(b"\n") < WAITING_MAX:
        taken += os.read(reader, 65536)
    log.write({"n": "last"}, 1.0)
    while b"last" not in taken:
        taken += os.read(reader, 65536)
    os.close(reader)
    found = lines(taken.decode())
    dropped = [n for n in (line.get("dropped") for line in found) if isinstance(n, int)]
    assert found[-1]["n"] == "last" and 0 < sum(dropped) <= 50
    assert len(found) + sum(dropped) == WAITING_MAX + 51, "each is there or counted"


def test_a_full_disk_is_no_reason_to_stop(tmp_path: Path) -> None:
    log = Journal("/dev/full", lambda _path: None)
    log.write({"n": 1}, 1.0)
    log.flush(5.0)
    log = Journal(str(tmp_path / "none" / "log"), lambda _path: None)
    log.write({"n": 1}, 1.0)
    log.flush(5.0)
