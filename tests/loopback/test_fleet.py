"""A node's place is emptied and filled again, a node comes and goes: nobody else's server is touched, writes go on."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgha.adapters.etcd_membership import EtcdMembership
from pgha.ops import local_nodes
from pgha.ops.local_nodes import LocalNode
from tests.loopback import faults
from tests.loopback.cluster import Cluster, pgha
from tests.loopback.writing import Writing, writing
from tests.support.postgres_pair import until

pytestmark = [pytest.mark.loopback, pytest.mark.timeout(120)]

CALM_S = 2.5  # a watchdog that is replaced, a member that is let in: clients notice nothing (noise of the machine)


def members(cluster: Cluster) -> dict[str, int]:
    """etcd's members: name to number."""
    seats = EtcdMembership(cluster.target.store, cluster.clock)
    try:
        return {m.name: m.ident for m in seats.list(deadline_s=cluster.clock.now_s() + 5.0)}
    finally:
        seats.close()


def servers(nodes: list[LocalNode]) -> dict[str, tuple[int, int]]:
    """Each node's postmaster: pid and start."""
    return {n.name: (p.pid, p.start) for n in nodes for p in [faults.postmaster(n)]}


def slots(cluster: Cluster) -> set[str | None]:
    """The primary's."""
    return {row[0] for row in cluster.sql(cluster.primary, "SELECT slot_name FROM pg_replication_slots")}


def wipe(node: LocalNode) -> None:
    """Its machine is there anew: no process, no file of it is left."""
    local_nodes.hold_down(node)
    faults.kill(faults.of(node, *faults.NODE))
    shutil.rmtree(node.dir)


def test_a_node_that_was_set_up_anew_comes_back_by_bootstrap(cluster: Cluster, client: Writing) -> None:
    leads = cluster.store_leader()
    lost = leads if leads in cluster.standbys else cluster.standbys[0]
    others = [n for n in cluster.nodes.values() if n is not lost]
    before, seats, data = servers(others), members(cluster), cluster.copy(lost)
    wipe(lost)
    said = pgha("bootstrap", "-i", cluster.target.where, within_s=90.0)
    assert said.code == 0 and f"{lost.name} " in said.text and "its former etcd member is taken out" in said.text, said
    cluster.await_healthy()
    now = members(cluster)
    assert set(now) == set(seats) and now[lost.name] != seats[lost.name]
    assert servers(others) == before and cluster.copy(lost) != data
    word = client.verdict()
    assert word.is_clean and word.outage_s < CALM_S + cluster.timing.voter_drop_s, word
    again = pgha("bootstrap", "-i", cluster.target.where)
    steps = " ".join(line for line in again.text.splitlines() if re.match(r" *[0-9.]+s ", line))
    assert again.code == 0 and steps and "written" not in steps and "started" not in steps, again


@pytest.fixture
def four() -> Iterator[Cluster]:
    """A cluster of its own with a fourth node."""
    cluster = Cluster()
    try:
        cluster.up(4)
        cluster.await_healthy()
        yield cluster
    finally:
        cluster.down()


@pytest.mark.deep
def test_a_node_is_removed_and_put_in_again_and_one_with_an_etcd_member_gives_it_to_another(four: Cluster) -> None:
    path = Path(four.target.where)
    whole = path.read_text()
    with writing(four) as client:
        leaver, kept = four.nodes["n4"], [n for n in four.nodes.values() if n.name != "n4"]
        before = servers(kept)
        said = pgha("remove", "n4", "-y", "-i", str(path))
        assert said.code == 0 and f"{path}:" in said.text and "n4 is removed" in said.text, said
        assert not faults.of(leaver, *faults.NODE) and not Path(leaver.dir).exists()
        (aside,) = Path(four.root).glob("n4.removed-*")
        assert (aside / "data/PG_VERSION").exists()
        until(lambda: "pgha_n4" not in slots(four), within_s=10.0, what="its slot is gone")
        assert "n4" not in four.seen().records.members and "n4" not in Path(kept[0].node_file_path).read_text()
        path.write_text("".join(line for line in whole.splitlines(True) if not line.strip().startswith("n4:")))
        assert pgha("list", "-i", str(path)).code == 0
        path.write_text(whole)
        assert pgha("bootstrap", "-i", str(path), within_s=90.0).code == 0
        four.await_healthy()
        assert servers(kept) == before
        said = pgha("remove", "n3", "-y", "-i", str(path))
        assert said.code == 0 and "etcd has 2 members" not in said.text, said
        assert set(members(four)) == {"n1", "n2"}
        path.write_text("".join(line for line in whole.splitlines(True) if not line.strip().startswith("n3:")))
        assert pgha("bootstrap", "-i", str(path), within_s=90.0).code == 0
        assert set(members(four)) == {"n1", "n2", "n4"}
        word = client.verdict()
    assert word.is_clean and word.outage_s < CALM_S, word


