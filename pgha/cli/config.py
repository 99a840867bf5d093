"""`pgha config show` and `pgha config set`."""

from __future__ import annotations

from typing import Annotated

import typer

from pgha.cli import sources
from pgha.cli.options import DryRunOption, InventoryOption, NodeOption, OutputOption, YesOption, merged
from pgha.errors import Exit, PghaError

app = typer.Typer(
    help="The settings of a running cluster: show them, change them.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
    epilog="Example: pgha config show    Example: pgha config set copies=2",
)
READ_S = 2.0


@app.command(epilog="Example: pgha config show    Example: pgha config show -o json")
def show(
    ctx: typer.Context, inventory: InventoryOption = None, node: NodeOption = None, output: OutputOption = None
) -> None:
    """Show the settings, in the form in which `set` takes them."""
    from pgha import render
    from pgha.ops import settings, status

    choice = merged(ctx, inventory=inventory, node=node, output=output)
    target = sources.target_of(choice)
    seen = status.gather(sources.open_store(target.store), sources.clock(), target.cluster, timeout_s=READ_S)
    found = settings.current(target, seen)
    values = {setting.name: setting.text(found) for setting in settings.SETTINGS}
    if choice.json:
        body = {"cluster": target.cluster, "revision": found.revision, "settings": values}
        render.as_json({"schema_version": 1, **body})
        return
    width = max(len(f"{name}={text}") for name, text in values.items())
    for setting in settings.SETTINGS:
        fixed = " (fixed while the cluster runs)" if setting.fixed else ""
        print(f"{setting.name}={values[setting.name]}".ljust(width) + f"  # {setting.meaning}{fixed}")


@app.command(
    name="set",
    epilog="Example: pgha config set durability=async max_lag=1MB copies=0    Example: pgha config set copies=2 -y",
)
def change(
    ctx: typer.Context,
    pairs: Annotated[list[str], typer.Argument(metavar="KEY=VALUE...", help="What to change; see config show.")],
    dry_run: DryRunOption = False,
    inventory: InventoryOption = None,
    node: NodeOption = None,
    output: OutputOption = None,
    yes: YesOption = False,
) -> None:
    """Change settings: checked, the difference shown, one question.

    The checks are the inventory's. What the change gives up is said before the question.

    Exit codes: 0, 2 wrong value, 3 declined, 4 refused, 6 outcome unknown, 7 written and not yet in force, 13 changed
    by somebody else meanwhile.
    """
    from pgha import render
    from pgha.ops import settings, status

    choice = merged(ctx, inventory=inventory, node=node, output=output, yes=yes)
    target = sources.target_of(choice)
    clock, store = sources.clock(), sources.open_store(target.store)
    chosen = settings.plan(target, status.gather(store, clock, target.cluster, timeout_s=READ_S), pairs)
    if not sources.agreed(chosen.lines(target.cluster), choice, dry_run=dry_run):
        return
    settings.write(store, clock, target, chosen)
    if not settings.await_force(store, clock, target, chosen.after):
        why = f"after {settings.FORCE_S:g} s the primary's rules are not yet what the settings ask for"
        raise PghaError("written, and not yet in force", why, target.command("list -w"), code=Exit.PARTIAL)
    if choice.json:
        body = {c.name: {"before": c.before, "after": c.after} for c in chosen.changes}
        render.as_json({"schema_version": 1, "revision": chosen.after.revision, "changes": body})
    else:
        print(f"in force: {', '.join(f'{c.name}={c.after}' for c in chosen.changes)}")
