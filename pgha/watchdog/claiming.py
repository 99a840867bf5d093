"""The claim: take over by CAS on the very revision that the seals name, by cover or by an operator's word.

A claim on an order takes the order up in the same commit, so it can't be withdrawn and carried out.
"""

from __future__ import annotations

from dataclasses import replace

from pgha import records
from pgha.core import bids, chores, cover, voters
from pgha.core.classify import knows_voters, own_seal, seals_at
from pgha.core.model import Copy, Leader, Order, Seal, Tenure
from pgha.core.model import Rule as SyncRule
from pgha.core.observation import Observation, StoreView
from pgha.ports import Committed, Guard, Unknown, Write
from pgha.watchdog.agent import Agent


def claim(agent: Agent, obs: Observation) -> None:
    """Take over by CAS on the very revision that the seals name. The epoch is durable since the own seal is."""
    view, own = obs.store, own_seal(obs)
    if view is None or view.leader is None or own is None or obs.copy is None:
        return
    # After an orderly stop the other voters live: their seals are on their way.
    expected = view.leader.sync[-1].voters if view.leader.sync and knows_voters(obs, view) else frozenset[Copy]()
    out = chores.kept_out(view)  # who is not to vote still counts for cover
    voting = tuple(s for s in seals_at(view) if s.copy not in out)
    rule = cover.claim_rule(own, voting, view.settings.copies, expected - out)
    order = _order(obs, view, own)
    if order is None and _lacks(view, own):
        return
    new = _claimed(agent, view, own, rule, order)
    if names := names_of(agent, new):
        agent.ports.server.begin_names(names)
    key, sent_s = agent.root + "leader", agent.ports.clock.now_s()
    if agent.notes.claim is None or agent.notes.claim[0] != new:
        agent.notes.claim = (new, sent_s)
    first_s = agent.notes.claim[1]  # of the same attempt made again, the first one may be the one that lands
    guards, writes = [Guard(key, view.leader_revision)], [Write(key, records.dump_leader(new))]
    if order is not None:
        guards.append(Guard(agent.root + "request", view.order_revision))
        writes.append(Write(agent.root + "request", records.dump_order(order)))
    outcome = agent.ports.store.commit(guards, writes, deadline_s=sent_s + agent.timing.a_s)
    if isinstance(outcome, Committed):
        agent.arm(first_s)
        agent.lease.adopt(new, outcome.revision, sent_s=first_s, claimed_s=sent_s)
        agent.knows_key = True
        if order is not None and agent.view is not None:
            agent.view = replace(agent.view, order=order, order_revision=outcome.revision)
    if not isinstance(outcome, Unknown):
        agent.notes.claim = None
    agent.notes.phases["claim"] = agent.ports.clock.now_s() - agent.notes.free_s
    said = {"outcome": type(outcome).__name__, "because": new.reason, "loss_bytes": new.loss_bytes}
    agent.note("claim", epoch=new.epoch, rule=records.rule_text(rule), kept=[str(c) for c in new.kept], **said)


def names_of(agent: Agent, leader: Leader) -> str:
    """What the claim's rule says; without entries nothing was promised (async)."""
    if not leader.sync:
        return ""
    return voters.setting_for(leader.sync[-1], leader.epoch, agent.settings.durability)


def _order(obs: Observation, view: StoreView, own: Seal) -> Order | None:
    """The order on which this claim rests, taken up; None when it rests on cover alone."""
    if view.order is None or not _lacks(view, own) or not bids.ordered(obs, view, own, seals_at(view)):
        return None
    return replace(view.order, phase="handed")


def _lacks(view: StoreView, own: Seal) -> bool:
    """Without an operator's word this seal is not enough."""
    assert view.leader is not None
    return bool(cover.missing(own, seals_at(view), view.leader.sync)) or bids.lags(view, own)


def _claimed(agent: Agent, view: StoreView, own: Seal, rule: SyncRule, order: Order | None) -> Leader:
    """The leader key as this claim writes it. Entries that were given up are not carried on, all others are."""
    old, seals = view.leader, seals_at(view)
    assert old is not None
    why = f"{old.holder.node} {'released: ' + old.reason if old.tenure is Tenure.RELEASED else 'was silent'}"
    if old.tenure is not Tenure.RELEASED and old.holder == own.copy:
        why = f"{own.copy.node} had to stop while the store was silent"
    sync = old.sync
    if order is not None:
        lost = [lack.rule for lack in cover.missing(own, seals, old.sync)]
        sync = tuple(r for r in old.sync if r not in lost)
        why = f"ordered by {order.asked_by or 'somebody'}, who accepted a loss; {why}"
    return Leader(
        holder=own.copy,
        incarnation=agent.incarnation,
        epoch=old.epoch + 1,
        beat=old.beat + 1,
        tenure=Tenure.CLAIMED,
        sync=() if view.settings.durability == "async" else (*sync, rule),
        position=own.position,
        reason=why[:200],
        loss_bytes=bids.loss(own, old) if order is not None or not old.sync else 0,
        source=old.holder.node,
        asked_by=order.asked_by if order is not None else old.asked_by if old.tenure is Tenure.RELEASED else "",
        kept=bids.still_kept(view) if order is None else bids.to_keep(view, own, seals),
        unwell=old.tenure is Tenure.RELEASED and old.unwell,
    )
