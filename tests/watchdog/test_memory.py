"""The node's durable memory: on disk before anything depends on it, refused when it can't be read."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgha.core.model import Copy, Position, Seal
from pgha.core.observation import Memory
from pgha.core.server import DataIdentity
from pgha.watchdog.memory import NodeMemory

HERE = DataIdentity(1, 100, "77")
SEAL = Seal(50, Copy("n1", "a1"), Position(5, 0x16B3748))
FULL = Memory("c1", 5, 9, 60, SEAL, 4, 3, "d1")


class PaperKeep:
    """A `ports.Keep` that keeps text, as a file does. `full`: the disk is."""

    def __init__(self) -> None:
        self.text, self.saves, self.full = "", 0, False

    def load(self) -> Mapping[str, object]:
        body = json.loads(self.text or "{}")
        assert isinstance(body, dict)
        return body

    def save(self, body: Mapping[str, object]) -> None:
        if self.full:
            raise OSError("no space left on device")
        self.text, self.saves = json.dumps(body), self.saves + 1


def opened(keep: PaperKeep, ids: Callable[[], str] | None = None) -> NodeMemory:
    numbers = count(1)
    return NodeMemory(keep, "n1", new_id=ids or (lambda: f"a{next(numbers)}"), lock=threading.Lock())


def saved(**changes: object) -> PaperKeep:
    """A keep that holds everything, with these changes of the document."""
    keep = PaperKeep()
    memory = opened(keep)
    memory.copy_of(HERE)
    memory.update(cluster="c1", epoch=5, beat=9, revision=60, seal=SEAL, claimed=4, catch_up=3, catch_up_data="d1")
    keep.save(dict(keep.load()) | changes)
    return keep


def test_a_directory_that_is_taken_for_an_old_one_is_the_new_copy_all_the_same() -> None:
    """A file system gives a freed inode to the next directory: the last id that was given counts."""
    memory = opened(keep := PaperKeep())
    first, second = memory.add_copy(HERE), memory.add_copy(HERE)
    assert first != second
    assert memory.copy_of(HERE) == opened(keep).copy_of(HERE) == Copy("n1", second)


def test_a_new_node_remembers_nothing_and_writes_nothing() -> None:
    keep = PaperKeep()
    assert opened(keep).value == Memory()
    assert keep.text == ""


def test_everything_comes_back_in_the_next_life() -> None:
    again = opened(saved())
    assert again.value == FULL
    assert again.copy_of(HERE) == Copy("n1", "a1")


@pytest.mark.parametrize("name", ["cluster", "epoch", "beat", "revision", "claimed", "catch_up", "seal"])
def test_each_field_is_durable_before_the_change_returns(name: str) -> None:
    keep = PaperKeep()
    wanted = getattr(FULL, name)
    opened(keep).update(**{name: wanted})
    assert opened(keep).value == replace(Memory(), **{name: wanted})


def test_what_could_not_be_written_is_not_remembered_either() -> None:
    keep = saved()
    memory = opened(keep, lambda: "new")
    keep.full = True
    for write in (lambda: memory.update(claimed=6), lambda: memory.add_copy(DataIdentity(1, 200, "77"))):
        with pytest.raises(OSError, match="no space"):
            write()
    assert memory.value == FULL
    assert memory.copy_of(HERE) == Copy("n1", "a1")


def test_a_node_whose_memory_cannot_be_written_goes_on_and_says_so() -> None:
    keep = saved()
    memory = opened(keep, lambda: "new")
    keep.full = True
    memory.seen(revision=61, epoch=6, beat=1)
    assert memory.value == FULL and memory.failed
    found = [memory.copy_of(DataIdentity(1, 200, "77")) for _ in range(2)]
    assert found == [None, None], "the id it did not get is not known the second time"
    keep.full = False
    memory.seen(revision=61, epoch=6, beat=1)
    assert (memory.value.epoch, memory.failed) == (6, "")


def test_an_unchanged_value_is_not_written_again() -> None:
    keep = saved()
    before = keep.saves
    opened(keep).update(claimed=4, seal=SEAL)
    assert keep.saves == before


# -- what the store has shown -----------------------------------------------------------------------------------


def test_only_a_higher_epoch_is_written_the_rest_is_known_in_this_life() -> None:
    keep = saved()
    memory, before = opened(keep), keep.saves
    memory.seen(revision=70, epoch=5, beat=12)
    assert (keep.saves, memory.value.beat, memory.value.revision) == (before, 12, 70)
    memory.seen(revision=71, epoch=6, beat=1)
    assert keep.saves == before + 1
    again = opened(keep).value
    assert (again.epoch, again.beat, again.revision) == (6, 1, 71)


SHOWN = st.tuples(st.integers(0, 9), st.integers(0, 3), st.integers(0, 9))


@given(st.lists(SHOWN, min_size=1, max_size=10))
def test_what_was_seen_never_goes_back(shown: list[tuple[int, int, int]]) -> None:
    memory = opened(PaperKeep())
    for revision, epoch, beat in shown:
        memory.seen(revision=revision, epoch=epoch, beat=beat)
    assert memory.value.revision == max(r for r, _, _ in shown)
    assert (memory.value.epoch, memory.value.beat) == max((e, b) for _, e, b in shown)


# -- copies -----------------------------------------------------------------------------------------------------


def test_no_directory_is_no_copy() -> None:
    keep = PaperKeep()
    assert opened(keep).copy_of(None) is None
    assert keep.text == ""


def test_the_same_directory_keeps_its_id_over_lives_and_another_one_gets_a_new_one() -> None:
    keep = PaperKeep()
    memory = opened(keep)
    assert memory.copy_of(HERE) == memory.copy_of(HERE) == Copy("n1", "a1")
    for other in (replace(HERE, device=2), replace(HERE, inode=101), replace(HERE, system="78"), replace(HERE, made=5)):
        assert memory.copy_of(other) not in (None, memory.copy_of(HERE))
    again = opened(keep, lambda: "new")
    assert again.copy_of(HERE) == Copy("n1", "a1")
    assert again.copy_of(replace(HERE, inode=101)) == Copy("n1", "a3")
    assert again.copy_of(replace(HERE, inode=999)) == Copy("n1", "new")


def test_the_copy_that_bootstrap_wrote_down_is_known_and_stays_known() -> None:
    keep = PaperKeep()
    keep.save({"schema": 1, "cluster": "c1", "data": {"id": "b0", "device": 1, "inode": 100, "system": "77"}})
    memory = opened(keep)
    assert memory.copy_of(HERE) == Copy("n1", "b0")
    memory.update(claimed=1)
    assert opened(keep, lambda: "new").copy_of(HERE) == Copy("n1", "b0")


def test_a_clones_id_is_durable_before_it_is_told() -> None:
    keep = PaperKeep()
    assert opened(keep).add_copy(HERE) == "a1"
    assert opened(keep, lambda: "new").copy_of(HERE) == Copy("n1", "a1")


def test_the_newest_directories_are_known_and_the_document_stays_small() -> None:
    keep = PaperKeep()
    memory = opened(keep)
    for inode in range(20):
        memory.add_copy(replace(HERE, inode=inode))
    again = opened(keep, lambda: "new")
    assert [again.copy_of(replace(HERE, inode=i)) for i in (12, 19)] == [Copy("n1", "a13"), Copy("n1", "a20")]
    assert again.copy_of(replace(HERE, inode=11)) == Copy("n1", "new")


# -- what can't be read -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("schema", [0, 2, "1", None, True])
def test_an_unknown_schema_stops_the_node(schema: object) -> None:
    with pytest.raises(ValueError, match="schema"):
        opened(saved(schema=schema))


BAD_SEALS: list[object] = [
    *([], "seal", 7, True, {}, {"revision": 50}),
    {"revision": 50, "node": "n1", "data": "a1", "timeline": 5},
    {"revision": 50, "node": "n1", "data": "a1", "timeline": 5, "lsn": "0/1"},
    {"revision": None, "node": "n1", "data": "a1", "timeline": 5, "lsn": 1},
    {"revision": 50, "node": 1, "data": "a1", "timeline": 5, "lsn": 1},
    {"revision": 50, "node": "n1", "data": None, "timeline": 5, "lsn": 1},
]
BAD_COPIES: list[object] = [
    *(7, {}, {"id": "a", "device": "1", "inode": 1, "system": ""}),
    *({"id": junk, "device": 1, "inode": 1, "system": "7"} for junk in (None, 5, "")),
]
BAD_NUMBERS: list[object] = ["5", None, True, 1.5]
BAD_WORDS: list[object] = [None, 5, []]
BAD: list[tuple[str, object]] = [
    *((name, bad) for name in ("epoch", "beat", "revision", "claimed", "catch_up") for bad in BAD_NUMBERS),
    *(("cluster", bad) for bad in BAD_WORDS),
    *(("seal", bad) for bad in BAD_SEALS),
    *(("copies", bad) for bad in ("x", 5, None)),
    *(("copies", [bad]) for bad in BAD_COPIES),
    *(("data", bad) for bad in BAD_COPIES),
]


@pytest.mark.parametrize(("name", "junk"), BAD, ids=str)
def test_junk_stops_the_node_with_a_word_about_it(name: str, junk: object) -> None:
    """A promise that was forgotten is a promise that gets broken."""
    with pytest.raises(ValueError, match="memory"):
        opened(saved(**{name: junk}))


def test_a_field_that_an_older_version_did_not_write_is_at_its_beginning() -> None:
    keep = PaperKeep()
    keep.save({"schema": 1})
    assert opened(keep).value == Memory()


# -- a data directory is known again ----------------------------------------------------------------------------


def known(identity: DataIdentity, *later: DataIdentity) -> list[str]:
    """The data ids that a node gives to what it finds, one after the other, each time as a fresh agent."""
    keep, ids = PaperKeep(), iter(("first", "second", "third"))
    found = [opened(keep, lambda: next(ids)).copy_of(one) for one in (identity, *later)]
    return [copy.data for copy in found if copy]


LIES = DataIdentity(41, 7, "77", 1000, "boot-1")


def test_after_a_reboot_a_directory_keeps_its_id_though_its_device_has_another_number() -> None:
    rebooted = replace(LIES, device=45, boot="boot-2")
    assert known(LIES, rebooted, replace(LIES, device=46, boot="boot-3")) == ["first"] * 3
    assert known(LIES, rebooted, replace(rebooted, device=46)) == ["first", "first", "second"], (
        "it is known as it lies now"
    )


@pytest.mark.parametrize("changes", [{"device": 42}, {"inode": 8}, {"system": "78"}, {"made": 1001}])
def test_within_one_boot_anything_else_is_another_directory(changes: dict[str, object]) -> None:
    assert known(LIES, replace(LIES, **changes)) == ["first", "second"]  # type: ignore[arg-type]  # fields by name


@pytest.mark.parametrize("changes", [{"inode": 8}, {"system": "78"}, {"made": 1001}])
def test_after_a_reboot_anything_but_the_device_still_counts(changes: dict[str, object]) -> None:
    assert known(LIES, replace(LIES, boot="boot-2", **changes)) == ["first", "second"]  # type: ignore[arg-type]


def test_a_full_disk_after_a_reboot_costs_no_id() -> None:
    keep = PaperKeep()
    opened(keep, lambda: "first").copy_of(LIES)
    keep.full = True
    assert opened(keep, lambda: "second").copy_of(replace(LIES, device=45, boot="boot-2")) == Copy("n1", "first")
