"""The agent: observe, decide, do one thing, look again. Everything is derived anew each time.

Knows ports, never adapters. Threads and sockets are in `agent_main`; the simulator runs this very class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from math import inf

from pgha import records
from pgha.core.classify import READ_FRESH_S, bears_with, classify
from pgha.core.decide import Action, Reason, Rule, choose, reasons
from pgha.core.following import followers
from pgha.core.model import Copy, Member, Settings, Tenure
from pgha.core.observation import Observation, StoreView
from pgha.core.server import Running, ServerView
from pgha.core.situation import Situation
from pgha.core.timing import timing_for
from pgha.core.voters import SILENT_S
from pgha.nodefile import NodeFile
from pgha.ports import Clock, Committed, Conflict, Guard, GuardLink, Keep, Server, Store, StoreDown, Write
from pgha.ports_parameters import Parameters
from pgha.watchdog import configuring, planning, reach, telling, upstreams
from pgha.watchdog.lease import LeaseKeeper
from pgha.watchdog.memory import NodeMemory
from pgha.watchdog.notes import Notes
from pgha.watchdog.pacing import pace

MEMBER_BEAT_S = 2.0
TOLD_AFTER_S = 0.25  # what only people read is not written while clients wait for the next primary
REREAD_S = 0.1
HEALTH_S = 1.5  # between good health verdicts; they are fresh for H / 2


@dataclass(frozen=True, slots=True)
class Ports:
    """The outside, as the agent is given it. `wall`: time for showing. `new_lock`: a mutex of the caller's kind."""

    store: Store
    clock: Clock
    link: GuardLink
    server: Server
    parameters: Parameters
    keep: Keep
    wall: Callable[[], float]
    new_id: Callable[[], str]
    new_lock: Callable[[], AbstractContextManager[object]]
    say: Callable[[Mapping[str, object]], None]
    first_seen_s: Callable[[int], float | None] = lambda _revision: None  # of the leader key, from hints
    address_gone_s: Callable[[], float | None] = lambda: None  # since when this host lacks the node's address


