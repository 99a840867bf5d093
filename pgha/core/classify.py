"""Classify: the only place where a number meets a threshold. Observation in, Situation out. Pure."""

from __future__ import annotations

from pgha.core import bids, chores, cover, pause, upstream, voters
from pgha.core.budget import brake_s
from pgha.core.following import LAG_MAX, followers, holding_up, voter_view
from pgha.core.model import Copy, Leader, Member, Order, Position, Seal, Tenure, parse_standby_name
from pgha.core.observation import Observation, StoreView, Tenancy
from pgha.core.server import Running
from pgha.core.situation import Bid, Budget, Duty, Holder, Path, Server, Situation, Store
from pgha.core.timing import Timing

READ_FRESH_S = 2.0  # a read older than this and one attempt is no present read
YIELD_S = 0.3  # a better candidate gets this long
GATHER_S = 0.15  # other voters that live get this long to seal too, so that the claim can name them
TARGET_S = 1.0  # the target of a switchover gets this long
START_S = 300.0  # recovery of a standby may take this long
STANDBY_SILENT = 2.0  # a standby that has not answered for this many H is ended and started again
UNWELL_H = 10.0  # for so many H after a hand-over for bad health there is no other
STOP_S = 10.0  # a fast stop may take this long
CLAIM_S = 10.0  # from a claim to being writable
CLIENTS_FIRST_S = 0.5  # after a claim: history and the first checkpoint wait until clients are back
WAL_GONE_S = 5.0  # a standby that receives nothing for so long, and is told that its WAL is gone, believes it
ASTRAY_S = 2.0  # a standby that receives nothing for so long is looked at for what it aims at
CATCH_UP_STARTS = 3  # a rewound directory that does not come up by then is cloned anew


def classify(obs: Observation) -> Situation:
    """The situation this observation is."""
    holder = _holder(obs)
    server = _server(obs)
    return Situation(
        store=_store(obs),
        holder=holder,
        server=server,
        bid=bid_of(obs),
        path=_path(obs),
        duty=_duty(obs, holder, server),
        budget=_budget(obs, holder, server),
    )


def _store(obs: Observation) -> Store:
    view, memory = obs.store, obs.memory
    if view is None or obs.now_s - view.sent_s > READ_FRESH_S + obs.timing.a_s:
        return Store.SILENT
    if view.cluster is None:
        return Store.RESTORED  # an empty prefix is not a new cluster (faults.md R52)
    if view.cluster.ident != memory.cluster or (obs.system and obs.system != view.cluster.system_identifier):
        return Store.FOREIGN
    if view.revision < memory.revision:
        return Store.RESTORED
    if view.leader is not None and (view.leader.epoch, view.leader.beat) < (memory.epoch, memory.beat):
        return Store.RESTORED
    return Store.FRESH


def _holder(obs: Observation) -> Holder:
    view = obs.store
    leader = view.leader if view else None
    if view is None or leader is None:
        return Holder.ABSENT
    if leader.tenure is Tenure.RELEASED:
        return Holder.RELEASED
    if leader.holder.node == obs.me:
        if leader.incarnation != obs.incarnation or obs.tenancy.epoch != leader.epoch:
            if not pause.is_to_end(obs, leader):
                return Holder.FORMER_PAUSED
            ended = leader.incarnation == obs.incarnation and leader.epoch == obs.ended and leader.paused is None
            return Holder.MINE_ENDED if ended else Holder.FORMER_LIFE
        age_s = obs.now_s - obs.tenancy.sent_s - obs.tenancy.left_s
        if age_s >= obs.timing.f_hard_s:
            return Holder.MINE_EXPIRED
        if age_s >= obs.timing.f_soft_s:
            return Holder.MINE_LATE
        if leader.paused is not None:
            return Holder.MINE_PAUSED
        return Holder.MINE_CLAIMED if leader.tenure is Tenure.CLAIMED else Holder.MINE_HELD
    if view.sent_s - obs.key_seen_s >= pause.silent_after_s(obs, leader):
        return Holder.SILENT
    if leader.paused is not None:
        return Holder.OTHER_PAUSED
    return Holder.OTHER_CLAIMED if leader.tenure is Tenure.CLAIMED else Holder.OTHER_HELD


_PLAIN = {
    Running.NO_DATA: Server.NO_DATA,
    Running.DOWN: Server.DOWN,
    Running.DYING: Server.DYING,
    Running.STARTING: Server.STARTING,
    Running.STOPPING: Server.STOPPING,
}


