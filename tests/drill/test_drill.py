"""The drill's own words: when it refuses, what it reports, and which processes it would end."""

from __future__ import annotations

from dataclasses import replace
from xml.etree import ElementTree

import pytest

from pgha.adapters.local import LocalHost, SystemClock
from pgha.errors import Exit, Refused, UsageError
from pgha.inventory import LocalSpec, parse
from pgha.ops import drill, drill_cut, local_nodes
from pgha.ops.drill_ground import FAULTS, default_budget_s
from pgha.ops.drill_local import LocalGround
from pgha.ops.drill_report import DrillReport, Round, from_verdict
from pgha.ops.drill_role import drop_sql, make_sql

HOSTS = parse("cluster: shop\npostgres: 15\nnodes: [192.0.2.11, 192.0.2.12, 192.0.2.13]\n", "inventory.yaml")
ROUND = Round(1, "n1", "n2", 3, 0.25, 2.5, 400, 0, 0)
GOOD = DrillReport("demo", "kill-postgres", 1.0, (ROUND,), 400, 1, 0, 0, 0)


def ground() -> LocalGround:
    """Nodes that are processes of this machine."""
    local = replace(HOSTS, local=LocalSpec("/nowhere/demo", "nobody"))
    return LocalGround(local_nodes.load(local), LocalHost.anybody(), SystemClock())


@pytest.mark.parametrize("fault", [f.name for f in FAULTS.values() if f.hosts_only])
def test_what_one_machine_can_not_show_is_refused_there(fault: str) -> None:
    with pytest.raises(Refused) as refused:
        ground().ready(fault)
    assert refused.value.code == Exit.REFUSED
    assert "this machine" in refused.value.because


@pytest.mark.parametrize("fault", [f.name for f in FAULTS.values() if not f.hosts_only])
def test_the_other_faults_are_for_local_clusters_too(fault: str) -> None:
    ground().ready(fault)


@pytest.mark.parametrize(("fault", "rounds"), [("kill-everything", 1), ("switchover", 0)])
def test_an_unknown_fault_and_no_rounds_are_errors_of_usage(fault: str, rounds: int) -> None:
    with pytest.raises(UsageError):
        drill.check(fault, drill.Options(rounds=rounds))


def test_only_what_nobody_can_take_back_is_asked_for_separately() -> None:
    assert [f.name for f in FAULTS.values() if f.asked] == ["power"]


def test_a_cut_of_the_store_names_each_port_once_and_a_cut_of_the_node_leaves_ssh() -> None:
    store, node = drill_cut.cut_store("my-shop", [2379, 2379, 2479]), drill_cut.cut_node("my-shop", 2222)
    assert "tcp dport { 2379, 2479 } drop" in store and "tcp sport { 2379, 2479 } drop" in store
    assert "tcp dport 2222 accept" in node and "tcp sport 2222 accept" in node
    assert all(
        text.startswith(drill_cut.no_cut("my-shop")) and "table inet pgha_drill_my_shop {" in text
        for text in (store, node)
    )
    with pytest.raises(ValueError, match="no port"):
        drill_cut.cut_store("my-shop", [])


def test_junit_counts_the_rounds_and_says_why_it_failed() -> None:
    bad = ElementTree.fromstring(replace(GOOD, lost=3, fault="kill-<&>").as_junit())
    assert (bad.get("tests"), bad.get("failures")) == ("2", "1")
    assert [f.get("message") for f in bad.iter("failure")] == ["3 acknowledged rows are missing"]
    assert ElementTree.fromstring(GOOD.as_junit()).get("failures") == "0"


def test_a_report_within_its_budget_passes() -> None:
    assert GOOD.failures() == []
    assert GOOD.exit == Exit.OK
    assert GOOD.lines()[-1] == "PASS"
    assert GOOD.as_dict()["passed"] is True


@pytest.mark.parametrize(
    ("bad", "word"),
    [
        (replace(GOOD, lost=3), "3 acknowledged rows are missing"),
        (replace(GOOD, lost=None), "nothing is known about losses"),
        (replace(GOOD, two_writers=2), "second writer"),
        (replace(GOOD, duplicates=1), "twice"),
        (replace(GOOD, budget_s=0.2), "the budget is 0.2 s"),
        (replace(GOOD, problem="interrupted"), "interrupted"),
    ],
)
def test_each_thing_that_must_not_be_fails_the_drill_with_its_reason(bad: DrillReport, word: str) -> None:
    assert bad.exit == Exit.ROLLED_BACK
    assert any(word in line for line in bad.lines())
    assert "PASS" not in bad.lines()
    assert bad.as_dict()["passed"] is False


def test_the_worst_and_the_middle_round_are_told() -> None:
    rounds = tuple(replace(ROUND, number=i, outage_s=s) for i, s in enumerate((0.2, 0.9, 0.3), 1))
    report = replace(GOOD, rounds=rounds)
    assert (report.outage_p50_s, report.outage_max_s) == (0.3, 0.9)


def test_the_judges_numbers_replace_the_reports() -> None:
    verdict = {"acked": 900, "unsure": 2, "duplicates": 0, "two_writers": 4, "lost": 1}
    report = from_verdict(verdict, GOOD)
    assert (report.acked, report.lost, report.two_writers, report.rounds) == (900, 1, 4, (ROUND,))
    assert from_verdict({**verdict, "lost": None}, GOOD).lost is None


def test_default_budgets_follow_the_promises() -> None:
    assert default_budget_s("kill-node", 6.0) == 7.0
    assert default_budget_s("switchover", 60.0) == 1.0


def test_what_is_made_is_removed() -> None:
    first, second = make_sql("SCRAM-SHA-256$4096:c2FsdA==$c3RvcmVk:c2VydmVy")
    assert first[: len(drop_sql())] == drop_sql()
    assert any("LOGIN PASSWORD 'SCRAM-SHA-256$" in sql for sql in first)
    assert second[0] == "SET ROLE pgha_drill"
