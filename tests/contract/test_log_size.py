"""A log whose writer keeps it open is bounded under it: nothing it writes afterwards is lost or lands elsewhere."""

from __future__ import annotations

import os
from pathlib import Path

from pgha.adapters.log_size import bound


def test_a_log_beyond_its_limit_is_copied_and_emptied_under_its_writer(tmp_path: Path) -> None:
    path = tmp_path / "postgresql.log"
    writer = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        for turn in range(5):
            os.write(writer, f"turn {turn}\n".encode() * 10)
            assert not bound(str(path), 100), "it is not beyond its limit"
            assert bound(str(path), 50)
            assert path.stat().st_size == 0
            os.write(writer, b"after\n")
            assert path.read_text() == "after\n", "written where it was cut, not behind a hole"
            os.truncate(path, 0)
    finally:
        os.close(writer)
    kept = {p.name: p.read_text()[:6] for p in tmp_path.glob("*.log.*")}
    assert kept == {"postgresql.log.1": "turn 4", "postgresql.log.2": "turn 3", "postgresql.log.3": "turn 2"}
    assert all(p.stat().st_mode & 0o777 == 0o600 for p in tmp_path.iterdir())


def test_a_missing_log_and_a_small_one_are_left_alone(tmp_path: Path) -> None:
    assert not bound(str(tmp_path / "none"))
    (tmp_path / "small.log").write_text("x")
    assert not bound(str(tmp_path / "small.log"))
    assert [p.name for p in tmp_path.iterdir()] == ["small.log"]
