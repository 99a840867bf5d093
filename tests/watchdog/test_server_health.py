"""A server is well when it answers and its WAL reaches the disk; a slow disk is given time, a frozen one is not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from pgha.adapters.database import SqlError
from pgha.adapters.server_health import PROBE_S, STALL_S, Health
from pgha.pg import look

APART_S = 1.5


@dataclass
class World:
    """Clock, connection and session in one. waits: there is WAL that is not on the disk."""

    at_s: float = 100.0
    waits: bool = False
    frozen: bool = False
    refused: SqlError | None = None
    asked: list[str] = field(default_factory=list)

    def now_s(self) -> float:
        return self.at_s

    def sleep(self, seconds: float) -> None:
        self.at_s += seconds

    def connect(self, _deadline_s: float) -> World:
        if self.refused:
            raise self.refused
        return self

    def query(self, sql: str, *, deadline_s: float) -> list[Sequence[str | None]]:
        self.asked.append(sql)
        if sql == look.NUDGE and self.frozen:
            self.at_s = deadline_s
            raise SqlError("no answer in time")
        return [["t" if self.waits else "f"]]

    def close(self) -> None:
        return


def health(world: World) -> Health:
    return Health(world.connect, world)  # type: ignore[arg-type]  # of a session it needs no more


def test_without_wal_that_waits_nothing_is_written() -> None:
    world = World()
    assert health(world).probe()
    assert world.asked == [look.WAL_WAITS]


def test_wal_that_waits_is_seen_to_reach_the_disk() -> None:
    world = World(waits=True)
    assert health(world).probe()
    assert world.asked == [look.WAL_WAITS, look.NUDGE]


def test_a_disk_that_stands_still_is_bad_health_and_one_that_is_slow_for_a_moment_is_not() -> None:
    world = World(waits=True, frozen=True)
    found = health(world)
    began_s, words = world.at_s, []
    while world.at_s < began_s + 3 * STALL_S:
        words.append(found.probe())
        world.sleep(APART_S)
    assert words[0] is True and set(words[1:]) == {False}, words
    world.frozen = False
    assert found.probe()
    world.frozen = True
    assert found.probe(), "what was well in between counts anew"
    assert PROBE_S + APART_S > STALL_S, "the second one is late enough"


@pytest.mark.parametrize(("sqlstate", "well"), [("53300", True), ("57P03", True), ("", False)])
def test_an_answer_of_the_servers_own_is_health_and_none_is_not(sqlstate: str, well: bool) -> None:
    assert health(World(refused=SqlError("too many clients", sqlstate))).probe() is well
