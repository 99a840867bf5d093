"""What the node that is to be cloned has: bytes, and tablespaces with their places. One question by SQL, no policy."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass

from pgha.adapters.database import Session, SqlError
from pgha.nodefile import NodeFile
from pgha.pg import conf, look
from pgha.ports import Clock

ASK_S = 10.0


@dataclass(frozen=True, slots=True)
class Source:
    """data_bytes: what lies in its data directory. spaces: places of its tablespaces outside it, by oid; sizes: bytes
    of each place (0 where the role may not know: clusters that older versions made)."""

    data_bytes: int
    spaces: Mapping[int, str]
    sizes: Mapping[str, int]


def ask(node: NodeFile, holder: str, clock: Clock) -> Source:
    """Raises OSError with what it said."""
    deadline_s = clock.now_s() + ASK_S
    conninfo = conf.upstream(node, holder, f"{node.node}-clone", dbname="postgres")
    try:
        with closing(Session(conninfo, clock, deadline_s=deadline_s)) as session:
            rows = session.query(look.SPACES, deadline_s=deadline_s)
    except SqlError as e:
        raise OSError(f"{holder} does not say what it has: {e}") from e
    inside, spaces, sizes = 0, dict[int, str](), dict[str, int]()
    for oid, location, size in rows:
        if location and location.startswith("/"):
            spaces[int(oid or 0)] = location
            sizes[location] = int(size or 0)
        else:
            inside += int(size or 0)
    return Source(inside, spaces, sizes)
