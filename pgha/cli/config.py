"""`pgha config`: show, set, edit, history, rollback."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from pgha.cli import completing, sources
from pgha.cli.options import Choice, DryRunOption, InventoryOption, NodeOption, OutputOption, YesOption, merged
from pgha.cli.ordering import asked_by
from pgha.errors import Exit, PghaError, UsageError

if TYPE_CHECKING:
    from pgha.ops.parameters import Ask
    from pgha.ops.settings import By, Plan
    from pgha.ops.status import Seen
    from pgha.ops.target import Target
    from pgha.ports import Clock, Store

app = typer.Typer(
    help="The settings of a running cluster, PostgreSQL's parameters among them: show them, change them.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    no_args_is_help=True,
    epilog="Example: pgha config show    Example: pgha config set copies=2 work_mem=64MB",
)
READ_S = 2.0
ReasonOption = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; config history shows it.")]
EDIT_HEAD = """# The settings of {cluster}, revision {revision}. What is taken away gets its default again.
# pgha's own:
"""


class _Work:
    """One command's cluster, and the way from a plan to its being in force."""

    def __init__(self, choice: Choice) -> None:
        self.choice = choice
        self.target: Target = sources.target_of(choice)
        self.clock: Clock = sources.clock()
        self.store: Store = sources.open_store(self.target.store)

    def look(self) -> Seen:
        """What the store shows now."""
        from pgha.ops import status

        return status.gather(self.store, self.clock, self.target.cluster, timeout_s=READ_S)

    def change(self, make: Callable[[Seen, Ask, By], Plan], *, reason: str, dry_run: bool) -> None:
        """Check, show, ask, write, watch."""
        from pgha.ops import parameters, settings

        who, seen = asked_by(), self.look()
        ask = parameters.asker(self.store, self.clock, self.target, seen, asked_by=who)
        chosen = make(seen, ask, settings.By(who, round(time.time(), 3), reason))
        if not sources.agreed(chosen.lines(self.target.cluster), self.choice, dry_run=dry_run):
            return
        settings.write(self.store, self.clock, self.target, chosen)
        if not settings.await_force(self.store, self.clock, self.target, chosen.after):
            why = f"after {settings.FORCE_S:g} s the primary's rules are not yet what the settings ask for"
            raise PghaError("written, and not yet in force", why, self.target.command("list -w"), code=Exit.PARTIAL)
        self._tell(chosen)

    def put(self, words: Sequence[str], *, reason: str, dry_run: bool) -> None:
        """The change that KEY=VALUE words ask for."""
        from pgha.ops import settings

        self.change(
            lambda seen, ask, by: settings.plan(self.target, seen, words, ask=ask, by=by),
            reason=reason,
            dry_run=dry_run,
        )

    def _tell(self, chosen: Plan) -> None:
        """What has come of it on the nodes."""
        from pgha import render
        from pgha.ops import settings

        nodes = settings.Acknowledged((), {}, ())
        if chosen.before.parameters != chosen.after.parameters:
            nodes = settings.await_nodes(self.look, self.clock, self.target, chosen.after.revision)
        if nodes.behind:
            why = "; ".join(f"{name}: {said}" for name, said in nodes.behind.items())
            step = self.target.command(f"config rollback {chosen.before.revision}")
            raise PghaError("written, and not in force on every node", why, step, code=Exit.PARTIAL)
        if self.choice.json:
            body = {c.name: {"before": c.before, "after": c.after} for c in chosen.changes}
            revision = {"revision": chosen.after.revision, "changes": body}
            render.as_json({"schema_version": 1, **revision, "nodes": list(nodes.done), "silent": list(nodes.silent)})
            return
        print(f"in force: {', '.join(f'{c.name}={c.after or settings.DEFAULT}' for c in chosen.changes)}")
        for name in nodes.silent:
            print(f"{name} is silent; it takes revision {chosen.after.revision} when it is back")
        members = self.look().records.members
        for name, member in sorted(members.items()):
            for parameter, (now, coming) in sorted(member.pending.items()):
                print(f"{name} waits for its restart: {parameter} {now} -> {coming}")


