"""The five parameters whose order between primary and standbys matters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgha.core.limits import BUILT_IN, ORDERED, is_short, wanted, whole, written

SIZES = st.dictionaries(st.sampled_from(ORDERED), st.integers(0, 500))
USUAL = dict(BUILT_IN)


def with_connections(count: int) -> dict[str, int]:
    return {**USUAL, "max_connections": count}


@pytest.mark.parametrize(
    ("text", "number"), [("200", 200), (" 7 ", 7), ("2e2", None), ("1kB", None), ("", None), ("²", None)]
)
def test_only_a_plain_whole_number_counts(text: str, number: int | None) -> None:
    assert whole(text) == number


def test_the_first_that_speaks_of_it_is_heard_else_postgresqls_default() -> None:
    assert wanted("max_connections", {"max_connections": "300"}, {"max_connections": "200"}) == 300
    assert wanted("max_connections", {}, {"max_connections": "200"}) == 200
    assert wanted("max_wal_senders", {"max_wal_senders": "many"}, {}) == 10


@given(SIZES, SIZES, SIZES, st.lists(SIZES, max_size=3), st.booleans())
def test_no_file_has_less_than_pg_control_asks_for_unless_the_server_runs_less(
    want: dict[str, int], floor: dict[str, int], running: dict[str, int], others: list[dict[str, int]], primary: bool
) -> None:
    found = written({**USUAL, **want}, floor, running, others, primary=primary)
    assert set(found) == set(ORDERED)
    for name, value in found.items():
        assert value >= min(floor.get(name, 0), running.get(name, floor.get(name, 0)))


def test_a_standby_is_raised_at_once_and_never_lowered_below_its_primary() -> None:
    assert written(with_connections(200), USUAL, USUAL, [], primary=False)["max_connections"] == 200
    floor = with_connections(200)
    assert written(with_connections(50), floor, floor, [], primary=False)["max_connections"] == 200


def test_a_primary_is_raised_when_all_that_stream_have_been() -> None:
    new = with_connections(200)
    assert written(new, USUAL, USUAL, [USUAL, new], primary=True)["max_connections"] == 100
    assert written(new, USUAL, USUAL, [new, new], primary=True)["max_connections"] == 200
    assert written(new, USUAL, USUAL, [], primary=True)["max_connections"] == 200, "nobody is there to be left behind"
    assert written(new, USUAL, {}, [USUAL], primary=True)["max_connections"] == 200, (
        "it is down: it starts as a standby"
    )


def test_a_standby_is_short_when_it_runs_less_than_pg_control_asks_for() -> None:
    assert is_short(USUAL, with_connections(101))
    assert not is_short(with_connections(101), USUAL)
    assert not is_short({}, with_connections(101)), "it is not known what it runs"
