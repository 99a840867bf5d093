"""Every rule of the decision table is reached: by the seeds that are run anyway, or by a case made for it here."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from pgha import records
from pgha.core.decide import Rule
from pgha.core.model import Cluster as ClusterRecord
from pgha.core.model import Leader, Tenure
from pgha.ports import Write
from tests.sim import copying
from tests.sim.cluster import Cluster
from tests.sim.guard import SimGuard
from tests.sim.node import Node
from tests.sim.operators import Operators
from tests.sim.postgres import SimPg, State
from tests.sim.seeds import spread, verdict_of
from tests.sim.server import SimServer
from tests.sim.test_again_and_again import all_vote, await_, ended, healthy

ROOT = records.prefix("sim")
WITHIN_S = 400.0  # a start may take five minutes


def key(cluster: Cluster) -> Leader:
    """The leader key."""
    leader = cluster.checks.leader
    assert leader is not None
    return leader


def standby_of(cluster: Cluster) -> Node:
    """One that is not the holder."""
    return next(n for n in cluster.nodes.values() if n.name != key(cluster).holder.node)


def write(cluster: Cluster, name: str, value: bytes | None) -> None:
    """By somebody who should not."""
    cluster.store.land("op", cluster.world.now, (), [Write(ROOT + name, value)])


def rogue(cluster: Cluster, primary: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody promotes a standby by hand."""
    standby_of(cluster).pg.promote()


