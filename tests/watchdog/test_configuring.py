"""What a node writes into its server's files, what it leaves, and what it answers an operator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from pgha import records
from pgha.adapters.memory import MemoryStore
from pgha.core.budget import STEADY_S
from pgha.core.decide import Rule
from pgha.core.limits import BUILT_IN
from pgha.core.model import Fact, Order, Question, Settings
from pgha.core.observation import Observation
from pgha.core.server import Running
from pgha.core.timing import timing_for
from pgha.nodefile import NodeFile, Peer, StoreAccess
from pgha.ports import ServerTrouble
from pgha.ports_parameters import Configured
from pgha.watchdog import configuring
from pgha.watchdog.agent import Agent
from pgha.watchdog.configuring import Configuring, wanted
from pgha.watchdog.starts import Starts
from tests.core.builders import N1, N2, N3, NOW, but, member, primary, standby
from tests.ops.stand_in import Clock

NODE = NodeFile("shop", "n1", "/s", "/d", "/sock", "/bin", StoreAccess(("h:1",)), {"n1": Peer("h", 1)})
USUAL = {**BUILT_IN, "max_wal_senders": 20}  # as pgha/pg/conf.py has it
MORE = {**USUAL, "max_connections": 200}
FACT = Fact("4MB", "integer", "user", "kB", "64", "1000")


class Files:
    """`ports_parameters.Parameters`: notes what it is given. refuses: what the running server would not take."""

    def __init__(self, now: Configured | None = None) -> None:
        self.now = now or Configured()
        self.refuses = ""
        self.broken: OSError | None = None
        self.running: Mapping[str, int] = USUAL
        self.pending: dict[str, tuple[str, str]] = {}
        self.asks: Mapping[str, int] = USUAL
        self.written: list[tuple[int, dict[str, str]]] = []

    def configure(self, revision: int, values: Mapping[str, str]) -> None:
        if self.broken:
            raise self.broken
        if self.refuses and self.refuses in values.values():
            raise ServerTrouble(f"{self.refuses} is no value")
        self.written.append((revision, dict(values)))
        self.now = replace(self.now, revision=revision, values=dict(values))

    def keep_good(self) -> None:
        self.now = replace(self.now, good_revision=self.now.revision, good_values=self.now.values)

    def floor(self) -> Mapping[str, int]:
        return self.asks

    def limits(self) -> tuple[Mapping[str, int], Mapping[str, tuple[str, str]]]:
        return self.running, self.pending

    def facts(self, values: Mapping[str, str]) -> Mapping[str, Fact]:
        return dict.fromkeys(values, FACT)


class Scene:
    """n1's agent, as far as parameters go."""

    def __init__(self, settings: Settings, files: Files | None = None, node: NodeFile = NODE) -> None:
        self.clock = Clock()
        self.clock.now = NOW
        self.store = MemoryStore(self.clock, threaded=False)
        self.files = files or Files()
        self.said: list[str] = []
        ports = SimpleNamespace(parameters=self.files, clock=self.clock, store=self.store)
        found = SimpleNamespace(
            node=node, settings=settings, ports=ports, root="/pgha/shop/", timing=timing_for(6.0), reread=False,
            notes=SimpleNamespace(configuring=Configuring(), starts=Starts()),
            note=lambda event, **_facts: self.said.append(event),
        )  # fmt: skip
        self.agent = cast("Agent", found)

    @property
    def notes(self) -> Configuring:
        return self.agent.notes.configuring

    def look(self, obs: Observation, rule: Rule = Rule.R540_FOLLOWING) -> None:
        configuring.look(self.agent, obs, rule)


def test_the_files_hold_what_is_allowed_and_nothing_else() -> None:
    scene = Scene(Settings(3, parameters={"work_mem": "8MB", "archive_command": "rm -r /", "port": "1"}))
    obs = standby()
    scene.look(obs)
    assert configuring.is_outdated(scene.agent, obs)
    configuring.configure(scene.agent, obs)
    assert scene.files.written == [(3, {"work_mem": "8MB"})]
    assert not configuring.is_outdated(scene.agent, obs)


