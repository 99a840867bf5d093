"""A take-over as the nodes' logs tell it: in order, cause first, and how long nobody was writable."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

import pytest

from pgha import render_history, render_markdown
from pgha.core.model import Event, Position
from pgha.core.timing import Timing
from pgha.ops.history import takeover, with_story
from pgha.ops.story import MOST, Log, Story, tell
from pgha.records import Records
from tests.ops.cases import TARGET
from tests.support import golden

T0 = 1_700_000_000.0  # 22:13:20 UTC
PHASES = {"seal": 24.0, "claim": 31.0, "promote": 140.0, "writable": 146.0}
CRASH = Event(6, "n2", "n1", "failover", "n1 released: signal 9", Position(6, 0x5000000), PHASES, at=T0 + 1.2)
MOVE = Event(
    7, "n1", "n2", "switchover", "n2 released: switchover to n1 asked by anna@desk", Position(7, 0x6000000), PHASES,
    asked_by="anna@desk", at=T0 + 61.0,
)  # fmt: skip


def agent(after_s: float, event: str, **facts: object) -> str:
    """A line of an agent's log, so long after T0; its node was booted 5000 s before."""
    at = T0 + after_s
    shown = f"2023-11-14T22:{13 + int(20 + after_s) // 60:02d}:{(20 + after_s) % 60:06.3f}Z"
    return json.dumps({"time": shown, "boot_s": round(at - T0 + 5000, 3), "event": event, **facts})


def guard(after_s: float, event: str, **facts: object) -> str:
    """A line of a guard's log: whole seconds."""
    return json.dumps(
        {**json.loads(agent(after_s, event, **facts)), "time": json.loads(agent(int(after_s), ""))["time"]}
    )


def decided(after_s: float, rule: str, says: str, action: str = "do it") -> str:
    return agent(after_s, "decision", rule=rule, action=action, says=says, because={})


N1 = Log(
    agent="\n".join((
        decided(-300.0, "R510_START", "long ago"),
        agent(0.020, "release", epoch=5, outcome="Committed", because="signal 9"),
        decided(0.030, "R510_START", "the server is down: it starts as a sealed standby"),
        decided(0.040, "R530_WAIT_START", "the server starts", "nothing"),
        "{broken", "not json at all", '{"event": "claim"}',
        agent(60.4, "claim", epoch=7, outcome="Committed", because="n2 released: switchover"),
        agent(60.5, "writable", epoch=7, outcome="Committed"),
    )),
    guard="\n".join((guard(0.0, "server ended", pid=7, status="signal 9"), guard(0.005, "tree empty", took_s=0.004))),
)  # fmt: skip
N2 = Log(
    agent="\n".join((
        decided(0.030, "R620_SEAL", "the key is free: the server is cut off, measured, and sealed"),
        agent(0.061, "claim", epoch=6, outcome="Unknown", because="n1 released: signal 9"),
        agent(0.180, "writable", epoch=6, outcome="Committed"),
        agent(20.0, "near miss", epoch=6, left_s=0.87, limit_s=1.33),
        agent(30.0, "near miss", epoch=6, left_s=1.2, limit_s=1.33),
        decided(60.1, "R400_HAND_OVER", "switchover: the server stops and the key goes to the target"),
        agent(60.3, "handed", target="n1", clean=True, outcome="Committed"),
    )),
    guard=guard(60.2, "server ended", pid=8, status="exit 0"),
)  # fmt: skip
LOGS: Mapping[str, Log] = {"n1": N1, "n2": N2, "n3": Log(problem="n3/watchdog.log: Permission denied")}
FOUND = Records(revision=9, history={6: CRASH, 7: MOVE})


def says(story: Story) -> list[str]:
    return [f"{line.node} {line.says}" for line in story.lines]


def test_a_crash_is_told_from_its_cause_to_the_new_primary_and_counted_from_the_servers_end() -> None:
    story = tell(CRASH, 0.0, LOGS, 6.0)
    assert says(story)[:6] == [
        "n1 its server ended: signal 9",
        "n1 releases epoch 5: signal 9",
        "n1 R510: the server is down: it starts as a sealed standby",
        "n2 R620: the key is free: the server is cut off, measured, and sealed",
        "n2 claims epoch 6: n1 released: signal 9 (unknown)",
        "n2 is writable, epoch 6",
    ]
    assert story.outage_ms == pytest.approx(180.0, abs=0.5)
    assert story.unread == (("n3", "n3/watchdog.log: Permission denied"),)


def test_a_switchover_is_counted_from_the_decision_to_stop_and_does_not_reach_into_the_one_before() -> None:
    story = tell(MOVE, CRASH.at, LOGS, 6.0)
    assert story.began is not None and story.began.says.startswith("R400")
    assert story.outage_ms == pytest.approx(400.0, abs=0.5)
    assert not any("epoch 6" in line for line in says(story))


def page_of(event: Event, found: Records) -> str:
    """Of that take-over by the new primary's log alone, on one line."""
    one = with_story(takeover(TARGET, found, event.epoch), found, {"n2": N2})
    return " ".join(" ".join(render_history.one_lines(one, 80)).split())


