"""What is wrong with an inventory is told in one pass, with its place and a way out, and never with a secret."""

from __future__ import annotations

import re

import pytest

from pgha import inventory
from pgha.errors import Exit, Findings, PghaError, UsageError
from tests.inventory.bad_files import BAD, RAW
from tests.support import golden

PLACE = re.compile(r"inventory\.yaml:[1-9][0-9]*:[1-9][0-9]*: \S")


def problems(text: str) -> list[PghaError]:
    """The findings of a bad inventory."""
    with pytest.raises(Findings) as caught:
        inventory.parse(text, "inventory.yaml")
    return caught.value.problems


def test_each_bad_inventory_is_told_as_the_golden_file_says() -> None:
    told = [f"## {name}\n" + "\n".join(x for p in problems(text) for x in p.lines()) for name, text in BAD.items()]
    golden.check("\n\n".join(told) + "\n", "findings.txt", beside=__file__)


@pytest.mark.parametrize("name", BAD)
def test_every_finding_has_its_place_and_a_way_out(name: str) -> None:
    for problem in problems(BAD[name]):
        assert isinstance(problem, UsageError) and problem.code is Exit.USAGE
        assert PLACE.match(problem.what), problem.what
        assert problem.next_step, problem.what
        for line in problem.lines():
            assert line.isascii() and line.isprintable(), f"safe for any terminal: {line!a}"
            assert "hunter2" not in line, "a secret is never shown"


@pytest.mark.parametrize("name", BAD)
def test_findings_come_in_the_order_of_the_file_and_none_twice(name: str) -> None:
    whats = [problem.what for problem in problems(BAD[name])]
    places = [tuple(map(int, what.split(":")[1:3])) for what in whats]
    assert places == sorted(places)
    assert len(set(whats)) == len(whats)


@pytest.mark.parametrize("name", RAW)
def test_bytes_that_are_no_inventory_are_refused_with_their_place(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        inventory.decode(RAW[name], "inventory.yaml")
    assert PLACE.match(caught.value.what)
    assert caught.value.next_step


def test_bad_bytes_are_told_as_the_golden_file_says() -> None:
    told = []
    for name, raw in RAW.items():
        with pytest.raises(UsageError) as caught:
            inventory.decode(raw, "inventory.yaml")
        told.append(f"## {name}\n" + "\n".join(caught.value.lines()))
    golden.check("\n\n".join(told) + "\n", "bytes.txt", beside=__file__)


def test_the_misspelt_key_of_the_catalogue_is_understood() -> None:
    (problem,) = problems("cluster: shop\nnodes: [192.0.2.11]\nhsots: [192.0.2.11]\n")
    assert problem.what.startswith("inventory.yaml:3:1: unknown key 'hsots'")
    assert problem.next_step == "did you mean nodes?"


def test_problems_of_all_sections_come_together() -> None:
    text = "cluster: a b\nnodes: [192.0.2.11, '$(id)']\nha: {failover_after: 6}\nssh: {prot: 22}\nsupervisor: upstart\n"
    found = {problem.what.split(":")[1] for problem in problems(text)}
    assert found == {"1", "2", "3", "4", "5"}


def test_the_pure_parser_finds_the_same_as_the_c_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    """Except for what is no YAML, where the libraries have words of their own, and an empty value's column."""

    def told(text: str) -> list[str]:
        return [re.sub(r"yaml:(\d+):\d+:", r"yaml:\1:", line) for p in problems(text) for line in p.lines()]

    valid = [
        text for text in BAD.values() if "not valid YAML" not in str(told(text)) and ": a tab" not in str(told(text))
    ]
    fast = [told(text) for text in valid]
    monkeypatch.setattr("yaml.__with_libyaml__", False)
    assert [told(text) for text in valid] == fast
    assert len(valid) > 100
