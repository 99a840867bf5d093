"""A fresh agent goes on counting the holder's silence where the one before began: on one clock, for one revision."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgha.adapters.key_seen import KeySeen, clock_id
from tests.watchdog.guarded_node import until

NOW = 1000.0


def kept(path: Path, *, now_s: float = NOW, clock: str = "b1/7") -> KeySeen:
    return KeySeen(str(path), lambda: now_s, clock)


def noted(path: Path, revision: int = 41, seen_s: float = 900.0) -> None:
    """An agent before has seen it."""
    kept(path).note(revision, seen_s)
    until(lambda: path.exists() and f'"revision": {revision},' in path.read_text(), 5, "it is written")


def test_the_agent_after_knows_since_when_the_very_revision_stands(tmp_path: Path) -> None:
    noted(tmp_path / "key")
    assert kept(tmp_path / "key").first_seen_s(41) == 900.0
    assert kept(tmp_path / "key").first_seen_s(42) is None, "it has moved since"


@pytest.mark.parametrize("clock", ["b2/7", "b1/8", ""])
def test_another_boots_clock_and_an_unknown_one_are_not_believed(tmp_path: Path, clock: str) -> None:
    noted(tmp_path / "key")
    assert kept(tmp_path / "key", clock=clock).first_seen_s(41) is None


def test_a_note_from_the_future_is_none(tmp_path: Path) -> None:
    noted(tmp_path / "key")
    assert kept(tmp_path / "key", now_s=899.0).first_seen_s(41) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"clock": "b1/7"}', '{"clock": "b1/7", "revision": "x"}'])
def test_junk_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "key").write_text(text)
    assert kept(tmp_path / "key").first_seen_s(41) is None


def test_what_this_agent_sees_itself_it_is_not_told_back(tmp_path: Path) -> None:
    mine, path = kept(tmp_path / "key"), tmp_path / "key"
    for revision in (41, 42):
        mine.note(revision, 900.0 + revision)
        until(lambda n=revision: path.exists() and f": {n}," in path.read_text(), 5, "written")  # type: ignore[misc]
        assert mine.first_seen_s(revision) is None
    assert kept(path).first_seen_s(42) == 942.0


def test_a_disk_that_takes_nothing_is_borne(tmp_path: Path) -> None:
    lost = kept(tmp_path / "gone" / "key")
    lost.note(41, 900.0)
    assert lost.first_seen_s(41) is None


def test_this_machine_tells_whose_clock_it_is() -> None:
    assert clock_id() == clock_id() != ""
