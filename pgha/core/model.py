"""The values everything else speaks in. Frozen, slotted, hashable; equal inputs give equal outputs.

May import nothing of pgha. Times are seconds of CLOCK_BOOTTIME, LSNs are integers (bytes of WAL).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

MAX_NODE_NAME = 40  # `<node>.<data id>.<epoch>` must fit in PostgreSQL's 63 characters
BARRIER = "pgha-barrier"  # a standby name nobody has
MAX_LAG = 16 << 20  # bytes: one WAL segment; the LSN jumps by up to one where it is switched

_LSN = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})")  # int() alone would take -1, 1_0 and other scripts' digits
_EPOCH = re.compile(r"0|[1-9][0-9]{0,18}")


def format_lsn(lsn: int) -> str:
    """PostgreSQL's notation: 0/16B3748."""
    return f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"


def parse_lsn(text: str) -> int:
    """Raises ValueError for anything but PostgreSQL's notation."""
    match = _LSN.fullmatch(text)
    if not match:
        raise ValueError(f"not an LSN: {text!r}"[:120])
    return (int(match[1], 16) << 32) | int(match[2], 16)


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """A place in the WAL. Ordered by timeline first: the timeline is the epoch, and a taker had cover (design, 6)."""

    timeline: int
    lsn: int

    def __str__(self) -> str:
        return f"{self.timeline}:{format_lsn(self.lsn)}"


@dataclass(frozen=True, slots=True, order=True)
class Copy:
    """One data directory: the node and the id of what lies there. A clone is a new copy, a rewound one is not."""

    node: str
    data: str

    def standby_name(self, epoch: int) -> str:
        """The application_name under which this copy may follow the holder of `epoch`."""
        return f"{self.node}.{self.data}.{epoch}"

    def __str__(self) -> str:
        return f"{self.node}.{self.data}"


def parse_standby_name(text: str) -> tuple[Copy, int] | None:
    """The inverse of Copy.standby_name; None when it is not one of ours."""
    parts = text.split(".")
    if len(parts) != 3 or not all(parts) or not _EPOCH.fullmatch(parts[2]):
        return None
    return Copy(parts[0], parts[1]), int(parts[2])


@dataclass(frozen=True, slots=True)
class Rule:
    """An entry of `sync`: commits may have been acknowledged by `holder` once `k` of `voters` had flushed them.

    k = 0 and no voters: acknowledged by the holder alone.
    """

    holder: Copy
    voters: frozenset[Copy]
    k: int

    def __post_init__(self) -> None:
        assert 0 <= self.k <= len(self.voters), f"k={self.k} of {len(self.voters)} voters"
        assert self.k > 0 or not self.voters, "voters without k"
        assert self.holder not in self.voters, "the holder is no voter"


@dataclass(frozen=True, slots=True)
class Seal:
    """A node's promise: at the leader key's revision `revision` it receives nothing more, has WAL to `position`."""

    revision: int
    copy: Copy
    position: Position