def _server(obs: Observation) -> Server:
    view = obs.server
    if view.running is Running.DYING:
        return Server.DYING
    if view.job:
        return Server.BUSY
    if view.running in _PLAIN:
        return _PLAIN[view.running]
    if view.running is Running.PRIMARY:
        key = obs.store.leader if obs.store else None
        borne = bears_with(key, obs.tenancy, obs.now_s, obs.timing)
        return Server.HUNG if _hangs(obs) and not borne else Server.PRIMARY
    if obs.now_s - view.answered_s > STANDBY_SILENT * obs.timing.h_s:
        return Server.HUNG
    if view.upstream_epoch == 0:
        if obs.sealed is None:
            return Server.STRAY
        return Server.ASTRAY if given_up(obs, obs.sealed.timeline + 1) else Server.SEALED
    leader = obs.store.leader if obs.store else None
    if leader is None or leader.epoch != view.upstream_epoch or (stops_on_order(obs) and not view.receiving):
        return Server.STRAY
    if view.follows not in ("", upstream.wanted(obs)):
        return Server.STRAY
    quiet_s = 0.0 if view.receiving else obs.now_s - max(view.heard_s, view.since_s)
    aims_elsewhere = quiet_s > ASTRAY_S and given_up(obs, view.position.timeline)
    return Server.STRAY if aims_elsewhere or (quiet_s > WAL_GONE_S and view.wal_gone) else Server.FOLLOWING


def _hangs(obs: Observation) -> bool:
    """A primary's last good answer is too old, or a process of it that stands still holds up every commit."""
    answered_s = min(obs.server.answered_s, max(obs.health_s, obs.server.since_s))
    return obs.now_s - answered_s > obs.timing.health_fresh_s or bool(holding_up(obs))


def given_up(obs: Observation, first: int) -> tuple[int, ...]:
    """Timelines from `first` on whose history this server has and that the holder's timeline does not come from.

    A standby takes the newest history it has for its target, and keeps it in memory: when who claimed that epoch dies
    before it sends any WAL, the standby can follow nobody else, and its own promotion would name that timeline as its
    parent (PostgreSQL, rescanLatestTimeLine in xlogrecovery.c). Only a start without that file helps.
    """
    leader, holder = (obs.store.leader if obs.store else None), _holder(obs)
    if leader is None:
        return ()
    if holder in (Holder.OTHER_HELD, Holder.OTHER_PAUSED):
        rightful = {leader.epoch, *(t for t, _ in leader.forks)}
    elif holder is Holder.OTHER_CLAIMED and obs.sealed is not None and obs.sealed.timeline == leader.position.timeline:
        rightful = {leader.epoch}
    elif holder in (Holder.RELEASED, Holder.SILENT):
        rightful = set()
    else:
        return ()
    return tuple(t for t in obs.server.histories if t >= first and t not in rightful)


def bears_with(leader: Leader | None, tenancy: Tenancy, now_s: float, timing: Timing) -> bool:
    """This epoch began because the server before did not answer: what ails one may ail all, and for 10 H no other
    hand-over follows for that reason (redteam 20). Whose tree is gone hands over all the same."""
    if leader is None or not leader.unwell or leader.epoch != tenancy.epoch:
        return False
    return now_s - tenancy.claimed_s < UNWELL_H * timing.h_s


def stops_on_order(obs: Observation) -> bool:
    """The holder is stopping for a switchover: a standby it has left measures, and follows nobody until it is over."""
    view = obs.store
    return (
        view is not None
        and view.leader is not None
        and view.order is not None
        and view.order.phase == "stopping"
        and view.order.epoch == view.leader.epoch
        and obs.now_s - obs.order_seen_s <= view.order.budget_s
    )


def seals_at(view: StoreView) -> tuple[Seal, ...]:
    """The seals bound to the key's present revision; a key released after a clean stop is its holder's own."""
    found = [m.seal for m in view.members.values() if m.seal and m.seal.revision == view.leader_revision]
    leader = view.leader
    if leader and leader.tenure is Tenure.RELEASED and leader.clean:
        found.append(Seal(view.leader_revision, leader.holder, leader.position))
    return tuple(found)


def own_seal(obs: Observation) -> Seal | None:
    """This node's seal at the key's present revision, when it still stands."""
    seal, view = obs.memory.seal, obs.store
    if seal is None or view is None or seal.revision != view.leader_revision or seal.copy != obs.copy:
        return None
    return seal


def handed(view: StoreView, node: str) -> bool:
    """The key was released to this node after a clean stop, which is a seal: no other has to be heard first."""
    leader = view.leader
    return leader is not None and leader.tenure is Tenure.RELEASED and leader.clean and leader.target == node


