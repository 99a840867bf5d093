"""`pgha switchover`: check, plan, one question, ask the agents, watch."""

from __future__ import annotations

import getpass
import socket
from typing import Annotated

import typer

from pgha.cli import sources
from pgha.cli.options import DryRunOption, InventoryOption, NodeOption, OutputOption, YesOption, merged
from pgha.errors import Exit, PghaError

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
READ_S = 2.0


def asked_by() -> str:
    """Who gives this order: user and machine, for others to read."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "somebody"
    return f"{user}@{socket.gethostname()}"


@app.command(epilog="Example: pgha switchover --to n2 -y")
def switchover(
    ctx: typer.Context,
    to: Annotated[
        str | None, typer.Option("--to", metavar="NODE", help="The new primary, else the best voter.")
    ] = None,
    dry_run: DryRunOption = False,
    inventory: InventoryOption = None,
    node: NodeOption = None,
    output: OutputOption = None,
    yes: YesOption = False,
) -> None:
    """Move the primary to another node, planned: no commit is lost, writes pause for a moment."""
    from pgha import render
    from pgha.ops import status
    from pgha.ops import switchover as move

    choice = merged(ctx, inventory=inventory, node=node, output=output, yes=yes)
    target = sources.target_of(choice)
    clock, store = sources.clock(), sources.open_store(target.store)
    seen = status.gather(store, clock, target.cluster, timeout_s=READ_S)
    chosen = move.plan(target, seen, to)
    if dry_run:
        for line in chosen.lines(target.cluster):
            print(line)
        return
    if choice.yes:
        for line in chosen.lines(target.cluster):
            render.note(line)
    elif not render.confirm(chosen.lines(target.cluster)):
        raise PghaError("declined; nothing was changed", "", "-y answers the question", code=Exit.DECLINED)
    asked = None
    try:
        asked = move.ask(store, clock, target, seen, chosen, asked_by=asked_by())
        seconds = move.watch(store, clock, target, asked, lambda text, at: render.note(f"{at:6.2f}s  {text}"))
    except KeyboardInterrupt:
        if asked is None:
            why = "it was being asked for"
            raise PghaError("interrupted", why, target.command("list shows whether"), code=Exit.INTERRUPTED) from None
        raise move.interrupted(store, clock, target, asked) from None
    if choice.json:
        body = {"from": chosen.source, "to": chosen.target, "epoch": chosen.epoch + 1, "seconds": round(seconds, 3)}
        render.as_json({"schema_version": 1, "switchover": body})
    else:
        print(f"{chosen.target} is primary; {seconds:.2f} s from asking to done")
