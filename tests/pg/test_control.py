"""pg_control and timeline history files, as PostgreSQL 15 and 18 write them (fixtures: recorded from initdb)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgha.core.model import format_lsn, parse_lsn
from pgha.pg.control import HEAD_BYTES, SHUTDOWNED, history_name, parse_control, parse_history, parse_raw

FIXTURES = Path(__file__).resolve().parent / "fixtures"
IN_PRODUCTION = 6  # DBState DB_IN_PRODUCTION
STATES = [("", "shut down", SHUTDOWNED), ("_running", "in production", IN_PRODUCTION)]


def said(version: int, which: str = "") -> str:
    return (FIXTURES / str(version) / f"pg_controldata{which}.txt").read_text()


def head(version: int, which: str = "") -> bytes:
    return bytes.fromhex((FIXTURES / str(version) / f"pg_control{which}.hex").read_text())


@pytest.mark.parametrize("version", [15, 18])
@pytest.mark.parametrize(("which", "word", "number"), STATES)
def test_the_raw_file_and_the_program_say_the_same(version: int, which: str, word: str, number: int) -> None:
    raw, control = parse_raw(head(version, which)), parse_control(said(version, which))
    assert raw is not None
    assert (raw.system, raw.checkpoint, raw.timeline) == (control.system, control.checkpoint, control.timeline)
    assert (raw.state, control.state) == (number, word)
    assert f"Database system identifier:           {raw.system}\n" in said(version, which)
    assert f"Latest checkpoint location:           {format_lsn(raw.checkpoint)}\n" in said(version, which)
    assert raw.timeline == 1


@pytest.mark.parametrize("version", [15, 18])
def test_more_bytes_than_the_head_change_nothing_and_fewer_are_cut(version: int) -> None:
    whole = head(version)
    assert len(whole) == HEAD_BYTES
    assert parse_raw(whole + b"\x00" * 7680) == parse_raw(whole)
    for length in (0, 19, 128, HEAD_BYTES - 1):
        assert parse_raw(whole[:length]) is None


@pytest.mark.parametrize("version", [15, 18])
@given(at=st.integers(0, 55), bit=st.integers(0, 7))
def test_a_torn_file_is_none(version: int, at: int, bit: int) -> None:
    torn = bytearray(head(version))
    torn[at] ^= 1 << bit
    assert parse_raw(bytes(torn)) is None


def test_two_halves_of_two_moments_are_torn() -> None:
    before, after = head(15), head(15, "_running")
    assert before != after
    assert parse_raw(after[:24] + before[24:]) is None


@pytest.mark.parametrize("junk", [b"\x00" * HEAD_BYTES, b"\xff" * HEAD_BYTES, b"x" * HEAD_BYTES])
def test_what_is_no_control_file_is_none(junk: bytes) -> None:
    assert parse_raw(junk) is None


# -- pg_controldata ---------------------------------------------------------------------------------------------

NEEDED = [
    *("Database system identifier", "Database cluster state", "Latest checkpoint location"),
    "Latest checkpoint's TimeLineID",
]


@pytest.mark.parametrize("name", NEEDED)
def test_a_missing_line_is_named(name: str) -> None:
    lines = [line for line in said(15).splitlines() if not line.startswith(f"{name}:")]
    with pytest.raises(ValueError, match="pg_controldata said nothing of") as found:
        parse_control("\n".join(lines))
    assert name in str(found.value)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (f"location:           {format_lsn(parse_control(said(15)).checkpoint)}", "location:           soon"),
        ("TimeLineID:       1", "TimeLineID:       one"),
    ],
)
def test_a_line_that_can_not_be_read_is_an_error(old: str, new: str) -> None:
    assert old in said(15)
    with pytest.raises(ValueError):
        parse_control(said(15).replace(old, new))


def test_a_warning_before_the_facts_does_no_harm() -> None:
    """pg_controldata warns of a bad checksum in several lines, and goes on."""
    assert parse_control("WARNING: Calculated CRC checksum\ndoes not match\n\n" + said(18)) == parse_control(said(18))


@pytest.mark.parametrize("text", ["", "\n", "no such directory"])
def test_no_answer_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="said nothing"):
        parse_control(text)


# -- history files ----------------------------------------------------------------------------------------------


def test_a_history_file_as_postgresql_writes_it() -> None:
    text = "1\t0/3000148\tno recovery target specified\n\n6\t0/50000A0\tbefore 2000-01-01 00:00:00+00\n"
    assert parse_history(text) == ((1, parse_lsn("0/3000148")), (6, parse_lsn("0/50000A0")))


def test_comments_empty_lines_and_the_empty_files_of_skipped_epochs_give_nothing() -> None:
    assert parse_history("") == parse_history("\n \n# a comment\n") == ()
    assert parse_history("# first\n 1 0/1\n2\t0/2\twhy # not\n") == ((1, 1), (2, 2))


@pytest.mark.parametrize("text", ["1\n", "x\t0/1\twhy\n", "1\tnowhere\twhy\n", "1 0/1\n7"])
def test_a_broken_history_file_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):
        parse_history(text)


@given(st.lists(st.tuples(st.integers(1, 1 << 32), st.integers(0, (1 << 64) - 1))))
def test_a_history_is_read_in_its_order(forks: list[tuple[int, int]]) -> None:
    text = "".join(f"{timeline}\t{format_lsn(lsn)}\tno recovery target specified\n\n" for timeline, lsn in forks)
    assert parse_history(text) == tuple(forks)


@pytest.mark.parametrize(("timeline", "name"), [(1, "00000001.history"), (255, "000000FF.history")])
def test_a_history_file_is_named_by_eight_digits(timeline: int, name: str) -> None:
    assert history_name(timeline) == name


@pytest.mark.parametrize("version", [15, 18])
def test_what_a_standby_must_have_at_least_is_what_pg_controldata_says(version: int) -> None:
    raw, text = parse_raw(head(version)), said(version)
    assert raw is not None
    names = ("max_connections", "max_worker_processes", "max_wal_senders", "max_prepared_xacts", "max_locks_per_xact")
    told = [int(re.search(rf"^{name} setting: +(\d+)$", text, re.MULTILINE)[1]) for name in names]  # type: ignore[index]
    assert list(raw.limits) == told
