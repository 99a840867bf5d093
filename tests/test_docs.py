"""The documents say what is: exit codes, links, scripts. (What the commands print is checked where they are tested.)"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pgha.errors import Exit
from pgha.ops import advice, rows
from pgha.ops.promise import WRITES_WAIT
from pgha.ops.target import NodeRef

CHECKOUT = Path(__file__).resolve().parent.parent
PAGES = [*sorted(CHECKOUT.glob("*.md")), *sorted((CHECKOUT / "docs").rglob("*.md"))]
DECISIONS = sorted((CHECKOUT / "docs" / "decisions").glob("[0-9]*.md"))


def test_the_page_of_errors_lists_every_exit_code_and_no_other() -> None:
    rows = re.findall(r"^\| (\d+) \| (\w+) \|", (CHECKOUT / "docs" / "errors.md").read_text(), re.MULTILINE)
    assert [(int(code), name) for code, name in rows] == [(code.value, code.name) for code in Exit]


def test_the_readme_names_every_exit_code() -> None:
    section = (CHECKOUT / "README.md").read_text().split("## Exit codes")[1].split("##")[0]
    assert [int(n) for n in re.findall(r"\| (\d+) ", section)] == [code.value for code in Exit]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(CHECKOUT)))
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    missing = [t for t in targets if not t.startswith("https://") and not (page.parent / t).exists()]
    assert not missing


def test_the_two_commands_of_the_readme_can_be_run() -> None:
    section = (CHECKOUT / "README.md").read_text().split("## Two commands")[1].split("##")[0]
    commands = re.findall(r"^\./(\S+)", section, re.MULTILINE)
    assert commands == ["scripts/demo", "scripts/test"]
    assert all(os.access(CHECKOUT / command, os.X_OK) for command in commands)


@pytest.mark.parametrize("decision", DECISIONS, ids=lambda p: p.stem)
def test_a_decision_is_short_whole_and_listed(decision: Path) -> None:
    text = decision.read_text()
    assert len(text.splitlines()) <= 40
    parts = ["## Context", "## Decision", "## Consequences", "## What would change our mind"]
    assert re.findall(r"^## .*", text, re.MULTILINE) == parts
    assert f"]({decision.name})" in (decision.parent / "README.md").read_text()


def test_the_readme_lists_the_commands_that_there_are() -> None:
    section = (CHECKOUT / "README.md").read_text().split("## The commands")[1].split("##")[0]
    listed = {word for row in re.findall(r"^\| (`pgha .*?) \|", section, re.MULTILINE) for word in _commands(row)}
    said = subprocess.run(
        [sys.executable, "-m", "pgha", "--help"], cwd=CHECKOUT, capture_output=True, text=True, check=True, timeout=60
    ).stdout
    there = set(re.findall(r"^  (\w+) ", said.split("Commands:")[1].split("First steps")[0], re.MULTILINE))
    assert listed == there


def _commands(row: str) -> list[str]:
    return re.findall(r"`pgha (\w+)", row)


def test_the_runbook_lists_its_pages_and_each_has_its_four_parts() -> None:
    folder = CHECKOUT / "docs" / "runbook"
    pages = {p.name for p in folder.glob("*.md")} - {"README.md"}
    assert set(re.findall(r"\]\(([a-z-]+\.md)\)", (folder / "README.md").read_text())) == pages
    for name in pages:
        text = (folder / name).read_text()
        assert len(text.splitlines()) <= 40, name
        for part in ("**You see**", "**Why", "type**" if "to type**" in text else "**Type**", "**Don't**"):
            assert part in text, (name, part)


def test_the_pages_that_explain_names_are_there() -> None:
    row = rows.unknown(NodeRef("n1", "192.0.2.11", 5432))
    silent = replace(row, state="silent, was streaming")
    verdicts = ("no primary", "TWO PRIMARIES", WRITES_WAIT)
    named = {advice.runbook(Exit.NO_PRIMARY, verdict, []) for verdict in verdicts}
    named |= {advice.runbook(Exit.STORE, "", []), advice.runbook(Exit.DEGRADED, "", [silent])}
    assert len(named) == 5 and all((CHECKOUT / name).is_file() for name in named), named
    assert advice.runbook(Exit.OK, "healthy", [row]) == ""


def test_every_command_of_the_runbook_is_one_that_there_is() -> None:
    for page in (CHECKOUT / "docs" / "runbook").glob("*.md"):
        words = re.findall(r"`pgha ((?:config |demo )?[a-z]+)", page.read_text())
        reference = (CHECKOUT / "docs" / "reference.md").read_text()
        assert [w for w in words if f"## pgha {w}\n" not in reference] == [], page
