"""The finite abstraction of what a node sees: seven small enumerations. `choose` may look at nothing else.

May import nothing of pgha. Numbers meet thresholds in `classify`, never here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import product


class Store(Enum):
    """What the last linearizable read is worth."""

    FRESH = "answers"
    SILENT = "does not answer"
    FOREIGN = "belongs to another cluster, or this data directory does"
    RESTORED = "shows less than this node has already seen"


class Holder(Enum):
    """Whose the leader key is, and how far its time has run."""

    ABSENT = "there is no leader key"
    MINE_CLAIMED = "this node has claimed it and is not yet writable"
    MINE_HELD = "this node holds it"
    MINE_LATE = "this node holds it, not renewed since F_soft"
    MINE_EXPIRED = "this node held it, not renewed since F_hard"
    MINE_PAUSED = "this node holds it, and it is paused"
    MINE_ENDED = "this node held it until the store fell silent, and has ended its server since"
    FORMER_LIFE = "an earlier life of this node's watchdog holds it"
    FORMER_PAUSED = "an earlier life of this node's watchdog holds it, and it is paused"
    OTHER_CLAIMED = "another node has claimed it and is not yet writable"
    OTHER_HELD = "another node holds it"
    OTHER_PAUSED = "another node holds it, and it is paused"
    RELEASED = "it is released"
    SILENT = "its holder has been silent for H"


class Server(Enum):
    """This node's PostgreSQL."""

    NO_DATA = "there is no data directory"
    DOWN = "no process of it runs"
    DYING = "the postmaster is gone, processes are left"
    STARTING = "it starts"
    STOPPING = "it stops"
    HUNG = "it runs and does not answer"
    STRAY = "it is a standby, not cut off and not following the present holder"
    SEALED = "it is a standby, cut off, its position measured"
    ASTRAY = "it is a standby, cut off, and may aim at a timeline that was given up"
    FOLLOWING = "it follows the present holder"
    PRIMARY = "it is writable"
    BUSY = "its data directory is being cloned or rewound"


class Bid(Enum):
    """This node's seal at the leader key's present revision, and what it is good for."""

    NONE = "this node has no seal at this revision"
    UNPUBLISHED = "its seal is not in the store yet"
    BARRED = "it is sealed and may not lead"
    WAITING = "it is sealed, the seals do not cover yet"
    YIELDING = "it is sealed and covered, a better one goes first"
    BRAKED = "it is sealed and covered, primaries have crashed one after another"
    COVERED = "it is sealed and covered"
    ORDERED = "it is sealed, and the operator gave up what the seals do not cover"


class Path(Enum):
    """How this node's measured position lies to the holder's timeline."""

    UNKNOWN = "not known yet"
    FOLLOW = "at or below the fork"
    REWIND = "beyond the fork"
    CLONE = "beyond the fork, and a rewind is not possible"
    NEEDED = "beyond the fork, and an entry of sync still names this copy"


class Duty(Enum):
    """What the node owes, to the cluster as its holder or to an order for itself."""

    NONE = "nothing"
    VOTERS = "the voters are to be changed"
    RECORD = "the take-over is to be written to history, and the first checkpoint done"
    REFUSE = "an order can't be carried out"
    PREPARE = "an ordered switchover needs its checkpoint"
    HAND_OVER = "an ordered switchover is ready"
    PAUSE = "a pause is ordered"
    LIFT = "the pause is over, or ordered to end"
    CONFIGURE = "settings are not in the server's files yet"
    RESTART = "its restart is ordered, or it runs with less than its primary"
    REINIT = "its copy is to be made anew"
    ANSWER = "an order for this node is over, or can't be carried out"


class Budget(Enum):
    """Time limits of what goes on at this moment; of a primary, for its answers."""

    EARLY = "a moment is left to the voters"
    WITHIN = "within its time"
    SPENT = "out of time"


@dataclass(frozen=True, slots=True)
class Situation:
    """One of 967,680; each is mapped to exactly one rule."""

    store: Store
    holder: Holder
    server: Server
    bid: Bid
    path: Path
    duty: Duty
    budget: Budget


AXES: dict[str, type[Enum]] = {
    "store": Store,
    "holder": Holder,
    "server": Server,
    "bid": Bid,
    "path": Path,
    "duty": Duty,
    "budget": Budget,
}


def every_situation() -> Iterator[Situation]:
    """All of them, for tests and for the generated documentation."""
    for store, holder, server, bid, path, duty, budget in product(Store, Holder, Server, Bid, Path, Duty, Budget):
        yield Situation(store, holder, server, bid, path, duty, budget)
