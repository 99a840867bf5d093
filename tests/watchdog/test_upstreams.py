"""What a node notes of the node it is to follow, whose slots may hold WAL where, and whom `follow` names."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import cast

from pgha.core import upstream
from pgha.core.classify import classify
from pgha.core.model import Member, Position
from pgha.core.observation import Observation
from pgha.core.situation import Path
from pgha.watchdog import act, upstreams
from pgha.watchdog.agent import Agent
from pgha.watchdog.upstreams import Upstream, held
from tests.core.builders import EPOCH, N1, N3, NOW, but, key, measured, member, standby, store

ALONE = key(sync=())
GOOD = but(member(N3), state="streaming", upstream_epoch=EPOCH, position=Position(EPOCH, 900))


@dataclass
class Node:
    """The part of an agent that is asked. n1 is to follow n3; n2 holds the key."""

    me: str = "n1"
    follow: str = "n3"
    said: list[str] = field(default_factory=list)
    followed: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.notes = SimpleNamespace(upstream=Upstream(), sealed=(1.0, Position(1, 1)))
        self.node = SimpleNamespace(node=self.me, follow=self.follow, nodes=dict.fromkeys(("n1", "n2", "n3")))
        self.ports = SimpleNamespace(server=SimpleNamespace(follow=lambda *to: self.followed.append(to)))

    def note(self, event: str, **facts: object) -> None:
        self.said.append(f"{event} {facts}")

    def seen(self, obs: Observation) -> Observation:
        return upstreams.seen(cast("Agent", self), obs)

    def held(self, *members: Member, primary: bool) -> frozenset[str]:
        return held(cast("Agent", self), store(ALONE, *members), primary=primary)


def look(at_s: float = NOW, *, beat: int = 1, **more: object) -> Observation:
    """At that moment, n3's record being this one."""
    other = but(GOOD, beat=beat, **{k: more.pop(k) for k in ("state",) if k in more})
    return but(standby(ALONE, other, now_s=at_s, server__follows="n2"), **more)


def test_the_tags_node_counts_from_when_its_record_moved_and_said_that_it_streams() -> None:
    node = Node()
    assert upstream.wanted(node.seen(look())) == "n3"
    assert node.seen(look(NOW + 3)).follow_good_s == NOW, "the same record again is no sign of life"
    assert node.seen(look(NOW + 4, beat=2, state="following")).follow_good_s == NOW
    assert node.seen(look(NOW + 5, beat=3)).follow_good_s == NOW + 5


def test_without_a_tag_nothing_is_noted() -> None:
    assert Node(follow="").seen(look()) == look()
    blind = but(look(), store=None)
    assert Node().seen(blind) == blind


def test_who_brings_nothing_is_left_once_and_that_is_noted() -> None:
    node = Node()
    node.seen(look(server__follows="n3"))
    quiet = look(NOW + 20, beat=2, server__follows="n3", server__receiving=False, server__heard_s=NOW)
    assert upstream.wanted(node.seen(quiet)) == "n2" and len(node.said) == 1
    back = look(NOW + 21, beat=3)
    assert upstream.wanted(node.seen(back)) == "n2" and len(node.said) == 1
    assert upstream.wanted(node.seen(look(NOW + 21 + upstream.BACK_S, beat=4))) == "n3"


def test_wal_that_the_tags_node_lacks_is_asked_of_the_holder_before_anything_is_cloned() -> None:
    node = Node()
    gone = look(server__follows="n3", server__wal_gone=True)
    assert upstream.wanted(node.seen(gone)) == "n2"
    cut = but(measured(900, ALONE, server__wal_gone=True), store__members=gone.store.members)  # type: ignore[union-attr]
    assert classify(node.seen(cut)).path is Path.FOLLOW
    asked = look(server__follows="n2", server__wal_gone=True)
    assert node.seen(asked).server.wal_gone, "the holder lacks it too"


def test_the_effect_of_following_is_the_wanted_node_under_the_name_of_the_epoch() -> None:
    node = Node()
    act.follow(cast("Agent", node), node.seen(look()))
    act.follow(cast("Agent", node), node.seen(but(look(NOW + 9))))
    assert node.followed == [("n3", "n1.d1.5"), ("n2", "n1.d1.5")]


def test_each_nodes_slot_holds_wal_in_one_place() -> None:
    n3 = Node("n3")
    tagged = member(N1, follow="n3")
    assert n3.held(tagged, primary=False) == {"n1"}, "also while it is down"
    assert n3.held(member(N1, follow="n3", follows="n2"), primary=False) == set()
    assert n3.held(member(N1), primary=False) == set()
    n2 = Node("n2")
    assert n2.held(tagged, primary=True) == {"n2", "n3"}
    assert n2.held(member(N1, follow="n3", follows="n2"), primary=True) == {"n1", "n2", "n3"}
    assert n3.held(member(N1, follow="n3", follows="n2"), primary=True) == {"n1", "n2", "n3"}
    assert held(cast("Agent", n2), None, primary=True) == {"n1", "n2", "n3"}
