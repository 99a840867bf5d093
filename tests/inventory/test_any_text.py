"""Whatever the file holds, the answer is an inventory or findings: no other exception, no finding without a place."""

from __future__ import annotations

import json
import re

from hypothesis import example, given, settings
from hypothesis import strategies as st

from pgha import inventory, inventory_keys
from pgha.errors import Findings, UsageError
from tests.inventory.bad_files import BAD

WORDS = [key.name for key in inventory_keys.KEYS] + [
    "db1",
    "db2",
    "<<",
    "fsync",
    "port",
    "192.0.2.11",
    "trust",
    "env:X",
    "~",
]
SIGNS = [
    "{",
    "}",
    "[",
    "]",
    ": ",
    ", ",
    "\n",
    "\n  ",
    "- ",
    "#",
    "&a ",
    "*a",
    "!!str ",
    "'",
    '"',
    "|\n",
    "? ",
    "---\n",
    "\t",
    "%",
]
words = st.sampled_from(WORDS)
scalars = st.one_of(
    words,
    st.text(max_size=12),
    st.integers(),
    st.floats(),
    st.booleans(),
    st.none(),
    st.sampled_from([k.example for k in inventory_keys.KEYS]),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(words | st.text(max_size=5), inner, max_size=5)
    ),
    max_leaves=20,
)
likely = st.fixed_dictionaries({}, optional=dict.fromkeys(inventory_keys.children(""), values))


def judge(text: str) -> None:
    """Raises anything but what is promised."""
    try:
        found = inventory.parse(text, "f")
    except Findings as e:
        for problem in e.problems:
            assert isinstance(problem, UsageError)
            assert re.match(r"f:[1-9]\d*:[1-9]\d*: ", problem.what), problem.what
            assert problem.next_step and all(line.isprintable() for line in problem.lines()), problem.lines()
    else:
        assert found.cluster and found.nodes


@given(st.text())
@example("a: 1\x85b: 2")
@example("\ud800")
@example("%YAML 9.9\n---\na")
@example("? " * 400)
@example("a: &" + "x" * 2000 + " 1")
def test_any_text(text: str) -> None:
    judge(text)


@given(st.lists(st.one_of(words, st.sampled_from(SIGNS)), max_size=40).map("".join))
def test_any_sequence_of_signs(text: str) -> None:
    judge(text)


@settings(max_examples=300)
@given(likely)
def test_any_structure_in_known_places(body: dict[str, object]) -> None:
    judge(json.dumps(body))
    judge(json.dumps(body, indent=1, ensure_ascii=False))


@settings(max_examples=300)
@given(st.sampled_from(sorted(BAD.values())), st.data())
def test_any_file_with_a_piece_cut_out_or_put_in(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 20)))
    judge(text[:start] + data.draw(st.sampled_from(["", *SIGNS, *WORDS])) + text[end:])


@given(st.binary(max_size=200))
@example(b"\xef\xbb\xbf")
@example(b"\xff\xfe")
def test_any_bytes(raw: bytes) -> None:
    try:
        text = inventory.decode(raw, "f")
    except UsageError as e:
        assert re.match(r"f:[1-9]\d*:[1-9]\d*: ", e.what)
    else:
        assert "\r" not in text and "\0" not in text
        judge(text)
