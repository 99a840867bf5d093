"""Hints: heartbeats wake nobody, everything else does, and the key's revisions are dated when they arrive."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgha import records
from pgha.core.model import Copy, Leader, Member, Pause, Position, Tenure
from pgha.watchdog.hints import KEPT, Hints
from tests.core.builders import N2, key, member, seal

ROOT = "/pgha/shop/"


def hints() -> Hints:
    clock = count(100)
    return Hints(ROOT, lambda: float(next(clock)))


def later(value: Leader, **changes: object) -> Leader:
    return replace(value, beat=value.beat + 1, **changes)  # type: ignore[arg-type]  # names are checked by replace


def test_a_renewal_is_a_heartbeat_and_dates_its_revision() -> None:
    of, leader = hints(), key()
    assert not of.is_heartbeat(ROOT + "leader", records.dump_leader(leader), 7)
    renewed = later(leader, position=Position(leader.epoch, leader.position.lsn + 99))
    assert of.is_heartbeat(ROOT + "leader", records.dump_leader(renewed), 8)
    assert (of.first_seen_s(7), of.first_seen_s(8), of.first_seen_s(9)) == (100.0, 101.0, None)


def test_what_is_left_of_a_pause_wakes_nobody_and_its_begin_and_end_do() -> None:
    of, pause = hints(), Pause("p1", "new kernel", "anna@desk", 1.7e9, 600.0, 600.0)
    told = [key(), *(key(paused=replace(pause, left_s=s)) for s in (600.0, 599.0, 0.0)), key()]
    dull = [of.is_heartbeat(ROOT + "leader", records.dump_leader(leader), n) for n, leader in enumerate(told)]
    assert dull == [False, False, True, True, False]


@pytest.mark.parametrize(
    "changes",
    [{"tenure": Tenure.RELEASED}, {"epoch": 99}, {"sync": ()}, {"checkpointed": False}, {"target": "n3"}],
)
def test_whatever_else_changes_in_the_leader_key_wakes(changes: dict[str, object]) -> None:
    of, leader = hints(), replace(key(), checkpointed=True)
    of.is_heartbeat(ROOT + "leader", records.dump_leader(leader), 7)
    assert not of.is_heartbeat(ROOT + "leader", records.dump_leader(later(leader, **changes)), 8)


NEWS = ({"seal": seal(N2)}, {"upstream_epoch": 77}, {"data": "new"}, {"incarnation": "another"}, {"primary": True})
DULL = ({"state": "sealed"}, {"problem": "x"}, {"rule": "R540_FOLLOWING"}, {"beat": 9, "replay": Position(1, 2)})


@pytest.mark.parametrize("changes", [*NEWS, *DULL])
def test_what_a_decision_may_rest_on_wakes_and_what_is_for_people_does_not(changes: dict[str, object]) -> None:
    of, first = hints(), replace(member(Copy("n2", "d")), state="streaming", seal=None)
    of.is_heartbeat(ROOT + "members/n2", records.dump_member(first), 7)
    beaten: Member = replace(first, beat=first.beat + 1, written_at=5.0, replay=Position(1, 2))
    assert of.is_heartbeat(ROOT + "members/n2", records.dump_member(beaten), 8)
    new = replace(beaten, **changes)  # type: ignore[arg-type]  # names are checked by replace
    assert of.is_heartbeat(ROOT + "members/n2", records.dump_member(new), 9) is (changes in DULL)


@given(st.binary(max_size=60), st.sampled_from(["leader", "members/n1", "request", "history/3", "junk"]))
def test_junk_always_wakes_and_never_fails(value: bytes, name: str) -> None:
    of = hints()
    of.is_heartbeat(ROOT + name, value, 1)
    of.is_heartbeat(ROOT + name, b"{", 2)
    assert not of.is_heartbeat(ROOT + name, b"{", 3)


def test_an_order_is_never_dull() -> None:
    of = hints()
    assert [of.is_heartbeat(ROOT + "request", b"{}", n) for n in (1, 2, 3)] == [False, False, False]


def test_only_the_newest_revisions_are_remembered() -> None:
    of, value = hints(), records.dump_leader(key())
    for revision in range(1, KEPT + 5):
        of.is_heartbeat(ROOT + "leader", value, revision)
    assert of.first_seen_s(4) is None and of.first_seen_s(5) is not None
