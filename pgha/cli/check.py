"""`pgha check`: everything that could go wrong on the hosts. Exit 0, or that of the gravest finding."""

from __future__ import annotations

import typer

from pgha.cli import sources
from pgha.cli.options import InventoryOption, OutputOption, merged
from pgha.errors import UsageError

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
READ_S = 2.0


@app.command(epilog="Example: pgha check -i inventory.yaml    Example: pgha check -o json")
def check(ctx: typer.Context, inventory: InventoryOption = None, output: OutputOption = None) -> None:
    """Look at all hosts at once and tell every finding, each with the line that fixes it. Changes nothing.

    Exit codes: 0 nothing is in the way, 8 a host is unreachable, 4 bootstrap would refuse; with a cluster: as `list`,
    and 10 when something on it wants to be put right.
    """
    from pgha import render
    from pgha.ops import check as looking
    from pgha.ops import status
    from pgha.ops.host_health import StoreRoom

    choice = merged(ctx, inventory=inventory, output=output)
    wanted, path, flags = sources.inventory_of(choice)
    if wanted.local is not None:
        raise UsageError(f"{path} has its nodes on this machine", "check looks at hosts", f"pgha {flags}list")

    def look() -> status.Seen:
        target = sources.target_of(choice)
        return status.gather(sources.open_store(target.store), sources.clock(), target.cluster, timeout_s=READ_S)

    def room() -> StoreRoom:
        return sources.store_room(sources.target_of(choice), within_s=READ_S)

    found = looking.check(wanted, sources.distant_for(wanted), looking.Looks(look, room), render.Lines(), flags)
    if choice.json:
        render.as_json(found.as_dict())
    else:
        render.page([render.clean(line) for line in found.lines(render.console_width())])
    raise typer.Exit(int(found.exit))
