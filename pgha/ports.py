"""The seams: what the agent and the operator's commands need of the outside world.

Each port has a real adapter in `pgha/adapters` and a fake in `tests/sim`; both pass the same contract suite.
Times are seconds. A `deadline_s` is absolute, on the clock of `Clock.now_s` (CLOCK_BOOTTIME).
May import `pgha.core` only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pgha.core.model import Position
from pgha.core.server import DataIdentity, ServerView

# -- the store -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of the store: its value and the store revision of its last change (etcd: mod_revision)."""

    value: bytes
    revision: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A linearizable read of a prefix. `revision` is the store's own at that moment; keys are full names."""

    revision: int
    entries: Mapping[str, Entry]


@dataclass(frozen=True, slots=True)
class Guard:
    """A condition of a commit: the key's last change is exactly this revision; 0 means that the key is absent."""

    key: str
    revision: int


@dataclass(frozen=True, slots=True)
class Write:
    """A put, or with `value=None` a delete."""

    key: str
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Committed:
    """All writes were done at this revision."""

    revision: int


@dataclass(frozen=True, slots=True)
class Conflict:
    """A guard did not hold; nothing was written."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """No answer: the writes may have been done, may be done later, or never. Read before deciding anything."""

    why: str


@dataclass(frozen=True, slots=True)
class MemberHealth:
    """One store member: does it answer, does it lead, its version, its alarms, the size of its database."""

    endpoint: str
    reachable: bool
    leader: bool = False
    version: str = ""
    problem: str = ""
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class MemberRoom:
    """quota_bytes: at this size a member takes no writes any more, 0: at none. used_bytes: what is alive of its
    database, 0 when it does not say."""

    quota_bytes: int
    used_bytes: int = 0


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """Quorum (a linearizable answer came) and what each member said."""

    quorum: bool
    members: tuple[MemberHealth, ...] = ()


class StoreDown(Exception):
    """No linearizable answer within the deadline. `denied` when the store refused our credentials."""

    def __init__(self, why: str, *, denied: bool = False) -> None:
        super().__init__(why)
        self.why, self.denied = why, denied


class Store(Protocol):
    """Four verbs. No leases, and no watch that anything rests on."""

    def read(self, prefix: str, *, deadline_s: float) -> Snapshot:
        """All keys that begin with `prefix`, linearizably. Raises StoreDown."""
        ...

    def commit(
        self, guards: Sequence[Guard], writes: Sequence[Write], *, deadline_s: float
    ) -> Committed | Conflict | Unknown:
        """One transaction: if all guards hold, do all writes. Never raises for the network: that is Unknown."""
        ...

    def wait(self, prefix: str, since: int, *, deadline_s: float) -> bool:
        """Blocks until something under `prefix` changed after revision `since`, or the deadline. A hint only.

        True when a change was seen. May return early and wrongly; never later than the deadline.
        """
        ...

    def health(self, *, deadline_s: float) -> StoreHealth:
        """Asks every member. Never raises."""
        ...


@dataclass(frozen=True, slots=True)
class StoreMember:
    """One member as the store lists it. started: it has been up at least once (name is "" before)."""

    ident: int
    name: str
    peer_urls: tuple[str, ...]
    started: bool


class StoreMembers(Protocol):
    """Who makes up the store. Every method raises StoreDown with the reason when it is not known to be done."""

    def list(self, *, deadline_s: float) -> tuple[StoreMember, ...]:
        """All members."""
        ...

    def add(self, peer_url: str, *, deadline_s: float) -> None:
        """Let one in that is about to start; it counts at once. Nothing when it is there."""
        ...

    def remove(self, ident: int, *, deadline_s: float) -> None:
        """Take one out for good. Nothing when it is gone."""
        ...

    def close(self) -> None:
        """End the connections."""
        ...


# -- clock ---------------------------------------------------------------------------------------------------


class Clock(Protocol):
    """Time for logic (never the wall clock)."""

    def now_s(self) -> float:
        """Seconds of CLOCK_BOOTTIME: counts suspend, never steps."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait that long."""
        ...


# -- the guard, as the agent sees it -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class GuardState:
    """What the guard last said.

    incarnation: random id of this life of the guard (and so of the server it started).
    postmaster: pid of the running postmaster, 0 when none.
    tree: number of processes of the server's tree that may still run (SIGKILL-pending ones do not count).
    started_s: when the present postmaster was started (BOOTTIME), 0.0 when none.
    exits: how often a postmaster has exited in this life of the guard.
    exit_status: wait status text of the last exit, "" when none ("exit 0", "signal 9").
    child: the server is the guard's child and ends with it; False for one that was taken over as it ran.
    """

    incarnation: str
    postmaster: int = 0
    tree: int = 0
    started_s: float = 0.0
    exits: int = 0
    exit_status: str = ""
    child: bool = True


@dataclass(frozen=True, slots=True)
class ToolResult:
    """How a tool (pg_basebackup, pg_rewind, ...) ended: exit code (negative: signal) and the end of its output."""

    code: int
    tail: str = ""


@dataclass(frozen=True, slots=True)
class ServerStart:
    """How to start the postmaster: argv, environment (complete, not inherited) and the file its output goes to."""

    argv: Sequence[str]
    env: Mapping[str, str]
    data_dir: str
    log_file: str


