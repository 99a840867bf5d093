"""What one row of SQL says about a server (that PostgreSQL gives such rows is shown with real ones elsewhere)."""

from __future__ import annotations

import json

import pytest

from pgha.core.model import Position
from pgha.core.server import Running, ServerView, Walsender
from pgha.pg.conf import conninfo
from pgha.pg.look import view

BEFORE = ServerView(Running.STARTING, exits=2, job_failed="no space", since_s=5.0, why="starting up", checkpoints=3)
NAMES = 'ANY 1 ("n2.d2.5")'


def standby(upstream: str = "", receiver: str = "", *, control_tli: str = "4") -> ServerView:
    """A standby's row."""
    return view(BEFORE, ["t", "15.18", upstream, NAMES, "0/20", "0/10", "", receiver, control_tli, ""], 7.0)


def primary(walsenders: object = ()) -> ServerView:
    """A primary's row, on timeline 26."""
    return view(BEFORE, ["f", "18.6", "", NAMES, "1/FF", "1/FF", "0000001A", "", "", json.dumps(walsenders)], 7.0)


def test_a_primary_has_its_timeline_from_its_wal_and_one_position() -> None:
    found = primary()
    assert (found.running, found.version, found.names) == (Running.PRIMARY, "18.6", NAMES)
    assert found.position == found.replay == Position(26, 0x1_0000_00FF)
    assert (found.walsenders, found.receiving, found.upstream_epoch) == ((), False, 0)


def test_what_sql_does_not_tell_stays_and_an_answer_ends_what_was_said_before() -> None:
    found = primary()
    assert (found.exits, found.job_failed, found.since_s, found.checkpoints) == (2, "no space", 5.0, 3)
    assert (found.answered_s, found.why) == (7.0, "")


def test_walsenders_keep_their_names_twins_included_and_their_gaps() -> None:
    rows = [
        ["n2.d2.5", "streaming", "0/30", 1, "12:00", 0.25],
        ["n2.d2.5", "catchup", None, None, None, None],
        [None, None, "0/1", 0, None, -0.1],
    ]
    assert primary(rows).walsenders == (
        Walsender("n2.d2.5", "streaming", 0x30, 1, "12:00", 0.25),
        Walsender("n2.d2.5", "catchup", 0, 0),
        Walsender("", "", 1, 0),
    )


def test_a_standby_has_two_positions_and_a_timeline_from_whoever_knows_it() -> None:
    assert standby().position == Position(4, 0x20), "pg_control"
    assert standby(receiver="streaming 6").position == Position(6, 0x20), "the walreceiver"
    assert standby(receiver="streaming 0").replay == Position(4, 0x10)
    assert standby(control_tli="").position == Position(0, 0x20), "nobody"


@pytest.mark.parametrize(("receiver", "expected"), [("", False), ("streaming 5", True), ("waiting 5", False)])
def test_only_a_streaming_walreceiver_receives(receiver: str, expected: bool) -> None:
    assert standby(receiver=receiver).receiving is expected


@pytest.mark.parametrize(
    ("upstream", "epoch"),
    [
        ("", 0),
        (conninfo({"host": "h", "application_name": "n1.d1.5"}), 5),
        (conninfo({"host": "h", "application_name": "walreceiver"}), -1),
        (conninfo({"host": "h"}), -1),
        ("host=h application_name=n1.d1.5", -1),  # not as pgha writes it: somebody else's
    ],
)
def test_the_upstreams_epoch_is_in_its_name_and_a_strange_one_is_nobodys(upstream: str, epoch: int) -> None:
    assert standby(upstream).upstream_epoch == epoch
