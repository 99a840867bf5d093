"""Measuring: a position below what this very copy has sealed is a disk that went back, and another copy."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import cast

import pytest

from pgha.core.model import Copy, Position, Seal
from pgha.watchdog import act
from pgha.watchdog.agent import Agent
from tests.core.builders import but, standby
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
