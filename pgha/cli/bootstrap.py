"""`pgha bootstrap`: from an inventory to a running cluster."""

from __future__ import annotations

import typer

from pgha.cli import sources
from pgha.cli.options import InventoryOption, OutputOption, merged

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


@app.command(epilog="Example: pgha bootstrap -i inventory.yaml")
def bootstrap(ctx: typer.Context, inventory: InventoryOption = None, output: OutputOption = None) -> None:
    """Make a cluster from an inventory. Run again it completes what is missing and changes nothing else.

    In this version the nodes are processes of this machine (`local:` in the inventory).
    """
    from pgha import render
    from pgha.ops import bootstrap as moves

    choice = merged(ctx, inventory=inventory, output=output)
    wanted, _, flags = sources.inventory_of(choice)
    moves.refuse_hosts(wanted)
    done = moves.bootstrap(wanted, sources.machine_for(wanted), moves.Options(flags=flags), render.Lines())
    if choice.json:
        render.as_json({**done.status.as_dict(), "seconds": round(done.seconds, 2)})
        return
    render.show_status(done.status)
    print(f"bootstrap done in {done.seconds:.1f} s")
