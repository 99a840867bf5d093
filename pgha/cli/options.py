"""Options that every command has, before or after its name, and how the two are merged.

May import typer only; what the shell completes comes from `completing`, loaded when it asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import typer


class Output(StrEnum):
    """Forms of the answer."""

    TABLE = "table"
    JSON = "json"


def _inventories(incomplete: str) -> list[str]:
    from pgha.cli import completing

    return completing.inventories(incomplete)


InventoryOption = Annotated[
    str | None,
    typer.Option(
        "-i",
        "--inventory",
        metavar="FILE",
        help="The inventory [env: PGHA_INVENTORY].",
        show_default=False,
        autocompletion=_inventories,
    ),
]
NodeOption = Annotated[
    str | None,
    typer.Option("--node", metavar="FILE", help="A node's own file instead of an inventory.", show_default=False),
]
OutputOption = Annotated[Output | None, typer.Option("-o", "--output", help="Form of the answer.", show_default=False)]
YesOption = Annotated[bool, typer.Option("-y", "--yes", help="Don't ask. Never consents to data loss.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Check and show the plan; change nothing.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Tracebacks on stderr.")]


@dataclass(frozen=True, slots=True)
class Choice:
    """What the operator chose for all commands."""

    inventory: str | None = None
    node: str | None = None
    output: Output | None = None
    yes: bool = False
    debug: bool = False

    @property
    def json(self) -> bool:
        """The answer is a JSON document."""
        return self.output is Output.JSON


def merged(
    ctx: typer.Context,
    *,
    inventory: str | None = None,
    node: str | None = None,
    output: Output | None = None,
    yes: bool = False,
) -> Choice:
    """The command's own options, else those before its name."""
    above = ctx.find_object(Choice) or Choice()
    return Choice(
        inventory=inventory or above.inventory,
        node=node or above.node,
        output=output or above.output,
        yes=yes or above.yes,
        debug=above.debug,
    )
