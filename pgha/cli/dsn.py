"""`pgha dsn`: the string that clients connect with."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from pgha.cli import sources
from pgha.cli.options import InventoryOption, NodeOption, OutputOption, merged

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
READ_S = 1.0


@app.command(epilog='Example: psql "$(pgha dsn)"    Example: pgha dsn --ro --dbname shop')
def dsn(
    ctx: typer.Context,
    ro: Annotated[bool, typer.Option("--ro", help="For reading: standbys first.")] = False,
    user: Annotated[str | None, typer.Option("--user", "-U", metavar="ROLE", help="The role.")] = None,
    dbname: Annotated[str | None, typer.Option("--dbname", "-d", metavar="NAME", help="The database.")] = None,
    inventory: InventoryOption = None,
    node: NodeOption = None,
    output: OutputOption = None,
) -> None:
    """Print the connection string for clients: every node, the primary first; libpq finds the right one."""
    from pgha import render
    from pgha.ops import connect, status

    choice = merged(ctx, inventory=inventory, node=node, output=output)
    target = sources.target_of(choice)
    seen = status.gather(sources.open_store(target.store), sources.clock(), target.cluster, timeout_s=READ_S)
    primary = status.primary_of(seen)
    if seen.down:
        render.note(f"the store gave no answer ({seen.down}): in the inventory's order")
    passfile = connect.demo_passfile(target.local_dir) if user is None and dbname is None else ""
    has_app = bool(passfile) and os.path.exists(passfile)
    uri = connect.uri(
        target.nodes,
        primary.node if primary else "",
        connect.Wish(
            user=user or (connect.DEMO_ROLE if has_app else ""),
            dbname=dbname or (connect.DEMO_ROLE if has_app else "postgres"),
            read_only=ro,
            passfile=passfile if has_app else "",
        ),
    )
    if choice.json:
        render.as_json({"schema_version": 1, "dsn": uri})
    else:
        print(uri)
