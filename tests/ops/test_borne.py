"""A primary that hangs soon after another one did: every page says so, and names the one command that moves it."""

from __future__ import annotations

import pytest

from pgha.core.decide import Rule
from pgha.errors import Exit, Refused
from pgha.ops import advice, failover
from pgha.ops.explain import explain
from pgha.ops.status import judge
from tests.ops.cases import TARGET
from tests.ops.explain_cases import key, look, told

SAYS = Rule.R449_BEAR.sentence
SEEN = look(told("n1", Rule.R449_BEAR, problem=SAYS), leader=key(unwell=True))


def test_list_is_not_content_and_names_the_switchover() -> None:
    found = judge(TARGET, SEEN)
    assert found.exit is Exit.DEGRADED and [r.problem for r in found.rows if r.problem] == [SAYS]
    assert found.next_step == TARGET.command("switchover")
    assert advice.moves(TARGET, judge(TARGET, look()).rows) == ""


def test_explain_names_it_too() -> None:
    assert explain(TARGET, SEEN).next_step == TARGET.command("switchover")


def test_a_failover_is_refused_with_the_truth_about_the_primary() -> None:
    with pytest.raises(Refused) as refused:
        failover.plan(TARGET, SEEN, None)
    assert refused.value.because == SAYS and refused.value.next_step == TARGET.command("switchover")
