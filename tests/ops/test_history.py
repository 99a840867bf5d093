"""`history`: what the events in the store say, newest first, and one of them phase by phase."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import pairwise

import pytest

from pgha import records, render_history
from pgha.cli import log_sources, sources
from pgha.cli import main as cli
from pgha.core.model import Event, Position
from pgha.errors import Exit, UsageError
from pgha.ops import status
from pgha.ops.history import history, phases_of, takeover
from pgha.records import Records
from tests.ops.cases import NOW, TARGET, seen
from tests.support import golden

PHASES = {"seal": 24.1, "claim": 31.6, "promote": 140.0, "writable": 146.4}
LONG = "the server does not answer: FATAL: the database system is in recovery mode, three times in a row"
FIRST = Event(2, "n1", "", "failover", "n1 released: bootstrap", Position(2, 0x3000000), PHASES, at=NOW - 90000.0)
EVENTS: Mapping[int, Event] = {
    2: FIRST,
    3: Event(3, "n2", "n1", "failover", "n1 was silent", Position(3, 0x4000000), PHASES, at=NOW - 3600.0),
    6: Event(
        6, "n1", "n2", "switchover", "n2 released: switchover to n1 asked by anna@desk", Position(6, 0x5000000),
        PHASES | {"promote": 300.0, "writable": 412.0}, asked_by="anna@desk", at=NOW - 60.0,
    ),
    7: Event(
        7, "n3", "n1", "failover", LONG, Position(7, 0x6000000), asked_by="bob@desk", at=NOW, loss_bytes=1 << 20
    ),
}  # fmt: skip


def _found(events: Mapping[int, Event] = EVENTS, *problems: records.Problem) -> Records:
    return Records(revision=9, history=events, problems=problems)


def _page(found: Records, count: int = 10) -> str:
    return "\n".join(render_history.lines(history(TARGET, found, count), 80)) + "\n"


def _one(epoch: int, found: Records | None = None) -> str:
    return "\n".join(render_history.one_lines(takeover(TARGET, found or _found(), epoch), 80)) + "\n"


LOOKS: dict[str, tuple[Records, int]] = {
    "several": (_found(), 10),
    "the-newest": (_found(), 2),
    "none": (_found({}), 10),
    "junk-key": (_found(EVENTS, records.Problem("history/9", "schema 99, this version knows 1")), 1),
}


@pytest.mark.parametrize("name", LOOKS)
def test_the_table_is_as_kept(name: str) -> None:
    golden.check(_page(*LOOKS[name]), f"history-{name}.txt", beside=__file__)


@pytest.mark.parametrize("epoch", EVENTS)
def test_the_page_of_one_take_over_is_as_kept(epoch: int) -> None:
    golden.check(_one(epoch), f"history-one-{epoch}.txt", beside=__file__)


def test_no_line_is_wider_than_80() -> None:
    name = "a-node-with-quite-a-long-name-of-40-chars"
    wide = _found({e: replace(event, reason=event.reason * 3) for e, event in EVENTS.items()})
    pages = [_page(wide), *(_one(epoch, wide) for epoch in EVENTS)]
    assert max(len(line) for page in pages for line in page.splitlines()) <= 80
    assert name in _page(_found({2: replace(FIRST, holder=name)}))  # a long name is shown whole, whatever it costs


def test_newest_come_first_and_the_rest_is_counted_with_the_command_that_shows_it() -> None:
    found = history(TARGET, _found(), 3)
    assert [one.event.epoch for one in found.shown] == [7, 6, 3] and found.older == 1
    assert found.more == "pgha history -n 4"


def test_phases_are_told_in_the_order_they_ended_each_with_its_own_share() -> None:
    found = phases_of(replace(FIRST, phases_ms={"b": 30.0, "a": 10.0}))
    assert [(p.name, p.at_ms, p.took_ms) for p in found] == [("a", 10.0, 10.0), ("b", 30.0, 20.0)]


@pytest.mark.parametrize("junk", [-1.0, float("nan"), float("inf"), 1e300])
def test_a_time_that_can_not_be_is_left_out(junk: float) -> None:
    event = replace(FIRST, phases_ms={"seal": 5.0, "writable": junk})
    assert [p.name for p in phases_of(event)] == ["seal"]
    one = takeover(TARGET, _found({2: event}), 2)
    assert one.writable_ms is None and json.dumps(render_history.one_as_dict(one))


def test_bars_grow_with_their_time_and_begin_where_the_one_before_ended() -> None:
    bars = [line for line in _one(3).splitlines() if line.endswith("#")]
    columns = [(line.index("#"), len(line)) for line in bars]
    assert len(bars) == 4
    assert all(before[0] <= after[0] and before[1] <= after[1] for before, after in pairwise(columns))
    assert columns[2][1] - columns[2][0] > columns[1][1] - columns[1][0]


def test_the_time_since_the_take_over_before_and_epochs_without_a_record_are_told() -> None:
    one = takeover(TARGET, _found(), 6)
    assert (one.before_s, one.skipped) == (3540.0, (4, 5))
    assert takeover(TARGET, _found(), 2).before_s is None


EPOCHS = [
    (1, "recorded: 2 to 7; nearest: 2"),
    (5, "recorded: 2 to 7; nearest: 3 and 6"),
    (9, "recorded: 2 to 7; nearest: 7"),
]


@pytest.mark.parametrize(("epoch", "why"), EPOCHS)
def test_an_unknown_epoch_is_a_usage_error_with_the_range_known(epoch: int, why: str) -> None:
    with pytest.raises(UsageError) as e:
        takeover(TARGET, _found(), epoch)
    assert e.value.because == why and e.value.code is Exit.USAGE


def test_an_epoch_whose_record_can_not_be_read_says_so() -> None:
    with pytest.raises(UsageError) as e:
        takeover(TARGET, _found(EVENTS, records.Problem("history/9", "not a JSON object")), 9)
    assert "key history/9 is left alone: not a JSON object" in e.value.because


@pytest.mark.parametrize("at", [0.0, -1.0, 1e300, 253402300800.0])
def test_a_clock_that_says_nothing_sensible_is_a_dash(at: float) -> None:
    assert render_history.when_text(at) == "-"


def test_nothing_the_store_says_can_move_the_cursor() -> None:
    evil = replace(FIRST, reason="\x1b[2J", kind="\x07", source="n\x1b1", phases_ms={"\x1b[1A": 3.0})
    pages = [_page(_found({2: evil})), _one(2, _found({2: evil}))]
    assert all(c.isprintable() for page in pages for line in page.splitlines() for c in line)


def test_json_has_stable_names_and_its_schema() -> None:
    body = json.loads(json.dumps(render_history.as_dict(history(TARGET, _found(), 3))))
    assert body["schema_version"] == 1 and [t["epoch"] for t in body["take_overs"]] == [7, 6, 3] and body["older"] == 1
    assert set(body["take_overs"][0]) == {
        "epoch", "at", "from", "to", "kind", "reason", "asked_by", "writable_ms", "position", "loss_bytes", "phases",
        "before_s", "skipped",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "down", "code", "said"),
    [
        ([], "", Exit.OK, "shop: 4 take-overs"),
        (["6"], "", Exit.OK, "epoch 6"),
        (["-n", "1"], "", Exit.OK, "3 older: pgha history -n 4"),
        (["9"], "", Exit.USAGE, "recorded: 2 to 7"),
        (["six"], "", Exit.USAGE, "'six'"),
        (["-n", "0"], "", Exit.USAGE, "0"),
        (["-o", "json", "6"], "", Exit.OK, '"writable_ms": 412.0'),
        ([], "no answer", Exit.STORE, "no answer"),
    ],
)
def test_the_command_says_it_and_ends_with_its_code(
    words: list[str],
    down: str,
    code: Exit,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    look = replace(seen(), records=_found(), down=down)
    monkeypatch.setattr(sources, "target_of", lambda choice: TARGET)
    monkeypatch.setattr(log_sources, "of", lambda choice, names, **_more: ([], iter))
    monkeypatch.setattr(sources, "open_store", lambda access: None)
    monkeypatch.setattr(status, "gather", lambda *args, **more: look)
    assert cli.run(["history", *words]) == code
    shown = capsys.readouterr()
    assert said in (shown.err if code is not Exit.OK else shown.out)
