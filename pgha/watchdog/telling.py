"""What a node tells of itself in members/<node>: its facts for showing, and its seal."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from pgha.core import bids
from pgha.core.classify import own_seal
from pgha.core.decide import Rule
from pgha.core.model import Measures, Member
from pgha.core.observation import Observation
from pgha.core.server import Running

if TYPE_CHECKING:
    from pgha.watchdog.agent import Agent


UNARMED = {"fence": ("not armed", "armed")}
"""As what waits for a restart: a server that was taken over as it ran is the guard's child only from then on."""


def describe(agent: Agent, obs: Observation, rule: Rule, beat: int) -> Member:
    """The record as it is to be written now."""
    node, server, me = agent.node, obs.server, agent.node.me
    return Member(
        node=node.node,
        incarnation=agent.incarnation,
        beat=beat,
        host=me.host,
        port=me.port,
        data=obs.copy.data if obs.copy else "",
        state=state_word(obs, rule),
        primary=server.running is Running.PRIMARY,
        position=obs.sealed or server.position,
        replay=obs.sealed or server.replay,
        seal=agent.memory.value.seal,
        upstream_epoch=max(server.upstream_epoch, 0),
        priority=node.priority,
        nofailover=node.nofailover,
        version=agent.version,
        postgres=server.version,
        problem=_problem(agent, obs, rule)[:300],
        rule=rule.name,
        written_at=agent.ports.wall(),
        standbys={w.name: (w.state, w.flush) for w in server.walsenders},
        kept=agent.notes.kept,
        nosync=node.nosync,
        clonefrom=node.clonefrom,
        noloadbalance=node.noloadbalance,
        follow=node.follow,
        follows=server.follows,
        settings=agent.notes.configuring.read,
        refused=agent.notes.configuring.refused(agent.settings.revision),
        pending={**agent.notes.configuring.waits(), **({} if agent.ports.link.state().child else UNARMED)},
        limits=agent.notes.configuring.running,
        measures=_measures(agent, obs),
    )


def _measures(agent: Agent, obs: Observation) -> Measures:
    margin, soft_s = agent.lease.margin, agent.lease.soft_s
    known = margin.least_s < inf
    return Measures(
        lags={w.name: w.lag_s for w in obs.server.walsenders},
        lease_s=max(0.0, soft_s - obs.now_s) if soft_s < inf else 0.0,
        least_s=margin.least_s if known else 0.0,
        least_at=agent.ports.wall() - (obs.now_s - margin.least_at_s) if known else 0.0,
        near=margin.near(obs.now_s),
    )


def near_misses(agent: Agent) -> None:
    """A line in the node's log for each renewal that landed with little left of the lease."""
    for left_s in agent.lease.margin.untold():
        epoch = agent.lease.held()[2].epoch
        agent.note("near miss", epoch=epoch, left_s=round(left_s, 3), limit_s=round(agent.lease.margin.limit_s, 3))


def _problem(agent: Agent, obs: Observation, rule: Rule) -> str:
    """The gravest first."""
    notes, server = agent.notes, obs.server
    disk = notes.problem or agent.memory.failed
    borne = rule.sentence if rule is Rule.R449_BEAR else ""
    return disk or _job(agent, obs) or notes.starts.problem() or borne or server.why or lag_problem(obs, rule)


def _job(agent: Agent, obs: Observation) -> str:
    """Which rung of a rejoin is at work and why; else why the last one failed."""
    return agent.notes.rung if obs.server.job else obs.server.job_failed


def lag_problem(obs: Observation, rule: Rule) -> str:
    """Why a sealed node does not take over where nothing is promised: it lacks more than `max_lag`."""
    view, seal = obs.store, own_seal(obs)
    if rule is not Rule.R660_BARRED or view is None or view.leader is None or seal is None or obs.nofailover:
        return ""
    lost = bids.loss(seal, view.leader)
    return f"{lost} bytes behind {view.leader.position}, the last known end of WAL; max_lag is {view.settings.max_lag}"


def essence(m: Member) -> tuple[object, ...]:
    """What of a member record is worth a write at once."""
    told = (m.state, m.primary, m.data, m.seal, m.upstream_epoch, m.problem, m.rule, m.kept, m.settings, m.refused)
    return (*told, m.follows, sorted(m.pending.items()), sorted(m.limits.items()), sorted(m.standbys), m.incarnation)


def state_word(obs: Observation, rule: Rule) -> str:
    """The member's state for people (see Member.state)."""
    running, server = obs.server.running, obs.server
    if server.job:
        return server.job
    if running is Running.PRIMARY:
        return "primary"
    if rule in (Rule.R340_PROMOTE, Rule.R350_ANNOUNCE):
        return "promoting"
    if running is Running.STANDBY:
        if obs.sealed is not None and server.upstream_epoch == 0:
            return "sealed" if own_seal(obs) else "waiting"
        return "streaming" if server.receiving else "following"
    return {Running.STARTING: "starting", Running.STOPPING: "stopping"}.get(running, "stopped")
