"""Planned moves: to each node and back, two operators at once, a target or an old primary that does not play along."""

from __future__ import annotations

import json
import threading

import pytest

from pgha.errors import Busy, PghaError
from pgha.ops import switchover
from pgha.ops.local_nodes import LocalNode
from tests.loopback import faults
from tests.loopback.cluster import Cluster, pgha
from tests.loopback.writing import Writing

pytestmark = [pytest.mark.loopback, pytest.mark.timeout(180)]

QUICK_S = 4.0
STOP_S = 8.0  # what an old primary gets for its shutdown in a switchover


def test_a_switchover_to_each_other_node_in_turn_and_back_loses_nothing(cluster: Cluster, client: Writing) -> None:
    first = cluster.primary
    for target in [*cluster.standbys, first]:
        epoch = client.epoch
        cluster.switch(target)
        assert client.await_epoch_after(epoch) == target.name
        cluster.await_healthy()
        assert cluster.primary == target and client.epoch == epoch + 1
    word = client.verdict()
    assert word.is_clean and word.outage_s <= QUICK_S, word


def test_the_history_of_a_switchover_names_who_asked_and_tells_it_from_the_stop_to_the_new_primary(
    cluster: Cluster,
) -> None:
    old, target, path = cluster.primary, cluster.standbys[0], f"{cluster.root}/inventory.yaml"
    assert pgha("-i", path, "switchover", "--to", target.name, "-y").code == 0
    epoch = cluster.leader.epoch
    seen = cluster.await_seen(lambda s: epoch in s.records.history, "the take-over is recorded")
    event = seen.records.history[epoch]
    assert (event.kind, event.source, event.holder) == ("switchover", old.name, target.name)
    assert "@" in event.asked_by and event.asked_by in event.reason
    said = pgha("-i", path, "-o", "json", "history", str(epoch))
    assert said.code == 0, said.text
    told = json.loads(said.text)["take_over"]
    events = [(line["node"], line["event"]) for line in told["story"]]
    assert {(old.name, "server ended"), (old.name, "handed")} <= set(events), (
        events
    )  # the key goes first, or the server
    taken = [(target.name, "claim"), (target.name, "writable")]
    assert [e for e in events if e in taken] == taken, events
    assert 0.0 < told["outage_ms"] < QUICK_S * 1000 and told["logs_unread"] == {}


def test_a_switchover_needs_neither_rewind_nor_clone(cluster: Cluster, client: Writing) -> None:
    old, began_s = cluster.primary, cluster.clock.now_s()
    copies = {n: cluster.copy(n) for n in cluster.nodes.values()}
    cluster.switch(cluster.standbys[-1])
    cluster.await_healthy()
    assert {n: cluster.copy(n) for n in cluster.nodes.values()} == copies
    assert not cluster.events(old, "rewind", since_s=began_s)
    assert client.verdict().is_clean
    cluster.await_seen(
        lambda _: all(_fills_segments(cluster, n) for n in cluster.nodes.values()), "segments are filled"
    )


def _fills_segments(cluster: Cluster, node: LocalNode) -> bool:
    return cluster.sql(node, "SHOW wal_init_zero") == [["on"]]


def test_of_two_operators_one_is_told_who_is_at_work(cluster: Cluster, client: Writing) -> None:
    seen, ends = cluster.seen(), dict[str, switchover.Asked | PghaError]()
    gate = threading.Barrier(2)

    def ask(who: str, to: str) -> None:
        plan = switchover.plan(cluster.target, seen, to)
        gate.wait(10)
        try:
            ends[who] = switchover.ask(cluster.store, cluster.clock, cluster.target, seen, plan, asked_by=who)
        except PghaError as e:
            ends[who] = e

    operators = {who: n.name for who, n in zip(("anna", "berta"), cluster.standbys, strict=True)}
    racing = [threading.Thread(target=ask, args=pair) for pair in operators.items()]
    for thread in racing:
        thread.start()
    for thread in racing:
        thread.join(20)
    (winner,) = (who for who, end in ends.items() if isinstance(end, switchover.Asked))
    (told,) = (end for end in ends.values() if isinstance(end, PghaError))
    assert isinstance(told, Busy) and int(told.code) == 13
    assert winner in told.because
    assert client.await_epoch_after(seen.records.leader.epoch if seen.records.leader else 0) == operators[winner]
    cluster.await_healthy()
    word = client.verdict()
    assert word.is_clean and len(word.epochs) == 2, word


def test_a_second_command_is_refused_while_an_order_waits_for_its_agent(cluster: Cluster, client: Writing) -> None:
    epoch, (target, other) = client.epoch, cluster.standbys
    plan = switchover.plan(cluster.target, cluster.seen(), target.name)
    with faults.frozen(faults.of(cluster.primary, "agent")):
        switchover.ask(cluster.store, cluster.clock, cluster.target, cluster.seen(), plan, asked_by="anna")
        said = pgha("-i", cluster.target.where, "switchover", "--to", other.name, "-y")
    assert said.code == 13 and "anna" in said.text, said.text
    assert client.await_epoch_after(epoch) == target.name
    cluster.await_healthy()
    assert client.verdict().is_clean


def test_a_target_that_stands_still_leaves_the_primarys_place_to_another_voter(
    cluster: Cluster, client: Writing
) -> None:
    epoch, target = client.epoch, cluster.standbys[0]
    with faults.frozen(faults.of(target, *faults.WATCHDOG)):
        with pytest.raises(PghaError) as said:
            cluster.switch(target)
        assert client.await_epoch_after(epoch) != target.name
    assert "did not take over" in said.value.what
    cluster.await_healthy()
    word = client.verdict()
    assert word.is_clean and word.outage_s <= QUICK_S + 2.0, word


def test_an_old_primary_that_does_not_end_is_ended(cluster: Cluster, client: Writing) -> None:
    epoch, old, (target, _) = client.epoch, cluster.primary, cluster.standbys
    faults.freeze(faults.titled(old, "walwriter"))
    cluster.switch(target)
    assert client.await_epoch_after(epoch) == target.name
    cluster.await_healthy()
    word = client.verdict()
    assert word.is_clean and STOP_S - 1.0 < word.outage_s <= STOP_S + QUICK_S, word


def test_beside_a_walsender_that_stands_still_nothing_is_stopped_and_its_server_counts_as_hung(
    cluster: Cluster, client: Writing
) -> None:
    """It would hold the old primary's shutdown. It also holds up the change of voters that its silence leads to."""
    epoch, old, (target, other) = client.epoch, cluster.primary, cluster.standbys
    hanging = cluster.walsender(old, cluster.copy(other).standby_name(epoch))
    with faults.frozen([hanging]):
        with pytest.raises(PghaError) as said:
            cluster.switch(target)
        assert client.await_epoch_after(epoch) != old.name
    assert f"walsender of {other.name}" in said.value.because and old.name in said.value.because
    cluster.await_healthy()
    word = client.verdict()
    assert word.is_clean and word.outage_s <= QUICK_S, word
