"""`pgha init`: asks little, writes an inventory."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from pgha.errors import Exit, PghaError, Refused, UsageError

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


def _ask(question: str, default: str) -> str:
    """The answer, or the default for an empty line; without a terminal always the default."""
    if not sys.stdin.isatty():
        return default
    print(f"{question} [{default}] " if default else f"{question} ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip() or default


@app.command(epilog="Example: pgha init --cluster shop --nodes 192.0.2.11,192.0.2.12,192.0.2.13 --user admin")
def init(
    path: Annotated[str, typer.Argument(metavar="[FILE]", help="Where to write it.")] = "inventory.yaml",
    cluster: Annotated[str, typer.Option("--cluster", metavar="NAME", help="The cluster's name.")] = "",
    nodes: Annotated[str, typer.Option("--nodes", metavar="A,B,C", help="The hosts' addresses.")] = "",
    version: Annotated[int, typer.Option("--postgres", metavar="VERSION", help="The major version.")] = 15,
    user: Annotated[str, typer.Option("--user", metavar="NAME", help="Who logs in by SSH.")] = "",
    key: Annotated[str, typer.Option("--key", metavar="FILE", help="With which private key.")] = "",
) -> None:
    """Write an inventory with comments: what is not given is asked for. An existing file is left alone."""
    from pgha import inventory
    from pgha.ops.newinventory import Answers, text

    if os.path.lexists(path):
        raise Refused(f"{path} is there already", "init writes new files only", f"pgha check -i {path}")
    cluster = cluster or _ask("name of the cluster?", "shop")
    nodes = nodes or _ask("addresses of its hosts, with commas between?", "")
    if not nodes:
        raise UsageError("no hosts were named", "without a terminal there is nobody to ask", "pgha init --nodes A,B,C")
    user = user or _ask("who logs in there by SSH? (empty: as your ssh configuration says)", "")
    written = text(Answers(cluster, [n.strip() for n in nodes.split(",") if n.strip()], version, user, key))
    inventory.parse(written, path)
    try:
        with open(path, "x", encoding="utf-8") as f:
            f.write(written)
    except OSError as e:
        raise PghaError(f"{path} can't be written", e.strerror or "", code=Exit.REFUSED) from e
    print(f"{path} written; next: pgha check -i {path}")