class Agent:
    """One node's agent. `tick`, `renew` and `check_health` may run in three threads."""

    def __init__(self, node: NodeFile, ports: Ports, version: str) -> None:
        self.node, self.ports, self.version = node, ports, version
        self.incarnation = ports.link.state().incarnation
        self.root = records.prefix(node.cluster)
        self.memory = NodeMemory(ports.keep, node.node, new_id=ports.new_id, lock=ports.new_lock())
        self.armed, self.armed_s = True, 0.0  # for all a fresh agent knows
        self.timing = timing_for(6.0)
        self.settings = Settings()
        self.lease = self._keeper()
        self.notes = Notes()
        self.notes.health_s = ports.clock.now_s()  # a server it finds is not hung because nobody has probed it yet
        self.view: StoreView | None = None
        self.last: ServerView = ServerView(Running.DOWN)
        self.rule: Rule | None = None
        self._member: tuple[Member | None, int, float] = (None, -1, -1e9)
        self._untold_s = 0.0  # since when this node's record lacks something
        self._booted = False
        self._repeats = 0
        self.reread = False  # what was read is known to be old
        self.knows_key = False  # this node has just written the key: the next round needs no read

    def _keeper(self) -> LeaseKeeper:
        return LeaseKeeper(
            self.ports.store,
            self.ports.clock,
            self.root + "leader",
            timing=self.timing,
            lock=self.ports.new_lock(),
            renewed=self.arm,
        )

    # -- the three loops' bodies -------------------------------------------------------------------------

    def tick(self, *, hint: bool = True) -> float:
        """One round; seconds until the next one at the latest. Without a hint a read of just now is present enough."""
        from pgha.watchdog import act  # here, because act knows Agent

        age_s = self.ports.clock.now_s() - self.view.sent_s if self.view else REREAD_S
        wanted = (hint and not self.knows_key) or self.reread or age_s >= REREAD_S
        if wanted and not self._must_stop():
            self.read_store()
        self.knows_key = self.reread = False
        obs = self.observe()
        self.disarm(obs)
        situation = classify(obs)
        rule = choose(situation)
        self._repeats = self._repeats + 1 if rule is self.rule else 0
        if rule is not self.rule:
            self._say_decision(rule, situation)
            self.rule = rule
        self.notes.problem = ""
        try:
            act.ACTIONS[rule.action](self, obs)
        except ConnectionError:  # the guard's
            raise
        except OSError as e:  # a disk that is full or broken: told, and tried again
            self._trouble(f"{rule.action.value}: {e}")
        self._greet(obs)
        configuring.look(self, obs, rule)
        planning.look(self, obs, rule)
        due = rule.action is Action.NONE or obs.now_s - self._member[2] >= MEMBER_BEAT_S
        tells = due and not self.notes.silent and rule is not Rule.R200_FOREIGN  # no word into a foreign store
        if tells:
            self.publish(obs, rule)
        configured = obs.now_s - self.notes.configuring.put_s < 2 * configuring.READ_S
        pause_s = pace(obs, rule, repeats=self._repeats, soon=configured)
        if tells and self._untold_s:
            pause_s = min(pause_s, max(0.0, self._untold_s + TOLD_AFTER_S - obs.now_s))
        return pause_s

    def _must_stop(self) -> bool:
        """F_soft has passed and the server is not down yet: nothing else may take time."""
        ends = self.last.running in (Running.PRIMARY, Running.STOPPING, Running.DYING)
        return ends and self.ports.clock.now_s() >= self.lease.soft_s

    def _trouble(self, text: str) -> None:
        if text != self.notes.trouble:
            self.note("trouble", says=text)
        self.notes.problem = self.notes.trouble = text

    def disarm(self, obs: Observation) -> None:
        """Nothing held and no process left: the guard's deadline of an earlier tenancy must not end the next server."""
        if self.armed and obs.tenancy.epoch == 0 and obs.server.running in (Running.DOWN, Running.NO_DATA):
            self.ports.link.deadline(None)
            self.armed, self.armed_s = False, 0.0

    def _greet(self, obs: Observation) -> None:
        """A voter that begins to stream has confirmed all it had before: only a reply from now on releases commits
        that wait (redteam 14; its reply while catching up counts for nothing), so one is provoked."""
        there = frozenset(f.copy for f in followers(obs) if f.streaming)
        if there - self.notes.greeted:
            self.ports.server.nudge()
        self.notes.greeted = there

    def arm(self, base_s: float) -> None:
        """The guard kills the whole tree F_hard after this: the sending of the last renewal, or the end of a pause."""
        if self.armed_s != base_s:
            self.armed, self.armed_s = True, -1.0  # whether it is in force is not known until it is answered
            self.ports.link.deadline(base_s + self.timing.f_hard_s)
            self.armed_s = base_s

    def renew(self) -> float:
        """The lease's round: no disk, no SQL, no subprocess."""
        reach.look(self)
        now_s = self.ports.clock.now_s()
        notes, timing = self.notes, self.timing
        leader, _, tenancy = self.lease.held()
        healthy = now_s - notes.health_s <= timing.health_fresh_s or now_s <= notes.excused_until_s
        healthy = healthy or bears_with(leader, tenancy, now_s, timing)
        if leader is not None and leader.paused is not None:
            healthy = True  # what its operator does to the server costs no lease
        if leader is not None and leader.tenure is Tenure.CLAIMED:
            healthy = now_s - tenancy.claimed_s <= 2 * timing.h_s
        pause_s = self.lease.renew(healthy=healthy, position_lsn=self.last.position.lsn)
        telling.near_misses(self)
        return pause_s

    def check_health(self) -> float:
        """A new connection that runs a query, when this node's server is a primary."""
        if self.last.running is not Running.PRIMARY:
            return 0.2
        began_s = self.ports.clock.now_s()
        if self.ports.server.probe() and not self.notes.ailment:
            self.notes.health_s = began_s
            return HEALTH_S
        return 0.2

    # -- observing ---------------------------------------------------------------------------------------

    def read_store(self) -> None:
        """The newest linearizable read, or the old one with its age."""
        sent_s = self.ports.clock.now_s()
        soft_s = self.lease.soft_s if sent_s < self.lease.soft_s else inf
        try:
            snap = self.ports.store.read(self.root, deadline_s=min(sent_s + self.timing.a_s, soft_s))
        except StoreDown as e:
            self.notes.problem, self.notes.silent = f"store: {e.why}", True
            return
        self._track_silence()
        parsed = records.parse_snapshot(
            self.node.cluster, snap.revision, {k: (e.value, e.revision) for k, e in snap.entries.items()}
        )
        if parsed.settings is not None and parsed.settings != self.settings:
            self._adopt_settings(parsed.settings)
        self.view = StoreView(
            sent_s=sent_s,
            revision=parsed.revision,
            cluster=parsed.cluster,
            settings=self.settings,
            leader=parsed.leader,
            leader_revision=parsed.rev("leader"),
            members=parsed.members,
            order=parsed.order,
            order_revision=parsed.rev("request"),
            history=parsed.history,
            requests=parsed.requests,
            question=parsed.question,
            planned=parsed.planned,
            revisions=parsed.revisions,
            problems=tuple(f"{p.key}: {p.why}" for p in parsed.problems),
        )
        if not self._booted:
            self._boot(self.view)
        self._track_key(self.view)

    def _track_silence(self) -> None:
        notes, now_s = self.notes, self.ports.clock.now_s()
        if notes.silent and self.view and now_s - self.view.sent_s > READ_FRESH_S + self.timing.a_s:
            notes.answers_s = now_s
        notes.silent = False

    def _adopt_settings(self, settings: Settings) -> None:
        """The timings are those of the first read: a change takes effect with the next start of the agent."""
        if not self._booted:
            self.timing = timing_for(settings.failover_after_s)
            self.lease = self._keeper()
        self.settings = settings

    def _boot(self, view: StoreView) -> None:
        """A fresh agent goes on with the server of its guard only under the epoch noted for this start (redteam 23)."""
        self._booted = True
        leader, now_s = view.leader, self.ports.clock.now_s()
        if (
            leader is not None
            and leader.holder.node == self.node.node
            and leader.incarnation == self.incarnation
            and leader.tenure is not Tenure.RELEASED
            and leader.epoch == self.memory.value.claimed
        ):
            sent_s = min(view.sent_s, now_s - self.timing.k_s)
            self.lease.adopt(leader, view.leader_revision, sent_s=sent_s, claimed_s=now_s, found=True)
            self.notes.health_s = now_s

    def _track_key(self, view: StoreView) -> None:
        now_s = self.ports.clock.now_s()
        notes = self.notes
        if view.leader_revision != notes.key[0]:
            heard_s = self.ports.first_seen_s(view.leader_revision)
            notes.key = (view.leader_revision, now_s if heard_s is None else min(heard_s, now_s))
            if view.leader is not None:
                notes.crashes.look(view.leader, now_s)
        leader = view.leader
        if notes.claim is not None and leader == notes.claim[0]:
            if self.lease.held()[0] is None:
                self.lease.adopt(leader, view.leader_revision, sent_s=notes.claim[1], claimed_s=now_s)
            notes.claim = None
        if leader is not None and view.cluster is not None and view.cluster.ident == self.memory.value.cluster:
            self.memory.seen(revision=view.revision, epoch=leader.epoch, beat=leader.beat)
        mine, seal = view.members.get(self.node.node), self.memory.value.seal
        if seal and mine and mine.seal == seal and seal.revision == view.leader_revision != notes.bid[0]:
            notes.bid = (view.leader_revision, now_s)
        ident = view.order.ident if view.order else ""
        if ident != notes.order[0]:
            notes.order, notes.prepared = (ident, now_s), ""
        chore = view.requests.get(self.node.node)
        if (chore.ident if chore else "") != notes.chore[0]:
            notes.chore = (chore.ident if chore else "", now_s)

    def observe(self) -> Observation:
        """Everything a decision may rest on, at this moment."""
        notes = self.notes
        self.last = server = self.ports.server.look()
        now_s = self.ports.clock.now_s()
        identity = self.ports.server.identity()
        view = self._own_view()
        notes.starts.look(server, now_s)
        if notes.sealed and (notes.sealed[0] != server.since_s or server.running is not Running.STANDBY):
            notes.sealed = None
        obs = Observation(
            me=self.node.node,
            incarnation=self.incarnation,
            now_s=now_s,
            timing=self.timing,
            store=view,
            server=server,
            memory=self.memory.value,
            tenancy=self.lease.held()[2],
            copy=self.memory.copy_of(identity),
            system=identity.system if identity else "",
            sealed=notes.sealed[1] if notes.sealed else None,
            key_seen_s=notes.key[1],
            bid_s=notes.bid[1] if view and notes.bid[0] == view.leader_revision else now_s,
            health_s=notes.health_s,
            start_after_s=notes.start_after_s,
            failed_starts=notes.starts.failed(now_s),
            crashes=notes.crashes.recent(now_s),
            rewound=notes.rewound[1] if view and view.leader and notes.rewound[0] == view.leader.epoch else 0,
            answers_s=notes.answers_s,
            ended=notes.ended,
            nofailover=self.node.nofailover,
            nodes=frozenset(self.node.nodes),
            mark=notes.mark,
            order_seen_s=notes.order[1],
            prepared=notes.prepared,
            chore_seen_s=notes.chore[1],
            silent_s=notes.heard(server.walsenders, now_s),
        )
        outdated, short = configuring.is_outdated(self, obs), configuring.is_short(self, obs)
        obs = replace(obs, missing_s=self._missing(obs), outdated=outdated, short=short)
        return upstreams.seen(self, obs)

    def _own_view(self) -> StoreView | None:
        """What this node has written of the key since that read is newer than the read."""
        leader, revision, _ = self.lease.held()
        view = self.view
        if view is not None and leader is not None and revision > view.leader_revision:
            self.notes.key = (revision, self.ports.clock.now_s())
            return replace(view, leader=leader, leader_revision=revision)
        return view

    def _missing(self, obs: Observation) -> dict[Copy, float]:
        """For how long each voter of the present rule has not been streaming to this primary, or not replied to it: a
        cable that is cut is known long before wal_sender_timeout ends the walsender."""
        leader = obs.store.leader if obs.store else None
        primary = obs.server.running is Running.PRIMARY and self.ports.address_gone_s() is None
        if leader is None or not leader.sync or not primary:  # without its address it hears none of them
            self.notes.missing = {}
            return {}
        silent = {f.copy: f.silent_s for f in followers(obs) if f.streaming and f.epoch == leader.epoch}
        since, there = self.notes.missing, {v for v, silent_s in silent.items() if silent_s <= SILENT_S}
        gone = leader.sync[-1].voters - there
        self.notes.missing = {v: since.get(v, obs.now_s - silent.get(v, 0.0)) for v in gone}
        return {v: obs.now_s - s for v, s in self.notes.missing.items()}

    # -- telling -----------------------------------------------------------------------------------------

    def _say_decision(self, rule: Rule, situation: Situation) -> None:
        why: tuple[Reason, ...] = reasons(situation)
        self.ports.say(
            {
                "event": "decision",
                "rule": rule.name,
                "action": rule.action.value,
                "says": rule.sentence,
                "because": {r.axis: r.value.value for r in why},
            }
        )

    def note(self, event: str, **facts: object) -> None:
        """One line in the node's log."""
        self.ports.say({"event": event, **facts})

    def publish(self, obs: Observation, rule: Rule, *, force: bool = False) -> bool:
        """members/<node>: a moment after something worth knowing has changed, and every two seconds; forced, at once.
        True when it is there, or will be."""
        now_s = self.ports.clock.now_s()
        old, revision, at_s = self._member
        new = telling.describe(self, obs, rule, old.beat + 1 if old else 1)
        changed = old is None or telling.essence(old) != telling.essence(new)
        self._untold_s = (self._untold_s or now_s) if changed else 0.0
        waits = old is not None and (not changed or now_s - self._untold_s < TOLD_AFTER_S)
        if waits and not force and now_s - at_s < MEMBER_BEAT_S:
            return True
        self._untold_s = 0.0
        key = f"{self.root}members/{self.node.node}"
        if revision < 0:  # unknown: whatever is there now is what the next write replaces
            if obs.store is None or self.view is None:
                return False
            try:
                snap = self.ports.store.read(key, deadline_s=now_s + self.timing.a_s)
            except StoreDown:
                return False
            entry = snap.entries.get(key)
            revision = entry.revision if entry else 0
        outcome = self.ports.store.commit(
            [Guard(key, revision)], [Write(key, records.dump_member(new))], deadline_s=now_s + self.timing.a_s
        )
        done = isinstance(outcome, Committed)
        if done and self.view is not None:
            self.view = replace(self.view, members={**self.view.members, self.node.node: new})
        self._member = (new, outcome.revision if isinstance(outcome, Committed) else -1, now_s)
        if isinstance(outcome, Conflict) and old is not None:
            self.note("conflict", says="somebody else writes this node's member key: two nodes of one name?")
        return done
