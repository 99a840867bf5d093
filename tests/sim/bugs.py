"""Planted bugs: each breaks one rule, inside a run only, and must be seen by the invariant named here.

A bug replaces one function of the production code or of a fake's port, and puts it back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from pgha import records
from pgha.core import bids, classify, cover, following, voters
from pgha.core import decide as decide_module
from pgha.core.decide import Action
from pgha.core.decide import Rule as Decision
from pgha.core.model import Leader, Position, Rule, Seal, Tenure
from pgha.core.observation import Observation, StoreView
from pgha.core.situation import Bid, Holder, Path, Server, Situation
from pgha.core.timing import Timing
from pgha.ports import Committed, Conflict, Guard, Unknown, Write
from pgha.watchdog import act
from pgha.watchdog.agent import Agent
from pgha.watchdog.lease import LeaseKeeper
from pgha.watchdog.memory import KnownCopy
from tests.sim import bugs_later, copying
from tests.sim.guard import AgentProcess, SimGuard, SimKeep
from tests.sim.plan import REJOINS
from tests.sim.planting import Undo, both, swap
from tests.sim.server import SimServer
from tests.sim.store import SimStore


@dataclass(frozen=True, slots=True)
class Bug:
    """broken: the rule that does not hold. seen_by: invariants, any of which may be the first to see it.

    kinds: the faults under which it shows; None: as the seeds draw them. live: whether it is looked for also after all
    faults have ended, in the liveness mode.
    """

    broken: str
    seen_by: tuple[str, ...]
    plant: Callable[[], Undo]
    kinds: tuple[str, ...] | None = None
    durability: str = "quorum"
    live: bool = False


# -- seals and cover ---------------------------------------------------------------------------------------------


def _seal_leaks() -> Undo:
    def cut(self: SimServer) -> None:
        self.pg.upstream = None

    def settled(self: SimServer) -> bool:
        return True

    return both(swap(SimServer, "cut", cut), swap(SimServer, "settled_cut", settled))


def _one_seal_less() -> Undo:
    real = cover.missing

    def missing(own: Seal, seals: Iterable[Seal], sync: tuple[Rule, ...]) -> tuple[cover.Missing, ...]:
        return tuple(m for m in real(own, seals, sync) if m.have < m.need - 1)

    return swap(cover, "missing", missing)


def _any_revision() -> Undo:
    """The claim does not compare the revision, and the seals need not be of the present one."""
    real = SimStore.commit

    def commit(
        self: SimStore, guards: Sequence[Guard], writes: Sequence[Write], *, deadline_s: float
    ) -> Committed | Conflict | Unknown:
        if any(w.key.endswith("/leader") and w.value and b'"tenure":"claimed"' in w.value for w in writes):
            guards = [g for g in guards if not g.key.endswith("/leader")]
        return real(self, guards, writes, deadline_s=deadline_s)

    return swap(SimStore, "commit", commit)


def _underreport() -> Undo:
    def measured(self: SimServer) -> Position:
        assert self.pg.data is not None
        position = self.pg.data.position
        return replace(position, lsn=position.lsn - position.lsn % 4096)

    return swap(SimServer, "measured", measured)


def _trial_follow() -> Undo:
    real = classify._path

    def path(obs: Observation) -> Path:
        found = real(obs)
        return Path.FOLLOW if found in (Path.REWIND, Path.CLONE) else found

    return swap(classify, "_path", path)


def _unseal_free() -> Undo:
    """A node follows while its seal names the present revision: nothing is remembered, the key is not looked at."""
    real = decide_module._standby

    def standby(s: Situation) -> Decision:
        rule = real(s)
        if rule is Decision.R560_SEALED_UNTIL_MOVE:
            return real(replace(s, bid=Bid.NONE))
        return rule

    return swap(decide_module, "_standby", standby)


def _forgets_seal() -> Undo:
    """The seal is not durable: an agent that starts anew knows nothing of its predecessor's."""
    real = SimKeep.save

    def save(self: SimKeep, body: dict[str, object]) -> None:
        real(self, {**body, "seal": None})

    return swap(SimKeep, "save", save)


def _claims_beyond() -> Undo:
    """The order's entries are not compared with those that are missing."""
    real = bids.ordered

    def ordered(obs: Observation, view: StoreView, seal: Seal, seals: Sequence[Seal]) -> bool:
        order, leader = view.order, view.leader
        if order is None or leader is None:
            return False
        return real(obs, replace(view, order=replace(order, gives_up=leader.sync)), seal, seals)

    return swap(bids, "ordered", ordered)


def _any_lag() -> Undo:
    """Where nothing is promised, max_lag is not looked at."""
    return swap(bids, "lags", lambda view, seal: False)


# -- the lease ---------------------------------------------------------------------------------------------------


