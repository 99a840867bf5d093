"""The fakes are honest: what they take for granted is cited by its id, and shown of the real ones by a test."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.sim.assumptions import ASSUMPTIONS

TESTS = Path(__file__).resolve().parents[1]
CHECKOUT = TESTS.parent
IDENT = re.compile(r"\b(?:PG|ETCD)\d\d\b")
ABOUT = ("assumptions.py", "test_assumptions.py")


def cited() -> set[str]:
    """By the simulator's fakes and by the store in memory."""
    fakes = [p for p in (TESTS / "sim").glob("*.py") if p.name not in ABOUT]
    files = [*fakes, CHECKOUT / "pgha/adapters/memory.py"]
    return {ident for path in files for ident in IDENT.findall(path.read_text())}


def marked(source: str) -> Iterator[str]:
    """The ids that tests of this module show."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.FunctionDef) or not node.name.startswith("test_"):
            continue
        for mark in node.decorator_list:
            if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "pytest.mark.assumption":
                yield from (str(ast.literal_eval(arg)) for arg in mark.args)


def shown() -> set[str]:
    """Against the real ones: where processes of PostgreSQL and etcd are started."""
    return {ident for path in (TESTS / "contract").glob("test_*.py") for ident in marked(path.read_text())}


def test_every_assumption_is_cited_by_a_fake_and_no_fake_cites_another() -> None:
    assert cited() == set(ASSUMPTIONS)


def test_every_assumption_has_its_test_against_the_real_one_or_says_why_not() -> None:
    assert shown() == {ident for ident, a in ASSUMPTIONS.items() if not a.untested}


def test_a_mark_is_found_and_a_word_in_a_text_is_none() -> None:
    source = '@pytest.mark.assumption("PG01", "PG02")\ndef test_x(): pass\n"PG03"\ndef test_y(): "PG04"\n'
    assert set(marked(source)) == {"PG01", "PG02"}
