"""The verdict: what it says of histories whose truth is known, and that it sees every lie planted in them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgha.ops.judge import (
    Fault,
    History,
    Row,
    Survivors,
    dump_history,
    judge_history,
    longest_gap,
    missing,
    parse_history,
    stray_rows,
    verdict,
)


def acked(number: int, node: str, epoch: int, at_s: float) -> Row:
    """A row acknowledged a millisecond after it was sent."""
    return Row(1, number, node, epoch, at_s - 0.001, at_s)


@st.composite
def lawful(draw: st.DrawFn) -> History:
    """One writer at a time: reigns of rising epochs, each after the one before, every acknowledged row kept."""
    rows: list[Row] = []
    at_s, epoch, number = 100.0, 0, 0
    for _ in range(draw(st.integers(1, 4))):
        epoch += draw(st.integers(1, 3))
        node = draw(st.sampled_from(["n1", "n2", "n3"]))
        at_s += draw(st.floats(0.01, 3.0))
        for _ in range(draw(st.integers(1, 8))):
            number += 1
            at_s += draw(st.floats(0.002, 0.05))
            rows.append(acked(number, node, epoch, at_s))
            if draw(st.integers(0, 5)) == 0:
                number += 1
                rows.append(Row(1, number, node, epoch, at_s, None, warned=draw(st.booleans())))
    kept = tuple(r.ident for r in rows if r.acked_s is not None or draw(st.booleans()))
    return History(100.0, at_s + 0.01, tuple(draw(st.permutations(rows))), Survivors("n1", at_s + 0.02, kept))


@given(lawful())
def test_a_lawful_history_is_clean(history: History) -> None:
    found = verdict(history)
    assert found.clean
    assert found.acked + found.unsure == len(history.rows)


@given(lawful(), st.data())
def test_a_removed_acknowledged_row_is_found_and_named(history: History, data: st.DataObject) -> None:
    victim = data.draw(st.sampled_from([r for r in history.rows if r.acked_s is not None]))
    assert history.survivors is not None
    left = tuple(i for i in history.survivors.idents if i != victim.ident)
    found = verdict(replace(history, survivors=replace(history.survivors, idents=left)))
    assert (found.lost, found.lost_first) == (1, (victim.ident,))
    assert not found.clean


@given(lawful())
def test_a_row_without_confirmation_may_be_missing(history: History) -> None:
    assert history.survivors is not None
    kept = tuple(r.ident for r in history.rows if r.acked_s is not None)
    assert verdict(replace(history, survivors=replace(history.survivors, idents=kept))).lost == 0


@given(lawful(), st.data())
def test_a_row_that_is_there_twice_is_found(history: History, data: st.DataObject) -> None:
    assert history.survivors is not None
    twice = data.draw(st.sampled_from(sorted(history.survivors.idents)))
    doubled = replace(history.survivors, idents=(*history.survivors.idents, twice))
    assert verdict(replace(history, survivors=doubled)).duplicates == 1


@given(lawful(), st.data())
def test_a_second_writer_is_found_wherever_it_is_planted(history: History, data: st.DataObject) -> None:
    first = min((r for r in history.rows if r.acked_s is not None), key=lambda r: r.acked_s or 0.0)
    assert first.acked_s is not None
    sent_s = data.draw(st.floats(first.acked_s + 0.0001, history.end_s))
    epoch = data.draw(st.integers(max(0, first.epoch - 1), first.epoch))
    other = Row(9, 1, "elsewhere", epoch, sent_s, sent_s + 0.001)
    found = verdict(replace(history, rows=(*history.rows, other)))
    assert found.two_writers >= 1
    assert any("elsewhere" in (s.node, s.other) for s in found.strays)


def test_a_row_sent_before_the_hand_over_and_acknowledged_after_it_is_no_second_writer() -> None:
    late = Row(1, 1, "n1", 1, 10.000, 10.300)
    assert stray_rows([late, acked(2, "n2", 2, 10.2)]) == []


def test_a_row_sent_to_the_old_primary_after_the_new_one_acknowledged_is_a_second_writer() -> None:
    stray = Row(1, 2, "n1", 1, 10.201, 10.300)
    found = stray_rows([acked(1, "n2", 2, 10.2), stray])
    assert [(s.ident, s.node, s.other) for s in found] == [((1, 2), "n1", "n2")]


def test_a_node_that_acknowledges_again_under_a_newer_epoch_is_no_second_writer() -> None:
    assert stray_rows([acked(1, "n1", 1, 10.0), acked(2, "n2", 2, 11.0), acked(3, "n1", 3, 12.0)]) == []


def test_two_nodes_under_one_epoch_are_two_writers() -> None:
    assert len(stray_rows([acked(1, "n1", 1, 10.0), acked(2, "n2", 1, 10.5), acked(3, "n1", 1, 11.0)])) == 2


def test_a_row_acknowledged_after_the_survivors_were_asked_for_is_not_lost() -> None:
    rows = [acked(1, "n1", 1, 10.0), acked(2, "n1", 1, 10.2)]
    assert missing(rows, Survivors("n1", 10.1, ((1, 1),))) == []
    assert missing(rows, Survivors("n1", 10.3, ((1, 1),))) == [(1, 2)]


def test_without_survivors_nothing_is_said_about_losses() -> None:
    found = verdict(History(0.0, 1.0, (acked(1, "n1", 1, 0.5),)))
    assert found.lost is None
    assert not found.clean


@given(st.lists(st.floats(0.0, 10.0)), st.floats(0.0, 4.0), st.floats(5.0, 10.0))
def test_the_longest_gap_holds_no_acknowledgement_and_no_other_is_longer(
    acks: list[float], start_s: float, end_s: float
) -> None:
    gap = longest_gap(acks, start_s=start_s, end_s=end_s)
    assert not any(gap.from_s < a < gap.to_s for a in acks)
    points = sorted({start_s, end_s, *(a for a in acks if start_s < a < end_s)})
    assert gap.seconds == max(b - a for a, b in pairwise(points))


def test_a_planted_outage_is_measured_and_given_to_its_fault() -> None:
    times = [10.0 + i * 0.005 for i in range(200)] + [13.0 + i * 0.005 for i in range(200)]
    rows = [acked(n, "n1" if at < 12 else "n2", 1 if at < 12 else 2, at) for n, at in enumerate(times)]
    found = verdict(History(10.0, 13.995, tuple(rows), None, (Fault("early", 10.2), Fault("crash", 10.9))))
    assert found.outage_s == pytest.approx(3.0 - 0.995)
    early, crash = found.faults
    assert early.outage_s == pytest.approx(0.005)
    assert crash.outage_s == pytest.approx(2.005)
    assert (crash.acked_before, crash.acked_after) == ("n1", "n2")


def test_a_fault_does_not_answer_for_the_longer_outage_before_it() -> None:
    times = [10.0, 13.0, 13.1, 13.3, 13.305]
    rows = [acked(n, "n1", 1, at) for n, at in enumerate(times)]
    found = verdict(History(10.0, 13.31, tuple(rows), None, (Fault("long", 10.5), Fault("short", 13.15))))
    assert [f.outage_s for f in found.faults] == [pytest.approx(3.0), pytest.approx(0.2)]


def test_writes_that_never_come_back_are_an_outage_until_the_end() -> None:
    found = verdict(History(0.0, 9.0, (acked(1, "n1", 1, 1.0),), None, (Fault("crash", 1.5),)))
    assert found.outage_s == pytest.approx(8.0)
    assert found.faults[0].outage_s == pytest.approx(8.0)
    assert found.faults[0].acked_after == ""


@settings(max_examples=30)
@given(lawful())
def test_a_history_that_was_written_is_judged_the_same_again(history: History) -> None:
    again = parse_history(dump_history(replace(history, faults=(Fault("crash", 100.5),))))
    assert verdict(again) == verdict(replace(history, faults=(Fault("crash", 100.5),)))


def test_a_history_file_is_judged_and_a_broken_line_is_named(tmp_path: Path) -> None:
    history = History(0.0, 2.0, (acked(1, "n1", 1, 1.0),), Survivors("n1", 1.5, ()))
    path = tmp_path / "history.jsonl"
    path.write_text("\n".join(dump_history(history)))
    assert judge_history(path).lost == 1
    path.write_text(path.read_text() + '\n{"kind": "row"}')
    with pytest.raises(ValueError, match="line 4 of the history"):
        judge_history(path)
