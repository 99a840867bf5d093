"""`pgha drill`: a fault, a client that never stops writing, and what that client saw."""

from __future__ import annotations

import secrets
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from pgha.cli import completing, sources
from pgha.cli.options import Choice, InventoryOption, OutputOption, YesOption, merged
from pgha.errors import Exit, PghaError

if TYPE_CHECKING:
    from pgha.inventory import Inventory
    from pgha.ops.drill_ground import Fault, Ground
    from pgha.ports import Clock

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)
WORDS = "switchover, kill-postgres, kill-node, kill-agent, stop-agent; on hosts also cut-store, cut-node, power."


def _is_demo(inventory: Inventory) -> bool:
    """A demo may be hurt without asking."""
    from pgha.ops.preflight import read_marker

    marker = read_marker(inventory.local.dir) if inventory.local else None
    return marker is not None and marker.demo


def _agree(plan: list[str], fault: Fault, cluster: str, confirm: str, may_reset: bool) -> None:
    """The plan, and the words without which nothing is hurt. Raises PghaError when they are not given."""
    from pgha import render

    for line in plan:
        render.note(line)
    _typed(confirm == cluster, f"type the cluster's name, {cluster}, to go on", cluster, f"--confirm {cluster}")
    if fault.asked:
        render.note(f"  {fault.asked}")
        _typed(may_reset, "nobody can take that back over SSH; type reset to go on", "reset", "--may-reset")


def _typed(given: bool, question: str, word: str, flag: str) -> None:
    if given:
        return
    if sys.stdin.isatty():
        print(f"{question}: ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip() == word:
            return
    raise PghaError("declined; nothing was changed", "", f"{flag} answers the question", code=Exit.DECLINED)


def _ground(wanted: Inventory, choice: Choice, clock: Clock) -> Ground:
    """Where the nodes are."""
    if wanted.local is not None:
        from pgha.ops import local_nodes
        from pgha.ops.drill_local import LocalGround

        return LocalGround(local_nodes.load(wanted), sources.machine_for(wanted).host, clock)
    from pgha.ops.drill_hosts import HostGround, Way
    from pgha.ops.host_nodes import node_of

    endpoints = sources.target_of(choice).store.endpoints if wanted.etcd.endpoints else ()
    nodes = [node_of(wanted, spec) for spec in wanted.nodes]
    own = [node.etcd_client_port for node in nodes if node.has_etcd]
    ports = tuple(own or [int(e.rpartition(":")[2]) for e in endpoints])
    return HostGround(nodes, Way(sources.connector(wanted), wanted.ssh.port, ports, wanted.supervisor), clock)


@app.command(epilog="Example: pgha drill kill-postgres --rounds 5    Example: pgha drill cut-node --junit drill.xml")
def drill(
    ctx: typer.Context,
    fault: Annotated[str, typer.Argument(metavar="FAULT", autocompletion=completing.faults, help=WORDS)],
    rounds: Annotated[int, typer.Option("--rounds", "-n", metavar="COUNT", help="How often.")] = 1,
    seed: Annotated[int, typer.Option("--seed", metavar="NUMBER", help="Of the pauses between rounds.")] = 0,
    budget: Annotated[
        float | None,
        typer.Option("--budget", metavar="SECONDS", help="Longest outage that passes.", show_default=False),
    ] = None,
    history: Annotated[str, typer.Option("--history", metavar="FILE", help="Keep all that the client saw.")] = "",
    junit: Annotated[str, typer.Option("--junit", metavar="FILE", help="Write the result as JUnit's XML.")] = "",
    confirm: Annotated[str, typer.Option("--confirm", metavar="CLUSTER", help="Its name, instead of typing it.")] = "",
    may_reset: Annotated[bool, typer.Option("--may-reset", help="power: hosts may be reset.")] = False,
    inventory: InventoryOption = None,
    output: OutputOption = None,
    yes: YesOption = False,
) -> None:
    """Cause a fault, write all the while, measure: outage, rows lost, rows acknowledged by two servers.

    The fault hits the primary of each round and is taken back; a timer on the node does that even if this command is
    cut off. Exit 0 when it passed, 5 when it did not.
    """
    from pgha import render
    from pgha.adapters.local import replace_file
    from pgha.adapters.local_judge import JudgeProcess
    from pgha.ops import drill as moves

    choice = merged(ctx, inventory=inventory, output=output, yes=yes)
    wanted, _, _ = sources.inventory_of(choice)
    options = moves.Options(rounds=rounds, seed=seed, budget_s=budget, history=history)
    about = moves.check(fault, options)
    if not _is_demo(wanted):
        often = "once" if rounds == 1 else f"{rounds} times"
        plan = f"plan: {fault} on cluster {wanted.cluster}, {often}, under a client that writes all the while"
        _agree([plan, f"  {about.about}"], about, wanted.cluster, confirm, may_reset)
    target, clock = sources.target_of(choice), sources.clock()
    ground = _ground(wanted, choice, clock)
    tools = moves.Tools(sources.open_store(target.store), clock, ground, JudgeProcess, secrets.token_bytes)
    try:
        report = moves.run(wanted, fault, options, tools, render.note)
    finally:
        ground.close()
    if junit:
        replace_file(junit, report.as_junit().encode(), 0o644)
    if choice.json:
        render.as_json(report.as_dict())
    else:
        for line in report.lines():
            print(line)
    raise typer.Exit(int(report.exit))
