"""`pgha demo up` and `pgha demo down`."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING, Annotated

import typer

from pgha.cli import sources
from pgha.cli.options import OutputOption, merged
from pgha.errors import Exit, PghaError

if TYPE_CHECKING:
    from pgha.inventory import Inventory

app = typer.Typer(
    help="Three PostgreSQL nodes and three etcd members on this machine, for trying.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
)
DirOption = Annotated[
    str | None, typer.Option("--dir", metavar="DIR", help="Where it lives; everything is below it.", show_default=False)
]


def _parse(text: str, where: str) -> Inventory:
    from pgha import inventory

    return inventory.parse(text, where)


def _run_as(directory: str) -> str:
    """Who the demo runs as: the owner of an existing directory, else whom a new one would have."""
    from pgha.ops import demo

    if os.path.isdir(directory) and os.geteuid() == 0:
        try:
            owner = pwd.getpwuid(os.stat(directory).st_uid).pw_name
        except KeyError:
            return demo.demo_user()
        return owner if owner != "root" else demo.demo_user()
    return demo.demo_user()


@app.command(epilog="Example: pgha demo up    Example: pgha demo up --nodes 5 --dir /var/tmp/five")
def up(
    ctx: typer.Context,
    directory: DirOption = None,
    nodes: Annotated[int, typer.Option("--nodes", metavar="COUNT", help="How many nodes.")] = 3,
    pg_bin: Annotated[
        str, typer.Option("--pg-bin", metavar="DIR", help="PostgreSQL's programs; else they are looked for.")
    ] = "",
    wal_segment: Annotated[
        int, typer.Option("--wal-segment", metavar="MB", help="Size of a WAL segment; hosts have 16.")
    ] = 1,
    output: OutputOption = None,
) -> None:
    """Make the demo: a cluster that heals itself, in seconds. Interrupted, the same command goes on."""
    from pgha import render, render_list
    from pgha.adapters.local import LocalHost
    from pgha.ops import demo

    programs = os.path.abspath(pg_bin) if pg_bin else ""
    wish = demo.Wish(sources.demo_dir(), nodes, bin_dir=programs, wal_segment_mb=wal_segment)
    wish = demo.with_dir(wish, directory)
    host = LocalHost(_run_as(wish.dir))
    done = demo.up(wish, host, demo.Doors(_parse, sources.machine_for), render.Lines())
    if merged(ctx, output=output).json:
        render.as_json({**done.status.as_dict(), "seconds": round(done.seconds, 2)})
        return
    render_list.show(done.status)
    print(f"up in {done.seconds:.1f} s, as {host.user}, in {wish.dir}")
    for line in demo.next_lines(wish, f"-i {wish.dir}/{demo.INVENTORY} " if wish.flags else ""):
        print(line)


@app.command(epilog="Example: pgha demo down")
def down(directory: DirOption = None) -> None:
    """End the demo: no process and no file is left."""
    from pgha import render
    from pgha.adapters.local import LocalHost
    from pgha.ops import demo

    wish = demo.with_dir(demo.Wish(sources.demo_dir()), directory)
    try:
        there = demo.down(wish, LocalHost(_run_as(wish.dir)), render.Lines())
    except KeyboardInterrupt:
        again = f"pgha demo down{wish.flags} goes on from there"
        raise PghaError("interrupted; the demo is half down", "", again, code=Exit.INTERRUPTED) from None
    print(f"the demo in {wish.dir} is gone" if there else f"there is no demo in {wish.dir}; nothing to do")
