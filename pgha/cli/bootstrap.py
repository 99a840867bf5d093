"""`pgha bootstrap`: from an inventory to a running cluster."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from pgha.cli import sources
from pgha.cli.options import DryRunOption, InventoryOption, OutputOption, YesOption, merged
from pgha.errors import UsageError

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


@app.command(epilog="Example: pgha bootstrap -i inventory.yaml")
def bootstrap(
    ctx: typer.Context,
    new_store: Annotated[
        bool, typer.Option("--new-store", help="The store is lost for good: begin a new one for the data there are.")
    ] = False,
    accept: Annotated[
        bool, typer.Option("--accept-data-loss", help="With --new-store: also without the data of every node.")
    ] = False,
    adopt: Annotated[
        bool,
        typer.Option("--adopt", help="Take over the servers that run in the nodes' data directories."),
    ] = False,
    dry_run: DryRunOption = False,
    inventory: InventoryOption = None,
    output: OutputOption = None,
    yes: YesOption = False,
) -> None:
    """Make a cluster from an inventory. Run again it completes what is missing and changes nothing else.

    The nodes are hosts reached over SSH, or processes of this machine (`local:` in the inventory).
    """
    from pgha import render, render_list
    from pgha.ops import adoption, newstore
    from pgha.ops import bootstrap as moves
    from pgha.ops.bootstrap_run import Options
    from pgha.ops.host_fleet import HostFleet

    choice = merged(ctx, inventory=inventory, output=output, yes=yes)
    wanted, _, flags = sources.inventory_of(choice)
    machine, lines = sources.machine_for(wanted), render.Lines()
    if adopt and new_store:
        raise UsageError(
            "--adopt begins a cluster, --new-store goes on with one", "both were given", "give one of them"
        )
    options = Options(flags=flags, new_store=new_store, accept_loss=accept)
    fleet = moves.fleet_of(wanted, machine, options, lines, adopt=adopt)
    looked = adoption.look(fleet, wanted) if adopt else None
    options = replace(options, adopt=looked)
    plan = newstore.plan_lines(wanted) if new_store else []
    plan += looked.lines(wanted) if looked is not None else []
    plan += fleet.plan() if isinstance(fleet, HostFleet) else []
    if dry_run:
        render.page([render.clean(line) for line in plan or ["plan: complete what is missing"]])
        fleet.close()
        return
    if plan and not choice.yes:
        sources.confirmed(plan)
    done = moves.bootstrap(wanted, machine, options, lines, fleet)
    if choice.json:
        render.as_json({**done.status.as_dict(), "seconds": round(done.seconds, 2)})
        return
    render_list.show(done.status)
    print(f"bootstrap done in {done.seconds:.1f} s")
