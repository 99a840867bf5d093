"""`pgha watchdog --restart`: the guard becomes a newer one in its own process, and the server does not notice."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

import pytest

from pgha.watchdog.guard_os import now_s
from pgha.watchdog.guard_restart import FORMAT, PROTOCOL, Handover, again_argv
from pgha.watchdog.guard_stop import handed_over
from pgha.watchdog.link import Link
from tests.watchdog.guarded_node import CHECKOUT, GuardedNode, alive, until

GOOD: dict[str, object] = {
    "format": FORMAT, "generation": 1, "lock": 3, "incarnation": "ab", "oom_score": "", "deadline_s": None,
    "data_dir": "/d", "postmaster": 7, "started_s": 1.5, "exits": 0, "exit_status": "",
    "agent": 8, "agent_fd": 9, "agent_started_s": 2.5, "log_writer": 0,
}  # fmt: skip


def restart(node: GuardedNode, *more: str) -> int:
    """The command; gives its exit code."""
    return node.watchdog("--restart", *more).wait(25)


def test_the_same_process_is_a_newer_guard_and_the_server_stays(node: GuardedNode) -> None:
    guard, agent = node.guard()
    postmaster = node.start_server(agent)
    before = node.server_processes(postmaster)
    at_s = now_s() + 30.0
    agent.call("deadline", at_s=at_s)
    incarnation = agent.hello["incarnation"]
    assert restart(node) == 0
    fresh = node.agent()
    assert handed_over(guard.pid) == (1, agent.pid) and guard.poll() is None
    assert not alive(agent.pid) and fresh.pid != agent.pid
    assert (fresh.hello["incarnation"], fresh.hello["postmaster"], fresh.hello["armed"]) == (
        incarnation,
        postmaster,
        at_s,
    )
    assert all(map(alive, before)) and node.serves(postmaster)
    assert node.holder() == guard.pid and node.watchdog().wait(10) == 0, "it still has the lock: another one leaves"
    assert handed_over(guard.pid)[0] == 1


def test_the_deadline_of_before_is_kept_by_the_guard_of_after(node: GuardedNode) -> None:
    _, agent = node.guard()
    server = node.server_processes(node.start_server(agent))
    at_s = now_s() + 4.0
    agent.call("deadline", at_s=at_s)
    assert restart(node) == 0
    assert all(map(alive, server)) and now_s() < at_s, "in time for this to mean something"
    until(lambda: not any(map(alive, server)), 6.0, "the deadline is kept")
    assert at_s <= now_s() < at_s + 1.0


def test_the_guard_of_after_is_parent_and_subreaper_and_takes_its_server_with_it(node: GuardedNode) -> None:
    guard, agent = node.guard()
    postmaster = node.start_server(agent)
    assert restart(node) == 0
    fresh = node.agent()
    os.kill(postmaster, signal.SIGKILL)
    fresh.told(lambda s: s["exits"] == 1 and s["tree"] == 0)
    fresh.call("deadline", at_s=None)
    again = node.start_server(fresh)
    guard.kill()
    guard.wait(5)
    until(lambda: not alive(again), 5.0, "the server ends with its guard")


def test_it_can_be_replaced_again_and_again_and_leaks_nothing(bare_node: GuardedNode) -> None:
    guard, _ = bare_node.guard()

    until(lambda: not _writes_log(guard.pid), 5, "it is at rest")
    first, environment = _files(guard.pid), Path(f"/proc/{guard.pid}/environ").read_bytes()
    for generation in (1, 2, 3):
        assert restart(bare_node) == 0
        assert bare_node.agent().hello["incarnation"]
        assert handed_over(guard.pid)[0] == generation
    until(lambda: not _writes_log(guard.pid), 5, "it is at rest")
    assert _files(guard.pid) == first
    assert Path(f"/proc/{guard.pid}/environ").read_bytes() == environment
    assert not [f for pid in _children(guard.pid) for f in _files(pid) if f == "watchdog.lock"], "it is nobody else's"


def _files(pid: int) -> list[str]:
    """What it has open, without numbers that differ from one life to the next."""
    links = (os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir())
    return sorted(os.path.basename(link).split(":")[0] for link in links)


def _children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _writes_log(pid: int) -> bool:
    return len(_children(pid)) > 1


def test_a_running_tool_is_brought_to_its_end_first(bare_node: GuardedNode) -> None:
    guard, agent = bare_node.guard()
    gate = bare_node.root / "state" / "gate"
    wait = f"while [ ! -e {gate} ]; do sleep 0.02; done; echo done"
    number = agent.order("run_tool", argv=["/bin/sh", "-c", wait], deadline_s=now_s() + 20.0)
    until(lambda: any(e["event"] == "tool started" for e in bare_node.events()), 5, "the tool runs")
    assert restart(bare_node, "--within", "0.5") == 6
    assert alive(agent.pid) and handed_over(guard.pid)[0] == 0
    gate.touch()
    result = agent.answer(number)["result"]
    assert isinstance(result, dict) and result["tail"] == "done\n"
    bare_node.agent()
    assert handed_over(guard.pid)[0] == 1


def test_a_next_guard_that_does_not_start_leaves_the_running_one_in_place(node: GuardedNode) -> None:
    guard, agent = node.guard()
    postmaster = node.start_server(agent)
    text = node.file.read_text()
    node.file.write_text(text.replace(str(node.data), "/nowhere"))
    os.kill(guard.pid, signal.SIGHUP)
    until(lambda: any(e["event"] == "restart refused" for e in node.events()), 10, "it says so")
    node.file.write_text(text)
    assert alive(agent.pid) and node.serves(postmaster) and handed_over(guard.pid)[0] == 0
    assert "this version can't take over" in (node.root / "out").read_text()
    assert restart(node) == 0, "the next wish is heard again"


def test_without_a_watchdog_there_is_nothing_to_restart(bare_node: GuardedNode) -> None:
    assert restart(bare_node) == 4
    assert "no watchdog runs on this node" in (bare_node.root / "out").read_text()


def test_a_stop_that_comes_during_the_exec_is_not_lost_and_the_fresh_agent_carries_it_out(node: GuardedNode) -> None:
    guard, agent = node.guard()
    postmaster = node.start_server(agent)
    os.kill(guard.pid, signal.SIGHUP)
    end_s = time.monotonic() + 10
    while handed_over(guard.pid)[0] == 0 and time.monotonic() < end_s:
        pass
    os.kill(guard.pid, signal.SIGTERM)  # the default action would end it, and leave the server to its own death signal
    fresh = node.agent()
    fresh.told(lambda s: s["stop"])
    assert alive(postmaster), "it is the agent that stops it, and releases the key"
    fresh.call("signal", name="SIGINT")
    fresh.told(lambda s: s["exits"] == 1 and s["tree"] == 0)
    fresh.order("exit", code=0)
    assert guard.wait(10) == 0
    assert node.events()[-1]["event"] == "guard stopped"


@pytest.mark.parametrize(
    "changes",
    [{"format": FORMAT + 1}, {"lock": "3"}, {"deadline_s": "soon"}, {"agent_started_s": None}, {"incarnation": 5}],
    ids=str,
)
def test_what_another_version_hands_over_is_refused_in_words(changes: dict[str, object]) -> None:
    assert Handover.parse(json.dumps(GOOD)).count("postmaster") == 7
    with pytest.raises(ValueError, match="the running guard hands over"):
        Handover.parse(json.dumps(GOOD | changes))
    for name in GOOD:
        with pytest.raises(ValueError, match="hands over"):
            Handover.parse(json.dumps({k: v for k, v in GOOD.items() if k != name}))


def test_the_next_guard_is_started_as_this_one_was(monkeypatch: pytest.MonkeyPatch) -> None:
    args = ["--node", "/n.json", "--resume", "{}", "--foreground"]
    monkeypatch.setattr(sys, "orig_argv", ["python3", "-m", "pgha", "watchdog", *args])
    assert again_argv(args) == [sys.executable, "-m", "pgha", "watchdog", "--node", "/n.json", "--foreground"]
    monkeypatch.chdir(CHECKOUT)
    monkeypatch.setattr(sys, "orig_argv", ["python3", "bin/pgha", "watchdog", *args])
    assert again_argv(args)[1] == f"{CHECKOUT}/bin/pgha", "it leaves this directory"  # type: ignore[index]
    assert again_argv(["--node", "/other.json"]) is None


def test_an_agent_of_a_newer_version_has_its_guard_replaced(bare_node: GuardedNode) -> None:
    guard, agent = bare_node.guard()
    agent.call("ask_for_newer")
    assert bare_node.agent().pid != agent.pid
    assert handed_over(guard.pid) == (1, agent.pid)


@pytest.mark.parametrize(("more", "speaks"), [({"protocol": PROTOCOL + 1, "mood": "new"}, PROTOCOL + 1), ({}, 0)])
def test_an_agent_understands_the_state_of_another_guard_well_enough_to_see_that_it_is_another(
    more: dict[str, object], speaks: int
) -> None:
    ours, theirs = socket.socketpair()
    state = {"incarnation": "ab", "postmaster": 7, "deadline_s": None, "stop": False, **more}
    ours.sendall(json.dumps({"state": state}).encode() + b"\n")
    link = Link(theirs.detach())
    with contextlib.closing(ours), contextlib.closing(link._sock):
        assert (link.protocol, link.state().postmaster) == (speaks, 7)
        ours.close()
        until(lambda: link.closed, 5, "it has read to the end")