def _lease_from_reply() -> Undo:
    """A renewal counts from when its answer came, or later."""
    real = LeaseKeeper._landed

    def landed(self: LeaseKeeper, new: Leader, revision: int, sent_s: float) -> None:
        real(self, new, revision, self.clock.now_s() + 1.0)

    return swap(LeaseKeeper, "_landed", landed)


def _fence_late() -> Undo:
    real = SimGuard.set_deadline

    def set_deadline(self: SimGuard, at_s: float | None) -> None:
        real(self, None if at_s is None else at_s + 3.0)

    soft = property(lambda self: self.f_hard_s + 3.0)
    return both(swap(SimGuard, "set_deadline", set_deadline), swap(Timing, "f_soft_s", soft))


def _release_early() -> Undo:
    """The order to kill is taken for the death."""
    real = decide_module._safety

    def safety(s: Situation) -> Decision | None:
        late = s.holder in (Holder.MINE_LATE, Holder.MINE_HELD)
        if late and s.server in (Server.STOPPING, Server.DYING):
            return Decision.R300_RELEASE_DOWN
        return real(s)

    return swap(decide_module, "_safety", safety)


def _claim_early() -> Undo:
    """Half of H is taken for H."""
    real = classify._holder

    def holder(obs: Observation) -> Holder:
        found, view = real(obs), obs.store
        others = (Holder.OTHER_CLAIMED, Holder.OTHER_HELD)
        if view and found in others and view.sent_s - obs.key_seen_s >= obs.timing.h_s / 2:
            return Holder.SILENT
        return found

    return swap(classify, "_holder", holder)


# -- pause -------------------------------------------------------------------------------------------------------


def _pause_ignored() -> Undo:
    """The others call a paused holder silent after H."""
    return swap(Timing, "silent_after_s", lambda self, left_s: self.h_s)


def _pause_never_nearer() -> Undo:
    """The guard's end stays where the pause has moved it, also when the pause is lifted."""
    real, far = LeaseKeeper._tell, dict[int, float]()

    def tell(self: LeaseKeeper, base_s: float) -> None:
        far[id(self)] = max(base_s, far.get(id(self), 0.0))
        real(self, far[id(self)])

    return swap(LeaseKeeper, "_tell", tell)


# -- rules in force ----------------------------------------------------------------------------------------------


def _names_late() -> Undo:
    """A server is promoted with '', its names come afterwards."""
    real = SimServer.prepare_promotion

    def prepare(self: SimServer, epoch: int, names: str) -> bool:
        real(self, epoch, "")
        return True

    return swap(SimServer, "prepare_promotion", prepare)


def _stale_rule() -> Undo:
    real = SimServer.change_names

    def change(self: SimServer, names: str, *, barrier: bool) -> bool:
        return real(self, names, barrier=False)

    return swap(SimServer, "change_names", change)


def _names_before_entry() -> Undo:
    """The setting changes first, the entry is added afterwards."""
    real = act.change_voters

    def change_voters(agent: Agent, obs: Observation) -> None:
        state = following.voter_view(obs)
        step = voters.next_step(state) if state else None
        if state and isinstance(step, voters.AddEntry):
            agent.ports.server.change_names(voters.names(step.rule, state.epoch), barrier=True)
        real(agent, obs)

    return _swap_action(Action.VOTERS, change_voters)


def _drop_early() -> Undo:
    """The older entries go before the new voters have what was acknowledged under them."""
    real = voters._finish

    def finish(view: voters.VoterView, last: Rule) -> voters.Step:
        step = real(view, last)
        return voters.DropEntries(last) if isinstance(step, voters.ReadMark | voters.WaitFlush) else step

    return swap(voters, "_finish", finish)


def _claim_forgets() -> Undo:
    """A claim does not keep the entries it found."""
    real = records.dump_leader

    def dump(leader: Leader) -> bytes:
        return real(replace(leader, sync=leader.sync[-1:]) if leader.tenure is Tenure.CLAIMED else leader)

    return swap(records, "dump_leader", dump)


def _torn_counts() -> Undo:
    """A directory in which a rewind was cut short is taken for a copy like any other."""
    return swap(SimServer, "usable", lambda self, data: True)


def _same_id() -> Undo:
    """The data id lies in the directory and a clone has its source's; a holder is known by it alone."""
    real_clone, real_missing = copying.clone, cover.missing

    def clone(server: SimServer, holder: str) -> None:
        source = json.loads(server.node.cluster.nodes[holder].disk)["copies"][-1]["id"]
        process = server.process
        assert isinstance(process, AgentProcess) and process.agent is not None
        memory = process.agent.memory
        server.on_clone = lambda identity: memory._save(memory.value, [KnownCopy(source, identity)])
        real_clone(server, holder)

    def missing(own: Seal, seals: Iterable[Seal], sync: tuple[Rule, ...]) -> tuple[cover.Missing, ...]:
        rules = tuple(replace(r, holder=own.copy) if r.holder.data == own.copy.data else r for r in sync)
        return real_missing(own, seals, rules)

    return both(swap(copying, "clone", clone), swap(cover, "missing", missing))