def test_nothing_is_outdated_before_the_server_was_looked_at_or_while_it_is_down() -> None:
    scene = Scene(Settings(3, parameters={"work_mem": "8MB"}))
    assert not configuring.is_outdated(scene.agent, standby())
    scene.look(standby())
    assert not configuring.is_outdated(scene.agent, standby(server__running=Running.DOWN))
    assert not configuring.is_outdated(scene.agent, standby(store=None))


def test_a_revision_is_acknowledged_once_the_server_has_read_it() -> None:
    scene = Scene(Settings(3, parameters={"work_mem": "8MB"}))
    obs = standby()
    scene.look(obs)
    configuring.configure(scene.agent, obs)
    assert scene.notes.read == 0
    scene.look(obs)
    assert scene.notes.read == 0, "its processes have not read it yet"
    later = but(obs, now_s=NOW + configuring.READ_S, server__answered_s=NOW + configuring.READ_S)
    scene.look(later)
    assert scene.notes.read == 3


@pytest.mark.parametrize("rule", sorted(set(Rule) - set(configuring.CALM), key=lambda r: r.name)[:6])
def test_the_server_is_not_asked_while_roles_change(rule: Rule) -> None:
    scene = Scene(Settings(1))
    scene.look(standby(), rule)
    assert scene.notes.started_s == 0.0


# -- what proves bad ----------------------------------------------------------------------------------------------


def good(**values: str) -> Files:
    return Files(Configured(5, {"shared_buffers": "900GB"}, 4, values))


def test_after_two_starts_that_failed_the_last_good_revision_is_written_and_told() -> None:
    scene = Scene(Settings(5, parameters={"shared_buffers": "900GB"}), good(work_mem="8MB"))
    down = standby(server__running=Running.DOWN, failed_starts=1)
    configuring.before_start(scene.agent, down)
    assert scene.files.written == [], "one start may fail for any reason"
    scene.agent.notes.starts.said = "could not map shared memory"
    configuring.before_start(scene.agent, but(down, failed_starts=2))
    assert scene.files.written == [(5, {"work_mem": "8MB"})]
    assert "revision 5 is left, revision 4 is in its place" in scene.notes.refused(5)
    assert "could not map shared memory" in scene.notes.refused(5)
    scene.agent.settings = Settings(6, parameters={"shared_buffers": "1GB"})
    assert scene.notes.refused(6) == ""
    assert wanted(scene.agent, None) == (6, {"shared_buffers": "1GB"}), "the settings have changed: it is tried"


def test_a_revision_that_was_good_is_not_blamed() -> None:
    files = Files(Configured(5, {"work_mem": "8MB"}, 5, {"work_mem": "8MB"}))
    scene = Scene(Settings(5, parameters={"work_mem": "8MB"}), files)
    configuring.before_start(scene.agent, standby(server__running=Running.DOWN, failed_starts=9))
    assert files.written == [] and scene.notes.refused(5) == ""


def test_a_revision_is_good_when_a_server_has_run_for_a_while_with_all_of_it() -> None:
    scene = Scene(Settings(5), Files(Configured(5, {"work_mem": "8MB"})))
    scene.files.pending = {"shared_buffers": ("128MB", "1GB")}
    old = standby(server__since_s=NOW - STEADY_S - 1)
    scene.look(old)
    assert scene.files.now.good_revision == -1, "a part of it waits for a restart"
    scene.files.pending = {}
    young = standby(server__since_s=NOW - STEADY_S + 1)
    scene.look(young)
    assert scene.files.now.good_revision == -1
    scene.look(but(old, server__since_s=NOW - STEADY_S - 2))
    assert scene.files.now.good_revision == 5


def test_what_the_server_would_not_read_is_left_and_not_tried_again_and_again() -> None:
    scene = Scene(Settings(5, parameters={"work_mem": "many"}), Files(Configured(4, {"jit": "off"}, 4, {"jit": "off"})))
    scene.files.refuses = "many"
    obs = standby()
    scene.look(obs)
    configuring.configure(scene.agent, obs)
    assert scene.files.now.values == {"jit": "off"} and "many is no value" in scene.notes.refused(5)
    configuring.configure(scene.agent, obs)
    assert scene.files.now.revision == 5 and not configuring.is_outdated(scene.agent, obs)


