"""`pgha reinit`: a standby's copy is made anew."""

from __future__ import annotations

from typing import Annotated

import typer

from pgha.cli import completing, sources
from pgha.cli.options import DryRunOption, InventoryOption, NodeOption, OutputOption, YesOption, merged
from pgha.cli.ordering import desk

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


@app.command(epilog="Example: pgha reinit n3    Example: pgha reinit n3 --from n2 -y")
def reinit(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NODE", autocompletion=completing.nodes, help="The standby.")],
    source: Annotated[
        str,
        typer.Option(
            "--from", metavar="NODE", autocompletion=completing.nodes, help="Clone this node, else the primary."
        ),
    ] = "",
    dry_run: DryRunOption = False,
    inventory: InventoryOption = None,
    node: NodeOption = None,
    output: OutputOption = None,
    yes: YesOption = False,
) -> None:
    """Clone a standby anew. Its present copy is taken out of the voters first, and kept until the clone streams.

    Exit codes: 0, 3 declined, 4 refused, 6 outcome unknown, 9 store unreachable, 13 another order at work.
    """
    from pgha import render
    from pgha.ops import node_orders, restarting

    choice = merged(ctx, inventory=inventory, node=node, output=output, yes=yes)
    asking, seen = desk(sources.target_of(choice))
    chosen = restarting.plan_reinit(asking.target, seen, name, source)
    if not sources.agreed(chosen.lines(asking.target.cluster), choice, dry_run=dry_run):
        return
    seconds = node_orders.watch(asking, node_orders.place(asking, seen, name, "reinit", source=source))
    if choice.json:
        render.as_json({"schema_version": 1, "reinit": {"node": name, "seconds": round(seconds, 3)}})
    else:
        print(f"{name} has a new copy and streams; {seconds:.1f} s")
