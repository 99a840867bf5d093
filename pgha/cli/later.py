"""`--at`: an order for later, the part that switchover and restart share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgha.cli.options import Choice
    from pgha.core.planned import Planned
    from pgha.ops.status import Seen
    from pgha.ops.target import Target

AtOption = Annotated[
    str, typer.Option("--at", metavar="TIME", help="Not now: then, with its zone, like 2026-11-25T03:00Z.")
]


def planned(text: str, choice: Choice, make: Callable[[Target, Seen, float], Planned], *, dry_run: bool) -> None:
    """The plan, one question, and it lies in the store. Raises PghaError."""
    from pgha import render
    from pgha.cli import sources
    from pgha.cli.ordering import desk
    from pgha.ops import scheduling

    asking, seen = desk(sources.target_of(choice))
    chosen = make(asking.target, seen, scheduling.time_of(text, seen.at))
    if not sources.agreed(scheduling.lines(asking.target, seen, chosen), choice, dry_run=dry_run):
        return
    laid = scheduling.place(asking, seen, chosen)
    if choice.json:
        body = {"plan": laid.ident, "kind": laid.kind, "at": laid.at, "what": laid.words}
        render.as_json({"schema_version": 1, "planned": body})
    else:
        way = asking.target.command(f"cancel {laid.ident}")
        print(f"plan {laid.ident}: {laid.words} at {scheduling.time_text(laid.at)}; {way} takes it back")
