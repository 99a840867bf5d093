"""A server that ran before its guard: found by its identity, watched, fenced, left as it runs, or not taken at all."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from pgha.watchdog import guard_adopt
from pgha.watchdog.guard_os import now_s
from tests.watchdog.guarded_node import AS_USER, GuardedNode, alive, until

pytestmark = pytest.mark.timeout(60)


def running(node: GuardedNode) -> int:
    """A server that somebody else has started."""
    process = node.popen([f"{node.bin_dir}/postgres", "-D", str(node.data)])
    until(lambda: node.serves(process.pid), 20, "the server answers")
    return process.pid


def noted(node: GuardedNode, pid: int, **other: object) -> Path:
    """What bootstrap leaves for the guard."""
    there, path = node.data.stat(), node.state / guard_adopt.FILE
    body = {
        "postmaster": pid, "born": guard_adopt.born(pid), "device": there.st_dev, "inode": there.st_ino,
        "incarnation": "feed", "primary": True, "guarded": False,
    }  # fmt: skip
    path.write_text(json.dumps(body | other))
    if AS_USER:
        os.chown(path, node.data.stat().st_uid, node.data.stat().st_gid)
    return path


def test_a_running_server_is_taken_over_with_its_incarnation_and_told_to_be_no_child(node: GuardedNode) -> None:
    pid = running(node)
    path = noted(node, pid)
    _, agent = node.guard()
    told = agent.hello
    assert (told["incarnation"], told["postmaster"], told["child"], told["armed"]) == ("feed", pid, False, None)
    assert abs(float(str(told["started_s"])) - now_s()) < 30
    assert node.serves(pid) and json.loads(path.read_text())["guarded"] is True


def test_its_deadline_ends_the_whole_tree_of_a_server_that_is_no_child(node: GuardedNode) -> None:
    pid = running(node)
    tree = node.server_processes(pid)
    noted(node, pid)
    _, agent = node.guard()
    assert len(tree) > 3
    agent.call("deadline", at_s=now_s() + 0.2)
    until(lambda: not any(map(alive, tree)), 5, "no process of it may run")
    fresh = node.agent()
    state = fresh.told(lambda s: s["tree"] == 0)
    assert state["postmaster"] == 0 and state["exits"] == 1


def test_its_end_is_seen_at_once_and_the_next_start_is_a_child(node: GuardedNode) -> None:
    pid = running(node)
    noted(node, pid)
    _, agent = node.guard()
    os.kill(pid, signal.SIGINT)
    state = agent.told(lambda s: s["exits"] == 1 and s["tree"] == 0)
    assert state["exit_status"] == guard_adopt.ENDED
    node.start_server(agent)
    assert agent.states[-1]["child"] is True


def test_signals_reach_it_and_a_guard_that_is_replaced_keeps_it(node: GuardedNode) -> None:
    pid = running(node)
    noted(node, pid)
    node.guard()
    assert node.watchdog("--restart").wait(25) == 0
    agent = node.agent()
    assert (agent.hello["postmaster"], agent.hello["child"]) == (pid, False)
    agent.call("signal", name="SIGINT")
    assert agent.told(lambda s: s["exits"] == 1)["tree"] is not None
    until(lambda: not alive(pid), 5, "it has ended")


def test_after_the_death_of_guard_and_agent_the_next_guard_gives_its_agent_a_deadline(node: GuardedNode) -> None:
    pid = running(node)
    noted(node, pid, guarded=True)
    before_s = now_s()
    _, agent = node.guard()
    armed = agent.hello["armed"]
    assert isinstance(armed, float) and before_s < armed <= now_s() + guard_adopt.RENEWED_S
    assert agent.hello["postmaster"] == pid


@pytest.mark.parametrize("other", [{"born": 1}, {"inode": 1}, {"postmaster": 1}])
def test_another_server_than_the_one_that_was_looked_at_is_left_alone(
    node: GuardedNode, other: dict[str, object]
) -> None:
    pid = running(node)
    path = noted(node, pid, **other)
    assert node.watchdog("--foreground").wait(10) == 4
    assert node.serves(pid) and json.loads(path.read_text())["guarded"] is False
    assert "was not taken over" in (node.root / "out").read_text()


def test_once_it_has_ended_the_note_is_of_no_meaning(node: GuardedNode) -> None:
    pid = running(node)
    noted(node, pid, guarded=True)
    os.kill(pid, signal.SIGINT)
    until(lambda: not alive(pid), 10, "it has ended")
    _, agent = node.guard()
    assert agent.hello["postmaster"] == 0 and agent.hello["incarnation"] != "feed"


def test_the_watchdog_leaves_a_server_that_it_took_over_as_it_runs(node: GuardedNode) -> None:
    pid = running(node)
    noted(node, pid)
    guard, agent = node.guard()
    agent.call("deadline", at_s=now_s() + 1.0)
    assert node.watchdog("--leave").wait(20) == 0
    assert guard.wait(5) == 0 and not alive(agent.pid)
    until(lambda: now_s() > float(str(agent.hello["at_s"])) + 1.5, 5, "the deadline of before is over")
    assert node.serves(pid) and alive(pid)


def test_the_watchdog_does_not_leave_a_server_that_it_has_started(node: GuardedNode) -> None:
    guard, agent = node.guard()
    pid = node.start_server(agent)
    assert node.watchdog("--leave", "--within", "1").wait(20) == 4
    assert guard.poll() is None and node.serves(pid)
