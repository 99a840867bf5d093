"""`pgha watchdog` for the command line: its place in the help. `pgha.__main__` starts the real one first."""

from __future__ import annotations

from typing import Annotated

import typer

from pgha.errors import UsageError

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


@app.command(epilog="Example, as cron runs it: pgha watchdog --node /etc/pgha/shop.json")
def watchdog(
    node: Annotated[str | None, typer.Option("--node", metavar="FILE", help="The node's own file.")] = None,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the running one and its server in order.")] = False,
    restart: Annotated[bool, typer.Option("--restart", help="Replace it by the installed version; no outage.")] = False,
) -> None:
    """Keep one node alive: started by cron every minute, exits at once when one runs already."""
    raise UsageError(
        "watchdog takes no options before its name",
        "it is started without loading the command line",
        f"pgha watchdog {'--stop ' if stop else '--restart ' if restart else ''}--node {node or 'FILE'}",
    )
