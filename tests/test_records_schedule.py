"""Orders for later in the store: what was written comes back, and junk is named."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgha.core.planned import Planned
from pgha.records import Problem, parse_snapshot, parse_value, prefix
from pgha.records_schedule import dump_planned, parse_planned
from tests.test_records import COUNTS, FLOATS, TEXT

NAMES = st.lists(TEXT, max_size=3).map(tuple)
PLANS = st.builds(
    Planned, TEXT, TEXT, FLOATS, TEXT, TEXT, NAMES, st.booleans(), st.booleans(), TEXT, FLOATS, TEXT, TEXT, TEXT, TEXT,
    FLOATS, COUNTS, TEXT, NAMES,
)  # fmt: skip
PLAN = Planned("restart", "p1", 1.7e9, nodes=("n1", "n2"))


@given(PLANS)
def test_a_plan_is_read_as_it_was_written(plan: Planned) -> None:
    assert parse_value("k", dump_planned(plan), parse_planned) == plan


@pytest.mark.parametrize("field", ["kind", "ident", "at", "phase"])
def test_without_what_it_needs_it_is_a_problem(field: str) -> None:
    body = json.loads(dump_planned(PLAN))
    del body[field]
    assert isinstance(parse_value("k", json.dumps(body).encode(), parse_planned), Problem)
    assert isinstance(parse_value("k", json.dumps({**body, "nodes": [1]}).encode(), parse_planned), Problem)


def test_it_lies_under_its_own_name() -> None:
    root, value = prefix("shop"), dump_planned(PLAN)
    found = parse_snapshot("shop", 9, {f"{root}schedule/p1": (value, 7), f"{root}schedule/p2": (value, 8)})
    assert found.planned == {"p1": PLAN} and [p.key for p in found.problems] == ["schedule/p2"]
