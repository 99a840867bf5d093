"""`pgha resume`: the end of a pause, with its holder's agent, or without it when it is silent."""

from __future__ import annotations

from typing import Annotated

import typer

from pgha.cli import completing, sources
from pgha.cli.options import DryRunOption, InventoryOption, NodeOption, OutputOption, YesOption, merged
from pgha.cli.ordering import desk
from pgha.errors import Exit, PghaError

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


@app.command(epilog="Example: pgha resume    Example: pgha resume --holder-down n1")
def resume(
    ctx: typer.Context,
    holder_down: Annotated[
        str | None,
        typer.Option(
            "--holder-down",
            metavar="NODE",
            autocompletion=completing.nodes,
            help="You have made sure that this silent holder can't write.",
        ),
    ] = None,
    dry_run: DryRunOption = False,
    inventory: InventoryOption = None,
    node: NodeOption = None,
    output: OutputOption = None,
    yes: YesOption = False,
) -> None:
    """End a pause: pgha promotes, starts and ends servers again. Waits until there is a writable primary.

    Exit codes: 0, 3 declined, 4 refused, 6 outcome unknown, 9 store unreachable, 13 another order at work.
    """
    from pgha import render
    from pgha.ops import pausing, switchover

    choice = merged(ctx, inventory=inventory, node=node, output=output, yes=yes)
    asking, seen = desk(sources.target_of(choice))
    target, clock, store = asking.target, asking.clock, asking.store
    chosen = pausing.plan_resume(target, seen, holder_down)
    if not sources.agreed(chosen.lines(target.cluster), choice, dry_run=dry_run):
        return
    asked = None
    try:
        if chosen.down:
            pausing.lift(store, clock, target, chosen, asking.tell)
        else:
            asked = pausing.ask(store, clock, target, chosen, asked_by=asking.asked_by)
            pausing.watch(store, clock, target, asked, asking.tell)
        primary = pausing.await_primary(store, clock, target, chosen.h_s, asking.tell)
    except KeyboardInterrupt:
        if asked is None:
            raise PghaError("interrupted", "", target.command("list"), code=Exit.INTERRUPTED) from None
        raise switchover.interrupted(store, clock, target, asked) from None
    if choice.json:
        render.as_json({"schema_version": 1, "resume": {"holder": chosen.holder, "primary": primary}})
    else:
        print(f"{target.cluster} is no longer paused; {primary} is primary")
