"""`pgha logs`: watchdog, PostgreSQL and etcd of all nodes in one stream, by time."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Annotated

import typer

from pgha.cli import completing, log_sources
from pgha.cli.options import InventoryOption, NodeOption, OutputOption, merged
from pgha.errors import Exit

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


@app.command(epilog="Example: pgha logs --since 10m    Example: pgha logs -f n1 n2")
def logs(
    ctx: typer.Context,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NODE]...", autocompletion=completing.nodes, help="Only these nodes.", show_default=False
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on as lines are written, until Ctrl-C.")] = False,
    since: Annotated[str, typer.Option("--since", metavar="TIME", help="How far back: 90s, 10m, 2h, 1d.")] = "10m",
    inventory: InventoryOption = None,
    node: NodeOption = None,
    output: OutputOption = None,
) -> None:
    """Show what watchdogs, PostgreSQL and etcd have written, all nodes in one stream ordered by time (UTC).

    Exit codes: 0, 8 when a node could not be read (the others are shown all the same).
    """
    from pgha import render
    from pgha.ops import logs as reading
    from pgha.ops.log_lines import LogLine
    from pgha.render_logs import Painter

    choice = merged(ctx, inventory=inventory, node=node, output=output)
    began = time.time() - reading.seconds_of(since)
    nodes, reader = log_sources.of(choice, names or [], follow=follow, since=began)
    stream = reading.Stream(nodes, reader, began)
    painter, failed = Painter(nodes), False
    found: Iterator[LogLine | reading.Trouble] = stream.follow() if follow else stream.read()
    try:
        for one in found:
            if isinstance(one, reading.Trouble):
                failed = True
                render.note(f"! {one.node}: {one.because}")
            elif choice.json:
                print(json.dumps(one.as_dict()), flush=follow)
            else:
                print(painter.text(one), flush=follow)
    except KeyboardInterrupt:
        if not follow:
            raise
        return  # that is how one leaves
    if failed:
        raise typer.Exit(int(Exit.UNREACHABLE))
