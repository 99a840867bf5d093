"""The settings' parameters on this node: what its server's files are to hold, what it runs, and an operator's question.

A revision that a server does not come up with, or would not read, is left: the last good one is written in its place
until the settings change again, and the member record says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pgha import records
from pgha.core import limits
from pgha.core.budget import STEADY_S
from pgha.core.decide import Rule
from pgha.core.following import followers
from pgha.core.model import Answer
from pgha.core.observation import Observation
from pgha.core.server import Running
from pgha.pg import conf, parameters
from pgha.ports import Committed, Guard, ServerTrouble, Write

if TYPE_CHECKING:
    from pgha.watchdog.agent import Agent

LOOK_S = 5.0
READ_S = 0.2  # after a reload: for its processes to have read the files
FAILED_STARTS = 2  # so many under a revision that never came up: it is left
AGAIN_S = 10.0
LOWERED = "once the primary is restarted in place"
ANSWERED_S = 0.5
CALM = (Rule.R450_HOLD, Rule.R540_FOLLOWING, Rule.R390_PAUSED)
UP = (Running.STANDBY, Running.PRIMARY)


@dataclass(slots=True)
class Configuring:
    """In this life of the agent. bad: the revision that is left, and why. held: what the files lack, until when."""

    bad: tuple[int, str] = (-1, "")
    running: Mapping[str, int] = field(default_factory=dict)
    pending: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    floor: Mapping[str, int] = field(default_factory=dict)
    held: Mapping[str, str] = field(default_factory=dict)
    started_s: float = 0.0  # of the server that `running` is of
    looked_s: float = -1e9
    again_s: float = 0.0
    put_s: float = -1e9
    read: int = 0  # the revision that the server had read at the last look
    answered: str = ""

    def refused(self, revision: int) -> str:
        """Why the present settings are not those in force here; empty when they are, or are on their way."""
        return self.bad[1] if self.bad[0] == revision else ""

    def waits(self) -> dict[str, tuple[str, str]]:
        """What waits for a restart, or for other nodes."""
        later = {name: (str(self.running.get(name, "")), when) for name, when in self.held.items()}
        return {**later, **self.pending}


def _source(agent: Agent) -> tuple[int, dict[str, str]]:
    """The settings' revision and what of it this node takes: the last good ones where these proved bad."""
    notes, now = agent.notes.configuring, agent.ports.parameters.now
    revision = agent.settings.revision
    bad = notes.bad[0] == revision
    return revision, parameters.taken(now.good_values if bad else agent.settings.parameters)


def wanted(agent: Agent, obs: Observation | None) -> tuple[int, dict[str, str]]:
    """What the files are to hold now. obs: of a server that runs; None before a start."""
    notes = agent.notes.configuring
    revision, values = _source(agent)
    usual = (agent.node.parameters, conf.DEFAULTS)
    primary = obs is not None and obs.server.running is Running.PRIMARY
    others = []
    if obs is not None and obs.store is not None and primary:
        there = {f.copy.node for f in followers(obs) if f.streaming}
        others = [m.limits for name, m in obs.store.members.items() if name in there]
    asked = _asked(agent)
    running = notes.running if obs is not None and notes.started_s == obs.server.since_s else {}
    found = limits.written(asked, notes.floor, running, others, primary=primary)
    notes.held = {name: _when(asked[name], value) for name, value in found.items() if value != asked[name]}
    for name, value in found.items():
        if name in values or value != limits.wanted(name, *usual):
            values[name] = str(value)
    return revision, values


def _asked(agent: Agent) -> dict[str, int]:
    """What the settings, the inventory and the defaults make of the five."""
    _, values = _source(agent)
    return {name: limits.wanted(name, values, agent.node.parameters, conf.DEFAULTS) for name in limits.ORDERED}


def _when(asked: int, written: int) -> str:
    return f"{asked} after the standbys" if asked > written else f"{asked} {LOWERED}"


def lowers(agent: Agent, obs: Observation) -> bool:
    """This promotion ends an ordered restart in place, and the settings ask for less than pg_control: the files have it
    now. Only a start that is no hot standby's takes it, and a failover has no time for that."""
    order = obs.store.order if obs.store else None
    if order is None or order.kind != "restart" or order.target != agent.node.node or order.phase != "handed":
        return False
    asked, floor = _asked(agent), agent.ports.parameters.floor()
    if not any(asked[name] < floor.get(name, 0) for name in asked):
        return False
    notes = agent.notes.configuring
    notes.floor = {}
    revision, values = wanted(agent, None)
    _put(agent, revision, values)
    return agent.ports.parameters.now.values == values


