"""Work on several nodes at once: all results, all problems together."""

from __future__ import annotations

import threading

import pytest

from pgha.errors import Findings, Refused
from pgha.ops.together import each, outcomes

ITEMS = {"n1": 1, "n2": 2, "n3": 3}


def test_all_are_at_work_at_the_same_time() -> None:
    met = threading.Barrier(len(ITEMS), timeout=10.0)

    def work(_name: str, item: int) -> int:
        met.wait()
        return item * 2

    assert each(ITEMS, work) == {"n1": 2, "n2": 4, "n3": 6}


def test_one_problem_is_raised_as_it_is_and_several_together() -> None:
    def work(name: str, item: int) -> int:
        if item in bad:
            raise Refused(f"{name} has it")
        return item

    bad = {2}
    with pytest.raises(Refused, match="n2 has it"):
        each(ITEMS, work)
    bad = {1, 3}
    with pytest.raises(Findings) as found:
        each(ITEMS, work)
    assert [p.what for p in found.value.problems] == ["n1 has it", "n3 has it"]
    assert outcomes(ITEMS, work)["n2"] == 2
