"""`pgha failover`: what it would cost, consent, one order to the target's agent, watch."""

from __future__ import annotations

from typing import Annotated

import typer

from pgha.cli import sources
from pgha.cli.options import DryRunOption, InventoryOption, NodeOption, OutputOption, YesOption, merged
from pgha.cli.switchover import asked_by
from pgha.errors import Exit, PghaError

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
READ_S = 2.0


@app.command(epilog="Example: pgha failover --dry-run    Example: pgha failover --to n2 --accept-data-loss")
def failover(
    ctx: typer.Context,
    to: Annotated[
        str | None, typer.Option("--to", metavar="NODE", help="The new primary, else the one with most.")
    ] = None,
    accept: Annotated[
        bool, typer.Option("--accept-data-loss", help="Consent to the loss that the plan names.")
    ] = False,
    dry_run: DryRunOption = False,
    inventory: InventoryOption = None,
    node: NodeOption = None,
    output: OutputOption = None,
    yes: YesOption = False,
) -> None:
    """Make a node primary that lacks acknowledged commits. Without a loss the cluster fails over by itself.

    Exit codes: 0, 3 declined, 4 refused (not needed, or not possible), 12 it would lose data, 13 another order at work.
    """
    from pgha import render
    from pgha.ops import failover as rescue
    from pgha.ops import status
    from pgha.ops import switchover as move

    choice = merged(ctx, inventory=inventory, node=node, output=output, yes=yes)
    target = sources.target_of(choice)
    clock, store = sources.clock(), sources.open_store(target.store)
    seen = status.gather(store, clock, target.cluster, timeout_s=READ_S)
    chosen = rescue.plan(target, seen, to)
    lines = chosen.lines(target.cluster)
    if not accept:
        for line in lines:
            render.note(line)
        raise chosen.refusal(target)
    if dry_run:
        if choice.json:
            render.as_json({"schema_version": 1, "plan": chosen.as_dict()})
            return
        for line in lines:
            print(line)
        return
    if choice.yes:
        for line in lines:
            render.note(line)
    elif not render.confirm(lines):
        raise PghaError("declined; nothing was changed", "", "-y answers the question", code=Exit.DECLINED)
    asked = None
    try:
        asked = rescue.ask(store, clock, target, seen, chosen, asked_by=asked_by())
        seconds = move.watch(store, clock, target, asked, lambda text, at: render.note(f"{at:6.2f}s  {text}"))
    except KeyboardInterrupt:
        if asked is None:
            why = "it was being asked for"
            raise PghaError("interrupted", why, target.command("list shows whether"), code=Exit.INTERRUPTED) from None
        raise move.interrupted(store, clock, target, asked) from None
    if choice.json:
        body = chosen.as_dict() | {"seconds": round(seconds, 3)}
        render.as_json({"schema_version": 1, "failover": body})
    else:
        print(f"{chosen.target} is primary; {seconds:.2f} s from asking to done")
