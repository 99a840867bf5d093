"""A new store for data that are there: every copy has to be covered, missing ones are named, epochs go on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pgha import records
from pgha.adapters.local import JsonKeep
from pgha.core.model import Copy, Leader, Position, Rule, Seal, Tenure
from pgha.core.voters import survivable_losses
from pgha.errors import Exit, PghaError, Refused
from pgha.host import Identity
from pgha.ops import newstore
from pgha.ops.bootstrap_run import Options
from pgha.ops.newstore import Remembered, leader_of, memory_of
from pgha.ports import Clock, Committed, Conflict, Guard, Unknown, Write
from tests.ops import cases
from tests.ops.host_cases import wanted
from tests.ops.stand_in import Machine, ThreeMembers, home_for_me

LIES = Identity(1, 77, 5)
COPY = {"id": "aa11", "device": 1, "inode": 77, "system": "9", "made": 5, "boot": ""}
GONE = {**COPY, "id": "bb22", "inode": 78}


def said(node: str, data: str = "d", epoch: int = 3, beat: int = 5, timeline: int = 3) -> Remembered:
    return Remembered(node, Copy(node, data), epoch, beat, timeline)


def test_the_new_key_is_released_and_asks_every_copy_to_seal() -> None:
    key = leader_of([said("n1", "a"), said("n2", "b", epoch=4, beat=2), said("n3", "c", beat=40)])
    copies = frozenset({Copy("n1", "a"), Copy("n2", "b"), Copy("n3", "c")})
    assert key.tenure is Tenure.RELEASED and (key.epoch, key.beat) == (4, 41)
    assert key.sync == (Rule(key.holder, copies, 1),) and key.holder not in copies
    assert survivable_losses(key.sync, copies) == 1, "all of them cover it"
    assert survivable_losses(key.sync, copies - {Copy("n2", "b")}) == 0, "without one of them nobody does"
    assert records.parse_value("leader", records.dump_leader(key), records.parse_leader) == key


def test_an_epoch_goes_on_behind_a_timeline_that_somebody_made_by_hand() -> None:
    assert leader_of([said("n1", timeline=9), said("n2")]).epoch == 9


MEMORIES: dict[str, tuple[dict[str, object], Copy | None]] = {
    "as its watchdog writes it": ({"epoch": 3, "beat": 5, "copies": [GONE, COPY]}, Copy("n1", "aa11")),
    "as bootstrap wrote it": ({"data": COPY}, Copy("n1", "aa11")),
    "of another directory": ({"copies": [GONE]}, None),
    "junk": ({"copies": ["x"], "epoch": True, "beat": "y"}, None),
}


@pytest.mark.parametrize("case", MEMORIES)
def test_a_memory_names_the_directory_that_lies_there_or_none(case: str) -> None:
    body, copy = MEMORIES[case]
    found = memory_of("n1", body, LIES, 3)
    assert found.copy == copy
    if copy is None:
        with pytest.raises(Refused, match="the data of n1 are not known"):
            leader_of([found])


# -- the whole of it, on a machine whose programs are stand-ins ------------------------------------------------


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(home_for_me(tmp_path) / "c")
    made.bootstrap()
    for name in cases.NAMES[1:]:
        made.real.make_dir(str(made.root / name / "data"))
        made.real.write(str(made.root / name / "data/PG_VERSION"), "15\n")
        lies = made.real.identity(str(made.root / name / "data"))
        known = {"id": f"d{name[1:]}", "device": lies.device, "inode": lies.inode, "system": "", "made": lies.made}
        remember(made, name, copies=[known], epoch=7, beat=3, revision=500)
    yield made


def remember(machine: Machine, name: str, **facts: object) -> None:
    keep = JsonKeep(str(machine.root / name / "state/memory.json"), machine.real.owner)
    keep.save({**keep.load(), **facts})


def lose(machine: Machine) -> None:
    """Its store is empty now."""
    machine.store = ThreeMembers(machine.clock, threaded=False)


NEW = Options(new_store=True)


class Noting(ThreeMembers):
    """Notes every leader key that is written."""

    def __init__(self, clock: Clock, *, threaded: bool) -> None:
        super().__init__(clock, threaded=threaded)
        self.keys: list[Leader] = []

    def commit(
        self, guards: Sequence[Guard], writes: Sequence[Write], *, deadline_s: float
    ) -> Committed | Conflict | Unknown:
        values = [write.value or b"" for write in writes if write.key.endswith("/leader")]
        found = [records.parse_value("leader", value, records.parse_leader) for value in values]
        self.keys += [key for key in found if isinstance(key, Leader)]
        return super().commit(guards, writes, deadline_s=deadline_s)


def test_a_lost_store_is_begun_anew_with_what_the_nodes_remember(machine: Machine) -> None:
    before = machine.found().cluster
    machine.store = store = Noting(machine.clock, threaded=False)
    machine.bootstrap(NEW)
    after = machine.found().cluster
    assert before is not None and after is not None and before.ident == after.ident
    key = store.keys[0]
    assert key.epoch == 7 and {c.node for c in key.sync[0].voters} == set(cases.NAMES)
    for name in cases.NAMES:
        body = JsonKeep(str(machine.root / name / "state/memory.json")).load()
        assert body.get("revision", 0) == 0 and body.get("seal") is None and body["cluster"] == after.ident


def test_a_store_that_still_knows_the_cluster_is_left_alone(machine: Machine) -> None:
    before = machine.found().revisions
    with pytest.raises(Refused, match="the store is not lost"):
        machine.bootstrap(NEW)
    assert machine.found().revisions == before


def test_what_a_watchdog_tells_of_itself_does_not_make_an_empty_store_a_known_one(machine: Machine) -> None:
    """Its agent runs on, and had told its state before the command looked."""
    told = "/pgha/shop/members/n1"
    value = machine.store.read(told, deadline_s=machine.clock.now + 1).entries.get(told)
    lose(machine)
    body = value.value if value else b'{"format": 1, "node": "n1"}'
    machine.store.commit([], [Write(told, body)], deadline_s=machine.clock.now + 1)
    machine.bootstrap(NEW)
    assert machine.found().cluster is not None


def test_without_being_asked_an_empty_store_is_no_new_cluster(machine: Machine) -> None:
    lose(machine)
    with pytest.raises(Refused, match="data without a cluster record") as refused:
        machine.bootstrap()
    assert "bootstrap --new-store" in refused.value.next_step and not machine.found().revisions


def test_missing_data_are_named_and_their_loss_is_accepted_or_nothing_is_done(machine: Machine) -> None:
    lose(machine)
    machine.real.remove_tree(str(machine.root / "n3/data"))
    with pytest.raises(PghaError) as refused:
        machine.bootstrap(NEW)
    assert refused.value.code == Exit.WOULD_LOSE and "n3 may have commits that n1, n2 lacks" in refused.value.because
    assert not machine.found().revisions
    machine.bootstrap(replace(NEW, accept_loss=True))
    assert machine.found().cluster is not None


def test_a_seal_of_the_old_store_is_forgotten(machine: Machine) -> None:
    lose(machine)
    seal = Seal(40, Copy("n2", "d2"), Position(7, 1))
    remember(machine, "n2", seal={"revision": seal.revision, "node": "n2", "data": "d2", "timeline": 7, "lsn": 1})
    machine.bootstrap(NEW)
    assert JsonKeep(str(machine.root / "n2/state/memory.json")).load()["seal"] is None


def test_the_plan_says_what_stops() -> None:
    lines = newstore.plan_lines(wanted())
    assert any("every server is stopped once" in line for line in lines)
