"""The claim: what it writes by cover, and what by an operator's order, which it takes up in the same commit."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from pgha import records
from pgha.adapters.memory import MemoryStore
from pgha.core.classify import classify
from pgha.core.model import Leader, Order, Position, Rule, Settings, Tenure
from pgha.core.observation import Observation
from pgha.core.situation import Bid
from pgha.core.timing import timing_for
from pgha.ports import Write
from pgha.watchdog import claiming
from pgha.watchdog.agent import Agent
from tests.core.builders import END, EPOCH, N1, N2, N3, NOW, but, key, member, order, seal, sealed
from tests.ops.stand_in import Clock

ROOT = "/pgha/shop/"
FREE = key(N2, tenure=Tenure.RELEASED, reason="crash")


class Scene:
    """n1, sealed at END, before a store that holds the leader key and perhaps an order for it."""

    def __init__(self, leader: Leader = FREE, asked: Order | None = None, **more: object) -> None:
        self.clock = Clock()
        self.store = MemoryStore(self.clock, threaded=False)
        self.put("leader", records.dump_leader(leader))
        if asked is not None:
            self.put("request", records.dump_order(asked))
        self.said: dict[str, object] = {}
        found, revision = self.found(), self.found().rev("leader")
        asked = asked and replace(asked, revision=revision)
        own = replace(seal(N1, END), revision=revision)
        others = more.pop("others", ())
        assert isinstance(others, tuple)
        again = [replace(m, seal=m.seal and replace(m.seal, revision=revision)) for m in others]
        plain = sealed(END, leader, *again, memory__seal=own, store__leader_revision=revision)
        view = {"n1": member(N1, own), **{m.node: m for m in again}}
        here = {**(plain.store.members if plain.store else {}), **view}
        self.obs: Observation = but(
            plain,
            store__members=here,
            store__order=asked,
            store__order_revision=found.rev("request"),
            **({"order_seen_s": NOW} | more),
        )
        self.agent = cast("Agent", self._agent())

    def _agent(self) -> SimpleNamespace:
        adopted: list[Leader] = []
        lease = SimpleNamespace(adopt=lambda leader, _revision, **_times: adopted.append(leader))
        server = SimpleNamespace(begin_names=lambda _names: None)
        ports = SimpleNamespace(store=self.store, clock=self.clock, server=server)
        return SimpleNamespace(
            root=ROOT, incarnation="life-n1", timing=timing_for(6.0), settings=Settings(), lease=lease, adopted=adopted,
            ports=ports, view=self.obs.store, knows_key=False,
            notes=SimpleNamespace(claim=None, phases={}, free_s=0.0), arm=lambda _sent_s: None,
            memory=SimpleNamespace(update=lambda **_changes: None),
            note=lambda _event, **facts: self.said.update(facts),
        )  # fmt: skip

    def put(self, name: str, value: bytes | None) -> None:
        self.store.commit([], [Write(ROOT + name, value)], deadline_s=self.clock.now + 1)

    def found(self) -> records.Records:
        snap = self.store.read(ROOT, deadline_s=self.clock.now + 1)
        return records.parse_snapshot(
            "shop", snap.revision, {k: (e.value, e.revision) for k, e in snap.entries.items()}
        )

    def claim(self) -> Leader:
        claiming.claim(self.agent, self.obs)
        leader = self.found().leader
        assert leader is not None
        return leader


def failover(**changes: object) -> Order:
    """n1 is to take over from n2 without what its rule promised."""
    return order(
        **({"kind": "failover", "source": "n2", "target": "n1", "gives_up": FREE.sync, "asked_by": "anna"} | changes)
    )


COVERED = (member(N3, seal(N3, END)),)


def test_by_cover_the_entries_that_were_found_are_kept_and_nothing_is_lost() -> None:
    new = Scene(others=COVERED).claim()
    assert (new.epoch, new.holder, new.tenure) == (EPOCH + 1, N1, Tenure.CLAIMED)
    assert new.sync == (*FREE.sync, Rule(N1, frozenset({N3}), 1))
    assert (new.loss_bytes, new.kept) == (0, ())


def test_who_is_handed_the_key_names_the_voters_that_live_before_they_have_sealed() -> None:
    handed = replace(FREE, clean=True, target="n1")
    assert N3 in Scene(handed).claim().sync[-1].voters
    assert N3 not in Scene(replace(FREE, clean=True)).claim().sync[-1].voters


def test_who_is_tagged_nosync_is_not_named_by_a_claim_and_its_seal_counts_all_the_same() -> None:
    outside = (member(N3, seal(N3, END), nosync=True),)
    new = Scene(others=outside).claim()
    assert new.holder == N1 and new.sync == (*FREE.sync, Rule(N1, frozenset(), 0)), "n3's seal gave the cover"
    handed = replace(FREE, clean=True, target="n1")
    assert N3 not in Scene(handed, others=(member(N3, nosync=True),)).claim().sync[-1].voters


def test_who_takes_its_own_key_back_names_the_voters_it_had() -> None:
    own = replace(FREE, holder=N1, tenure=Tenure.HELD, sync=(Rule(N1, frozenset({N2, N3}), 1),))
    new = Scene(own).claim()
    assert (new.epoch, new.sync) == (EPOCH + 1, (*own.sync, *own.sync))
    assert new.reason == "n1 had to stop while the store was silent"
    assert Scene(replace(own, tenure=Tenure.RELEASED)).claim().sync[-1].voters == frozenset(), "they may be gone"


def test_a_claim_by_cover_leaves_an_order_alone() -> None:
    scene = Scene(asked=failover(), others=COVERED)
    scene.claim()
    found = scene.found().order
    assert found is not None and found.phase == "asked"


def test_without_cover_and_without_an_order_nothing_is_claimed() -> None:
    assert Scene().claim() == FREE
    assert Scene(asked=failover(gives_up=())).claim() == FREE
    assert Scene(asked=failover(), order_seen_s=NOW - 31.0).claim() == FREE


def test_by_order_the_entries_given_up_go_and_whoever_may_have_them_is_kept() -> None:
    leader = replace(FREE, position=Position(EPOCH, END + 500))
    scene = Scene(leader, asked=failover())
    assert classify(scene.obs).bid is Bid.ORDERED
    new = scene.claim()
    assert new.sync == (Rule(N1, frozenset(), 0),) and new.kept == (N2, N3) and new.loss_bytes == 500
    assert new.reason == "ordered by anna, who accepted a loss; n2 released: crash"


def test_an_entry_that_is_covered_is_carried_on_by_an_ordered_claim_too() -> None:
    covered = Rule(N2, frozenset({N1}), 1)
    leader = replace(FREE, sync=(covered, *FREE.sync))
    assert Scene(leader, asked=failover()).claim().sync == (covered, Rule(N1, frozenset(), 0))


def test_the_order_is_taken_up_in_the_very_commit_of_the_claim() -> None:
    scene = Scene(asked=failover())
    scene.claim()
    found = scene.found()
    assert found.order is not None and found.order.phase == "handed"
    assert found.rev("request") == found.rev("leader")
    view = scene.agent.view
    assert view is not None and (view.order, view.order_revision) == (found.order, found.rev("request"))


@pytest.mark.parametrize("withdrawn", [True, False], ids=["withdrawn", "replaced"])
def test_an_order_that_was_withdrawn_meanwhile_claims_nothing(withdrawn: bool) -> None:
    scene = Scene(asked=failover())
    scene.put("request", None if withdrawn else records.dump_order(failover(ident="another")))
    assert scene.claim() == FREE and scene.said["outcome"] == "Conflict"


def test_where_nothing_is_promised_the_loss_is_told() -> None:
    leader = replace(FREE, sync=(), position=Position(EPOCH, END + 300))
    new = Scene(leader, store__settings=Settings(durability="async")).claim()
    assert new.sync == () and new.loss_bytes == 300 and new.kept == ()


def test_what_was_promised_before_async_is_still_covered_and_then_given_up() -> None:
    leader = replace(FREE, position=Position(EPOCH, END + 300))
    new = Scene(leader, others=COVERED, store__settings=Settings(durability="async")).claim()
    assert new.sync == () and new.loss_bytes == 0, "cover shows that nothing acknowledged is lost"


def test_a_kept_copy_is_carried_on_until_its_node_has_another() -> None:
    leader = replace(FREE, kept=(N2, replace(N3, data="before")))
    assert Scene(leader, others=COVERED).claim().kept == (N2,)