def crashing(cluster: Cluster, primary: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every primary ends as soon as it is one."""
    there = cluster.primary()
    if there is not None:
        there.pg.kill_tree()
    cluster.world.after(0.05, crashing, cluster, primary, monkeypatch)


def expired(cluster: Cluster, primary: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store is out of reach, the server hears no order to stop, and the guard has missed the deadline."""
    monkeypatch.setattr(SimGuard, "_overdue", lambda self, at_s, order: None)
    monkeypatch.setattr(SimServer, "stop_fast", lambda self: None)
    cluster.links.cut.update({(primary.name, "store"), ("store", primary.name)})


def barred(cluster: Cluster, primary: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody but the holder may lead, and it is gone for a while."""
    for node in cluster.nodes.values():
        if node is not primary:
            node.file = replace(node.file, nofailover=True)
            node.power_off()
            node.power_on()
    await_(cluster, lambda: not cluster.complaint() and all_vote(cluster), 60.0, "they are back")
    primary.power_off()


def slow_stop(cluster: Cluster, primary: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody stops a standby, whose checkpoint never ends."""
    monkeypatch.setattr(SimPg, "_checkpointed_stop", lambda self: None)
    standby_of(cluster).pg.fast_stop()


def slow_start(cluster: Cluster, primary: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SimPg, "_up", lambda self: None)
    standby_of(cluster).pg.kill_tree()


def foreign(cluster: Cluster, primary: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    write(cluster, "cluster", records.dump_cluster(ClusterRecord("c2", "another")))


def restored(cluster: Cluster, primary: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A standby remembers more than the store shows."""
    node = standby_of(cluster)
    node.power_off()
    body = json.loads(node.disk)
    node.disk = json.dumps({**body, "revision": body["revision"] + 1_000_000})
    node.power_on()


def no_key(cluster: Cluster, primary: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    write(cluster, "leader", None)


def a_standby_again(cluster: Cluster, primary: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody restarted the holder's server, which came up as what it always comes up as."""
    primary.pg.state = State.STANDBY


def a_fresh_agent_and_no_answer(cluster: Cluster, primary: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent begins anew under a lease that is its own, and the server has nothing to say yet."""
    primary.pg.hung = "all"
    assert primary.guard is not None
    primary.guard.agent_dies()


def never_promoted(cluster: Cluster, primary: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SimServer, "promote", lambda self, epoch: self.wait(0.05, 0.1))
    primary.pg.kill_tree()


def claims_and_forgets(cluster: Cluster, primary: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent that has just claimed dies; the next one has measured nothing."""
    never_promoted(cluster, primary, monkeypatch)
    await_(cluster, lambda: key(cluster).tenure is Tenure.CLAIMED, 60.0, "somebody claims")
    guard = cluster.nodes[key(cluster).holder.node].guard
    assert guard is not None
    guard.agent_dies()


def not_to_be_rewound(cluster: Cluster, primary: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A standby has a tail beyond the fork, and a rewind that does nothing."""
    monkeypatch.setattr(copying, "rewind", lambda server, holder: None)
    node, epoch = standby_of(cluster), key(cluster).epoch
    node.power_off()
    assert node.pg.data is not None
    node.pg.data.lsn += 50_000
    primary.pg.kill_tree()
    await_(cluster, lambda: key(cluster).epoch > epoch and cluster.primary() is not None, 60.0, "the next epoch")
    node.power_on()


def former_life(cluster: Cluster, primary: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key names an earlier watchdog of a node whose server runs: it was started by hand."""
    leader = key(cluster)
    node = standby_of(cluster)
    assert node.pg.data is not None
    copy = replace(leader.holder, node=node.name)
    cluster.checks.on_landed = lambda *a: None  # type: ignore[method-assign]
    cluster.store.on_landed = lambda *a: None
    new = replace(leader, holder=copy, incarnation="gone", epoch=leader.epoch + 1, tenure=Tenure.HELD)
    write(cluster, "leader", records.dump_leader(new))


def paused_former(cluster: Cluster, primary: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The watchdog of a paused holder begins a new life."""
    operators = Operators(cluster)
    operators.pause(cluster.world.rng)
    await_(cluster, lambda: key(cluster).paused is not None, 30.0, "it is paused")
    assert primary.guard is not None
    primary.guard.dies()


def incomplete(cluster: Cluster, primary: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rewound standby whose source is gone for good can't come up."""
    node = standby_of(cluster)
    node.power_off()
    data, body = node.pg.data, json.loads(node.disk)
    assert data is not None
    node.disk = json.dumps({**body, "catch_up": key(cluster).epoch, "catch_up_data": body["copies"][-1]["id"]})
    gone = type(data.branch)(99, data.branch, data.lsn, data.lsn + 1000, "nobody")
    data.needs = (gone, data.lsn + 1000)
    node.power_on()
    await_(cluster, lambda: node.pg.state is State.STARTING, 30.0, "it starts")
    cluster.world.run(cluster.world.now + 1.0)
    primary.pg.kill_tree()


MADE: dict[Rule, Callable[[Cluster, Node, pytest.MonkeyPatch], None]] = {
    Rule.R100_FENCE_NO_RIGHT: rogue,
    Rule.R110_FENCE_EXPIRED: expired,
    Rule.R140_FENCE_SLOW_STOP: slow_stop,
    Rule.R170_FENCE_SLOW_START: slow_start,
    Rule.R200_FOREIGN: foreign,
    Rule.R210_RESTORED: restored,
    Rule.R240_NO_LEADER_KEY: no_key,
    Rule.R310_FENCE_NOT_PRIMARY: a_standby_again,
    Rule.R325_FENCE_FORMER: former_life,
    Rule.R330_FENCE_UNPROMOTED: never_promoted,
    Rule.R335_MEASURE_CLAIMED: claims_and_forgets,
    Rule.R360_WAIT_HOLDER_START: a_fresh_agent_and_no_answer,
    Rule.R380_PAUSED_FORMER: paused_former,
    Rule.R525_FENCE_INCOMPLETE: incomplete,
    Rule.R590_CLONE: not_to_be_rewound,
    Rule.R655_BRAKE: crashing,
    Rule.R660_BARRED: barred,
}
"""Rules that the enemies of `faults.py` hardly bring about, or never, and what does."""


@pytest.mark.parametrize("rule", MADE, ids=lambda rule: rule.ident)
def test_a_rule_that_no_seed_brings_about_is_reached_in_a_case_made_for_it(
    rule: Rule, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster, primary = healthy(1)
    MADE[rule](cluster, primary, monkeypatch)
    end_s = cluster.world.now + WITHIN_S
    while rule.name not in cluster.checks.rules:
        cluster.world.failed = None  # what is done here from outside is not theirs to answer for
        cluster.world.run(cluster.world.now + 0.05)
        assert cluster.world.now < end_s, f"{rule.name} was not decided by; seen: {sorted(cluster.checks.rules)}"
    ended(cluster)


@pytest.mark.timeout(400)
def test_every_other_rule_is_reached_by_the_seeds_that_are_run() -> None:
    unseen = {rule.name for rule in Rule if rule not in MADE}
    for group, seed in spread():
        unseen -= verdict_of(group, seed).rules
        if not unseen:
            return
    pytest.fail(f"no node decided by {', '.join(sorted(unseen))} in any run")
