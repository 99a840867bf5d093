"""Orders for later in the simulated cluster: agents carry them out, whoever dies meanwhile."""

from __future__ import annotations

import pytest

from pgha import records
from pgha.core.planned import OPEN, Planned
from pgha.ports import Guard, Write
from pgha.records_schedule import dump_planned, parse_planned
from tests.sim.cluster import Cluster
from tests.sim.later import WALL
from tests.sim.test_again_and_again import await_, ended, healthy

SEEDS = range(3)
KEY = f"{records.prefix('sim')}schedule/p1"


def lay(cluster: Cluster, plan: Planned) -> None:
    cluster.store.land("op", cluster.world.now, [Guard(KEY, 0)], [Write(KEY, dump_planned(plan))])


def plan_of(cluster: Cluster) -> Planned:
    found = records.parse_value(KEY, cluster.store.keys.entries[KEY].value, parse_planned)
    assert not isinstance(found, records.Problem)
    return found


def soon(cluster: Cluster, kind: str, **more: object) -> Planned:
    plan = Planned(kind, "p1", WALL + cluster.world.now + 5.0, **more)  # type: ignore[arg-type]
    lay(cluster, plan)
    return plan


@pytest.mark.parametrize("seed", SEEDS)
def test_a_switchover_comes_at_its_time_and_not_before(seed: int) -> None:
    cluster, first = healthy(seed)
    other = min(set(cluster.nodes) - {first.name})
    plan = soon(cluster, "switchover", source=first.name, target=other)
    await_(cluster, lambda: plan_of(cluster).phase == "done", 30.0, "it is done")
    assert WALL + cluster.world.now >= plan.at
    now = cluster.primary()
    assert now is not None and now.name == other
    ended(cluster)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("rolling", [True, False], ids=["moved", "in place"])
def test_all_servers_are_restarted_one_after_another(seed: int, rolling: bool) -> None:
    cluster, first = healthy(seed)
    soon(cluster, "restart", nodes=tuple(sorted(cluster.nodes)), rolling=rolling)
    await_(cluster, lambda: plan_of(cluster).phase not in OPEN, 120.0, "it is over")
    found = plan_of(cluster)
    assert (found.phase, set(found.done), found.done[-1]) == ("done", set(cluster.nodes), first.name), found.answer
    ended(cluster)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_next_primary_goes_on_with_what_the_one_before_began(seed: int) -> None:
    cluster, first = healthy(seed)
    soon(cluster, "restart", nodes=tuple(sorted(cluster.nodes)), rolling=True)
    await_(cluster, lambda: plan_of(cluster).step, 30.0, "the first standby has its turn")
    first.power_off()
    await_(cluster, lambda: plan_of(cluster).phase not in OPEN, 120.0, "it is over")
    assert plan_of(cluster).phase == "dropped", "a node is missing: nobody goes on"
    assert "did not stream" in plan_of(cluster).answer or "holds the leader key" in plan_of(cluster).answer
    ended(cluster)
