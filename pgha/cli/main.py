"""The command line's root: which commands there are, options for all of them, and how every run ends.

Command modules are imported when they are used; `pgha --help` prints from the table below and imports none.
May import typer and errors at the top; everything heavy stays inside the commands.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from typing import Annotated

import typer
from typer._click.core import Command, Context
from typer._click.exceptions import ClickException, NoArgsIsHelpError
from typer._click.exceptions import UsageError as TyperUsageError
from typer._click.formatting import HelpFormatter
from typer.core import TyperGroup

from pgha.cli.options import Choice, DebugOption, InventoryOption, NodeOption, OutputOption, YesOption
from pgha.errors import Exit, PghaError, UsageError

# command: (module of its `app`, what `pgha --help` says of it)
COMMANDS = {
    "init": ("pgha.cli.init", "Write an inventory: asks little, with comments."),
    "check": ("pgha.cli.check", "Look at the hosts: everything in the way, with its fix."),
    "bootstrap": ("pgha.cli.bootstrap", "Make a cluster from an inventory; again: complete it."),
    "remove": ("pgha.cli.remove", "Take a node out of the cluster; its data are kept."),
    "destroy": ("pgha.cli.destroy", "End a cluster, or pgha alone; the data are kept."),
    "list": ("pgha.cli.list", "Show the cluster: roles, lag, voters, and what is wrong."),
    "explain": ("pgha.cli.explain", "Say why: each node's reasons, who is missing, what to do."),
    "history": ("pgha.cli.history", "Show past take-overs: when, why, how long."),
    "logs": ("pgha.cli.logs", "The logs of all nodes in one stream, by time."),
    "switchover": ("pgha.cli.switchover", "Move the primary to another node, planned."),
    "failover": ("pgha.cli.failover", "Give the cluster a primary when it can't by itself."),
    "cancel": ("pgha.cli.cancel", "Take back what was planned with --at."),
    "pause": ("pgha.cli.pause", "Leave all servers alone for a while, with a reason."),
    "resume": ("pgha.cli.resume", "End a pause, also one whose holder is gone."),
    "config": ("pgha.cli.config", "Show and change the settings of a running cluster."),
    "restart": ("pgha.cli.restart", "Restart servers: standbys first, the primary last."),
    "upgrade": ("pgha.cli.upgrade", "Bring PostgreSQL to a newer minor release, node by node."),
    "reload": ("pgha.cli.reload", "Have the servers read their configuration again."),
    "reinit": ("pgha.cli.reinit", "Make a standby's copy anew."),
    "dsn": ("pgha.cli.dsn", "Print the connection string for clients."),
    "drill": ("pgha.cli.drill", "Cause a fault, write all the while, measure the outage."),
    "demo": ("pgha.cli.demo", "Three nodes and three etcd members on this machine."),
    "watchdog": ("pgha.cli.watchdog", "Keep one node alive; cron starts it."),
    "version": ("pgha.cli.version", "Print the versions of pgha and what it uses."),
}
EPILOG = "First steps: pgha demo up, then pgha list. Every command: --help."


class LazyGroup(TyperGroup):
    """The root group: names from COMMANDS, modules on use."""

    def list_commands(self, ctx: Context) -> list[str]:
        """In the table's order."""
        return list(COMMANDS)

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:
        """Imports the command's module."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        command: Command = typer.main.get_command(module.app)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Context, formatter: HelpFormatter) -> None:
        """From the table, without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


app = typer.Typer(
    cls=LazyGroup,
    name="pgha",
    help="PostgreSQL high availability: one writer, no acknowledged commit lost.",
    epilog=EPILOG,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from pgha.cli.version import pgha_version

        print(f"pgha {pgha_version()}")
        raise typer.Exit(0)


@app.callback()
def root(
    ctx: typer.Context,
    inventory: InventoryOption = None,
    node: NodeOption = None,
    output: OutputOption = None,
    yes: YesOption = False,
    debug: DebugOption = False,
    version: Annotated[  # noqa: ARG001  # its callback has done it
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """PostgreSQL high availability: one writer, no acknowledged commit lost."""
    ctx.obj = Choice(inventory=inventory, node=node, output=output, yes=yes, debug=debug)


def run(argv: Sequence[str]) -> int:
    """One command line to its exit code; every expected failure has been told on stderr."""
    debug = "--debug" in argv
    try:
        code = typer.main.get_command(app).main(args=list(argv), prog_name="pgha", standalone_mode=False)
        sys.stdout.flush()
    except PghaError as e:
        return _told(e, argv)
    except NoArgsIsHelpError as e:
        print(e.format_message(), file=sys.stderr)
        return int(Exit.USAGE)
    except ClickException as e:
        context = e.ctx if isinstance(e, TyperUsageError) else None
        where = context.command_path if context is not None else "pgha"
        return _told(UsageError(_lower(e.format_message()), "", f"{where} --help"), argv)
    except (KeyboardInterrupt, typer.Abort):
        return _told(PghaError("interrupted", code=Exit.INTERRUPTED), argv)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone; nothing to tell it
        return int(Exit.OK)
    except Exception as e:  # noqa: BLE001  # the last door: whatever else happens is a bug and says so
        return _bug(e, debug=debug)
    if code == Exit.INTERRUPTED:
        return _told(PghaError("interrupted", code=Exit.INTERRUPTED), argv)
    return code if isinstance(code, int) else int(Exit.OK)


def _lower(message: str) -> str:
    """typer's messages in the house's form: lower case, no full stop."""
    text = message.strip().rstrip(".")
    return text[:1].lower() + text[1:]


def _told(problem: PghaError, argv: Sequence[str]) -> int:
    from pgha import render

    words = " ".join(argv)
    if "-o json" in words or "--output json" in words or "--output=json" in words:
        render.error_json(problem)
    render.error(problem)
    return int(problem.code)


def _bug(problem: Exception, *, debug: bool) -> int:
    text = "".join(traceback.format_exception(problem))
    where = "see above"
    if debug:
        print(text, file=sys.stderr)
    else:
        with tempfile.NamedTemporaryFile("w", prefix="pgha-bug-", suffix=".txt", delete=False) as f:
            f.write(text)
            where = f.name
    kind = type(problem).__name__
    what, why = f"bug: {kind}: {str(problem)[:200]}", f"not foreseen; the traceback: {where}"
    from pgha import render

    render.error(PghaError(what, why, "report it", code=Exit.BUG))
    return int(Exit.BUG)


def main() -> int:
    """The command line of this process; gives its exit code."""
    return run(sys.argv[1:])