def knows_voters(obs: Observation, view: StoreView) -> bool:
    """The voters need not be heard before the claim names them: handed over, or this node's own key, whose voters were
    there when it had to stop."""
    own = view.leader is not None and view.leader.tenure is not Tenure.RELEASED and view.leader.holder == obs.copy
    return own or handed(view, obs.me)


def bid_of(obs: Observation) -> Bid:
    """What this node's seal is good for."""
    view, seal = obs.store, own_seal(obs)
    if view is None or view.leader is None or seal is None or obs.sealed is None:
        return Bid.NONE
    seals, mine = seals_at(view), view.members.get(obs.me)
    lacks = cover.missing(seal, seals, view.leader.sync)
    if (mine is None or mine.seal != seal) and (lacks or not view.leader.sync or not handed(view, obs.me)):
        return Bid.UNPUBLISHED
    if obs.nofailover:
        return Bid.BARRED
    if lacks or bids.lags(view, seal):
        if bids.ordered(obs, view, seal, seals):
            return Bid.ORDERED
        return Bid.WAITING if lacks else Bid.BARRED
    if _yields(obs, view, seals):
        return Bid.YIELDING
    wait_s = brake_s(obs.crashes) if view.leader.tenure is Tenure.RELEASED and not view.leader.clean else 0.0
    return Bid.BRAKED if wait_s and obs.now_s - obs.key_seen_s < wait_s else Bid.COVERED


def _yields(obs: Observation, view: StoreView, seals: tuple[Seal, ...]) -> bool:
    waited_s = obs.now_s - obs.bid_s
    leader = view.leader
    assert leader is not None
    first = cover.best([_candidate(m, leader) for m in view.members.values() if m.seal in seals])
    if bids.holder_comes(obs, view, leader, first):
        return True
    if not leader.sync and bids.waits_for_more(obs, view, seals):
        return True
    if leader.tenure is Tenure.RELEASED and leader.target not in ("", obs.me) and waited_s < TARGET_S:
        return True
    if waited_s < YIELD_S and leader.target != obs.me and first is not None and first.name != obs.me:
        return True
    if waited_s < GATHER_S and leader.sync and not knows_voters(obs, view):
        here = {s.copy for s in seals}
        return any(v not in here and v.node in view.members for v in leader.sync[-1].voters)
    return False


def _candidate(member: Member, leader: Leader) -> cover.Candidate:
    assert member.seal is not None
    return cover.Candidate(
        seal=member.seal,
        priority=member.precedence,
        name=member.node,
        barred=member.nofailover,
        replay_behind=0,
        holds=leader.tenure is not Tenure.RELEASED and member.seal.copy == leader.holder,
    )


def catching_up(obs: Observation) -> int:
    """The epoch whose holder completes the present data directory; 0 when it is complete (or not the rewound one)."""
    return obs.memory.catch_up if obs.copy and obs.copy.data == obs.memory.catch_up_data else 0


def _path(obs: Observation) -> Path:
    leader = obs.store.leader if obs.store else None
    epoch = catching_up(obs)
    if epoch and obs.sealed is None:
        if leader is None or leader.tenure is not Tenure.HELD:
            return Path.UNKNOWN
        broken = obs.server.job_failed or obs.server.wal_gone or obs.failed_starts > CATCH_UP_STARTS
        return Path.FOLLOW if leader.epoch == epoch and not broken else Path.CLONE
    if leader is None or obs.sealed is None or stops_on_order(obs):
        return Path.UNKNOWN
    if leader.tenure is not Tenure.HELD:
        return _path_to_claimant(obs.sealed, leader)
    if obs.sealed.timeline == leader.epoch and obs.sealed.lsn > leader.position.lsn:
        return Path.UNKNOWN  # the key's position is up to K old
    if cover.path(obs.sealed, leader.epoch, leader.position.lsn, leader.forks) is cover.Path.FOLLOW:
        if not obs.server.wal_gone:
            return Path.FOLLOW
        return Path.NEEDED if _is_needed(obs, leader) else Path.CLONE
    if not leader.checkpointed:
        return Path.UNKNOWN  # redteam 7: before it pg_rewind of 13 to 15 finds nothing to do
    if _is_needed(obs, leader):
        return Path.NEEDED
    return Path.CLONE if obs.rewound or obs.copy in leader.kept else Path.REWIND


def _is_needed(obs: Observation, leader: Leader) -> bool:
    """An entry of `sync` names this copy: should the holder die now, what it has may be all there is of a commit.

    The holder drops such entries within moments, once others have all that they promise. Under `strict` with no voter
    left it never could: then this very copy is to become one (redteam 17).
    """
    view = obs.store
    if view is None or obs.copy is None or all(obs.copy not in (r.holder, *r.voters) for r in leader.sync):
        return False
    told = view.members.get(leader.holder.node)
    if view.settings.durability != "strict" or told is None:
        return True
    there = {parse_standby_name(name) for name, (state, _) in told.standbys.items() if state == "streaming"}
    return any((voter, leader.epoch) in there for voter in leader.sync[-1].voters)


