"""PostgreSQL as processes: start, crash, fast stop, promotion, commits and who may be told that they are safe.

Measured behaviour this follows: redteam notes on late adoption of a reloaded setting, on the order of a fast stop, on
orphans of a killed postmaster, on PostgreSQL's own choice of timeline numbers. Streaming is in `streaming.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING

from pgha.core.model import Position
from pgha.core.voters import barrier, parse_names
from tests.sim import recovery
from tests.sim.wal import Branch, Data

if TYPE_CHECKING:
    from tests.sim.node import Node
    from tests.sim.streaming import Stream

ROW, SHUTDOWN_RECORD, PROMOTION_RECORD, NUDGE_RECORD = 64, 120, 104, 48
SENDER_TIMEOUT_S = 5.0


class State(Enum):
    """Of the server as a whole."""

    DOWN = "down"
    STARTING = "starting"
    STANDBY = "standby"
    PRIMARY = "primary"


@dataclass(frozen=True, slots=True)
class Names:
    """synchronous_standby_names, parsed: k of these; k = 0 lets everything through."""

    k: int
    members: frozenset[str]

    @staticmethod
    @lru_cache(maxsize=1024)
    def of(text: str) -> Names:
        """Raises AssertionError for a text that pgha does not write."""
        parsed = parse_names(text)
        assert parsed is not None, text
        return Names(*parsed)


BARRIER = Names.of(barrier())


@dataclass(slots=True, eq=False)
class Row:
    """A client's commit. place: where its WAL record ends."""

    ident: int
    node: str
    sent: float
    branch: Branch | None = None
    lsn: int = 0


