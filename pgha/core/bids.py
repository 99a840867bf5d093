"""Taking over where cover is not the question: nothing is promised (durability async), an operator gave it up, or all
are covered after a silence of the store.

Duty: pure; thresholds of its own, as `classify` has them. May import pgha.core.cover, model and observation.

With an empty `sync` every seal covers. What is left to decide is how much of the old primary's WAL goes: the highest
seal wins, others get a bounded moment to come (a majority of the known members, faults.md R26), and who lacks more than
`max_lag` of what the leader key has shown does not take over by itself. Two writers are as impossible as ever: the
claim is the same compare-and-set, and the old holder is fenced by its lease before anybody may call it silent.
"""

from __future__ import annotations

from collections.abc import Sequence

from pgha.core import cover
from pgha.core.model import Copy, Leader, Seal, Tenure
from pgha.core.observation import Observation, StoreView

MORE_S = 2.0  # so long a node waits for a better seal, or for a majority, where nothing is promised
HOLDER_S = 0.5  # and one attempt: so long the holder gets to take its key back after a silence of the store
OTHERS_S = 0.15  # with a majority there: for those that are about to seal


def loss(seal: Seal, leader: Leader) -> int:
    """Bytes of WAL that the leader key has shown and this seal does not have."""
    return cover.behind(seal.position, leader.position, leader.forks)


def lags(view: StoreView, seal: Seal) -> bool:
    """Nothing is promised, and more than `max_lag` would be lost."""
    return view.leader is not None and not view.leader.sync and loss(seal, view.leader) > view.settings.max_lag


def waits_for_more(obs: Observation, view: StoreView, seals: Sequence[Seal]) -> bool:
    """Nothing is promised: a node that is ahead goes first, and a majority of the members is heard, for a moment."""
    leader, waited_s = view.leader, obs.now_s - obs.bid_s
    own = next((s for s in seals if s.copy.node == obs.me), None)
    if leader is None or own is None or waited_s >= MORE_S:
        return False
    if any(s.position > own.position and not _barred(view, s) for s in seals):
        return True
    if leader.tenure is Tenure.RELEASED and leader.target == obs.me:
        return False
    here = {s.copy.node for s in seals}
    if 2 * len(here & view.members.keys()) <= len(view.members):
        return True
    return waited_s < OTHERS_S and any(name not in here and name != leader.holder.node for name in view.members)


def ordered(obs: Observation, view: StoreView, seal: Seal, seals: Sequence[Seal]) -> bool:
    """An operator's failover names this node and every entry that it does not cover, at this very revision.

    Who may lead without a loss has a moment to do so: the missing one is back, and the cluster goes on by itself.
    """
    order, leader = view.order, view.leader
    if order is None or leader is None or order.kind != "failover" or order.phase != "asked" or order.target != obs.me:
        return False
    if order.epoch != leader.epoch or order.revision != view.leader_revision:
        return False
    if obs.now_s - obs.order_seen_s > order.budget_s:
        return False
    if led(view, seals) and obs.now_s - obs.order_seen_s < MORE_S:
        return False
    return all(lack.rule in order.gives_up for lack in cover.missing(seal, seals, leader.sync))


def to_keep(view: StoreView, seal: Seal, seals: Sequence[Seal]) -> tuple[Copy, ...]:
    """The copies that may alone hold what a claim with this seal gives up, besides those kept already: whoever is named
    or is there and is not known to be at or below the seal. (Only what lies beyond the fork is ever put aside.)
    """
    leader = view.leader
    assert leader is not None
    counted = {s.copy for s in seals if s.position <= seal.position} | {seal.copy}
    named = {leader.holder} | {m.copy for m in view.members.values() if m.data}
    for i, rule in enumerate(leader.sync):
        named |= rule.voters | {later.holder for later in leader.sync[i:]}
    return tuple(sorted((named - counted) | set(still_kept(view))))


def still_kept(view: StoreView) -> tuple[Copy, ...]:
    """The copies kept so far. A node that has another directory by now has put the old one aside already."""
    kept = view.leader.kept if view.leader is not None else ()
    return tuple(c for c in kept if c.node not in view.members or view.members[c.node].data == c.data)


def led(view: StoreView, seals: Sequence[Seal]) -> bool:
    """Some sealed node may lead by itself, without a loss (nothing promised: within `max_lag`)."""
    assert view.leader is not None
    sync = view.leader.sync
    return any(cover.covered(s, seals, sync) and not lags(view, s) and not _barred(view, s) for s in seals)


def _barred(view: StoreView, seal: Seal) -> bool:
    member = view.members.get(seal.copy.node)
    return member is not None and member.nofailover


def holder_comes(obs: Observation, view: StoreView, leader: Leader, first: cover.Candidate | None) -> bool:
    """The store was silent for everybody, so the silence of its holder says little: it has a moment to come, and to
    claim when it is the best that came."""
    there = view.members.get(leader.holder.node)
    if leader.tenure is Tenure.RELEASED or leader.holder.node == obs.me or there is None or there.nofailover:
        return False
    came = there.seal is not None and there.seal.revision == view.leader_revision
    wait_s = obs.timing.a_s + HOLDER_S
    return obs.key_seen_s < obs.answers_s > obs.now_s - wait_s and (not came or (first is not None and first.holds))
