"""docs/reference.md is what the commands themselves say; PGHA_REWRITE=1 renews it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import typer
from typer._click.core import Command
from typer.core import TyperGroup

from pgha.cli import main as cli
from pgha.errors import Exit
from tests.support import golden

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference.md"
WIDTH = 100
HEAD = """# Reference

What `--help` says of every command. Options before a command's name (`-i`, `-o`, `-y`) may stand behind it too. Made
from the commands themselves by `tests/test_reference.py`; what the exit codes mean: [errors.md](errors.md).
"""


def commands() -> Iterator[tuple[str, Command]]:
    """Every command and what stands below it, in the order of `pgha --help`."""
    root = typer.main.get_command(cli.app)
    assert isinstance(root, TyperGroup)
    top = root.make_context("pgha", [], resilient_parsing=True)
    for name in root.list_commands(top):
        command = root.get_command(top, name)
        assert command is not None
        yield name, command
        if isinstance(command, TyperGroup):
            for below in command.list_commands(top):
                inner = command.get_command(top, below)
                assert inner is not None
                yield f"{name} {below}", inner


def help_of(name: str, command: Command) -> str:
    """Its help, as wide as the page."""
    with command.make_context(
        f"pgha {name}", [], resilient_parsing=True, terminal_width=WIDTH, max_content_width=WIDTH
    ) as context:
        return "\n".join(line.rstrip() for line in command.get_help(context).splitlines())


def test_the_reference_is_what_the_commands_say() -> None:
    parts = [HEAD, *(f"\n## pgha {name}\n\n```\n{help_of(name, command)}\n```\n" for name, command in commands())]
    text = "".join(parts)
    if os.environ.get(golden.REWRITE) == "1":
        PAGE.write_text(text)
    assert PAGE.read_text() == text, f"set {golden.REWRITE}=1 to renew docs/reference.md, then read the difference"


def test_every_exit_code_that_a_command_names_is_one_that_there_is() -> None:
    known = {code.value for code in Exit}
    for name, command in commands():
        found = re.search(r"Exit codes:(.*?)(?:\n\n|\Z)", command.help or "", re.DOTALL)
        named = [int(n) for n in re.findall(r"(?:^|, |: )(\d+)\b", found[1].strip())] if found else []
        assert set(named) <= known, (name, named)
