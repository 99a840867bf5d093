"""`pgha list`: the cluster on one page. Exit 0 healthy, 10 degraded, 11 no primary or two, 9 store unreachable."""

from __future__ import annotations

from typing import Annotated

import typer

from pgha.cli import sources
from pgha.cli.options import InventoryOption, NodeOption, OutputOption, merged

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
READ_S = 2.0


@app.command(name="list", epilog="Example: pgha list -w    Example: pgha list -o json")
def show(
    ctx: typer.Context,
    inventory: InventoryOption = None,
    node: NodeOption = None,
    output: OutputOption = None,
    watch: Annotated[
        bool, typer.Option("-w", "--watch", help="Redraw every second; keys lead to other pages, q quits.")
    ] = False,
) -> None:
    """Show the cluster: roles, lag, voters, lease, and what is wrong.

    LAG: WAL that the standby has not flushed. DELAY: until it has replayed, as the primary measured lately. LEASE: what
    the primary had left of it when it reported. SEEN: the age of what a row says. A node that is silent in the store is
    asked for by SSH (2.5 s at most, not with -w), so that the page says what is true there.

    Exit codes: 0 healthy, 10 degraded, 11 no primary or two, 9 store unreachable.
    """
    choice = merged(ctx, inventory=inventory, node=node, output=output)
    target = sources.target_of(choice)
    clock, store = sources.clock(), sources.open_store(target.store)
    from pgha import render, render_list
    from pgha.cli import asking, watching
    from pgha.ops import status

    def look() -> status.Seen:
        return status.gather(store, clock, target.cluster, timeout_s=READ_S)

    if watch and not choice.json:
        raise typer.Exit(int(watching.follow(target, look)))
    seen, heard = asking.looked(choice, target, look)
    found = status.judge(target, seen)
    if heard:
        from pgha.ops import silent

        found = silent.told(found, heard)
    if choice.json:
        render.as_json(found.as_dict())
    else:
        render_list.show(found)
    raise typer.Exit(int(found.exit))
