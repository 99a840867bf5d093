"""What fails again and again: no run through all nodes at full speed, no hand-over to and fro, and never the end."""

from __future__ import annotations

from collections.abc import Callable
from errno import ENOSPC
from random import Random

import pytest

from pgha import records
from pgha.core import upstream
from pgha.core.model import Leader
from tests.sim.cluster import Cluster
from tests.sim.guard import SimKeep
from tests.sim.node import Node
from tests.sim.operators import Operators
from tests.sim.server import SimServer

SEEDS = range(3)
STEP_S = 0.05


def await_(cluster: Cluster, condition: Callable[[], object], within_s: float, what: str) -> None:
    """Let the world run until it is so; the invariants hold all the while."""
    end_s = cluster.world.now + within_s
    while not condition():
        assert cluster.world.run(cluster.world.now + STEP_S), cluster.world.failed
        assert cluster.world.now < end_s, f"not within {within_s:.0f} s: {what}"


def healthy(seed: int) -> tuple[Cluster, Node]:
    """A cluster at rest, and its primary."""
    cluster = Cluster(seed)
    await_(cluster, lambda: not cluster.complaint() and cluster.primary() and all_vote(cluster), 60.0, "it is healthy")
    primary = cluster.primary()
    assert primary is not None
    return cluster, primary


def problem_of(cluster: Cluster, node: Node) -> str:
    """What the node says of itself in the store."""
    key = f"{records.prefix('sim')}members/{node.name}"
    member = records.parse_value(key, cluster.store.keys.entries[key].value, records.parse_member)
    assert not isinstance(member, records.Problem)
    return member.problem


def all_vote(cluster: Cluster) -> bool:
    """Every standby is a voter."""
    leader = cluster.checks.leader
    return leader is not None and [len(rule.voters) for rule in leader.sync] == [len(cluster.nodes) - 1]


def ended(cluster: Cluster) -> None:
    """Every task is over."""
    for node in cluster.nodes.values():
        node.power_off()


@pytest.mark.parametrize("seed", SEEDS)
def test_primaries_that_crash_right_after_each_promotion_change_at_a_slow_pace_and_it_comes_back(seed: int) -> None:
    cluster, _ = healthy(seed)
    epochs, end_s = set(), cluster.world.now + 60.0
    while cluster.world.now < end_s:
        primary, leader = cluster.primary(), cluster.checks.leader
        if primary is not None and leader is not None:
            primary.pg.kill_tree()
            epochs.add(leader.epoch)
        assert cluster.world.run(cluster.world.now + STEP_S), cluster.world.failed
    assert 5 <= len(epochs) <= 14, f"{len(epochs)} take-overs in a minute"
    await_(cluster, lambda: not cluster.complaint(), 90.0, "it is healthy again")
    ended(cluster)


def handed_over(cluster: Cluster, within_s: float, what: str) -> tuple[Node, Leader]:
    """Until a primary of a newer epoch is there (the same node, where nobody else may)."""
    before = cluster.checks.leader
    assert before is not None

    def moved() -> bool:
        leader = cluster.checks.leader
        return leader is not None and leader.epoch > before.epoch and cluster.primary() is not None

    await_(cluster, moved, within_s, what)
    primary, leader = cluster.primary(), cluster.checks.leader
    assert primary is not None and leader is not None
    return primary, leader


@pytest.mark.parametrize("primary", [True, False])
def test_a_clone_that_failed_is_no_problem_any_more_once_the_node_is_well_without_it(primary: bool) -> None:
    """As on a node whose data directory could not be read for a while, and was cloned in vain."""
    cluster, first = healthy(0)
    node = first if primary else next(n for n in cluster.nodes.values() if n is not first)
    assert node.agent is not None and node.agent.agent is not None
    server = node.agent.agent.ports.server
    assert isinstance(server, SimServer)
    server.job_failed = "permission denied"
    await_(cluster, lambda: not server.job_failed and not problem_of(cluster, node), 10.0, "it is over")
    ended(cluster)


