"""`ports.Server` over a simulated PostgreSQL: what pgha/adapters/server.py does, without SQL.

Its fields die with the agent, as those of the real one do. Every call takes time, and the agent may die within it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from pgha.core.model import Position, parse_standby_name
from pgha.core.server import DataIdentity, Running, ServerView, Walsender
from pgha.core.voters import barrier
from pgha.errors import Refused
from pgha.ports import GuardLink, ServerStart, ServerTrouble
from tests.sim import copying
from tests.sim.postgres import NUDGE_RECORD, State
from tests.sim.wal import Data

if TYPE_CHECKING:
    from tests.sim.node import Node
    from tests.sim.world import Process

LOOK_S, PROBE_S, SEAL_S, PREPARE_S, PROMOTE_S, NAMES_S = 0.5, 1.0, 2.0, 2.0, 8.0, 3.0
ORDER = ServerStart(argv=("postgres",), env={}, data_dir="", log_file="")


def told(data: Data) -> tuple[int, ...]:
    """Timelines whose history file says something."""
    return tuple(sorted(n for n, branch in data.histories.items() if branch is not None and branch.parent is not None))


class SimServer:
    """The node's server, as one agent sees it."""

    def __init__(self, node: Node, link: GuardLink, process: Process) -> None:
        self.node, self.link, self.process = node, link, process
        self.world, self.pg = node.world, node.pg
        self._last = ServerView(Running.DOWN)
        self._stop_asked: tuple[int, float] = (0, 0.0)
        self._promoting = 0
        self._checkpointing = -1
        self._checkpoints = 0
        self._job, self.job_failed = "", ""
        self.on_clone: Callable[[DataIdentity], object] = lambda identity: None

    def wait(self, low: float, high: float, *, tail: float = 0.0, upto: float = 0.0) -> None:
        """A call takes its time."""
        self.world.me().wait(self.world.span(low, high, tail=tail, upto=upto))

    def _serves(self, *, new: bool = False) -> bool:
        """Does it answer a query (on a new connection)?"""
        pg = self.pg
        up = pg.state in (State.STANDBY, State.PRIMARY) and pg.postmaster != 0 and not pg.stopping
        return up and (not pg.hung or (pg.hung == "new" and not new))

    # -- looking -------------------------------------------------------------------------------------------------

    def look(self) -> ServerView:
        """See PostgresServer.look."""
        guard = self.link.state()
        view = ServerView(
            Running.DOWN,
            since_s=guard.started_s,
            exits=guard.exits,
            job=self._job,
            job_failed=self.job_failed,
            checkpoints=self._checkpoints,
            why=guard.exit_status,
            version="15.18",
        )
        if guard.postmaster == 0:
            self._checkpointing = -1
            running = Running.DYING if guard.tree else Running.DOWN if self.identity() else Running.NO_DATA
            return self._seen(replace(view, running=running))
        if self._stop_asked[0] == guard.postmaster:
            return self._seen(replace(view, running=Running.STOPPING, stop_asked_s=self._stop_asked[1]))
        if self._last.since_s != guard.started_s:
            self._last = replace(view, running=Running.STARTING)
        return self._seen(self._ask(view))

    def _seen(self, view: ServerView) -> ServerView:
        self._last = view
        return view

    def _ask(self, view: ServerView) -> ServerView:
        began_s, pg = self.node.clock.now_s(), self.pg
        last = self._last
        self.wait(0.0005, 0.004, tail=0.005, upto=LOOK_S)
        if not pg.stopping and self._serves() and pg.data is not None:
            return self._answer(view, pg.data, began_s)
        before = replace(last, job=view.job, job_failed=view.job_failed, exits=view.exits, checkpoints=view.checkpoints)
        if pg.stopping:
            return replace(before, running=Running.STOPPING, stop_asked_s=before.stop_asked_s or began_s)
        starting = pg.state is State.STARTING and not pg.hung
        if not starting:
            self.wait(LOOK_S, LOOK_S)
        answered_s = began_s if starting and before.answered_s else before.answered_s
        return replace(before, answered_s=answered_s, why="no answer")

    def _answer(self, view: ServerView, data: Data, began_s: float) -> ServerView:
        """What SQL says."""
        pg = self.pg
        primary = pg.state is State.PRIMARY
        parsed = parse_standby_name(pg.upstream[1]) if pg.upstream else None
        senders = tuple(
            Walsender(s.name, "streaming" if s.streaming else "catchup", s.flushed, int(s.counts)) for s in pg.senders
        )
        position, receiving = data.position, not primary and pg.receiver is not None
        return ServerView(
            Running.PRIMARY if primary else Running.STANDBY,
            since_s=view.since_s,
            exits=view.exits,
            job=view.job,
            job_failed=view.job_failed,
            checkpoints=view.checkpoints,
            version=view.version,
            stop_asked_s=self._last.stop_asked_s,
            position=position,
            replay=position if primary else Position(position.timeline, pg.replayed),
            upstream_epoch=parsed[1] if parsed and not primary else 0,
            follows=pg.upstream[0] if pg.upstream and not primary else "",
            receiving=receiving,
            names=pg.names_text,
            walsenders=senders if primary else (),
            answered_s=began_s,
            heard_s=began_s if receiving else self._last.heard_s,
            histories=() if primary or receiving else told(data),
        )

    def probe(self) -> bool:
        """A new connection."""
        self.wait(0.001, 0.01)
        if self._serves(new=True):
            return True
        if self.pg.hung:
            self.wait(PROBE_S, PROBE_S)
        return False

    def identity(self) -> DataIdentity | None:
        """What lies there."""
        data = self.pg.data
        return DataIdentity(1, data.inode, "system") if data is not None and self.usable(data) else None

    def usable(self, data: Data) -> bool:
        """The note that was written before a rewind began is gone, or not of this directory."""
        return not data.torn

    # -- starting and stopping -----------------------------------------------------------------------------------

    def start(self, *, catch_up: str = "", without: tuple[int, ...] = ()) -> None:
        """A sealed start; a rewound directory gets its source, under a name that counts for nothing."""
        self._promoting, self._stop_asked = 0, (0, 0.0)
        self.wait(0.002, 0.01)
        try:
            if self.pg.data is not None and not self.pg.tree:
                data, own = self.pg.data, self.pg.data.branch.timeline
                for number in [
                    n for n, branch in data.histories.items() if n in without or (branch is None and n > own)
                ]:
                    del data.histories[number]  # fillers of a claim without promotion, and what was given up
            self.link.start(ORDER)
            if catch_up:
                self.pg.upstream = (catch_up, f"{self.node.name}-catch-up")
        except (OSError, Refused) as e:
            raise ServerTrouble(f"the server can't be started: {e}") from e

    def stop_fast(self) -> None:
        """SIGINT to the postmaster."""
        guard = self.link.state()
        if guard.postmaster:
            if self._stop_asked[0] != guard.postmaster:
                self._stop_asked = (guard.postmaster, self.node.clock.now_s())
            self.link.signal("SIGINT")

    def shut_down_at(self) -> Position | None:
        """What pg_control says."""
        if self.pg.data is None or self.pg.data.clean is None:
            return None
        self.wait(0.005, 0.02)
        return self.pg.data.clean if self.pg.data is not None else None

    def walsenders(self) -> int | None:
        """Who has confirmed all has ended (PG11)."""
        pg = self.pg
        if pg.data is None or not pg.postmaster:
            return None
        return sum(not s.confirmed(pg.data.lsn) for s in pg.senders)

    # -- sealing and following -----------------------------------------------------------------------------------

    def cut(self) -> None:
        """The reload that empties primary_conninfo; the walreceiver ends, and confirms, a moment later (PG02)."""
        pg = self.pg
        pg.upstream = None
        if pg.receiver is not None:
            stream = pg.receiver
            pg.later(self.world.span(0.003, 0.025, tail=0.05, upto=1.0), lambda: stream.drop(pg, silently=False))

    def seal(self) -> Position | None:
        """The state that proves it, or None."""
        until = self.world.now + SEAL_S / self.node.clock.rate
        self.link.signal("SIGHUP")
        self.cut()
        while self.world.now < until:
            self.wait(0.002, 0.006, tail=0.01, upto=SEAL_S)
            if not self._serves(new=True) or self.pg.data is None:
                continue
            if self.pg.state is not State.STANDBY:
                raise ServerTrouble("it is no standby")
            if self.settled_cut():
                return self.measured()
        return None

    def settled_cut(self) -> bool:
        """No walreceiver, all local WAL replayed: the retry state (PG02)."""
        assert self.pg.data is not None
        return self.pg.receiver is None and self.pg.replayed >= self.pg.data.lsn

    def measured(self) -> Position:
        """IDENTIFY_SYSTEM, which is exact here (PG03)."""
        assert self.pg.data is not None
        self.node.checks.on_measured(self.node)
        return self.pg.data.position

    def follow(self, holder: str, name: str) -> None:
        """primary_conninfo is set; the walreceiver tries from then on."""
        self.link.signal("SIGHUP")
        if self.pg.state is State.STANDBY and self.pg.upstream != (holder, name):
            self.cut()
            self.pg.upstream = (holder, name)
        self._last = replace(self._last, heard_s=self.node.clock.now_s())

    # -- promotion and names -------------------------------------------------------------------------------------

    def begin_names(self, names: str) -> None:
        """The file and the signal, without waiting."""
        self.link.signal("SIGHUP")
        self.pg.set_names(names)

    def prepare_promotion(self, epoch: int, names: str) -> bool:
        """Names in force, history files up to the epoch."""
        self.link.signal("SIGHUP")
        self.pg.set_names(names)
        self.fill_histories(epoch)
        self.wait(0.004, 0.03)
        return self._serves(new=True) and self.pg.names_text == names

    def fill_histories(self, epoch: int) -> None:
        """So that PostgreSQL takes the epoch for its timeline."""
        if self.pg.data is not None:
            data = self.pg.data
            for number in range(data.branch.timeline + 1, epoch):
                data.histories.setdefault(number, None)

    def promote(self, epoch: int) -> tuple[Position, tuple[tuple[int, int], ...]] | None:
        """Asked for once for each start."""
        pg, until = self.pg, self.world.now + PROMOTE_S / self.node.clock.rate
        life = pg.life
        self.wait(0.001, 0.005)
        if not self._serves():
            return None
        if self._promoting != epoch:
            pg.promote()
            self._promoting = epoch
        while pg.state is not State.PRIMARY:
            self.wait(0.002, 0.004)
            if pg.life != life or not self._serves() or self.world.now > until:
                return None
        assert pg.data is not None
        if pg.data.branch.timeline != epoch:
            raise ServerTrouble(f"promoted into timeline {pg.data.branch.timeline}, epoch {epoch} was to be it")
        return pg.data.position, pg.data.branch.forks()

    def lower(self, epoch: int) -> bool:
        """Parameters are all the same here."""
        return False

    def history(self) -> tuple[tuple[int, int], ...]:
        """Forks of the own timeline."""
        if self.pg.data is None:
            raise ServerTrouble("there is no data")
        return self.pg.data.branch.forks()

    def change_names(self, names: str, *, barrier: bool) -> bool:
        """Through the barrier when asked, then the nudge: only a reply releases who waits (PG09)."""
        until = self.world.now + NAMES_S / self.node.clock.rate
        if barrier and not self.raise_barrier(until):
            return False
        self.link.signal("SIGHUP")
        self.pg.set_names(names)
        self.wait(0.004, 0.02)
        if not self._serves(new=True):
            return False
        if self.pg.state is State.PRIMARY:
            self.pg.append(NUDGE_RECORD)
        return True

    def raise_barrier(self, until: float) -> bool:
        """Until nobody goes by an older rule (PG05)."""
        pg = self.pg
        self.link.signal("SIGHUP")
        pg.set_names(barrier())
        while self.world.now < until:
            self.wait(0.002, 0.006)
            if pg.state is not State.PRIMARY:
                return False  # as a connection that is refused
            if not self._serves(new=True):
                continue
            if pg.defined and not any(s.counts for s in pg.senders):
                return True
        return False

    def nudge(self) -> None:
        """Nothing to do: here reports arrive by themselves."""

    def wal_end(self) -> int | None:
        """Flushed."""
        self.wait(0.0005, 0.003)
        return self.pg.data.lsn if self._serves() and self.pg.data else None

    # -- in the background ---------------------------------------------------------------------------------------

    def checkpoint(self, *, switch_wal: bool = False) -> None:
        """At most one. WAL has no segments here."""
        pg = self.pg
        if self._checkpointing == pg.life or not self._serves(new=True):
            return
        self._checkpointing = pg.life
        pg.later(self.world.span(0.02, 0.2, tail=0.05, upto=3.0), self._checkpointed)

    def _checkpointed(self) -> None:
        if self.pg.data is not None:
            self.pg.data.branch.checkpointed = True
        self._checkpoints += 1
        self._checkpointing = -1

    def begin_clone(self, holder: str, *, keep: str = "") -> None:
        """In a task of the agent's."""
        self._begin("cloning", lambda: copying.clone(self, holder))

    def begin_rewind(self, holder: str) -> None:
        """As above."""
        self._begin("rewinding", lambda: copying.rewind(self, holder))

    def _begin(self, name: str, work: Callable[[], None]) -> None:
        if self._job:
            return
        self._job, self.job_failed = name, ""
        self.process.spawn(name, lambda: self._run(work))

    def _run(self, work: Callable[[], None]) -> None:
        try:
            work()
        except (OSError, ValueError, Refused) as e:
            self.job_failed = str(e)
        finally:
            self._job = ""

    def settle(self, *, primary: bool, held: frozenset[str]) -> tuple[str, ...]:
        """Slots are no matter here."""
        if not self._job:
            self.job_failed = ""
        self.wait(0.001, 0.01)
        return ()