def is_outdated(agent: Agent, obs: Observation) -> bool:
    """The files hold something else. Nothing is begun before the settings were read."""
    if obs.store is None or obs.server.running not in UP or obs.now_s < agent.notes.configuring.again_s:
        return False
    now = agent.ports.parameters.now
    known = agent.notes.configuring.started_s == obs.server.since_s
    return known and wanted(agent, obs) != (now.revision, now.values)


def configure(agent: Agent, obs: Observation) -> None:
    """Write, and let the server read it."""
    revision, values = wanted(agent, obs)
    _put(agent, revision, values)


def _put(agent: Agent, revision: int, values: dict[str, str]) -> None:
    notes, now_s = agent.notes.configuring, agent.ports.clock.now_s()
    try:
        agent.ports.parameters.configure(revision, values)
    except (ServerTrouble, OSError) as e:
        if notes.bad[0] == revision or isinstance(e, OSError):
            notes.again_s = now_s + AGAIN_S
        else:
            _leave(agent, revision, f"the server would not take it: {e}")
        agent.note("trouble", action="configure", revision=revision, says=str(e))
        return
    notes.put_s, notes.looked_s = now_s, now_s - LOOK_S + READ_S
    agent.note("configured", revision=revision, values=values, left=notes.refused(revision))


def _leave(agent: Agent, revision: int, why: str) -> None:
    good = agent.ports.parameters.now.good_revision
    last = f"revision {good}" if good >= 0 else "none"
    agent.notes.configuring.bad = (revision, f"revision {revision} is left, {last} is in its place: {why}"[:250])


def before_start(agent: Agent, obs: Observation) -> None:
    """What the server starts with: never less than pg_control asks for, nor for ever what it does not come up with."""
    notes, now = agent.notes.configuring, agent.ports.parameters.now
    notes.floor = agent.ports.parameters.floor()
    if (
        obs.failed_starts >= FAILED_STARTS
        and now.revision == agent.settings.revision
        and not notes.refused(now.revision)
    ):
        good = parameters.taken(now.good_values)
        if good != parameters.taken(now.values):
            said = agent.notes.starts.said or "no answer"
            _leave(agent, now.revision, f"the server did not come up with it: {said}")
    revision, values = wanted(agent, None)
    if (revision, values) != (now.revision, now.values):
        _put(agent, revision, values)


def look(agent: Agent, obs: Observation, rule: Rule) -> None:
    """Now and then what the running server has; at once what an operator asks. Not while roles change."""
    notes, server = agent.notes.configuring, obs.server
    if rule not in CALM or obs.store is None or server.running not in UP or obs.now_s - server.answered_s > ANSWERED_S:
        return
    if obs.now_s - notes.looked_s >= LOOK_S or notes.started_s != server.since_s:
        notes.looked_s, notes.started_s = obs.now_s, server.since_s
        try:
            notes.running, notes.pending = agent.ports.parameters.limits()
            notes.floor = agent.ports.parameters.floor()
        except ServerTrouble as e:
            agent.note("trouble", action="look at parameters", says=str(e))
            return
        notes.read = max(agent.ports.parameters.now.revision, 0)
        if not notes.pending and obs.now_s - max(server.since_s, notes.put_s) >= STEADY_S:
            agent.ports.parameters.keep_good()
    question = obs.store.question
    if question is not None and question.ident != notes.answered:
        _answer(agent, obs)


def is_short(agent: Agent, obs: Observation) -> bool:
    """This standby runs with less than its primary, as pg_control has learnt from the WAL."""
    notes = agent.notes.configuring
    standby = obs.server.running is Running.STANDBY and notes.started_s == obs.server.since_s
    return standby and limits.is_short(notes.running, notes.floor)


def _answer(agent: Agent, obs: Observation) -> None:
    """To answers/<node>: what this server says of the parameters in question. Nothing changes."""
    view = obs.store
    assert view is not None and view.question is not None
    question, key = view.question, f"answers/{agent.node.node}"
    try:
        facts = agent.ports.parameters.facts(parameters.taken(question.values))
    except ServerTrouble as e:
        agent.note("trouble", action="answer", says=str(e))
        return
    value = records.dump_answer(Answer(agent.node.node, question.ident, facts))
    done = agent.ports.store.commit(
        [Guard(agent.root + key, view.revisions.get(key, 0))],
        [Write(agent.root + key, value)],
        deadline_s=agent.ports.clock.now_s() + agent.timing.a_s,
    )
    if isinstance(done, Committed):
        agent.notes.configuring.answered = question.ident
    else:
        agent.reread = True
