"""The live page: what keys make of it, what fits the terminal, and the real thing on a terminal of its own."""

from __future__ import annotations

import pytest

from pgha.cli.watching import FOOT, Screen, frame

PAGE = [f"line {n} of the page" for n in range(40)]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("e", Screen("explain")),
        ("hl", Screen("list")),
        ("jjk", Screen("list", 1)),
        ("k", Screen("list", 0)),
        ("jje", Screen("explain", 0)),
        ("f", Screen("list", 0, frozen=True)),
        ("ffx?", Screen("list")),
    ],
)
def test_keys_lead_from_page_to_page(keys: str, expected: Screen) -> None:
    screen = Screen()
    for key in keys:
        screen = screen.after(key)
    assert screen == expected


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (20, 5), (200, 60), (10, 1)])
@pytest.mark.parametrize("top", [0, 3, 1000])
def test_a_frame_fills_the_terminal_and_never_more(columns: int, rows: int, top: int) -> None:
    shown = frame(PAGE, Screen(top=top), columns=columns, rows=rows)
    assert len(shown) == max(rows, 2) and max(map(len, shown)) <= columns
    assert shown[-1].startswith(FOOT[:columns])


def test_a_long_page_is_scrolled_to_its_end_and_says_how_much_is_below() -> None:
    first, last = (frame(PAGE, Screen(top=top), columns=80, rows=24) for top in (0, 1000))
    assert first[0] == PAGE[0] and first[-1].endswith("(17 more lines: down)")
    assert last[22] == PAGE[-1] and "more lines" not in last[-1]
