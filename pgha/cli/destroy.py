"""`pgha destroy`: the plan, the cluster's name typed, then everything stopped and moved aside."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Annotated

import typer

from pgha.cli import completing, sources, store_files
from pgha.cli.options import Choice, DryRunOption, InventoryOption, OutputOption, merged
from pgha.errors import Exit, PghaError
from pgha.ops.target import Target, from_inventory

if TYPE_CHECKING:
    from pgha.inventory import Inventory

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
READ_S = 2.0
BACK = "bootstrap --new-store"


@app.command(epilog="Example: pgha destroy    Example: pgha destroy --keep-postgres --confirm shop")
def destroy(
    ctx: typer.Context,
    confirm: Annotated[
        str | None,
        typer.Option(
            "--confirm",
            metavar="CLUSTER",
            autocompletion=completing.cluster,
            help="Its name, instead of typing it.",
            show_default=False,
        ),
    ] = None,
    keep_postgres: Annotated[
        bool, typer.Option("--keep-postgres", help="Take pgha away; PostgreSQL runs on under systemd.")
    ] = False,
    gone: Annotated[
        list[str] | None,
        typer.Option(
            "--gone", metavar="NODE", help="Its host is gone for good (may be given again).", show_default=False
        ),
    ] = None,
    dry_run: DryRunOption = False,
    inventory: InventoryOption = None,
    output: OutputOption = None,
) -> None:
    """End a cluster: stop everything, remove its keys, units, cron lines and files. Data are moved aside, not deleted.

    Exit codes: 0, 3 declined, 4 refused, 8 a host is unreachable, 9 an existing store is unreachable.
    """
    from pgha import render
    from pgha.ops import ending, status
    from pgha.ops.leavers import Leavers

    choice = merged(ctx, inventory=inventory, output=output)
    wanted, path, flags = sources.inventory_of(choice)
    clock, lines = sources.clock(), render.Lines()
    target = _target(choice, wanted, path, flags)
    store = sources.open_store(target.store)
    seen = status.gather(store, clock, target.cluster, timeout_s=READ_S)
    chosen = ending.plan(target, seen, wanted, gone or (), keep_postgres=keep_postgres)
    if dry_run:
        for line in chosen.lines():
            print(line)
        return
    _consent(chosen.lines(), chosen.cluster, confirm)
    machine = sources.machine_for(wanted)
    leavers = Leavers(wanted, machine.host, machine.distant, lines, chosen.nodes)
    stamp = time.strftime("destroyed-%Y%m%dT%H%M%SZ", time.gmtime())
    moved = ending.destroy(
        target, chosen, leavers, lambda: ending.clear_prefix(store, clock, target.cluster), stamp, lines
    )
    leavers.close()
    shutil.rmtree(store_files.own_dir(chosen.cluster), ignore_errors=True)  # certificates of a store that is no more
    if choice.json:
        render.as_json({"schema_version": 1, "destroyed": {"cluster": chosen.cluster, "moved_to": dict(moved)}})
        return
    for name, where in moved.items():
        print(f"{name}: data " + (where or "were moved away before"))
    if keep_postgres and not chosen.as_they_run:
        print(f"PostgreSQL runs as postgresql-{chosen.cluster}.service; the way back: {target.command(BACK)}")


def _target(choice: Choice, wanted: Inventory, path: str, flags: str) -> Target:
    """As every command's; where an earlier run has removed the store's certificates, without a way to the store."""
    try:
        return sources.target_of(choice)
    except PghaError:
        if wanted.etcd.endpoints:
            raise
        return from_inventory(wanted, path, flags)


def _consent(lines: list[str], cluster: str, given: str | None) -> None:
    """The cluster's name, typed or given. Raises PghaError (declined)."""
    from pgha import render

    for line in lines:
        render.note(line)
    typed = given if given is not None else render.typed(f"type {cluster} to go on: ")
    if typed != cluster:
        why = f"{typed!r} is not {cluster}" if typed else "nothing was typed"
        raise PghaError("declined; nothing was changed", why, f"--confirm {cluster} answers it", code=Exit.DECLINED)