def _late_seal_forget() -> Undo:
    """members/<node> is written without looking, and a seal is forgotten: a dead agent's seal lands and counts."""
    real = SimStore.commit

    def commit(
        self: SimStore, guards: Sequence[Guard], writes: Sequence[Write], *, deadline_s: float
    ) -> Committed | Conflict | Unknown:
        return real(self, [g for g in guards if "/members/" not in g.key], writes, deadline_s=deadline_s)

    return both(swap(SimStore, "commit", commit), _forgets_seal())


# -- timelines ---------------------------------------------------------------------------------------------------


def _tl_pg() -> Undo:
    """PostgreSQL chooses the number of the timeline."""
    return swap(SimServer, "fill_histories", lambda self, epoch: None)


def _stuck_target() -> Undo:
    """Nobody asks at which timeline a standby aims that can't follow: it waits for ever."""
    return swap(classify, "given_up", lambda obs, first: ())


def _swap_action(action: Action, new: Callable[[Agent, Observation], None]) -> Undo:
    old = act.ACTIONS[action]
    act.ACTIONS[action] = new

    def undo() -> None:
        act.ACTIONS[action] = old

    return undo


LOSING = ("power", "isolate", "cut_nodes", "failover", "failover", "failover")
LAGGING = ("power", "cut_nodes", "cut_nodes", "isolate")
DELUDED = ("delusion", "kill_agent")
SNARED = ("delusion", "snare")
YOUNG = ("kill_young", "power")
LIFTED = ("pause", "stop_agent")
PLANNED = ("later", "later", "later", "midway", "midway", "vm_pause", "isolate")

BUGS: dict[str, Bug] = {
    "seal_leaks": Bug("a sealed standby goes on receiving", ("I6",), _seal_leaks),
    "one_seal_less": Bug("one seal less than n - k + 1 is taken for cover", ("I1",), _one_seal_less),
    "any_revision": Bug("a claim does not compare the key's revision", ("I5",), _any_revision),
    "underreport": Bug("a seal names the start of a page, not the end of the WAL", ("I6",), _underreport),
    "trial_follow": Bug("following is tried, not decided", ("I1", "I7"), _trial_follow),
    "unseal_free": Bug("a node follows while its seal names the present revision", ("I6",), _unseal_free, DELUDED),
    "forgets_seal": Bug("the seal is not durable", ("I6",), _forgets_seal, DELUDED),
    "lease_from_reply": Bug("a renewal counts from its answer, or later", ("I4",), _lease_from_reply),
    "fence_late": Bug("the guard's deadline is 3 s late and nothing stops before", ("I3", "I4"), _fence_late),
    "release_early": Bug("released while the server still stops", ("I8",), _release_early),
    "claim_early": Bug("half of H is taken for H", ("I3",), _claim_early),
    "pause_ignored": Bug("others take over from a paused holder after H", ("I13",), _pause_ignored, ("pause", "power")),
    "pause_never_nearer": Bug("the guard's end stays far when a pause is lifted", ("I4",), _pause_never_nearer, LIFTED),
    "names_late": Bug("promoted with '' and given its names later", ("I7",), _names_late),
    "stale_rule": Bug("names change without the barrier", ("I7",), _stale_rule),
    "names_before_entry": Bug("names change before their entry is listed", ("I7",), _names_before_entry),
    "drop_early": Bug("older entries are dropped before the new voters have the WAL", ("I7",), _drop_early),
    "claim_forgets": Bug("a claim does not keep the entries it found", ("I5",), _claim_forgets),
    "claims_beyond": Bug("an order gives up more than it names", ("I12",), _claims_beyond, LOSING),
    "any_lag": Bug("async: max_lag is not looked at", ("I12",), _any_lag, LAGGING, "async"),
    "torn_counts": Bug("a rewind cut short leaves a copy that counts", ("I6",), _torn_counts, REJOINS),
    "same_id": Bug("a clone has its source's id, and a holder is known by it alone", ("I1", "I7"), _same_id, LAGGING),
    "late_seal_forget": Bug("a dead agent's seal lands late and counts", ("I6",), _late_seal_forget, SNARED),
    "stuck_target": Bug(
        "a standby aims for ever at a timeline that was given up", ("I11",), _stuck_target, YOUNG, live=True
    ),
    "plan_early": Bug("a plan does not wait for its time", ("I14",), bugs_later.plan_early, PLANNED),
    "plan_apart": Bug("a plan's order and its note are two commits", ("I14",), bugs_later.plan_apart, PLANNED),
    "tl_pg": Bug("PostgreSQL chooses the timeline's number", ("I5",), _tl_pg),
}


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Within, the bug of this name is there; '' for none."""
    undo = BUGS[name].plant() if name else lambda: None
    try:
        yield
    finally:
        undo()