def _path_to_claimant(measured: Position, leader: Leader) -> Path:
    """Who claimed promotes at the position it sealed: that is the coming fork, and who lies on that very timeline at or
    below it may point itself at the claimant already. Whoever does not waits for the promotion."""
    below = measured.timeline == leader.position.timeline and measured.lsn <= leader.position.lsn
    return Path.FOLLOW if leader.tenure is Tenure.CLAIMED and below else Path.UNKNOWN


def order_problem(obs: Observation, order: Order) -> str:
    """Why the holder can't carry out this switchover; empty when it can."""
    view = obs.store
    leader = view.leader if view else None
    if view is None or leader is None:
        return "no leader key"
    if order.kind == "failover":
        return f"{obs.me} holds the leader key and is healthy"
    if order.kind not in ("switchover", "restart", *pause.KINDS):
        return f"unknown kind of order {order.kind!r}"
    if order.epoch != leader.epoch or order.source != obs.me:
        return f"made for epoch {order.epoch} and {order.source}, this is epoch {leader.epoch} and {obs.me}"
    if order.kind in pause.KINDS:
        return pause.problem(leader, order)
    if leader.paused is not None:
        return "the cluster is paused"
    if obs.now_s - obs.order_seen_s > order.budget_s:
        return f"not done within {order.budget_s:g} s"
    if order.kind == "restart":
        return "" if order.target == obs.me else f"{order.target} is not the primary"
    if order.target == obs.me:
        return f"{obs.me} is the primary already"
    member = view.members.get(order.target)
    if member is None:
        return f"{order.target} is not a member"
    if member.nofailover:
        return f"{order.target} is tagged nofailover"
    voting = leader.sync[-1].voters if leader.sync else frozenset[Copy]()
    if view.settings.durability != "async" and not any(v.node == order.target for v in voting):
        return f"{order.target} is no voter"
    there = [f for f in followers(obs) if f.copy.node == order.target and f.epoch == leader.epoch and f.streaming]
    if not there:
        return f"{order.target} does not stream"
    behind = obs.server.position.lsn - there[0].flush
    if behind > LAG_MAX:
        return f"{order.target} is {behind} bytes behind, the limit is {LAG_MAX}"
    return ""


_ORDERED = {"pause": Duty.PAUSE, "resume": Duty.LIFT}


def _duty(obs: Observation, holder: Holder, server: Server) -> Duty:
    view, paused = obs.store, holder is Holder.MINE_PAUSED
    if holder is Holder.OTHER_HELD:
        return chores.due(obs, server)
    if view is None or view.leader is None or not (paused or (holder is Holder.MINE_HELD and server is Server.PRIMARY)):
        return Duty.NONE
    if paused and pause.is_to_end(obs, view.leader):
        return Duty.LIFT
    order = view.order
    if order is not None and order.phase in ("asked", "accepted", "stopping", "handed"):
        if order_problem(obs, order):
            return Duty.REFUSE
        if order.kind in _ORDERED:
            return _ORDERED[order.kind]
        return Duty.HAND_OVER if obs.prepared == order.ident else Duty.PREPARE
    if server is not Server.PRIMARY:
        return Duty.NONE
    state = voter_view(obs)
    step = voters.next_step(state) if state is not None else voters.Settled()
    settled = obs.now_s - obs.tenancy.claimed_s > CLIENTS_FIRST_S
    record = settled and (view.leader.epoch not in view.history or not view.leader.checkpointed)
    if isinstance(step, voters.Settled) or (record and isinstance(step, voters.WaitFlush)):
        return Duty.RECORD if record else chores.due(obs, server)
    return Duty.VOTERS


def _budget(obs: Observation, holder: Holder, server: Server) -> Budget:
    if server is Server.DOWN:
        return Budget.EARLY if obs.now_s < obs.start_after_s else Budget.WITHIN
    if holder is Holder.MINE_HELD and server is Server.PRIMARY:
        return Budget.SPENT if _hangs(obs) else Budget.WITHIN  # and is borne with
    if holder is Holder.MINE_CLAIMED and obs.now_s - obs.tenancy.claimed_s > CLAIM_S:
        return Budget.SPENT
    if server is Server.STARTING and obs.now_s - obs.server.since_s > START_S:
        return Budget.SPENT
    if server is Server.STOPPING and obs.now_s - obs.server.stop_asked_s > STOP_S:
        return Budget.SPENT
    return Budget.WITHIN
