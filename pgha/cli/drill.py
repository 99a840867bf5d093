"""`pgha drill`: a fault, a client that never stops writing, and what it saw."""

from __future__ import annotations

import typer

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


@app.command()
def drill() -> None:
    """Cause a fault, write all the while, measure the outage."""
