"""`pgha restart`: standbys one after another, the primary last."""

from __future__ import annotations

from typing import Annotated

import typer

from pgha.cli import completing, sources
from pgha.cli.later import AtOption, planned
from pgha.cli.options import DryRunOption, InventoryOption, NodeOption, OutputOption, YesOption, merged
from pgha.cli.ordering import desk
from pgha.errors import UsageError

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


@app.command(epilog="Example: pgha restart n2    Example: pgha restart --rolling --pending -y")
def restart(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NODE...]", autocompletion=completing.nodes, help="Which; else all.")
    ] = None,
    rolling: Annotated[bool, typer.Option("--rolling", help="Move the primary by a switchover, then go on.")] = False,
    pending: Annotated[bool, typer.Option("--pending", help="Only those that wait for a restart.")] = False,
    role: Annotated[str, typer.Option("--role", metavar="ROLE", help="Only standby, or only primary.")] = "",
    at: AtOption = "",
    dry_run: DryRunOption = False,
    inventory: InventoryOption = None,
    node: NodeOption = None,
    output: OutputOption = None,
    yes: YesOption = False,
) -> None:
    """Restart PostgreSQL on nodes, each by its own watchdog: standbys first, all voters back before the next one.

    The primary comes last: with --rolling it moves to another node first, else it is stopped and started in place.

    Exit codes: 0, 3 declined, 4 refused, 6 outcome unknown, 7 some done, 9 store unreachable, 13 another order at work.
    """
    from pgha import render
    from pgha.ops import restarting, scheduling

    if role not in ("", "standby", "primary"):
        raise UsageError(f"--role {role!r} is neither standby nor primary")
    choice = merged(ctx, inventory=inventory, node=node, output=output, yes=yes)
    wish = restarting.Wish(tuple(names or ()), role, pending, rolling)
    if at:
        planned(at, choice, lambda t, seen, s: scheduling.plan_restart(t, seen, wish, s), dry_run=dry_run)
        return
    asking, seen = desk(sources.target_of(choice))
    chosen = restarting.plan(asking.target, seen, wish)
    done: dict[str, float] = {}
    if not chosen.is_empty:
        if not sources.agreed(chosen.lines(asking.target.cluster), choice, dry_run=dry_run):
            return
        done = restarting.run(asking, chosen)
    if choice.json:
        render.as_json({"schema_version": 1, "restarted": {n: round(s, 3) for n, s in done.items()}})
    else:
        said = ", ".join(f"{name} ({seconds:.1f} s)" for name, seconds in done.items())
        print(f"restarted: {said}" if done else "nothing to restart")
