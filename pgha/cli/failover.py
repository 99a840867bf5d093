"""`pgha failover`: what it would cost, consent, one order to the target's agent, watch."""

from __future__ import annotations

from typing import Annotated

import typer

from pgha.cli import completing, sources
from pgha.cli.options import DryRunOption, InventoryOption, NodeOption, OutputOption, YesOption, merged
from pgha.cli.ordering import desk, moved
from pgha.errors import Busy

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


@app.command(epilog="Example: pgha failover --dry-run    Example: pgha failover --to n2 --accept-data-loss")
def failover(
    ctx: typer.Context,
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="NODE", autocompletion=completing.nodes, help="The new primary, else the one with most."
        ),
    ] = None,
    accept: Annotated[
        bool, typer.Option("--accept-data-loss", help="Consent to the loss that the plan names.")
    ] = False,
    dry_run: DryRunOption = False,
    inventory: InventoryOption = None,
    node: NodeOption = None,
    output: OutputOption = None,
    yes: YesOption = False,
) -> None:
    """Make a node primary that lacks acknowledged commits. Without a loss the cluster fails over by itself.

    Exit codes: 0, 3 declined, 4 refused (not needed, or not possible), 12 it would lose data, 13 another order at work.
    """
    from pgha import render
    from pgha.ops import failover as rescue
    from pgha.ops import switchover

    choice = merged(ctx, inventory=inventory, node=node, output=output, yes=yes)
    asking, seen = desk(sources.target_of(choice))
    target, clock, store = asking.target, asking.clock, asking.store
    try:
        chosen = rescue.plan(target, seen, to)
    except Busy:
        begun = switchover.at_work(seen, "failover", to) if accept and not dry_run else None
        if begun is None:
            raise
        render.note(f"asked by {begun.order.asked_by or 'somebody'} already: followed")
        seconds = moved(store, clock, target, lambda: begun)
        if choice.json:
            body = {"to": begun.order.target, "followed": True, "seconds": round(seconds, 3)}
            render.as_json({"schema_version": 1, "failover": body})
        else:
            print(f"{begun.order.target} is primary; {seconds:.2f} s from here to done")
        return
    lines = chosen.lines(target.cluster)
    if not accept:
        for line in lines:
            render.note(line)
        raise chosen.refusal(target)
    if dry_run and choice.json:
        render.as_json({"schema_version": 1, "plan": chosen.as_dict()})
        return
    if not sources.agreed(lines, choice, dry_run=dry_run):
        return
    seconds = moved(
        store, clock, target, lambda: rescue.ask(store, clock, target, seen, chosen, asked_by=asking.asked_by)
    )
    if choice.json:
        body = chosen.as_dict() | {"seconds": round(seconds, 3)}
        render.as_json({"schema_version": 1, "failover": body})
    else:
        print(f"{chosen.target} is primary; {seconds:.2f} s from asking to done")
