"""`ports.Server` on real PostgreSQL: SQL by `database.Session`, processes by the guard, files by `ServerFiles`.

Every wait is bounded. No policy: when what happens is decided in `pgha.core`, here is how.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from pgha.adapters.database import Session, SqlError
from pgha.adapters.server_files import ServerFiles
from pgha.adapters.server_health import Health
from pgha.adapters.server_jobs import Jobs
from pgha.adapters.server_log import ServerLog
from pgha.adapters.server_lowering import Lowering
from pgha.adapters.server_names import Names
from pgha.adapters.server_parameters import ServerParameters
from pgha.adapters.server_seal import PACE_S, Sealing
from pgha.adapters.server_senders import walsenders
from pgha.core.model import Position, parse_lsn
from pgha.core.server import DataIdentity, Running, ServerView
from pgha.errors import Refused
from pgha.nodefile import NodeFile
from pgha.pg import conf, control, look
from pgha.ports import Clock, GuardLink, ServerStart, ServerTrouble

LOOK_S = 0.5
UNHEARD_S = 1.0  # a standby that receives nothing for so long: its log is read for the reason (not within a switchover)
SEAL_S = 2.0
PREPARE_S = 2.0
PROMOTE_S = 8.0


class PostgresServer:
    """The node's server."""

    def __init__(self, node: NodeFile, link: GuardLink, clock: Clock) -> None:
        self.node, self.link, self.clock = node, link, clock
        self.files = ServerFiles(node)
        self.jobs = Jobs(node, link, clock, self.files)
        self.copies = self.jobs.copies
        with suppress(OSError):  # the next clone says why
            self.copies.finish_swap()
        self.sealing = Sealing(clock, connect=self._connect, sql=self._sql)
        self.names = Names(self.clock, sql=self._sql, connect=self._connect, reload=self._reload)
        self.parameters = ServerParameters(
            node,
            clock,
            self.files,
            sql=self._sql,
            runs=lambda: self.link.state().postmaster != 0,
            reload=lambda: self.link.signal("SIGHUP"),
        )
        self.lowering = Lowering(link, clock, self.files, sql=self._sql, launch=self._launch)
        self._session: Session | None = None
        self._last = ServerView(Running.DOWN)
        self._stop_asked: tuple[int, float] = (0, 0.0)
        self._promoting = 0
        self._configured = self._unread = False  # what our node file makes: is it in force; is the server to read it
        self._checkpoint: Session | None = None
        self._checkpoints = 0
        self._health = Health(lambda deadline_s: self._connect(deadline_s=deadline_s), clock)
        self.log = ServerLog(f"{node.state_dir}/postgresql.log", (node.data_dir,))

    # -- looking ---------------------------------------------------------------------------------------------

    def look(self) -> ServerView:
        """The present state; keeps the last known role while the server does not answer."""
        guard = self.link.state()
        view = replace(
            ServerView(Running.DOWN),
            since_s=guard.started_s,
            exits=guard.exits,
            job=self.jobs.running,
            job_failed=self.jobs.failed,
            checkpoints=self._checkpoints,
            why=guard.exit_status,
            version=self._last.version,
        )
        if guard.postmaster == 0:
            self._drop_session()
            if guard.tree:
                return self._seen(replace(view, running=Running.DYING))
            running = Running.DOWN if self.copies.identity() else Running.NO_DATA
            return self._seen(replace(view, running=running, why=self.log.why(guard.exits, guard.exit_status)))
        if not self._configured:
            self._configure()
        if self._stop_asked[0] == guard.postmaster:
            return self._seen(replace(view, running=Running.STOPPING, stop_asked_s=self._stop_asked[1]))
        if self._last.since_s != guard.started_s:
            self._drop_session()
            self._last = replace(view, running=Running.STARTING)
        return self._seen(self._ask(view))

    def _configure(self) -> None:
        """An agent that is new to a running server: what changed since that was started is put in force."""
        with suppress(OSError):  # tried again at the next look
            self._unread = self.files.catch_up_with_node_file() or self._unread
            if self._unread:
                self.link.signal("SIGHUP")
            self._configured, self._unread = True, False

    def _seen(self, view: ServerView) -> ServerView:
        self._last = view
        return view

    def _ask(self, view: ServerView) -> ServerView:
        started_s = self.clock.now_s()
        before = replace(
            self._last, job=view.job, job_failed=view.job_failed, exits=view.exits, checkpoints=self._poll_checkpoint()
        )
        if before.running is Running.STARTING and self.files.still_starting():
            return replace(before, why="the database system is starting up", wal_gone=self.log.wal_is_gone())
        try:
            row = self._sql(look.LOOK, deadline_s=started_s + LOOK_S)[0]
        except SqlError as e:
            if e.sqlstate == "57P03" and "shutting down" in str(e):
                return replace(before, running=Running.STOPPING, stop_asked_s=before.stop_asked_s or started_s)
            answered_s = started_s if e.sqlstate and before.answered_s else before.answered_s
            return replace(before, answered_s=answered_s, why=str(e).splitlines()[-1][:200] if str(e) else "")
        view = look.view(before, [x or "" for x in row], started_s)
        view = replace(view, why=self.log.no_room(), follows=conf.followed(self.node, row[2] or ""))
        if view.running is Running.STANDBY and not view.receiving:
            quiet = view.upstream_epoch > 0 and started_s - view.heard_s > UNHEARD_S
            gone = view.wal_gone or (quiet and self.log.wal_is_gone())
            return replace(view, histories=self.files.histories_told(), wal_gone=gone)
        return view

    def _sql(self, sql: str, *, deadline_s: float) -> list[list[str | None]]:
        if self._session is None or self._session.closed:
            self._session = self._connect(deadline_s=deadline_s)
        return [list(r) for r in self._session.query(sql, deadline_s=deadline_s)]

    def _connect(self, *, deadline_s: float, **more: str) -> Session:
        """A new connection through the socket, as the superuser; its commits wait for nobody (redteam 27)."""
        parts: dict[str, str | int] = {
            "host": self.node.socket_dir,
            "port": self.node.me.port,
            "user": self.node.superuser,
            "dbname": "postgres",
            "application_name": "pgha",
            "options": "-c synchronous_commit=local -c log_statement=none -c statement_timeout=0 -c lock_timeout=0",
        }
        return Session(conf.conninfo(parts | more), self.clock, deadline_s=deadline_s)

    def _drop_session(self) -> None:
        for session in (self._session, self._checkpoint):
            if session is not None:
                session.close()
        self._session = self._checkpoint = None

    def probe(self) -> bool:
        """Health: see `server_health`."""
        return self._health.probe()

    def identity(self) -> DataIdentity | None:
        """What lies in the data directory."""
        return self.copies.identity()

    # -- starting and stopping -------------------------------------------------------------------------------

    def start(self, *, catch_up: str = "", without: tuple[int, ...] = ()) -> None:
        """A sealed start; what was just rewound needs its source's WAL before it can be asked anything."""
        self._promoting = 0
        try:
            self.files.before_start(without)
            self._configured = True
            if catch_up:
                source = conf.upstream(self.node, catch_up, f"{self.node.node}-catch-up")
                self.files.write_live(conf.live_conf(primary_conninfo=source))
            self._launch()
        except (OSError, Refused) as e:
            raise ServerTrouble(f"the server can't be started: {e}") from e

    def _launch(self, more: tuple[str, ...] = ()) -> None:
        """The postmaster, with its files as they lie there."""
        self._drop_session()
        self._stop_asked = (0, 0.0)
        state, program = self.node.state_dir, f"{self.node.bin_dir}/postgres"
        order = ServerStart(
            argv=[program, "-D", self.node.data_dir, "-c", f"config_file={state}/{conf.MAIN}", *more],
            env=self.jobs.env,
            data_dir=self.node.data_dir,
            log_file=f"{state}/postgresql.log",
        )
        self.log.mark()
        self.link.start(order)

    def stop_fast(self) -> None:
        """SIGINT to the postmaster; look says STOPPING from now on."""
        guard = self.link.state()
        if guard.postmaster:
            if self._stop_asked[0] != guard.postmaster:
                self._stop_asked = (guard.postmaster, self.clock.now_s())
            self.link.signal("SIGINT")

    def shut_down_at(self) -> Position | None:
        """pg_control says `shut down`: the end of the shutdown checkpoint record, the last one (redteam 16)."""
        found = self.files.control()
        if found is None or found.state != control.SHUTDOWNED:
            return None
        end = self.files.end_of_record(found.timeline, found.checkpoint)
        return Position(found.timeline, end or found.checkpoint + 1)

    def walsenders(self) -> int | None:
        """By the titles of the postmaster's children: no connection is taken while it shuts down."""
        return walsenders(self.link.state().postmaster)

    # -- sealing and following -------------------------------------------------------------------------------

    def _reload(self, text: str) -> None:
        if self.files.write_live(text):
            try:
                self.link.signal("SIGHUP")
            except OSError:
                self.files.live_text = ""
                raise

    def seal(self) -> Position | None:
        """Cut off (an empty primary_conninfo, reloaded) and measured: see `server_seal`."""
        self._reload(conf.live_conf())
        return self.sealing.position(self.clock.now_s() + SEAL_S)

    def follow(self, holder: str, name: str) -> None:
        """Stream from the holder. Decided by position before (redteam 1)."""
        text = conf.live_conf(
            primary_conninfo=conf.upstream(self.node, holder, name), slot=conf.slot_name(self.node.node)
        )
        self.log.mark()
        self._reload(text + conf.FIRST_SEGMENT)
        self._taken("primary_conninfo", conf.upstream(self.node, holder, name), self.clock.now_s() + LOOK_S)
        self._last = replace(self._last, heard_s=self.clock.now_s(), wal_gone=False)

    # -- promotion and names ---------------------------------------------------------------------------------

    def begin_names(self, names: str) -> None:
        """Asked for while the claim is on its way. Nobody carries a name of an epoch that is not won: as good as the
        barrier on a standby."""
        with suppress(OSError):
            self._reload(conf.live_conf(names=names))

    def prepare_promotion(self, epoch: int, names: str) -> bool:
        """History files so that PostgreSQL takes timeline `epoch`; the claim's names in force before pg_promote."""
        deadline_s = self.clock.now_s() + PREPARE_S
        self._reload(conf.live_conf(names=names))
        self.files.fill_histories(1, epoch)
        return self._taken("synchronous_standby_names", names, deadline_s)

    def _taken(self, setting: str, value: str, deadline_s: float) -> bool:
        """The standing connection shows the value: the postmaster has it, since it reloads before it tells its
        children, and so has every connection that comes later."""
        while self.clock.now_s() < deadline_s:
            with suppress(SqlError):
                if self._sql(f"SHOW {setting}", deadline_s=deadline_s)[0][0] == value:
                    return True
            self.clock.sleep(PACE_S)
        return False

    def promote(self, epoch: int) -> tuple[Position, tuple[tuple[int, int], ...]] | None:
        """pg_promote without its own polling (0.1 s steps), asked for once for each start of the server."""
        deadline_s = self.clock.now_s() + PROMOTE_S
        try:
            if self._promoting != epoch:
                self._sql("SELECT pg_promote(false)", deadline_s=deadline_s)
                self._promoting = epoch
            while self._sql("SELECT pg_is_in_recovery()", deadline_s=deadline_s)[0][0] == "t":
                self.clock.sleep(PACE_S)
                if self.clock.now_s() > deadline_s:
                    return None
            row = self._sql(
                "SELECT pg_current_wal_flush_lsn(), substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)",
                deadline_s=deadline_s,
            )[0]
        except SqlError:
            return None
        position = Position(int(row[1] or "0", 16), parse_lsn(row[0] or ""))
        if position.timeline != epoch:
            raise ServerTrouble(f"promoted into timeline {position.timeline}, epoch {epoch} was to be it")
        self._last = replace(self._last, running=Running.PRIMARY, position=position, answered_s=self.clock.now_s())
        return position, self.files.forks(epoch)

    def lower(self, epoch: int) -> bool:
        """See `server_lowering`."""
        self._promoting = epoch
        try:
            return self.lowering.promote()
        except (OSError, Refused) as e:
            raise ServerTrouble(f"the server can't be started with less: {e}") from e

    def history(self) -> tuple[tuple[int, int], ...]:
        """Forks of the timeline this primary is on."""
        try:
            return self.files.forks(self._last.position.timeline)
        except (OSError, ValueError) as e:
            raise ServerTrouble(f"the timeline's history can't be read: {e}") from e

    def change_names(self, names: str, *, barrier: bool) -> bool:
        """Design, 6 "Change of voters"; redteam 4 and 14."""
        return self.names.change(names, barrier=barrier)

    def nudge(self) -> None:
        """A commit of the standing connection, whose level is `local`."""
        with suppress(SqlError):
            self._sql(look.NUDGE, deadline_s=self.clock.now_s() + LOOK_S)

    def wal_end(self) -> int | None:
        """Flushed WAL end of a primary."""
        try:
            row = self._sql("SELECT pg_current_wal_flush_lsn()", deadline_s=self.clock.now_s() + LOOK_S)[0]
        except SqlError:
            return None
        return parse_lsn(row[0] or "")

    # -- in the background -----------------------------------------------------------------------------------

    def checkpoint(self, *, switch_wal: bool = False) -> None:
        """CHECKPOINT on a connection of its own; at most one. A standby that connects gets its segment anew from the
        start: after a switch that is next to nothing."""
        if self._checkpoint is not None:
            return
        with suppress(SqlError):
            self._checkpoint = self._connect(deadline_s=self.clock.now_s() + LOOK_S)
            self._checkpoint.send("CHECKPOINT; SELECT pg_switch_wal()" if switch_wal else "CHECKPOINT")

    def _poll_checkpoint(self) -> int:
        session = self._checkpoint
        if session is not None and session.answered:
            with suppress(SqlError):
                session.receive(deadline_s=self.clock.now_s() + LOOK_S)
                self._checkpoints += 1
            session.close()
            self._checkpoint = None
        return self._checkpoints

    def begin_clone(self, holder: str, *, keep: str = "") -> None:
        """In the background, see `Jobs`."""
        self.jobs.clone(holder, keep)

    def begin_rewind(self, holder: str) -> None:
        """In the background, see `Jobs`."""
        self._drop_session()
        self.jobs.rewind(holder)

    def settle(self, *, primary: bool, held: frozenset[str]) -> tuple[str, ...]:
        """One physical slot a member, of which only those held may hold WAL; old copies away once it streams."""
        others = sorted(n for n in self.node.nodes if n != self.node.node)
        holding = [conf.slot_name(n) for n in others if n in held]
        making, dropping = look.slots([conf.slot_name(n) for n in others], held=holding)
        for sql in (dropping, making):
            with suppress(SqlError):
                self._sql(sql, deadline_s=self.clock.now_s() + 2.0)
        if primary:
            self.files.arm_standby()  # a restart outside pgha comes up read-only (redteam 22: only once it is primary)
        else:
            self._reload(self.files.live_text.replace(conf.FIRST_SEGMENT, ""))
            self.copies.drop_old()
        self.jobs.forget()
        return self.copies.kept()