class GuardLink(Protocol):
    """The agent's end of the pipe to its guard. `closed` true means that the guard is dead."""

    closed: bool

    def state(self) -> GuardState:
        """The newest state, without waiting."""
        ...

    def deadline(self, at_s: float | None) -> None:
        """Kill the whole tree at this absolute BOOTTIME; None disarms. Takes effect before it returns."""
        ...

    def start(self, order: ServerStart) -> None:
        """Start the postmaster as the guard's child (parent-death signal SIGQUIT). Refused while a tree is left."""
        ...

    def signal(self, name: str) -> None:
        """Send SIGHUP, SIGINT (fast), SIGQUIT (immediate), SIGTERM or SIGUSR1 to the postmaster."""
        ...

    def kill_tree(self, *, deadline_s: float) -> bool:
        """SIGKILL every process of the server's tree. True once none is left or each has SIGKILL pending."""
        ...

    def run_tool(self, argv: Sequence[str], env: Mapping[str, str], *, deadline_s: float) -> ToolResult:
        """Run a tool as the guard's child (it dies with the agent), killed at the deadline (code -9)."""
        ...


# -- the node's own memory -----------------------------------------------------------------------------------


class Keep(Protocol):
    """The node's durable memory: one JSON document, replaced as a whole, fsynced before `save` returns."""

    def load(self) -> Mapping[str, object]:
        """The last saved document; empty when there is none. Raises ValueError when it can't be read."""
        ...

    def save(self, body: Mapping[str, object]) -> None:
        """Replace the document durably."""
        ...


# -- this node's PostgreSQL ----------------------------------------------------------------------------------


class Server(Protocol):
    """One PostgreSQL server and its data directory, at the level of what pgha does with it.

    Every method is bounded and idempotent, returns False or None when it did not get there in time, and raises
    `ServerTrouble` with a sentence for people when it can't.
    """

    def look(self) -> ServerView:
        """The present state, in at most half a second. Never raises."""
        ...

    def probe(self) -> bool:
        """Health: a new connection answered a query, or refused it with a reason of its own (too many clients)."""
        ...

    def identity(self) -> DataIdentity | None:
        """What lies in the data directory now; None when there is no usable one."""
        ...

    def start(self, *, catch_up: str = "", without: tuple[int, ...] = ()) -> None:
        """Start as a sealed standby: standby.signal, empty primary_conninfo, barrier names; does not wait.

        catch_up: the node a rewound directory is completed from, under a name that counts for nothing.
        without: timelines that were given up, of which the directory holds no WAL that was replayed: their history
        files are taken away first.
        """
        ...

    def stop_fast(self) -> None:
        """Ask for a fast stop; does not wait."""
        ...

    def seal(self) -> Position | None:
        """Cut the server off and measure (design, 6 "Seal"); None when the state that proves it was not reached."""
        ...

    def follow(self, holder: str, name: str) -> None:
        """Stream from this node under this application_name."""
        ...

    def begin_names(self, names: str) -> None:
        """Begin to put a claim's names in force on a standby; does not wait. Never ''."""
        ...

    def prepare_promotion(self, epoch: int, names: str) -> bool:
        """History files up to the epoch; names in force. True when both are so."""
        ...

    def promote(self, epoch: int) -> tuple[Position, tuple[tuple[int, int], ...]] | None:
        """Promote into the timeline `epoch` (asked for once): the WAL end and the forks once it is writable."""
        ...

    def lower(self, epoch: int) -> bool:
        """A measured, claimed standby is stopped, and promoted as it comes up with the less that its files have by now.

        True once it is writable; `promote` tells the rest.
        """
        ...

    def history(self) -> tuple[tuple[int, int], ...]:
        """The forks of a primary's own timeline, oldest first."""
        ...

    def change_names(self, names: str, *, barrier: bool) -> bool:
        """Put synchronous_standby_names in force, behind the barrier when asked; nudges. True when done."""
        ...

    def nudge(self) -> None:
        """One small commit that waits for nobody: every standby gets WAL and replies. Never raises."""
        ...

    def wal_end(self) -> int | None:
        """A primary's WAL end (flushed), now."""
        ...

    def checkpoint(self, *, switch_wal: bool = False) -> None:
        """Begin a CHECKPOINT in the background, then perhaps a new WAL segment; `ServerView.checkpoints` counts."""
        ...

    def shut_down_at(self) -> Position | None:
        """After a clean shutdown: the end of the shutdown checkpoint record, which is the end of WAL; else None."""
        ...

    def walsenders(self) -> int | None:
        """While it shuts down: how many are left. None when there is no postmaster, or it can't be told."""
        ...

    def begin_clone(self, holder: str, *, keep: str = "") -> None:
        """Clone that node into a new directory in the background; `ServerView.job` says so.

        keep: the data id of what is there now, when it is never to be deleted.
        """
        ...

    def begin_rewind(self, holder: str) -> None:
        """Stop, rewind from that node in the background; `ServerView.job` says so."""
        ...

    def settle(self, *, primary: bool, held: frozenset[str]) -> tuple[str, ...]:
        """Comfort after a change of role: slots for the members, nothing that holds WAL for ever, old copies away, and
        no word any more of a clone or rewind that failed before.

        held: the nodes whose slots here may hold WAL; all others' are dropped when nobody uses them, and made anew.

        Gives the names of the directories that are never to be deleted.
        """
        ...


class ServerTrouble(Exception):
    """Something with the server went wrong; the text is for people."""
