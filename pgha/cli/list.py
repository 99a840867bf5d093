"""`pgha list`: the cluster on one page. Exit 0 healthy, 10 degraded, 11 no primary or two, 9 store unreachable."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pgha.cli import sources
from pgha.cli.options import InventoryOption, NodeOption, OutputOption, merged
from pgha.errors import Exit

if TYPE_CHECKING:
    from pgha.ops.status import Status
    from pgha.ops.target import Target
    from pgha.ports import Clock, Store

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
READ_S = 2.0
WATCH_EVERY_S = 1.0


def _look(store: Store, clock: Clock, target: Target) -> Status:
    from pgha.ops import status

    return status.judge(target, status.gather(store, clock, target.cluster, timeout_s=READ_S))


def _follow(store: Store, clock: Clock, target: Target) -> Exit:
    """Redraw every second until Ctrl-C, which is how one leaves."""
    from rich.live import Live

    from pgha import render

    seen = _look(store, clock, target)
    page = render.status_page(seen, render.console_width())
    with Live(page, console=render.console(), auto_refresh=False) as live:
        try:
            while True:
                clock.sleep(WATCH_EVERY_S)
                seen = _look(store, clock, target)
                live.update(render.status_page(seen, render.console_width()), refresh=True)
        except KeyboardInterrupt:
            return seen.exit


@app.command(name="list", epilog="Example: pgha list -w    Example: pgha list -o json")
def show(
    ctx: typer.Context,
    inventory: InventoryOption = None,
    node: NodeOption = None,
    output: OutputOption = None,
    watch: Annotated[bool, typer.Option("-w", "--watch", help="Redraw every second until Ctrl-C.")] = False,
) -> None:
    """Show the cluster: roles, lag, voters, and what is wrong.

    Exit codes: 0 healthy, 10 degraded, 11 no primary or two, 9 store unreachable.
    """
    choice = merged(ctx, inventory=inventory, node=node, output=output)
    target = sources.target_of(choice)
    clock, store = sources.clock(), sources.open_store(target.store)
    from pgha import render

    if watch and not choice.json:
        raise typer.Exit(_follow(store, clock, target))
    seen = _look(store, clock, target)
    if choice.json:
        render.as_json(seen.as_dict())
    else:
        render.show_status(seen)
    raise typer.Exit(int(seen.exit))
