"""The store is silent for longer than H: nobody writes, and the same node is the primary again once it answers."""

from __future__ import annotations

import pytest

from tests.sim.cluster import Cluster
from tests.sim.node import Node

SEEDS, PARTS = 30, 3
OUTAGE_S = 40.0
BACK_S = 2.0
READY_S = 60.0


def _until_well(cluster: Cluster, within_s: float) -> None:
    world, end_s = cluster.world, cluster.world.now + within_s
    while cluster.complaint():
        assert world.now < end_s and world.run(world.now + 0.05), (world.failed, cluster.complaint())


def _outage(seed: int) -> tuple[Node, str, Node | None, list[str]]:
    """The primary before the silence, who holds the key BACK_S after it, the primary then, and all that was traced."""
    said: list[str] = []
    cluster = Cluster(seed, echo=said.append)
    world = cluster.world
    _until_well(cluster, READY_S)
    before, key = cluster.primary(), cluster.checks.leader
    assert before is not None and key is not None
    cluster.store.stalled_until = world.now + OUTAGE_S
    world.run(world.now + cluster.h_s)
    assert cluster.primary() is None, f"seed {seed}: still writable"
    world.run(world.now + OUTAGE_S - cluster.h_s + BACK_S)
    claimed = cluster.checks.leader
    holder = claimed.holder.node if claimed is not None and claimed.epoch > key.epoch else ""
    _until_well(cluster, READY_S)
    assert world.failed is None, (seed, world.failed)
    after = cluster.primary()
    for node in cluster.nodes.values():
        node.power_off()  # ends every task
    return before, holder, after, said


@pytest.mark.parametrize("part", range(PARTS))
def test_after_a_silence_of_the_store_the_same_node_takes_its_key_back_within_two_seconds(part: int) -> None:
    in_time = 0
    for seed in range(part, SEEDS, PARTS):
        before, holder, after, said = _outage(seed)
        if any(" deadline " in line for line in said):
            continue  # a server that needs longer to stop than F_hard allows is killed, and its agent: released later
        in_time += 1
        tail = "\n".join(said[-60:])
        assert (holder, after) == (before.name, before), f"seed {seed}: {holder} after {before.name}\n{tail}"
    assert in_time > SEEDS / PARTS / 2
