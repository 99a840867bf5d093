"""libpq connection URIs for clients of the cluster. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from pgha.ops.target import NodeRef

DEMO_ROLE = "app"  # login role and database of the demo
DEMO_PASSFILE = "app.passfile"
CONNECT_TIMEOUT_S = 3  # libpq waits for ever by default: a cut-off node would hold every client


@dataclass(frozen=True, slots=True)
class Wish:
    """What the client wants. Empty parts are left to libpq's defaults."""

    user: str = ""
    dbname: str = ""
    read_only: bool = False
    passfile: str = ""


def demo_passfile(local_dir: str) -> str:
    """Where the demo keeps the application's password, "" without a demo."""
    return f"{local_dir}/{DEMO_PASSFILE}" if local_dir else ""


def uri(nodes: Sequence[NodeRef], primary: str, wish: Wish) -> str:
    """`postgresql://user@h1:p1,h2:p2/db?target_session_attrs=...`, the primary first (for reading: last).

    Source: PostgreSQL manual, "Connection URIs"; prefer-standby is known to libpq from 14 on.
    """
    readers = [n for n in nodes if not n.noloadbalance or n.name == primary] if wish.read_only else list(nodes)
    ordered = sorted(readers or nodes, key=lambda n: (n.name == primary) is wish.read_only)
    hosts = ",".join(f"[{n.host}]:{n.port}" if ":" in n.host else f"{n.host}:{n.port}" for n in ordered)
    login = f"{quote(wish.user, safe='')}@" if wish.user else ""
    attrs = "prefer-standby" if wish.read_only else "read-write"
    query = f"target_session_attrs={attrs}&connect_timeout={CONNECT_TIMEOUT_S}"
    if wish.passfile:
        query += f"&passfile={quote(wish.passfile, safe='/')}"
    return f"postgresql://{login}{hosts}/{quote(wish.dbname, safe='')}?{query}"
