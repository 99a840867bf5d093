"""A guard that stands still: its agent notices, ends it, and ends the server in its place."""

from __future__ import annotations

import os
import signal

from pgha.watchdog.guard_os import now_s
from tests.watchdog.guarded_node import GuardedNode, alive, stopped, until

PING_S = 0.3


def test_a_living_guard_answers_and_a_stopped_one_does_not(bare_node: GuardedNode) -> None:
    guard, agent = bare_node.guard()
    assert agent.call("answers", within_s=5.0) is True
    os.kill(guard.pid, signal.SIGSTOP)
    until(lambda: stopped(guard.pid), 2, "the guard stands still")
    assert agent.call("answers", within_s=PING_S) is False
    os.kill(guard.pid, signal.SIGCONT)
    until(lambda: agent.call("answers", within_s=PING_S) is True, 2, "it answers again")


def test_a_stopped_guard_is_killed_by_its_agent_and_its_server_ends_with_it(node: GuardedNode) -> None:
    guard, agent = node.guard()
    server = node.server_processes(node.start_server(agent))
    os.kill(guard.pid, signal.SIGSTOP)
    until(lambda: stopped(guard.pid), 2, "the guard stands still")
    agent.call("end_silent_guard")
    assert guard.wait(5) == -signal.SIGKILL
    agent.told(lambda s: s["closed"])
    assert agent.call("kill_by_directory", data_dir=str(node.data), deadline_s=now_s() + 5.0) is True
    assert not [pid for pid in server if alive(pid)]
