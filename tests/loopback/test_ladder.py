"""A rejoin is a ladder: whoever dies on it, the node comes back, and `list` says which rung it stands on and why."""

from __future__ import annotations

import shutil

import pytest

from tests.loopback import faults
from tests.loopback.cluster import Cluster
from tests.loopback.test_rejoin import broken_rewind, stop, tail_rows, unconfirmed_tail
from tests.loopback.writing import Writing
from tests.support.postgres_pair import until

pytestmark = [pytest.mark.loopback, pytest.mark.deep, pytest.mark.timeout(180)]

DEATHS = ("guard", "tool")  # an agent's: see test_midway


@pytest.mark.parametrize("kind", DEATHS)
def test_who_dies_in_the_middle_of_a_clone_brings_it_to_its_end_all_the_same(
    cluster: Cluster, client: Writing, kind: str
) -> None:
    node, epoch = cluster.standbys[0], client.epoch
    stop(cluster, node)
    shutil.rmtree(node.data_dir)
    cluster.power_on(node)
    until(lambda: bool(faults.of(node, "tool")), within_s=20, what="the clone has begun", every_s=0.002)
    faults.kill(faults.of(node, kind))
    assert cluster.await_healthy().sync == "sync ANY 1 of 2"
    word = client.verdict()
    assert word.is_clean and word.epochs == (epoch,), word


@pytest.mark.parametrize("kind", DEATHS)
def test_who_dies_in_the_middle_of_a_rewind_brings_its_node_back(cluster: Cluster, client: Writing, kind: str) -> None:
    old, epoch = cluster.primary, client.epoch
    with unconfirmed_tail(cluster):
        faults.kill(faults.of(old, "postgres"))
    until(lambda: bool(faults.of(old, "tool")), within_s=20, what="the rewind has begun", every_s=0.002)
    faults.kill(faults.of(old, kind))
    client.await_epoch_after(epoch)
    assert cluster.await_healthy().sync == "sync ANY 1 of 2"
    assert [tail_rows(cluster, node) for node in cluster.nodes.values()] == [0, 0, 0]
    assert client.verdict().is_clean


def test_the_rung_and_its_reason_are_told(cluster: Cluster, client: Writing) -> None:
    old, epoch = cluster.primary, client.epoch
    with broken_rewind(old):
        with unconfirmed_tail(cluster):
            faults.kill(faults.of(old, "guard"))
        new = client.await_epoch_after(epoch)
        told = cluster.await_seen(
            lambda seen: seen.records.members[old.name].state == "cloning", "it is cloned", within_s=30
        ).records.members[old.name]
        assert told.problem == f"cloned from {new}: pg_rewind ended with 1: pg_rewind: error: not today", told
        cluster.await_healthy()
        stop(cluster, old)
    shutil.rmtree(f"{old.dir}/bin")
    cluster.power_on(old)
    cluster.await_healthy()
    assert cluster.member(old).problem == ""
    assert client.verdict().is_clean


def test_what_an_entry_names_stays_as_it_is_until_the_entry_has_gone(cluster: Cluster, client: Writing) -> None:
    """Promoted by hand a voter has diverged; its directory is touched when the holder has done without its vote.

    pg_rewind of 13 to 15 then finds nothing to do (the rogue had no checkpoint of its own yet): a clone follows.
    """
    epoch, rogue, began_s = client.epoch, cluster.standbys[0], cluster.clock.now_s()
    copy = cluster.copy(rogue)
    cluster.say(rogue, "SELECT pg_promote(false)")
    seen = cluster.await_seen(
        lambda seen: seen.records.members[rogue.name].rule == "R597_KEEP", "it is kept", within_s=20
    )
    assert seen.records.leader is not None and any(copy in rule.voters for rule in seen.records.leader.sync)
    cluster.await_healthy()
    rules = [str(e["rule"]) for e in cluster.events(rogue, "decision", since_s=began_s)]
    assert rules.index("R597_KEEP") < rules.index("R580_REWIND")
    assert [tail_rows(cluster, node) for node in cluster.nodes.values()] == [0, 0, 0]
    word = client.verdict()
    assert word.is_clean and word.epochs == (epoch,), word
