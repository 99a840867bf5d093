"""`pgha history`: the take-overs of the cluster, or one of them with its phases."""

from __future__ import annotations

from typing import Annotated

import typer

from pgha.cli import sources
from pgha.cli.options import InventoryOption, NodeOption, OutputOption, merged
from pgha.errors import StoreUnreachable, UsageError

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
READ_S = 2.0


@app.command(epilog="Example: pgha history -n 20    Example: pgha history 7 --markdown > incident.md")
def history(
    ctx: typer.Context,
    epoch: Annotated[
        int | None, typer.Argument(metavar="[EPOCH]", help="Only this take-over, phase by phase.", show_default=False)
    ] = None,
    count: Annotated[int, typer.Option("-n", metavar="N", min=1, help="How many, newest first.")] = 10,
    markdown: Annotated[bool, typer.Option("--markdown", help="EPOCH as a page for an incident report.")] = False,
    inventory: InventoryOption = None,
    node: NodeOption = None,
    output: OutputOption = None,
) -> None:
    """Show who took over from whom, when, why, and how long it took until clients could write.

    Exit codes: 0, 2 no record of that epoch, 9 store unreachable.
    """
    from pgha import render, render_history, render_markdown
    from pgha.ops import history as past
    from pgha.ops import status

    if markdown and epoch is None:
        raise UsageError("--markdown wants an EPOCH", "it is the page of one take-over", "pgha history")
    choice = merged(ctx, inventory=inventory, node=node, output=output)
    target = sources.target_of(choice)
    seen = status.gather(sources.open_store(target.store), sources.clock(), target.cluster, timeout_s=READ_S)
    if seen.down:
        raise StoreUnreachable("the store gave no answer", seen.down, target.command("list"))
    if epoch is not None:
        from pgha.cli import log_sources
        from pgha.ops import logs

        nodes, reader = log_sources.of(choice, (), follow=False, since=0.0, etcd=False)
        one = past.takeover(target, seen.records, epoch)
        one = past.with_story(one, seen.records, logs.whole(nodes, reader))
        body, lines = render_history.one_as_dict(one), render_history.one_lines(one, render.console_width())
        if markdown and not choice.json:
            print("\n".join(render_markdown.take_over(one)))
            return
    else:
        all_of_them = past.history(target, seen.records, count)
        body = render_history.as_dict(all_of_them)
        lines = render_history.lines(all_of_them, render.console_width())
    if choice.json:
        render.as_json(body)
        return
    render.page(lines)
