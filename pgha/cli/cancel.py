"""`pgha cancel`: an order for later is taken back."""

from __future__ import annotations

from typing import Annotated

import typer

from pgha.cli import sources
from pgha.cli.options import DryRunOption, InventoryOption, NodeOption, OutputOption, YesOption, merged
from pgha.cli.ordering import desk

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


@app.command(epilog="Example: pgha cancel    Example: pgha cancel 3fa9c1 -y")
def cancel(
    ctx: typer.Context,
    plan: Annotated[str, typer.Argument(metavar="[PLAN]", help="As pgha list names it; else the only one.")] = "",
    dry_run: DryRunOption = False,
    inventory: InventoryOption = None,
    node: NodeOption = None,
    output: OutputOption = None,
    yes: YesOption = False,
) -> None:
    """Take back what `switchover --at` or `restart --at` has planned. One that has begun does no further step.

    Exit codes: 0, 3 declined, 4 refused, 6 outcome unknown, 9 store unreachable, 13 it has moved meanwhile.
    """
    from pgha import render
    from pgha.ops import scheduling

    choice = merged(ctx, inventory=inventory, node=node, output=output, yes=yes)
    asking, seen = desk(sources.target_of(choice))
    chosen = scheduling.to_cancel(asking.target, seen, plan)
    lines = [f"plan: cancel {chosen.words}, planned for {scheduling.time_text(chosen.at)} by {chosen.asked_by}"]
    if not sources.agreed(lines, choice, dry_run=dry_run):
        return
    rest = scheduling.cancel(asking, seen, chosen)
    if choice.json:
        render.as_json({"schema_version": 1, "cancelled": {"plan": chosen.ident, "goes_on": rest or None}})
    else:
        print(f"cancelled: {chosen.words}{f'; {rest}' if rest else ''}")
