"""What one node has measured at one moment: numbers, names with units, times on its own BOOTTIME. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf

from pgha.core.model import Cluster, Copy, Event, Leader, Member, Order, Position, Question, Seal, Settings
from pgha.core.planned import Planned
from pgha.core.server import ServerView
from pgha.core.timing import Timing


@dataclass(frozen=True, slots=True)
class Memory:
    """The node's durable memory (design, 5 "Memory of a node").

    cluster: id of the cluster. epoch, beat, revision: the highest seen in the store. seal: the last one taken, durable
    before it is published. claimed: the epoch this node last sealed for, durable before the server may be promoted.
    catch_up: the epoch whose holder the copy `catch_up_data` was rewound from; 0 once it is complete. Until then it
    can't be measured, and only that holder can complete it.
    """

    cluster: str = ""
    epoch: int = 0
    beat: int = 0
    revision: int = 0
    seal: Seal | None = None
    claimed: int = 0
    catch_up: int = 0
    catch_up_data: str = ""


@dataclass(frozen=True, slots=True)
class StoreView:
    """The newest linearizable read. `sent_s`: when it was sent. Revisions are each key's own, 0 when absent.

    revisions: of all keys, by their short names.
    """

    sent_s: float
    revision: int
    cluster: Cluster | None
    settings: Settings
    leader: Leader | None
    leader_revision: int
    members: Mapping[str, Member]
    order: Order | None = None
    order_revision: int = 0
    history: Mapping[int, Event] = field(default_factory=dict)
    requests: Mapping[str, Order] = field(default_factory=dict)
    question: Question | None = None
    planned: Mapping[str, Planned] = field(default_factory=dict)
    revisions: Mapping[str, int] = field(default_factory=dict)
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tenancy:
    """This node's own hold on the key, epoch 0: none. sent_s: when the last renewal that succeeded was sent.

    left_s: what that renewal said is left of a pause; 0.0 without one.
    """

    epoch: int = 0
    sent_s: float = 0.0
    claimed_s: float = 0.0
    left_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Observation:
    """Everything a decision may rest on.

    key_seen_s: when the leader key's present revision was first seen here. sealed: the measured position while the
    server is still cut off. bid_s: when this node's seal at the present revision was published (0.0: not).
    health_s: when the last good health verdict began. missing_s: for how long each voter has not been streaming.
    silent_s: for how long the walsender of this name has shown the same reply.
    mark: (names, LSN): the WAL end read after these names came into force. order_seen_s: when the order was first seen.
    start_after_s: no start of the server before. failed_starts: starts of the last ten minutes, since one that lasted.
    crashes: primaries that crashed right after their take-over, anybody's, seen within the last two minutes.
    rewound: rewinds already done for the present epoch. nodes: the cluster's, by this node's file (empty: not told).
    chore_seen_s: when the order for this node was first seen.
    outdated: the server's files don't hold the settings of the store. short: it runs with less than its primary needs.
    answers_s: when the store answered again after a silence, if it ever did. ended: the epoch that this agent let go
    while the store was silent, its server ended; 0 none.
    follow: the node of this one's tag, "" without one. follow_good_s: when that node's record was last seen to move
    and to say that it streams the holder's timeline. follow_left_s: when it was last left because it brought nothing.
    """

    me: str
    incarnation: str
    now_s: float
    timing: Timing
    store: StoreView | None
    server: ServerView
    memory: Memory
    tenancy: Tenancy = Tenancy()
    copy: Copy | None = None
    system: str = ""
    sealed: Position | None = None
    key_seen_s: float = 0.0
    bid_s: float = 0.0
    health_s: float = 0.0
    start_after_s: float = 0.0
    failed_starts: int = 0
    crashes: int = 0
    rewound: int = 0
    answers_s: float = -inf
    ended: int = 0
    nofailover: bool = False
    nodes: frozenset[str] = frozenset()
    missing_s: Mapping[Copy, float] = field(default_factory=dict)
    silent_s: Mapping[str, float] = field(default_factory=dict)
    mark: tuple[str, int] | None = None
    order_seen_s: float = 0.0
    prepared: str = ""
    chore_seen_s: float = 0.0
    outdated: bool = False
    short: bool = False
    follow: str = ""
    follow_good_s: float = -inf
    follow_left_s: float = -inf
