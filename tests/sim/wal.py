"""Write-ahead log as what it is for the protocol: a tree of branches, and places in it.

A branch is what one promotion opened; its `timeline` is the number PostgreSQL gave it (two branches may have one number
when somebody chose badly). A server's WAL is a place: everything on the way from the root to it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pgha.core.model import Position


@dataclass(slots=True, eq=False)
class Branch:
    """fork: where it left its parent. end: flushed by whoever writes it. acked: the highest LSN acknowledged on it."""

    timeline: int
    parent: Branch | None
    fork: int
    end: int
    node: str
    acked: int = 0
    checkpointed: bool = False

    def forks(self) -> tuple[tuple[int, int], ...]:
        """The history file: (timeline, LSN at which it was left), oldest first."""
        found: list[tuple[int, int]] = []
        here: Branch = self
        while here.parent is not None:
            found.append((here.parent.timeline, here.fork))
            here = here.parent
        return tuple(reversed(found))


def limit_on(at: Branch, lsn: int, wanted: Branch) -> int | None:
    """Up to which LSN of `wanted` a server whose WAL ends at (at, lsn) has it; None when that is no ancestor."""
    here: Branch | None = at
    while here is not None:
        if here is wanted:
            return lsn
        lsn, here = here.fork, here.parent
    return None


def common(a: Branch, a_lsn: int, b: Branch, b_lsn: int) -> tuple[Branch, int]:
    """The last place that both have."""
    here: Branch = a
    while True:
        limit = limit_on(b, b_lsn, here)
        if limit is not None:
            return here, min(limit, a_lsn)
        assert here.parent is not None, "all branches have one root"
        a_lsn, here = here.fork, here.parent


@dataclass(slots=True, eq=False)
class Data:
    """A data directory: survives every crash. histories: the history files in pg_wal, by number; None for an empty one.

    clean: after a clean shutdown as primary, just beyond the start of the shutdown checkpoint record.
    needs: rewound, and not consistent before it has its source's WAL up to there.
    torn: a rewind has begun here and not ended: two histories are mixed, and pg_control does not show it.
    """

    inode: int
    branch: Branch
    lsn: int
    histories: dict[int, Branch | None] = field(default_factory=dict)
    clean: Position | None = None
    needs: tuple[Branch, int] | None = None
    torn: bool = False

    @property
    def consistent(self) -> bool:
        """May a server that starts here answer queries?"""
        if self.needs is None:
            return True
        limit = limit_on(self.branch, self.lsn, self.needs[0])
        return limit is not None and limit >= self.needs[1]

    @property
    def position(self) -> Position:
        """Where its WAL ends, as IDENTIFY_SYSTEM says in a sealed state."""
        return Position(self.branch.timeline, self.lsn)

    def learn(self, branch: Branch) -> None:
        """The history files of a branch come along with its WAL."""
        here: Branch | None = branch
        while here is not None and self.histories.get(here.timeline) is not here:
            self.histories[here.timeline] = here
            here = here.parent