class SimPg:
    """One node's server. `life` names one life of the postmaster: events of an older one do nothing."""

    def __init__(self, node: Node) -> None:
        self.node, self.world = node, node.world
        self.data: Data | None = None
        self.state = State.DOWN
        self.life = 0
        self.postmaster = 0
        self.tree = 0
        self.started_true = 0.0
        self.started_s = 0.0
        self.stopping = False
        self.hung = ""
        self.upstream: tuple[str, str] | None = None
        self.names_text = barrier()
        self.defined = True
        self.target: Branch | None = None  # recoveryTargetTLI: of this life
        self.receiver: Stream | None = None
        self.senders: list[Stream] = []
        self.replayed = 0
        self.promoting = False
        self.waiting: list[Row] = []
        self.safe_lsn = 0
        self.safe_rule = BARRIER
        self.answered_names = barrier()
        self.on_exit: Callable[[str], None] = lambda status: None

    # -- life ----------------------------------------------------------------------------------------------------

    def later(self, delay: float, what: Callable[..., None], *args: object) -> None:
        """In this life of the server, when the node runs."""
        life = self.life

        def due() -> None:
            if life == self.life and self.tree and self.node.admit(due):
                what(*args)

        self.world.after(delay, due)

    def start(self) -> None:
        """As a sealed standby. The caller has seen that no tree is left and that there is data."""
        assert self.data is not None and self.tree == 0
        self.life += 1
        self.postmaster, self.tree = 1000 + self.life, 6
        self.started_true, self.started_s = self.world.now, self.node.clock.now_s()
        self.state, self.stopping, self.hung, self.promoting = State.STARTING, False, "", False
        self.upstream, self.names_text, self.answered_names = None, barrier(), barrier()
        self.defined, self.waiting, self.safe_lsn, self.safe_rule = True, [], 0, BARRIER
        self.data.clean = None
        self.target = recovery.target_at_start(self.data)
        self.node.trace("pg-start", f"target {self.target.timeline}" if self.target else "FATAL: not a child")
        if self.target is None:
            self.later(self.world.span(0.02, 0.1), self.gone, "exit 1")
            return
        self.later(self.world.span(0.08, 0.4, tail=0.1, upto=3.0), self._up)

    def _up(self) -> None:
        assert self.data is not None
        if not self.data.consistent:
            self.later(0.02, self._up)
            return
        self.data.needs = None
        self.state, self.replayed = State.STANDBY, self.data.lsn
        self.node.trace("pg-standby")

    def postmaster_dies(self, status: str) -> None:
        """Only the postmaster: its children go on, acknowledging, until somebody ends them (PG14)."""
        if self.postmaster:
            self.postmaster = 0
            self.node.trace("pg-orphans", status)
            self.on_exit(status)

    def kill_tree(self) -> None:
        """SIGKILL to all; they are gone a moment later."""
        if self.tree:
            self.later(self.world.span(0.002, 0.03, tail=0.05, upto=0.4), self.gone, "signal 9")

    def gone(self, status: str, *, silently: bool = False) -> None:
        """No process is left. silently: nobody hears a connection close (the power went)."""
        had_postmaster = self.postmaster != 0
        self.life += 1
        self.state, self.postmaster, self.tree, self.stopping, self.hung = State.DOWN, 0, 0, False, ""
        self.waiting, self.promoting, self.started_s = [], False, 0.0
        for stream in [*self.senders, *([self.receiver] if self.receiver else [])]:
            stream.drop(self, silently=silently)
        self.node.trace("pg-down", status)
        if had_postmaster and not silently:
            self.on_exit(status)

    # -- the fast stop -------------------------------------------------------------------------------------------

    def fast_stop(self) -> None:
        """SIGINT: sessions end unanswered, then the checkpoint, then the standbys are waited for (PG11)."""
        if self.stopping or not self.postmaster:
            return
        self.stopping, self.waiting = True, []
        self.node.trace("pg-stopping")
        self.later(self.world.span(0.02, 0.1, tail=0.03, upto=2.0), self._checkpointed_stop)

    def _checkpointed_stop(self) -> None:
        data = self.data
        assert data is not None
        if self.state is State.PRIMARY:
            data.clean = Position(data.branch.timeline, data.lsn + 1)
            self.append(SHUTDOWN_RECORD)
            patience = 3600.0 if self.world.chance(0.03) else SENDER_TIMEOUT_S  # a hanging archive_command
            self._stop_waits(self.world.now + patience, hangs=patience > SENDER_TIMEOUT_S)
        else:
            self.gone("exit 0")

    def _stop_waits(self, until: float, *, hangs: bool) -> None:
        assert self.data is not None
        behind = [s for s in self.senders if s.streaming and not s.confirmed(self.data.lsn)]
        if (behind or hangs) and self.world.now < until:
            self.later(0.005, lambda: self._stop_waits(until, hangs=hangs))
        else:
            self.gone("exit 0")

    # -- promotion -----------------------------------------------------------------------------------------------

    def promote(self) -> None:
        """pg_promote: happens a moment later, or much later (PG10), whatever becomes of who asked."""
        if self.state is State.STANDBY and not self.promoting:
            self.promoting = True
            self.later(self.world.span(0.03, 0.15, tail=0.05, upto=2.0), self._promoted)

    def _promoted(self) -> None:
        data = self.data
        assert data is not None
        if self.stopping or self.state is not State.STANDBY:
            return
        assert self.target is not None
        number = recovery.newest(data, self.target.timeline) + 1  # PG06
        branch = Branch(number, self.target, data.lsn, data.lsn, self.node.name)  # its parent is what it aims at
        self.node.checks.on_promotion(self.node, branch)
        data.branch = branch
        data.learn(branch)
        self.target = branch
        self.state, self.promoting = State.PRIMARY, False
        if self.receiver is not None:
            self.receiver.drop(self, silently=False)
        for stream in self.senders:
            stream.sender_promoted()
        self.append(PROMOTION_RECORD)
        self.node.trace("pg-primary")
        if self.node.cluster.promoted is not None:
            self.node.cluster.promoted(self.node)
        if Names.of(self.names_text).k == 0:
            self._adopt_defined()

    # -- settings ------------------------------------------------------------------------------------------------

    def _lag(self) -> float:
        """How late a process acts upon a reloaded setting (each for itself)."""
        return self.world.span(0.001, 0.02, tail=self.node.moods.late_rules, upto=2.0)

    def set_names(self, text: str) -> None:
        """Reload: sessions show it at once; walsenders and the checkpointer adopt it when they come to it (PG04)."""
        self.names_text = text
        for stream in self.senders:
            self.later(self._lag(), stream.adopt)
        self.later(self._lag(), self._adopt_defined)

    def _adopt_defined(self) -> None:
        """What the checkpointer does with '': nothing waits, and who waits is released (PG15)."""
        self.defined = Names.of(self.names_text).k > 0
        if not self.defined:
            self._release(self.data.lsn if self.data else 0, Names(0, frozenset()))

    # -- commits -------------------------------------------------------------------------------------------------

    def append(self, size: int) -> None:
        """WAL of a primary, flushed; goes out to whoever streams."""
        data = self.data
        assert data is not None
        data.lsn += size
        data.branch.end = data.lsn
        for stream in self.senders:
            stream.pump()

    def write(self, row: Row) -> None:
        """A client's commit arrives."""
        data = self.data
        if self.state is not State.PRIMARY or self.stopping or self.hung == "all" or data is None or not self.tree:
            return
        self.node.checks.on_accept(self.node, data.branch)
        self.append(ROW)
        row.branch, row.lsn = data.branch, data.lsn
        if not self.defined:
            self._acknowledge(row, Names(0, frozenset()))
        elif row.lsn <= self.safe_lsn:
            self._acknowledge(row, self.safe_rule)
        else:
            self.waiting.append(row)

    def _acknowledge(self, row: Row, rule: Names) -> None:
        self.node.checks.on_ack(self.node, row, rule)

    def release_by(self, stream: Stream) -> None:
        """A reply came: k is of this walsender's own copy of the rule, who counts each says for itself (PG18).

        (SyncRepReleaseWaiters, SyncRepGetCandidateStandbys: sync_standby_priority is set by its own walsender.)
        """
        if self.state is not State.PRIMARY or not stream.streaming or not stream.counts:
            return
        counted = [s for s in self.senders if s.streaming and s.counts]
        k = stream.rule.k
        if len(counted) >= k:
            flushed = sorted((s.flushed for s in counted), reverse=True)
            self._release(flushed[k - 1], Names(k, frozenset(s.name for s in counted)))

    def _release(self, lsn: int, rule: Names) -> None:
        """The queue's mark never goes back: a false report poisons what comes below it."""
        if lsn > self.safe_lsn and rule.k:
            self.safe_lsn, self.safe_rule = lsn, rule
        if self.stopping:
            return
        done = [row for row in self.waiting if row.lsn <= lsn]
        if done:
            self.waiting = [row for row in self.waiting if row.lsn > lsn]
            for row in done:
                self._acknowledge(row, rule)

    # -- a standby's side ----------------------------------------------------------------------------------------

    def receive(self, branch: Branch, lsn: int) -> None:
        """WAL came and is flushed."""
        data = self.data
        assert data is not None
        if (branch, lsn) != (data.branch, data.lsn) and recovery.is_on(branch, self.target):
            self.node.checks.on_receive(self.node)
            data.branch, data.lsn = branch, lsn
            data.learn(branch)
            self.later(self.world.span(0.0005, 0.003, tail=0.02, upto=0.3), self._replay, branch, lsn)
            for stream in self.senders:
                stream.pump()

    def _replay(self, branch: Branch, lsn: int) -> None:
        if self.data is not None and self.data.branch is branch:
            self.replayed = max(self.replayed, lsn)
