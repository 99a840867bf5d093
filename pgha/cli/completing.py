"""What the shell completes besides commands and options: nodes, the cluster, faults, settings, inventories.

From files alone, in the time between two keys: never the store, never SSH. What can't be read completes to nothing.
"""

from __future__ import annotations

import contextlib
import glob
import io

import typer

from pgha.errors import PghaError


def _target(ctx: typer.Context) -> tuple[str, list[str]]:
    """The cluster's name and its nodes, as its file has them; nothing without one."""
    from pgha.cli import places
    from pgha.cli.options import Choice

    top = ctx.find_root().params  # its callback does not run while the shell asks
    given = {name: ctx.params.get(name) or top.get(name) for name in ("inventory", "node")}
    with contextlib.redirect_stderr(io.StringIO()), contextlib.suppress(PghaError, ValueError):
        choice = Choice(inventory=given["inventory"], node=given["node"])
        path, _ = places.find(choice)
        if path.endswith(".json") or choice.node:
            from pgha import nodefile

            own = nodefile.parse(places.text_of(path))
            return own.cluster, list(own.nodes)
        from pgha import inventory

        found = inventory.parse(inventory.decode(places.raw_of(path), path), path)
        return found.cluster, [node.name for node in found.nodes]
    return "", []


def nodes(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of nodes that are not on the command line yet."""
    taken = [word for value in ctx.params.values() if isinstance(value, list | tuple) for word in value]
    return [name for name in _target(ctx)[1] if name.startswith(incomplete) and name not in taken]


def cluster(ctx: typer.Context, incomplete: str) -> list[str]:
    """The cluster's name."""
    name = _target(ctx)[0]
    return [name] if name and name.startswith(incomplete) else []


def inventories(incomplete: str) -> list[str]:
    """The clusters that this machine knows; other files are completed by the shell itself."""
    from pgha.cli import places

    known = sorted(glob.glob(f"{places.SYSTEM_DIR}/*.yaml"))
    return [path for path in known if path.startswith(incomplete)]


def faults(incomplete: str) -> list[str]:
    """What `pgha drill` can do."""
    from pgha.ops import drill_ground

    return [name for name in drill_ground.FAULTS if name.startswith(incomplete)]


def settings(incomplete: str) -> list[str]:
    """Keys that `pgha config set` takes, with their `=`."""
    from pgha.ops import settings as known
    from pgha.pg import parameters

    names = [s.name for s in known.SETTINGS if not s.fixed] + sorted(parameters.ALLOWED)
    return [f"{name}=" for name in names if name.startswith(incomplete)]
