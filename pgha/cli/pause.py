"""`pgha pause`: check, plan, one question, ask the primary's agent, watch."""

from __future__ import annotations

from typing import Annotated

import typer

from pgha.cli import sources
from pgha.cli.options import DryRunOption, InventoryOption, NodeOption, OutputOption, YesOption, merged
from pgha.cli.ordering import desk
from pgha.errors import Exit, PghaError

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


@app.command(epilog="Example: pgha pause --for 30m --reason 'new kernel on n1'")
def pause(
    ctx: typer.Context,
    length: Annotated[str, typer.Option("--for", metavar="TIME", help="How long at most: 30m, 2h, 1d.")],
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; pgha list shows it to everybody.")],
    dry_run: DryRunOption = False,
    inventory: InventoryOption = None,
    node: NodeOption = None,
    output: OutputOption = None,
    yes: YesOption = False,
) -> None:
    """Leave all servers alone for a while: nothing is promoted, demoted, started or ended by pgha.

    Exit codes: 0, 3 declined, 4 refused, 6 outcome unknown, 9 store unreachable, 13 another order at work.
    """
    from pgha import render
    from pgha.ops import pausing, switchover
    from pgha.ops.paused import span_text

    choice = merged(ctx, inventory=inventory, node=node, output=output, yes=yes)
    for_s = pausing.seconds_of(length)
    asking, seen = desk(sources.target_of(choice))
    target, clock, store = asking.target, asking.clock, asking.store
    chosen = pausing.plan_pause(target, seen, for_s=for_s, reason=reason)
    if not sources.agreed(chosen.lines(target.cluster), choice, dry_run=dry_run):
        return
    asked = None
    try:
        asked = pausing.ask(store, clock, target, chosen, asked_by=asking.asked_by)
        pausing.watch(store, clock, target, asked, asking.tell)
    except KeyboardInterrupt:
        if asked is None:
            raise PghaError("interrupted", "", target.command("list"), code=Exit.INTERRUPTED) from None
        raise switchover.interrupted(store, clock, target, asked) from None
    if choice.json:
        body = {"holder": chosen.holder, "epoch": chosen.epoch, "for_s": for_s, "reason": chosen.reason}
        render.as_json({"schema_version": 1, "pause": body})
    else:
        print(f"{target.cluster} is paused for {span_text(for_s)}; {target.command('resume')} ends it sooner")
