"""`pgha remove NODE`: check, plan, one question, then out of voters, store, etcd and the other nodes' files."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from pgha.cli import completing, sources
from pgha.cli.options import DryRunOption, InventoryOption, OutputOption, YesOption, merged
from pgha.errors import Exit, Unreachable

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
READ_S = 2.0


@app.command(epilog="Example: pgha remove n3    Example: pgha remove n3 --gone")
def remove(
    ctx: typer.Context,
    name: Annotated[
        str, typer.Argument(metavar="NODE", autocompletion=completing.nodes, help="The node, as the inventory has it.")
    ],
    gone: Annotated[bool, typer.Option("--gone", help="Its host is gone for good: it is not touched.")] = False,
    dry_run: DryRunOption = False,
    inventory: InventoryOption = None,
    output: OutputOption = None,
    yes: YesOption = False,
) -> None:
    """Take a node out of the cluster: no longer a voter, then stopped; its data are moved aside. Writes go on.

    Exit codes: 0, 3 declined, 4 refused (primary, promise, an unwell node), 8 host unreachable, 13 another order.
    """
    from pgha import render, render_list
    from pgha.ops import bootstrap, removal, status
    from pgha.ops.leavers import Leavers

    choice = merged(ctx, inventory=inventory, output=output, yes=yes)
    wanted, path, flags = sources.inventory_of(choice)
    target, clock, lines = sources.target_of(choice), sources.clock(), render.Lines()
    store = sources.open_store(target.store)
    chosen = removal.plan(
        target, status.gather(store, clock, target.cluster, timeout_s=READ_S), wanted, name, gone=gone
    )
    machine = sources.machine_for(wanted)
    leavers = Leavers(wanted, machine.host, machine.distant, lines, () if gone else (name,))
    for problem in leavers.problems.values():
        raise removal.unreachable(problem, target, name) if isinstance(problem, Unreachable) else problem
    if not sources.agreed(chosen.lines(target.cluster), choice, dry_run=dry_run):
        return
    doors = removal.Doors(
        store=store,
        clock=clock,
        open_members=lambda: sources.open_members(wanted, target.store),
        rewrite=lambda rest: bootstrap.rewrite(rest, machine, lines),
        rewrite_plan=lambda rest: bootstrap.rewrite_plan(rest, machine, lines),
        stamp=time.strftime("removed-%Y%m%dT%H%M%SZ", time.gmtime()),
    )
    where = removal.remove(target, chosen, wanted, leavers.found.get(name), doors, lines)
    leavers.close()
    found = removal.await_settled(store, clock, target, wanted, name)
    left = removal.mentions(sources.text_of(path), name, chosen.host)
    if choice.json:
        body = {"node": name, "moved_to": where, "lines": [{"line": n, "text": text} for n, text in left]}
        render.as_json({"schema_version": 1, "removed": body, "status": found.as_dict()})
        return
    render_list.show(found)
    print(f"{name} is removed" + (f"; its data are in {where}" if where else ""))
    if left:
        print(
            f"two nodes can't hold the store: leave it in {path}, give it another host, and run pgha {flags}bootstrap:"
            if chosen.leaves_two
            else f"take it out of {path} (else pgha {flags}bootstrap would put it in again):"
        )
        for number, text in left:
            print(render.clean(f"  {path}:{number}: {text.strip()}"))
    if found.exit != Exit.OK:
        raise typer.Exit(int(found.exit))