def test_without_the_old_primarys_log_the_outage_of_a_released_key_has_a_lower_limit() -> None:
    story = tell(CRASH, 0.0, {"n2": N2}, 6.0)
    assert story.outage_ms is None and story.began is None and story.lines
    assert story.within_ms == (PHASES["writable"], None)
    assert "outage at least 146 ms, from the key being free until n2 is writable" in page_of(CRASH, FOUND)


def test_the_outage_after_a_silence_lies_between_the_guards_deadline_and_the_last_word() -> None:
    silence = replace(CRASH, reason="n1 was silent")
    story, writable = tell(silence, 0.0, {"n2": N2}, 6.0), PHASES["writable"]
    assert story.within_ms == (writable + (6.0 - Timing(6.0).fenced_s) * 1000, writable + 6000.0)
    page = page_of(silence, replace(FOUND, history={6: silence}))
    assert "outage between 0." in page and "n1 was last heard 6.1 s before n2 was writable" in page


def test_where_the_old_primarys_log_shows_its_end_no_limits_are_needed() -> None:
    assert tell(CRASH, 0.0, LOGS, 6.0).within_ms is None
    assert tell(replace(CRASH, phases_ms={}), 0.0, {"n2": N2}, 6.0).within_ms is None


def test_a_guards_whole_seconds_are_made_exact_by_its_boot_clock() -> None:
    late = Log(agent=N1.agent, guard=guard(0.9, "server ended", status="exit 1"))
    line = next(x for x in tell(CRASH, 0.0, {"n1": late, "n2": N2}, 6.0).lines if x.event == "server ended")
    assert line.at == pytest.approx(T0 + 0.9, abs=0.002)


def test_of_too_many_lines_the_newest_are_told_and_the_others_counted() -> None:
    many = Log(agent="\n".join(agent(n / 1000, "fence", done=True) for n in range(MOST + 5)))
    story = tell(CRASH, 0.0, {"n3": many}, 6.0)
    assert (len(story.lines), story.left_out) == (MOST, 5)


@pytest.mark.parametrize(
    "junk", ["[]", "3", "{}", '{"event": 3, "time": 5}', '{"time": "x", "event": "claim"}', "\x00"]
)
def test_junk_in_a_log_is_passed_over(junk: str) -> None:
    assert tell(CRASH, 0.0, {"n1": Log(agent=junk, guard=junk)}, 6.0).lines == ()


@pytest.mark.parametrize("epoch", [6, 7])
def test_the_page_with_its_story_is_as_kept(epoch: int) -> None:
    one = with_story(takeover(TARGET, FOUND, epoch), FOUND, LOGS)
    page = render_history.one_lines(one, 80)
    assert max(map(len, page)) <= 80
    golden.check("\n".join(page) + "\n", f"history-story-{epoch}.txt", beside=__file__)


def test_the_cause_is_who_asked_else_what_went_wrong_first_on_the_old_primary() -> None:
    assert tell(MOVE, CRASH.at, LOGS, 6.0).cause == "anna@desk asked for it"
    assert tell(CRASH, 0.0, LOGS, 6.0).cause == "n1: its server ended: signal 9"
    silent = replace(CRASH, reason="n1 was silent")
    assert tell(silent, 0.0, {"n2": N2}, 6.0).cause.startswith("n1 fell silent")
    assert tell(replace(CRASH, reason="n2 had to stop"), 0.0, {}, 6.0).cause == "n2 had to stop"


def test_near_misses_of_the_epoch_that_ended_are_counted_and_those_of_others_are_not() -> None:
    moved, crashed = tell(MOVE, CRASH.at, LOGS, 6.0), tell(CRASH, 0.0, LOGS, 6.0)
    assert (moved.near, moved.least_s) == (2, 0.87) and (crashed.near, crashed.least_s) == (0, None)


@pytest.mark.parametrize("epoch", [6, 7])
def test_the_markdown_page_is_as_kept(epoch: int) -> None:
    one = with_story(takeover(TARGET, FOUND, epoch), FOUND, LOGS)
    golden.check("\n".join(render_markdown.take_over(one)) + "\n", f"history-markdown-{epoch}.md", beside=__file__)


def test_nothing_that_a_log_says_breaks_a_markdown_table() -> None:
    evil = Log(agent=agent(0.0, "trouble", says="a | b\n# <script> \\"))
    page = render_markdown.take_over(with_story(takeover(TARGET, FOUND, 6), FOUND, {"n1": evil}))
    (line,) = [x for x in page if x.startswith("| 0 |")]
    assert line == "| 0 | n1 | a \\| b?# &lt;script> \\\\ |"


def test_json_has_the_story_and_the_outage() -> None:
    one = with_story(takeover(TARGET, FOUND, 6), FOUND, LOGS)
    body = json.loads(json.dumps(render_history.one_as_dict(one)))["take_over"]
    assert body["outage_ms"] == pytest.approx(180.0, abs=0.5)
    assert body["story"][0] == {"at": T0, "node": "n1", "event": "server ended", "says": "its server ended: signal 9"}
    assert body["logs_unread"] == {"n3": "n3/watchdog.log: Permission denied"}
