"""`pgha explain`: why the cluster is as it is. Exit codes as `pgha list`."""

from __future__ import annotations

from typing import Annotated

import typer

from pgha.cli import completing, sources
from pgha.cli.options import InventoryOption, NodeOption, OutputOption, merged

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
READ_S = 2.0


@app.command(epilog="Example: pgha explain    Example: pgha explain n2    Example: pgha explain -o json")
def explain(
    ctx: typer.Context,
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NODE]",
            autocompletion=completing.nodes,
            help="Only this node, with every other way.",
            show_default=False,
        ),
    ] = None,
    inventory: InventoryOption = None,
    node: NodeOption = None,
    output: OutputOption = None,
) -> None:
    """Say why: is there a primary, what each node does and for which facts, who is missing, what to do next.

    Exit codes: 0 healthy, 10 degraded, 11 no primary or two, 9 store unreachable.
    """
    from pgha import render, render_explain
    from pgha.ops import explain as why
    from pgha.ops import status

    choice = merged(ctx, inventory=inventory, node=node, output=output)
    target = sources.target_of(choice)
    seen = status.gather(sources.open_store(target.store), sources.clock(), target.cluster, timeout_s=READ_S)
    found = why.explain(target, seen, name)
    if choice.json:
        render.as_json(render_explain.as_dict(found))
    else:
        render.page(render_explain.lines(found, render.console_width()), found.exit)
    raise typer.Exit(int(found.exit))