@app.command(epilog="Example: pgha config show    Example: pgha config show -o json")
def show(
    ctx: typer.Context, inventory: InventoryOption = None, node: NodeOption = None, output: OutputOption = None
) -> None:
    """Show the settings, in the form in which `set` takes them, and what the nodes make of them."""
    from pgha import render, render_config

    choice = merged(ctx, inventory=inventory, node=node, output=output)
    work = _Work(choice)
    one = render_config.shown(work.target, work.look())
    if choice.json:
        render.as_json(render_config.show_dict(one))
    else:
        render.page(render_config.show_lines(one, render.console_width()))


@app.command(
    name="set",
    epilog="Example: pgha config set durability=async copies=0    Example: pgha config set work_mem=64MB -y",
)
def change(
    ctx: typer.Context,
    pairs: Annotated[
        list[str],
        typer.Argument(
            metavar="KEY=VALUE...", autocompletion=completing.settings, help="What to change; see config show."
        ),
    ],
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    inventory: InventoryOption = None,
    node: NodeOption = None,
    output: OutputOption = None,
    yes: YesOption = False,
) -> None:
    """Change settings and PostgreSQL parameters: checked, the difference shown, one question.

    pgha's own are checked as in the inventory, parameters by the running servers. NAME=default takes one back.

    Exit codes: 0, 2 wrong value, 3 declined, 4 refused, 6 outcome unknown, 7 written and not yet in force, 13 changed
    by somebody else meanwhile.
    """
    _Work(merged(ctx, inventory=inventory, node=node, output=output, yes=yes)).put(
        pairs, reason=reason, dry_run=dry_run
    )


@app.command(epilog="Example: EDITOR=vim pgha config edit --reason 'more memory'")
def edit(
    ctx: typer.Context,
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    inventory: InventoryOption = None,
    node: NodeOption = None,
    output: OutputOption = None,
    yes: YesOption = False,
) -> None:
    """Change all settings in an editor ($VISUAL, $EDITOR): what is saved is checked as by `set`."""
    from pgha.adapters import local_editor
    from pgha.ops import settings

    work = _Work(merged(ctx, inventory=inventory, node=node, output=output, yes=yes))
    seen = work.look()
    found = settings.current(work.target, seen)
    head = EDIT_HEAD.format(cluster=work.target.cluster, revision=found.revision)
    own = [f"{s.name}={s.text(found)}" for s in settings.SETTINGS]
    theirs = [f"{name}={value}" for name, value in found.parameters.items()]
    text = head + "\n".join([*own, "# PostgreSQL's, such as work_mem=64MB:", *theirs]) + "\n"
    work.put(settings.words_of(local_editor.edited(text), found), reason=reason, dry_run=dry_run)


@app.command(epilog="Example: pgha config history")
def history(
    ctx: typer.Context, inventory: InventoryOption = None, node: NodeOption = None, output: OutputOption = None
) -> None:
    """Show the revisions that are kept: who, when, why, and what was changed."""
    from pgha import render, render_config
    from pgha.ops import settings

    work = _Work(merged(ctx, inventory=inventory, node=node, output=output))
    found = render_config.revisions(list(settings.past(work.store, work.clock, work.target).values()))
    if work.choice.json:
        render.as_json(render_config.history_dict(work.target.cluster, found))
    else:
        render.page(render_config.history_lines(work.target.cluster, found))


@app.command(epilog="Example: pgha config rollback 3 --reason 'too much memory'")
def rollback(
    ctx: typer.Context,
    revision: Annotated[int, typer.Argument(metavar="REVISION", help="The one to go back to; see config history.")],
    reason: ReasonOption = "",
    dry_run: DryRunOption = False,
    inventory: InventoryOption = None,
    node: NodeOption = None,
    output: OutputOption = None,
    yes: YesOption = False,
) -> None:
    """Go back to an earlier revision, as a new one: checked as by `set`."""
    from pgha.ops import settings

    work = _Work(merged(ctx, inventory=inventory, node=node, output=output, yes=yes))
    older = settings.past(work.store, work.clock, work.target).get(revision)
    if older is None:
        raise UsageError(f"there is no revision {revision}", "", work.target.command("config history"))
    why = reason or f"back to revision {revision}"
    work.change(
        lambda seen, ask, by: settings.plan_back(work.target, seen, older, ask=ask, by=by), reason=why, dry_run=dry_run
    )
