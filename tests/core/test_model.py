"""The values: their notations, both ways, and what can't be made at all."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pgha.core.model import (
    MAX_NODE_NAME,
    Copy,
    Leader,
    Member,
    Position,
    Rule,
    Tenure,
    format_lsn,
    parse_lsn,
    parse_standby_name,
    with_beat,
)

N1, N2 = Copy("n1", "d1"), Copy("n2", "d2")
LSN = st.integers(0, (1 << 64) - 1)
WORD = st.text("abcxyz0189-", min_size=1, max_size=8)


@given(LSN)
@example(0)
@example((1 << 64) - 1)
def test_an_lsn_is_read_as_it_was_written(lsn: int) -> None:
    assert parse_lsn(format_lsn(lsn)) == lsn
    assert parse_lsn(format_lsn(lsn).lower()) == lsn


def test_an_lsn_is_written_as_postgresql_does() -> None:
    assert format_lsn(0x16B3748) == "0/16B3748"
    assert format_lsn(0x1_0000_00FF) == "1/FF"


NO_LSN = [
    *("", "/", "0", "0/", "/0", "0/0/0", "0/123456789", "123456789/0", "g/0", " 0/1", "0/1 ", "0/1\n"),
    *("-1/0", "0/-1", "+1/0", "0/0x1", "0/1_0", "٣/٣"),
]


@pytest.mark.parametrize("text", NO_LSN)
def test_anything_else_is_no_lsn(text: str) -> None:
    with pytest.raises(ValueError, match="not an LSN"):
        parse_lsn(text)


@given(st.text("0123456789abcdefABCDEF/-+_ x", max_size=20))
def test_what_is_read_as_an_lsn_fits_in_64_bits_and_means_what_it_says(text: str) -> None:
    try:
        lsn = parse_lsn(text)
    except ValueError:
        return
    assert 0 <= lsn < 1 << 64
    high, low = text.upper().split("/")
    assert format_lsn(lsn) == f"{high.lstrip('0') or '0'}/{low.lstrip('0') or '0'}"


def test_positions_are_ordered_by_timeline_first() -> None:
    assert Position(4, 999) < Position(5, 1) < Position(5, 2)
    assert str(Position(5, 0x16B3748)) == "5:0/16B3748"


@given(WORD, WORD, st.integers(0, 10**18))
def test_a_standby_name_says_whose_copy_it_is_and_for_which_epoch(node: str, data: str, epoch: int) -> None:
    copy = Copy(node, data)
    assert parse_standby_name(copy.standby_name(epoch)) == (copy, epoch)
    assert str(copy) == f"{node}.{data}"


@given(st.text("ab.019-", max_size=12))
@example("n1.d1.007")
@example("n1.d1.٣")
def test_only_a_name_that_pgha_would_give_is_taken_for_one(text: str) -> None:
    parsed = parse_standby_name(text)
    assert parsed is None or parsed[0].standby_name(parsed[1]) == text


@pytest.mark.parametrize("text", ["", "n1", "n1.d1", "n1.d1.", ".d1.5", "n1..5", "n1.d1.x", "n1.d1.5.6", "n1.d1.-5"])
def test_anything_else_is_no_standby_name(text: str) -> None:
    assert parse_standby_name(text) is None


def test_the_longest_node_name_leaves_room_for_a_data_id_and_an_epoch() -> None:
    """NAMEDATALEN: PostgreSQL cuts an application_name at 63 bytes, and a cut name would be nobody's."""
    assert len(Copy("n" * MAX_NODE_NAME, "d" * 8).standby_name(10**10)) <= 63


@pytest.mark.parametrize(
    ("voters", "k"), [({N2}, 0), ({N2}, 2), ({N2}, -1), ((), 1), ({N1}, 1), ({N1, N2}, 1)], ids=str
)
def test_an_impossible_rule_can_not_be_made(voters: set[Copy], k: int) -> None:
    with pytest.raises(AssertionError):
        Rule(N1, frozenset(voters), k)


def test_a_possible_rule_can() -> None:
    assert Rule(N1, frozenset({N2}), 1).k == 1
    assert Rule(N1, frozenset(), 0).voters == frozenset()


def test_a_write_of_the_key_is_one_beat_later_and_changes_nothing_else() -> None:
    old = Leader(N1, "life", 5, 9, Tenure.HELD, ())
    assert with_beat(old, reason="x") == Leader(N1, "life", 5, 10, Tenure.HELD, (), reason="x")
    assert old.beat == 9


def test_a_members_copy_is_its_node_and_data() -> None:
    assert Member("n1", "life", 1, "h", 1, data="d1").copy == N1