def test_a_disk_that_is_full_is_tried_again_later() -> None:
    scene = Scene(Settings(5, parameters={"work_mem": "8MB"}))
    scene.files.broken = OSError("no space")
    obs = standby()
    scene.look(obs)
    configuring.configure(scene.agent, obs)
    assert not configuring.is_outdated(scene.agent, obs) and scene.notes.refused(5) == ""
    assert configuring.is_outdated(scene.agent, but(obs, now_s=NOW + configuring.AGAIN_S))


# -- the five -----------------------------------------------------------------------------------------------------


def test_a_start_never_has_less_than_pg_control_asks_for() -> None:
    scene = Scene(Settings(1))
    scene.files.asks = MORE
    configuring.before_start(scene.agent, standby(server__running=Running.DOWN))
    assert scene.files.written == [(1, {"max_connections": "200"})]


def test_the_inventorys_value_is_not_repeated() -> None:
    scene = Scene(Settings(1), node=replace(NODE, parameters={"max_connections": "200"}))
    scene.files.asks = MORE
    assert wanted(scene.agent, None) == (1, {})


def test_a_primary_waits_with_a_raise_for_the_standbys_that_stream_and_says_so() -> None:
    scene = Scene(Settings(2, parameters={"max_connections": "200"}))
    behind = {"n1": member(N1), "n2": member(N2, limits=USUAL), "n3": member(N3, limits=MORE)}
    obs = primary(store__members=behind)
    scene.look(obs, Rule.R450_HOLD)
    assert wanted(scene.agent, obs) == (2, {"max_connections": "100"})
    assert scene.notes.waits() == {"max_connections": ("100", "200 after the standbys")}
    ready = but(obs, store__members={**behind, "n2": member(N2, limits=MORE)})
    assert wanted(scene.agent, ready) == (2, {"max_connections": "200"}) and scene.notes.waits() == {}
    alone = but(obs, server__walsenders=())
    assert wanted(scene.agent, alone) == (2, {"max_connections": "200"}), "who is away catches up when it is back"


def test_less_than_pg_control_asks_for_waits_for_the_primarys_restart_in_place() -> None:
    scene = Scene(Settings(2, parameters={"max_connections": "50"}))
    obs = primary()
    scene.look(obs, Rule.R450_HOLD)
    assert wanted(scene.agent, obs) == (2, {"max_connections": "100"})
    assert scene.notes.waits() == {"max_connections": ("100", f"50 {configuring.LOWERED}")}
    order = Order("restart", "o1", 5, "n1", "n1", 30.0, phase="handed")
    assert not configuring.lowers(scene.agent, but(obs, store__order=None)), "a failover has no time for it"
    assert not configuring.lowers(scene.agent, but(obs, store__order=replace(order, kind="switchover")))
    assert scene.files.written == []
    assert configuring.lowers(scene.agent, but(obs, store__order=order))
    assert scene.files.written == [(2, {"max_connections": "50"})]


def test_an_ordered_restart_that_lowers_nothing_is_promoted_as_always() -> None:
    scene = Scene(Settings(2, parameters={"max_connections": "150"}))
    order = Order("restart", "o1", 5, "n1", "n1", 30.0, phase="handed")
    assert not configuring.lowers(scene.agent, primary(store__order=order))


def test_a_standby_that_runs_with_less_than_pg_control_asks_for_is_short() -> None:
    scene = Scene(Settings(1))
    scene.files.asks = MORE
    scene.look(standby())
    assert configuring.is_short(scene.agent, standby())
    assert not configuring.is_short(scene.agent, primary())
    assert not configuring.is_short(scene.agent, standby(server__since_s=NOW - 1)), "it has been restarted"


# -- questions ----------------------------------------------------------------------------------------------------


def test_a_question_is_answered_once_with_the_facts_of_what_is_allowed() -> None:
    scene = Scene(Settings(1))
    obs = standby(store__question=Question("q1", {"work_mem": "1MB", "archive_command": "rm"}))
    scene.look(obs)
    first = scene.store.read("/pgha/shop/", deadline_s=NOW + 9)
    scene.look(obs)
    snap = scene.store.read("/pgha/shop/", deadline_s=NOW + 9)
    assert snap == first
    found = records.parse_snapshot("shop", 1, {k: (e.value, e.revision) for k, e in snap.entries.items()})
    assert found.answers["n1"].ident == "q1" and dict(found.answers["n1"].facts) == {"work_mem": FACT}
