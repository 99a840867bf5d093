"""`pgha upgrade`: PostgreSQL's minor release, node by node."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from pgha.cli import sources
from pgha.cli.options import DryRunOption, InventoryOption, OutputOption, YesOption, merged
from pgha.cli.ordering import desk
from pgha.errors import UsageError

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


@app.command(epilog="Example: pgha upgrade --dry-run    Example: pgha upgrade --to 15.20 -y")
def upgrade(
    ctx: typer.Context,
    to: Annotated[
        str, typer.Option("--to", metavar="RELEASE", help="Such as 15.20; else what the hosts' apt offers.")
    ] = "",
    installed: Annotated[
        bool, typer.Option("--installed", help="Bring no packages: only restart onto what is installed.")
    ] = False,
    dry_run: DryRunOption = False,
    inventory: InventoryOption = None,
    output: OutputOption = None,
    yes: YesOption = False,
) -> None:
    """Bring PostgreSQL to a newer minor release: standbys first, one switchover, the old primary last.

    Each node: its packages by apt, under the running server; then its watchdog restarts the server. What runs it
    already is skipped, so the same command goes on after Ctrl-C. The hosts' apt lists are refreshed in any case.

    Exit codes: 0, 3 declined, 4 refused (the cluster is not whole), 6 outcome unknown, 7 some done, 8 host unreachable.
    """
    from pgha import render
    from pgha.ops import reaching, upgrading

    if to and (installed or not re.fullmatch(r"\d+\.\d+", to)):
        why = "it can't be combined with --installed" if installed else "a release has two numbers: 15.20"
        raise UsageError(f"--to {to}", why, "pgha upgrade --help")
    choice = merged(ctx, inventory=inventory, output=output, yes=yes)
    wanted, _, _ = sources.inventory_of(choice)
    asking, _ = desk(sources.target_of(choice))
    machine, wish = sources.machine_for(wanted), upgrading.Wish(to, not installed)
    with reaching.held(wanted, machine.host, machine.distant) as reaches:
        have = upgrading.look(reaches, wish)
        chosen = upgrading.plan(asking.target, upgrading.healthy(asking), have, wish)
        done: dict[str, float] = {}
        if dry_run and choice.json:
            render.as_json({"schema_version": 1, "plan": chosen.as_dict()})
            return
        if dry_run or not chosen.is_empty:
            if not sources.agreed(chosen.lines(asking.target.cluster), choice, dry_run=dry_run):
                return
            done = upgrading.run(asking, reaches, have)
    if choice.json:
        body = {"releases": chosen.releases, "upgraded": {name: round(s, 3) for name, s in done.items()}}
        render.as_json({"schema_version": 1, "upgrade": body})
    else:
        said = ", ".join(f"{name} ({seconds:.1f} s)" for name, seconds in done.items())
        print(f"upgraded: {said}" if done else f"every node runs {', '.join(chosen.releases)} already")
