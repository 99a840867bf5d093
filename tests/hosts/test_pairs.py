"""Two faults that overlap, drawn by a seed: PGHA_TEST_PAIRS names how many (seeds count up from PGHA_TEST_PAIRS_FROM).

Nothing may be lost and nobody may write beside another, whatever meets; and all is whole in the end, unaided.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
from collections.abc import Callable, Iterator

import pytest

from pgha.ops import drill_cut
from tests.hosts.causes import kill, others, rules, stopped
from tests.hosts.cluster import NAME, PORT, HostCluster
from tests.hosts.network import LOSS
from tests.hosts.scenes import ended, hold
from tests.loopback.writing import Writing

pytestmark = pytest.mark.timeout(400)
FIRST = int(os.environ.get("PGHA_TEST_PAIRS_FROM", "1"))
COUNT = int(os.environ.get("PGHA_TEST_PAIRS", "4"))
Held = Callable[[HostCluster, str], contextlib.AbstractContextManager[None]]
LONGEST_S = 90.0


@contextlib.contextmanager
def cut(cluster: HostCluster, node: str) -> Iterator[None]:
    """Its cable."""
    cluster.lab.cut(node)
    yield
    cluster.lab.heal(node)


@contextlib.contextmanager
def no_replication(cluster: HostCluster, node: str) -> Iterator[None]:
    """PostgreSQL's port between it and the others."""
    for other in others(cluster, node):
        cluster.lab.block(node, other, ports=[PORT])
    yield
    cluster.lab.heal()


@contextlib.contextmanager
def lossy(cluster: HostCluster, node: str) -> Iterator[None]:
    """Three of ten packets between it and the others."""
    for other in others(cluster, node):
        cluster.lab.block(node, other, ports=[PORT, 2379, 2380], only=LOSS)
    yield
    cluster.lab.heal()


@contextlib.contextmanager
def off(cluster: HostCluster, node: str) -> Iterator[None]:
    """Its power."""
    cluster.lab.power_off(node)
    yield
    cluster.lab.boot(node)


@contextlib.contextmanager
def frozen(cluster: HostCluster, node: str) -> Iterator[None]:
    """All its processes."""
    cluster.lab.freeze(node)
    yield
    cluster.lab.thaw(node)


def no_store(cluster: HostCluster, node: str) -> contextlib.AbstractContextManager[None]:
    """It reaches no member of etcd."""
    return rules(cluster, [node], drill_cut.cut_store(NAME, [2379]), drill_cut.table(NAME))


def still(kind: str) -> Held:
    """A process that stands still; what is gone by then had nothing to stand still."""

    @contextlib.contextmanager
    def held(cluster: HostCluster, node: str) -> Iterator[None]:
        pids = cluster.pids(node, kind)
        with stopped(pids) if pids else contextlib.nullcontext():
            yield

    return held


def killed(kind: str) -> Held:
    """A process that is killed."""

    @contextlib.contextmanager
    def held(cluster: HostCluster, node: str) -> Iterator[None]:
        kill(cluster.pids(node, kind))
        yield

    return held


KINDS = ("guard", "agent", "postmaster", "etcd")
INSIDE: dict[str, Held] = {
    "no store": no_store,
    **{f"{kind} stopped": still(kind) for kind in KINDS},
    **{f"{kind} killed": killed(kind) for kind in KINDS},
}
OUTSIDE: dict[str, Held] = {"cut": cut, "no replication": no_replication, "lossy": lossy, "off": off, "frozen": frozen}


def drawn(seed: int) -> list[tuple[str, int, float]]:
    """Two different faults, on which node (0: the primary), and how long each lasts; one at most from outside.

    Those inside a host are made first and end last: on one that is off or cut nothing can be made.
    """
    chance = random.Random(seed)
    first = chance.choice(sorted(INSIDE))
    second = chance.choice(sorted({**INSIDE, **OUTSIDE}.keys() - {first}))
    pair = sorted([first, second], key=lambda name: name in OUTSIDE)
    return [(name, chance.choice((0, 0, 1, 2)), chance.uniform(1.0, 9.0)) for name in pair]


@pytest.mark.row(81)
@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT))
def test_two_faults_overlap(cluster: HostCluster, client: Writing, seed: int) -> None:
    nodes = [cluster.primary, *cluster.standbys]
    (one, at, for_s), (other, there, other_s) = drawn(seed)
    told = f"{one} on {at} and {other} on {there}"
    print(f"seed {seed}: {told}, {for_s:.1f} and {other_s:.1f} s; node 0 is the primary, {nodes}")
    everything = {**INSIDE, **OUTSIDE}
    with everything[one](cluster, nodes[at]):
        hold(for_s)
        with everything[other](cluster, nodes[there]):
            hold(other_s)
    ended(cluster, client, f"two faults, seed {seed}: {told}", outage_s=LONGEST_S)


def test_pairs_are_drawn_as_their_seed_says() -> None:
    assert drawn(7) == drawn(7)
    assert len({tuple(name for name, _, _ in drawn(seed)) for seed in range(200)}) > 40
    assert all(name in INSIDE for (name, _, _), _ in map(drawn, range(50)))
    assert set(itertools.chain(*({n for n, _, _ in drawn(seed)} for seed in range(300)))) == {*INSIDE, *OUTSIDE}
