"""`pgha drill`: a fault, a client that never stops writing, and what that client saw."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Annotated

import typer

from pgha.cli import sources
from pgha.cli.options import InventoryOption, OutputOption, YesOption, merged

if TYPE_CHECKING:
    from pgha.inventory import Inventory

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


def _is_demo(inventory: Inventory) -> bool:
    """A demo may be hurt without asking."""
    from pgha.ops.preflight import read_marker

    marker = read_marker(inventory.local.dir) if inventory.local else None
    return marker is not None and marker.demo


@app.command(epilog="Example: pgha drill kill-postgres --rounds 5")
def drill(
    ctx: typer.Context,
    fault: Annotated[str, typer.Argument(metavar="FAULT", help="kill-postgres, kill-node or switchover.")],
    rounds: Annotated[int, typer.Option("--rounds", "-n", metavar="COUNT", help="How often.")] = 1,
    seed: Annotated[int, typer.Option("--seed", metavar="NUMBER", help="Of the pauses between rounds.")] = 0,
    budget: Annotated[
        float | None,
        typer.Option("--budget", metavar="SECONDS", help="Longest outage that passes.", show_default=False),
    ] = None,
    history: Annotated[str, typer.Option("--history", metavar="FILE", help="Keep all that the client saw.")] = "",
    inventory: InventoryOption = None,
    output: OutputOption = None,
    yes: YesOption = False,
) -> None:
    """Cause a fault, write all the while, measure: outage, rows lost, rows acknowledged by two servers.

    For clusters on this machine. Exit 0 when it passed, 5 when it did not.
    """
    from pgha import render
    from pgha.adapters.local_judge import JudgeProcess
    from pgha.ops import drill as moves
    from pgha.ops.target import store_access

    choice = merged(ctx, inventory=inventory, output=output, yes=yes)
    wanted, _, _ = sources.inventory_of(choice)
    options = moves.Options(rounds=rounds, seed=seed, budget_s=budget, history=history)
    moves.check(wanted, fault, options)
    machine = sources.machine_for(wanted)
    plan = [f"plan: {fault} on cluster {wanted.cluster}, {rounds} times, under a client that writes all the while"]
    if not choice.yes and not _is_demo(wanted):
        sources.confirmed(plan)
    tools = moves.Tools(
        store=machine.open_store(store_access(wanted)),
        clock=machine.clock,
        host=machine.host,
        judge=JudgeProcess,
        random_bytes=secrets.token_bytes,
    )
    report = moves.run(wanted, fault, options, tools, render.note)
    if choice.json:
        render.as_json(report.as_dict())
    else:
        for line in report.lines():
            print(line)
    raise typer.Exit(int(report.exit))
