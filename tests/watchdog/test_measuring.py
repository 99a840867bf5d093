"""Measuring: a position below what this very copy has sealed is a disk that went back, and another copy."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import cast

import pytest

from pgha.core.decide import Rule
from pgha.core.model import Copy, Position, Seal
from pgha.core.observation import Observation
from pgha.watchdog import act
from pgha.watchdog.agent import Agent
from tests.core.builders import NOW, but, order, standby
from tests.watchdog.test_memory import HERE, PaperKeep, opened

SEALED = Position(5, 1000)


def measured(position: Position | None) -> tuple[Agent, Position | None]:
    """An agent whose copy has sealed SEALED, and what it makes of this measured position."""
    memory = opened(PaperKeep())
    ident = memory.add_copy(HERE)
    memory.update(seal=Seal(7, Copy("n1", ident), SEALED), catch_up=3)

    def note(event: str, **_facts: object) -> None:
        assert event == "went back"

    server = SimpleNamespace(identity=lambda: HERE, seal=lambda: position)
    notes = SimpleNamespace(sealed=None, problem="")
    agent = cast("Agent", SimpleNamespace(memory=memory, note=note, notes=notes, ports=SimpleNamespace(server=server)))
    obs = but(standby(), copy=Copy("n1", ident), sealed=None)
    return agent, act._measure(agent, obs)


@pytest.mark.parametrize("position", [SEALED, Position(5, 1001), Position(6, 10), Position(4, 10)])
def test_a_position_that_is_not_below_the_seal_stands(position: Position) -> None:
    agent, found = measured(position)
    assert found == position and agent.memory.value.catch_up == 0
    assert agent.memory.copy_of(HERE) == Copy("n1", "a1")


def test_a_position_below_the_seal_makes_another_copy_and_is_not_taken() -> None:
    agent, found = measured(Position(5, 999))
    assert found is None and agent.memory.copy_of(HERE) == Copy("n1", "a2")


def test_a_server_that_can_not_be_cut_off_gives_no_position() -> None:
    agent, found = measured(None)
    assert found is None and "cut off" in agent.notes.problem


def test_the_document_holds_the_new_copy_after_a_restart() -> None:
    agent, _ = measured(Position(5, 999))
    keep = cast("PaperKeep", agent.memory._keep)
    body: Mapping[str, object] = keep.load()
    copies = body["copies"]
    assert isinstance(copies, list) and [c["id"] for c in copies] == ["a2"]


@pytest.mark.parametrize(
    ("to", "moved", "told"),
    [("n1", False, True), ("n1", True, False), ("n3", False, False)],
    ids=["the target", "the target, and the key has moved on", "another standby"],
)
def test_only_a_target_that_may_be_waited_for_tells_its_position_at_once(*, to: str, moved: bool, told: bool) -> None:
    plain, _ = measured(SEALED)
    stops = order(source="n2", target=to, phase="stopping")
    left = {"server__receiving": False, "store__order": stops, "order_seen_s": NOW}
    obs = but(standby(), copy=Copy("n1", plain.memory.add_copy(HERE)), sealed=None, **left)
    said: list[Position | None] = []

    def wait(_prefix: str, _since: int, *, deadline_s: float) -> bool:
        assert deadline_s == NOW, "it waits for nothing"
        return moved

    def publish(seen: Observation, _rule: Rule, *, force: bool) -> None:
        assert force
        said.append(seen.sealed)

    ports = SimpleNamespace(
        server=plain.ports.server, store=SimpleNamespace(wait=wait), clock=SimpleNamespace(now_s=lambda: NOW)
    )
    more = {"ports": ports, "publish": publish, "root": "/pgha/shop/", "node": SimpleNamespace(node="n1")}
    act.unfollow(cast("Agent", SimpleNamespace(**(vars(plain) | more))), obs)
    assert said == ([SEALED] if told else [])