@pytest.mark.parametrize("seed", SEEDS)
def test_after_a_hand_over_for_bad_health_none_follows_for_ten_h_unless_the_tree_is_gone(seed: int) -> None:
    cluster, first = healthy(seed)
    first.pg.hung = "all"
    second, leader = handed_over(cluster, 3 * cluster.h_s, "the hung one hands over")
    began_s = cluster.world.now
    assert leader.unwell
    await_(cluster, lambda: not cluster.complaint(), 60.0, "all are back")
    second.pg.hung = "new"
    await_(cluster, lambda: cluster.world.now > began_s + 9.5 * cluster.h_s, 20 * cluster.h_s, "9.5 H have passed")
    now = cluster.checks.leader
    assert now is not None and now.epoch == leader.epoch, "it bears with its server"
    handed_over(cluster, 3 * cluster.h_s, "and then it does not")
    ended(cluster)


@pytest.mark.parametrize("seed", SEEDS)
def test_within_the_ten_h_an_order_moves_a_primary_that_hangs_and_says_so(seed: int) -> None:
    cluster, first = healthy(seed)
    first.pg.hung = "all"
    second, borne = handed_over(cluster, 3 * cluster.h_s, "the hung one hands over")
    await_(cluster, lambda: not cluster.complaint() and all_vote(cluster), 60.0, "all are back")
    second.pg.hung = "new"
    await_(cluster, lambda: "does not answer" in problem_of(cluster, second), 3 * cluster.h_s, "it says so")
    target = next(name for name in sorted(cluster.nodes) if name != second.name)
    Operators(cluster).switch(target, Random(seed))
    third, leader = handed_over(cluster, 5.0, "the order moves it")
    assert (third.name, leader.epoch, leader.asked_by) == (target, borne.epoch + 1, "sim")
    await_(cluster, lambda: not cluster.complaint() and cluster.order() is None, 60.0, "it is healthy again")
    ended(cluster)


@pytest.mark.parametrize("seed", SEEDS)
def test_within_the_ten_h_a_crash_hands_over_at_once(seed: int) -> None:
    cluster, first = healthy(seed)
    first.pg.hung = "all"
    second, _ = handed_over(cluster, 3 * cluster.h_s, "the hung one hands over")
    await_(cluster, lambda: not cluster.complaint(), 60.0, "all are back")
    second.pg.kill_tree()
    _, leader = handed_over(cluster, 4.0, "the next one is there")
    assert not leader.unwell
    ended(cluster)


@pytest.mark.parametrize("seed", SEEDS)
def test_nodes_whose_memory_takes_nothing_hand_over_what_they_hold_and_never_claim(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster, first = healthy(seed)
    full = {first.name}
    real = SimKeep.save

    def save(self: SimKeep, body: dict[str, object]) -> None:
        if self.node.name in full:
            raise OSError(ENOSPC, "No space left on device")
        real(self, body)

    monkeypatch.setattr(SimKeep, "save", save)
    if len(cluster.nodes) > 2:
        first.pg.kill_tree()
        second, _ = handed_over(cluster, 4.0, "it releases all the same")
        assert second is not first
        await_(cluster, lambda: "memory" in problem_of(cluster, first), 10.0, "it says so")
        await_(cluster, lambda: first.pg.postmaster, 10.0, "its server is a standby")
        second.pg.kill_tree()
        third, _ = handed_over(cluster, 30.0, "others take over; it can't seal, and says so")
        assert third is not first
    full.clear()
    await_(cluster, lambda: not cluster.complaint(), 60.0, "there is room again")
    ended(cluster)


def test_a_follower_of_a_standby_goes_to_the_primary_while_that_one_is_away_and_back() -> None:
    cluster = Cluster(1, follow={"n4": "n3"})

    def source() -> str:
        stream = cluster.nodes["n4"].pg.receiver
        return stream.sender.node.name if stream is not None and stream.streaming else ""

    def voters() -> set[str]:
        leader = cluster.checks.leader
        return {v.node for rule in leader.sync for v in rule.voters} if leader is not None else set()

    await_(cluster, lambda: not cluster.complaint() and cluster.primary() and source() == "n3", 60.0, "n4 follows n3")
    await_(cluster, lambda: len(voters()) == len(cluster.nodes) - 2, 30.0, "all others vote")
    primary = cluster.primary()
    assert primary is not None and primary.name != "n3" and "n4" not in voters()
    cluster.nodes["n3"].power_off()
    await_(cluster, lambda: source() == primary.name, upstream.AWAY_S + 5.0, "n4 follows the primary")
    cluster.nodes["n3"].power_on()
    await_(cluster, lambda: source() == "n3", upstream.BACK_S + 20.0, "n4 follows n3 again")
    assert "n4" not in voters() and not cluster.complaint()
    ended(cluster)