@pytest.mark.deep
def test_a_destroyed_cluster_leaves_its_data_under_another_name_and_nothing_that_runs(four: Cluster) -> None:
    place = Path(four.root)
    assert pgha("destroy", "-i", four.target.where, "--confirm", "nope").code == 3
    said = pgha("destroy", "-i", four.target.where, "--confirm", four.target.cluster)
    assert said.code == 0, said
    assert not any(faults.of(n, *faults.NODE) for n in four.nodes.values()) and not place.exists()
    (aside,) = place.parent.glob(f"{place.name}.destroyed-*")
    assert len(list(aside.glob("n?.destroyed-*/data/PG_VERSION"))) == 4
    shutil.rmtree(aside)


def lose_etcd(cluster: Cluster) -> None:
    """Every member dies at one moment, and its disk with it."""
    for node in cluster.nodes.values():
        local_nodes.hold_down(node)
    faults.kill([p for n in cluster.nodes.values() for p in faults.of(n, "etcd")])
    for node in cluster.nodes.values():
        shutil.rmtree(node.etcd_dir, ignore_errors=True)  # n4 has none


@pytest.mark.deep
def test_etcd_lost_for_good_is_begun_anew_and_no_acknowledged_row_is_lost(four: Cluster) -> None:
    path = four.target.where
    with writing(four) as client:
        epoch = four.leader.epoch
        assert "the store is not lost" in pgha("bootstrap", "--new-store", "-y", "-i", path).text
        lose_etcd(four)
        said = pgha("bootstrap", "-i", path, within_s=90.0)
        assert said.code == 4 and "bootstrap --new-store" in said.text, said
        said = pgha("bootstrap", "--new-store", "-y", "-i", path, within_s=90.0)
        assert said.code == 0, said
        four.await_healthy()
        client.await_rows()
        word = client.verdict()
    assert word.is_clean and four.leader.epoch > epoch, word
    ((rows,),) = four.ask(four.primary, "SELECT count(*) FROM pgha_drill")
    assert int(rows or 0) >= word.acked
    lose_etcd(four)
    lost = four.nodes["n4"]
    faults.kill(faults.of(lost, *faults.NODE))
    shutil.rmtree(lost.data_dir)
    said = pgha("bootstrap", "--new-store", "-y", "-i", path, within_s=90.0)
    assert said.code == 12 and f"{lost.name} may have commits" in said.text, said
    said = pgha("bootstrap", "--new-store", "-y", "--accept-data-loss", "-i", path, within_s=90.0)
    assert said.code == 0, said
    four.await_healthy()
    assert four.ask(four.primary, "SELECT count(*) FROM pgha_drill") == ((rows,),)


def test_the_logs_of_all_nodes_come_as_one_stream_by_time(cluster: Cluster) -> None:
    said = pgha("logs", "--since", "1h", "-o", "json", "-i", cluster.target.where)
    assert said.code == 0, said.text[-500:]
    lines = [json.loads(line) for line in said.text.splitlines()]
    assert {(x["node"], x["source"]) for x in lines} == {
        (node, piece) for node in cluster.nodes for piece in ("watchdog", "guard", "postgresql", "etcd")
    }
    times = [x["time"] for x in lines]
    assert times == sorted(times) and None not in times
    epoch = cluster.leader.epoch
    told = pgha("history", str(epoch), "-i", cluster.target.where)
    assert told.code == 0 and f"claims epoch {epoch}" in told.text, told