class Tenure(Enum):
    """What the leader key says of its holder."""

    CLAIMED = "claimed"  # won, not yet writable
    HELD = "held"  # writable
    RELEASED = "released"  # its process tree is gone: no H to wait


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing is promoted, demoted, started or rebuilt by pgha for a while (design, 7).

    ident: of the order. at: wall clock of its begin, for showing. left_s: what is left of `for_s`, counted by the
    holder from the sending of the very write that says so; others count it from when they first saw that write.
    """

    ident: str
    reason: str
    asked_by: str
    at: float
    for_s: float
    left_s: float


@dataclass(frozen=True, slots=True)
class Leader:
    """The leader key.

    incarnation: of the guard under which the holder's server runs.
    beat: rises with every write of this key.
    position: HELD: the last known WAL end; RELEASED and `clean`: the end of the shutdown checkpoint, which is the
        holder's own seal; else the last known one, for showing only.
    forks: of the holder's timeline, oldest first: (timeline, LSN at which it was left). Of the newest 32.
    checkpointed: the new primary has done its first checkpoint (before it, pg_rewind of 13 to 15 does nothing).
    target: RELEASED to this node (switchover), "" to anybody.
    loss_bytes: what the WAL of the epoch before is known to have had beyond the seal this holder claimed with, where
        nothing was promised (durability async) or an operator gave it up; else 0.
    kept: copies that may alone hold commits an operator gave up: replaced by a clone, never rewound, never deleted.
    source, asked_by: whom this holder took over from, and who ordered it ("" when nobody did); of a key that was
        RELEASED on order, who ordered that. For history only.
    paused: only of a key that is HELD.
    unwell: RELEASED: because the server did not answer; else: this epoch began with such a release.
    """

    holder: Copy
    incarnation: str
    epoch: int
    beat: int
    tenure: Tenure
    sync: tuple[Rule, ...]
    position: Position = Position(0, 0)
    clean: bool = False
    checkpointed: bool = False
    forks: tuple[tuple[int, int], ...] = ()
    target: str = ""
    reason: str = ""
    loss_bytes: int = 0
    kept: tuple[Copy, ...] = ()
    source: str = ""
    asked_by: str = ""
    paused: Pause | None = None
    unwell: bool = False

    @property
    def left_s(self) -> float:
        """What was left of a pause when this was written, 0.0 without one."""
        return self.paused.left_s if self.paused is not None and self.tenure is Tenure.HELD else 0.0


@dataclass(frozen=True, slots=True)
class Measures:
    """What a node has measured of itself, for showing only. Seconds; 0.0 where nothing was measured.

    lags: on a primary, its followers: copy name to how long until their replay was confirmed. lease_s: what was left of
    the lease until F_soft at that moment. least_s: the least that was left at a renewal within a day, least_at when, by
    the writer's wall clock. near: how often that was less than a third of F_soft.
    """

    lags: Mapping[str, float] = field(default_factory=dict)
    lease_s: float = 0.0
    least_s: float = 0.0
    least_at: float = 0.0
    near: int = 0


@dataclass(frozen=True, slots=True)
class Member:
    """What a node publishes of itself in members/<node>. Facts for showing, and its seal.

    state: a word for people (see `MemberState`); upstream_epoch: of the holder it follows, 0 when none.
    replay: its replay position (Position(0, 0) when unknown).
    standbys: on a primary, its followers: copy name to (state, flush LSN).
    kept: directories beside the data directory that hold commits an operator gave up.
    settings: the revision of the settings that its server's files hold, 0 when unknown; refused: why not a newer one.
    follow: the node that it is to stream from instead of the holder, by its tag. follows: whom it streams from now.
    pending: parameters that wait for a restart: name to (running, coming). limits: what it runs of core.limits.ORDERED.
    """

    node: str
    incarnation: str
    beat: int
    host: str
    port: int
    data: str = ""
    state: str = "starting"
    primary: bool = False
    position: Position = Position(0, 0)
    replay: Position = Position(0, 0)
    seal: Seal | None = None
    upstream_epoch: int = 0
    priority: int = 0
    nofailover: bool = False
    version: str = ""
    postgres: str = ""
    problem: str = ""
    rule: str = ""
    written_at: float = 0.0  # wall clock, for showing only
    standbys: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    kept: tuple[str, ...] = ()
    nosync: bool = False
    clonefrom: bool = False
    noloadbalance: bool = False
    follow: str = ""
    follows: str = ""
    settings: int = 0
    refused: str = ""
    pending: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    measures: Measures = Measures()

    @property
    def copy(self) -> Copy:
        """The data directory this member has now."""
        return Copy(self.node, self.data)

    @property
    def precedence(self) -> int:
        """Its priority among candidates of one position: who follows another node comes after everybody else."""
        return -1 if self.follow else self.priority


@dataclass(frozen=True, slots=True)
class Order:
    """`request`: the one cluster-level order in progress.

    kind: "switchover" or "failover"; "pause" (with `reason` and `for_s`) and "resume", then `target` is "".
    epoch: the order is void in any other. deadline_at: wall clock, for showing; agents count
    `budget_s` on their own clock from when they first saw it.
    phase: asked, accepted, stopping, handed, done, refused; `answer` says why.
    Of a failover: revision: the leader key's, to which it is bound. gives_up: the entries of `sync` that the target
    need not cover, by the operator's word.

    `requests/<node>` has the same form, for that node (`source`) alone: kind "restart", "reload" or "reinit" (`target`:
    the node to clone, "" for any). phase: asked, begun, done, refused. begun_s: start of the server that is to end
    (BOOTTIME of its node); data: id of the copy that is to go.
    """

    kind: str
    ident: str
    epoch: int
    source: str
    target: str
    budget_s: float
    asked_by: str = ""
    asked_at: float = 0.0
    phase: str = "asked"
    answer: str = ""
    revision: int = 0
    gives_up: tuple[Rule, ...] = ()
    reason: str = ""
    for_s: float = 0.0
    begun_s: float = 0.0
    data: str = ""


@dataclass(frozen=True, slots=True)
class Cluster:
    """`cluster`: written once. `ident` is random: two clusters of one name are told apart by it."""

    ident: str
    system_identifier: str
    created_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Settings:
    """`config`: the dynamic settings. failover_after_s is H; copies 0 means the default of the number of voters.

    max_lag: bytes of WAL known of that a node may lack and still take over where nothing is promised (async).
    parameters: PostgreSQL's, beyond the inventory's. Who wrote this revision, when (wall clock) and why, for showing.
    newer: fields that only a newer version knows: who changes the settings by an older one writes them back.
    """

    revision: int = 0
    failover_after_s: float = 6.0
    durability: str = "quorum"
    copies: int = 0
    max_lag: int = MAX_LAG
    parameters: Mapping[str, str] = field(default_factory=dict)
    asked_by: str = ""
    at: float = 0.0
    reason: str = ""
    newer: Mapping[str, object] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True)
class Question:
    """`question`: an operator's, to all nodes: would their running servers take these parameters? Changes nothing."""

    ident: str
    values: Mapping[str, str]
    asked_by: str = ""
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Fact:
    """What a running server says of one of its parameters (pg_settings), and of a value that it was asked about.

    value: as SHOW gives it. unit: of the bounds, "" for none. kind: bool, integer, real, enum, string. context: who may
    change it when (postmaster: only a start). refusal: the server's own words, "" when it would take the value.
    """

    value: str
    kind: str
    context: str
    unit: str = ""
    least: str = ""
    most: str = ""
    words: tuple[str, ...] = ()
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """`answers/<node>`: to the question `ident`; a parameter that is not among the facts is unknown to its server."""

    node: str
    ident: str
    facts: Mapping[str, Fact]


@dataclass(frozen=True, slots=True)
class Event:
    """`history/<epoch>`: who took over from whom and why, with each phase's milliseconds."""

    epoch: int
    holder: str
    source: str
    kind: str
    reason: str
    position: Position
    phases_ms: Mapping[str, float] = field(default_factory=dict)
    asked_by: str = ""
    at: float = 0.0
    loss_bytes: int = 0


def with_beat(leader: Leader, **changes: object) -> Leader:
    """The same key, one beat later, with these changes."""
    return replace(leader, beat=leader.beat + 1, **changes)  # type: ignore[arg-type]  # names are checked by replace
