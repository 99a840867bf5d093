"""`pgha reload`: every node writes its server's files once more, and the server reads them."""

from __future__ import annotations

from typing import Annotated

import typer

from pgha.cli import completing, sources
from pgha.cli.options import InventoryOption, NodeOption, OutputOption, merged
from pgha.cli.ordering import desk

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


@app.command(epilog="Example: pgha reload    Example: pgha reload n2 n3")
def reload(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NODE...]", autocompletion=completing.nodes, help="Which; else all.")
    ] = None,
    inventory: InventoryOption = None,
    node: NodeOption = None,
    output: OutputOption = None,
) -> None:
    """Have the nodes' servers read their configuration again, certificates included; ends when all have.

    Exit codes: 0, 4 refused, 6 outcome unknown, 7 a node keeps older settings, 9 store unreachable, 13 busy.
    """
    from pgha import render
    from pgha.ops import node_orders, restarting

    choice = merged(ctx, inventory=inventory, node=node, output=output)
    asking, seen = desk(sources.target_of(choice))
    nodes = restarting.reload_plan(asking.target, seen, tuple(names or ()))
    done = node_orders.all_of(asking, seen, nodes, "reload")
    if choice.json:
        render.as_json({"schema_version": 1, "reloaded": sorted(done)})
    else:
        print(f"reloaded: {', '.join(done)}")
