"""What an agent remembers of the replies of its standbys."""

from __future__ import annotations

from pgha.core.server import Walsender
from pgha.watchdog.notes import Notes


def sender(replied: str, name: str = "n2.d2.5") -> Walsender:
    return Walsender(name, "streaming", 100, 1, replied)


def test_silence_is_counted_by_this_nodes_clock_from_the_last_look_that_saw_another_reply() -> None:
    notes = Notes()
    assert notes.heard([sender("12:00:00")], 100.0) == {"n2.d2.5": 0.0}
    assert notes.heard([sender("12:00:00")], 101.5) == {"n2.d2.5": 1.5}
    assert notes.heard([sender("11:00:00")], 103.0) == {"n2.d2.5": 0.0}, (
        "its clock went back: another reply all the same"
    )
    assert notes.heard([sender("11:00:00")], 104.0) == {"n2.d2.5": 1.0}


def test_a_walsender_that_was_gone_begins_anew_and_one_that_tells_no_time_is_not_silent() -> None:
    notes = Notes()
    notes.heard([sender("12:00:00")], 100.0)
    assert notes.heard([], 101.0) == {}
    assert notes.heard([sender("12:00:00")], 105.0) == {"n2.d2.5": 0.0}
    assert notes.heard([sender("", "other")], 106.0) == {}
