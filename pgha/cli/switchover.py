"""`pgha switchover`: check, plan, one question, ask the agents, watch."""

from __future__ import annotations

from typing import Annotated

import typer

from pgha.cli import completing, sources
from pgha.cli.later import AtOption, planned
from pgha.cli.options import DryRunOption, InventoryOption, NodeOption, OutputOption, YesOption, merged
from pgha.cli.ordering import desk, moved

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


@app.command(epilog="Example: pgha switchover --to n2 -y    Example: pgha switchover --at 2026-11-25T03:00Z")
def switchover(
    ctx: typer.Context,
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="NODE", autocompletion=completing.nodes, help="The new primary, else the best voter."
        ),
    ] = None,
    at: AtOption = "",
    dry_run: DryRunOption = False,
    inventory: InventoryOption = None,
    node: NodeOption = None,
    output: OutputOption = None,
    yes: YesOption = False,
) -> None:
    """Move the primary to another node, planned: no commit is lost, writes pause for a moment."""
    from pgha import render
    from pgha.ops import scheduling
    from pgha.ops import switchover as move

    choice = merged(ctx, inventory=inventory, node=node, output=output, yes=yes)
    if at:
        planned(at, choice, lambda t, seen, s: scheduling.plan_switchover(t, seen, to or "", s), dry_run=dry_run)
        return
    asking, seen = desk(sources.target_of(choice))
    target, clock, store = asking.target, asking.clock, asking.store
    chosen = move.plan(target, seen, to)
    if not sources.agreed(chosen.lines(target.cluster), choice, dry_run=dry_run):
        return
    seconds = moved(
        store, clock, target, lambda: move.ask(store, clock, target, seen, chosen, asked_by=asking.asked_by)
    )
    if choice.json:
        body = {"from": chosen.source, "to": chosen.target, "epoch": chosen.epoch + 1, "seconds": round(seconds, 3)}
        render.as_json({"schema_version": 1, "switchover": body})
    else:
        print(f"{chosen.target} is primary; {seconds:.2f} s from asking to done")
