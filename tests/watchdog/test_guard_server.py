"""The guard and the server: nothing of a server outlives its postmaster, its deadline or its guard."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pgha.watchdog.guard_os import now_s
from pgha.watchdog.guard_tree import kill_tree_by_directory, remove_stale_pid_file, tree_of
from tests.watchdog.guarded_node import (
    AS_USER,
    ENV,
    USER,
    AgentHandle,
    GuardedNode,
    Refusal,
    alive,
    frozen,
    stopped,
    until,
)

Session = psycopg.Connection[tuple[object, ...]]


@pytest.fixture
def sessions(node: GuardedNode) -> Iterator[list[Session]]:
    """Fill it with `busy`; closed in the end."""
    opened: list[Session] = []
    yield opened
    for session in opened:
        session.close()


def busy(node: GuardedNode, count: int) -> list[Session]:
    """Sessions of that many backends."""
    return [psycopg.connect(host=str(node.root), user=USER, dbname="postgres") for _ in range(count)]


def gone(state: dict[str, object]) -> bool:
    return state["exits"] == 1 and state["postmaster"] == 0 and state["tree"] == 0


def test_a_postmaster_killed_alone_takes_its_orphans_along_unasked(node: GuardedNode, sessions: list[Session]) -> None:
    _, agent = node.guard()
    postmaster = node.start_server(agent)
    sessions += busy(node, 5)
    tree = node.server_processes(postmaster)
    assert len(tree) >= 10
    os.kill(sessions[0].info.backend_pid, signal.SIGSTOP)  # like one at work, it does not see that it is an orphan
    os.kill(postmaster, signal.SIGKILL)
    state = agent.told(gone)
    assert state["exit_status"] == "signal 9" and state["started_s"] == 0
    assert not [pid for pid in tree if alive(pid)], "the agent was told an empty tree"


def test_a_tree_killed_as_a_whole_is_reported_within_milliseconds(node: GuardedNode, sessions: list[Session]) -> None:
    _, agent = node.guard()
    postmaster = node.start_server(agent)
    sessions += busy(node, 20)
    tree = node.server_processes(postmaster)
    began_s = now_s()
    for pid in tree:
        with contextlib.suppress(ProcessLookupError):  # the guard ends orphans at once
            os.kill(pid, signal.SIGKILL)
    at_s = agent.told(gone)["at_s"]
    assert isinstance(at_s, float)
    assert at_s - began_s < 0.2
    assert not [pid for pid in tree if alive(pid)]


def test_the_deadline_kills_server_and_stopped_agent_and_a_fresh_agent_comes(node: GuardedNode) -> None:
    _, agent = node.guard()
    tree = node.server_processes(node.start_server(agent))
    at_s = now_s() + 0.4
    agent.call("deadline", at_s=at_s)
    os.kill(agent.pid, signal.SIGSTOP)
    until(lambda: not any(alive(pid) for pid in tree), 2, "the tree is dead")
    assert at_s <= now_s() < at_s + 0.3
    assert not alive(agent.pid)
    fresh = node.agent()
    assert fresh.pid != agent.pid
    state = fresh.told(gone)
    assert state["incarnation"] == agent.hello["incarnation"] and state["armed"] is None


def test_an_overdue_deadline_fires_before_the_agents_word_is_read(node: GuardedNode) -> None:
    guard, agent = node.guard()
    postmaster = node.start_server(agent)
    at_s = now_s() + 0.3
    agent.call("deadline", at_s=at_s)
    guard.send_signal(signal.SIGSTOP)
    agent.order("deadline", at_s=now_s() + 60)  # waits in the socket of the stopped guard
    until(lambda: now_s() > at_s + 0.1, 2, "the deadline passes")
    assert alive(postmaster)
    guard.send_signal(signal.SIGCONT)
    until(lambda: not alive(postmaster), 2, "the server is killed")
    assert node.agent().told(gone)


def test_a_deadline_can_be_moved_and_disarmed(node: GuardedNode) -> None:
    _, agent = node.guard()
    postmaster = node.start_server(agent)
    for _ in range(5):
        at_s = now_s() + 0.2
        answer = agent.answer(agent.order("deadline", at_s=at_s))
        assert _then(answer, "armed") == at_s
        until(lambda: now_s() > at_s - 0.1, 2, "half of the time passes")  # noqa: B023
    agent.call("deadline", at_s=None)
    until(lambda: now_s() > at_s + 0.3, 2, "the last deadline passes")
    assert alive(postmaster) and alive(agent.pid)
    agent.order("deadline", at_s=now_s() - 1)
    until(lambda: not alive(postmaster), 1, "a deadline in the past kills at once")


def test_an_agents_death_changes_neither_server_nor_incarnation_nor_deadline(node: GuardedNode) -> None:
    _, agent = node.guard()
    postmaster = node.start_server(agent)
    at_s = now_s() + 1.5
    agent.call("deadline", at_s=at_s)
    os.kill(agent.pid, signal.SIGKILL)
    fresh = node.agent()
    for name in ("incarnation", "postmaster", "started_s", "exits"):
        assert fresh.hello[name] == agent.states[-1][name], name
    assert fresh.hello["armed"] == at_s and fresh.hello["postmaster"] == postmaster
    assert alive(postmaster)
    until(lambda: not alive(postmaster), 3, "the deadline was not extended")
    assert at_s <= now_s() < at_s + 0.3


def test_a_killed_guard_takes_the_server_along(node: GuardedNode) -> None:
    guard, agent = node.guard()
    tree = node.server_processes(node.start_server(agent))
    guard.kill()
    until(lambda: not any(alive(pid) for pid in tree), 1, "the server is gone")
    agent.told(lambda s: s["closed"])
    assert "immediate shutdown" in (node.root / "server.log").read_text()
    with pytest.raises(Refusal, match="ConnectionError"):
        agent.call("deadline", at_s=None)


def test_the_agent_ends_a_stopped_server_whose_guard_was_killed(node: GuardedNode, sessions: list[Session]) -> None:
    guard, agent = node.guard()
    postmaster = node.start_server(agent)
    sessions += busy(node, 3)
    tree = node.server_processes(postmaster)
    for pid in tree:  # all of it: the kernel wakes a stopped postmaster alone, whose group is an orphan now
        os.kill(pid, signal.SIGSTOP)
    until(lambda: all(map(stopped, tree)), 2, "it has stopped, before the signal of its parent's death comes")
    guard.kill()
    agent.told(lambda s: s["closed"])
    assert alive(sessions[0].info.backend_pid), "a stopped server does not end its backends"
    assert agent.call("kill_by_directory", data_dir=str(node.data), deadline_s=now_s() + 2) is True
    assert not [pid for pid in tree if alive(pid)]


def _then(answer: dict[str, object], name: str) -> object:
    """What the agent knew when its call returned."""
    state = answer["state_then"]
    assert isinstance(state, dict)
    return state[name]


def test_an_order_to_kill_the_tree_is_answered_when_it_is_empty(node: GuardedNode, sessions: list[Session]) -> None:
    _, agent = node.guard()
    assert agent.call("kill_tree", deadline_s=now_s() + 1) is True, "there is none"
    postmaster = node.start_server(agent)
    sessions += busy(node, 5)
    tree = node.server_processes(postmaster)
    os.kill(sessions[0].info.backend_pid, signal.SIGSTOP)
    os.kill(postmaster, signal.SIGSTOP)
    answer = agent.answer(agent.order("kill_tree", deadline_s=now_s() + 2))
    assert answer["result"] is True and _then(answer, "tree") == 0 and _then(answer, "postmaster") == 0
    assert not [pid for pid in tree if alive(pid)]
    answer = agent.answer(agent.order("start", **node.server_order()))
    assert _then(answer, "postmaster") and _then(answer, "tree") == 1, "the next one may come, and is known at once"
    agent.call("deadline", at_s=None)
    assert alive(int(str(_then(answer, "postmaster")))), "the order to kill was for the former one"


def test_who_has_sigkill_pending_does_not_count_although_it_hangs(node: GuardedNode, sessions: list[Session]) -> None:
    _, agent = node.guard()
    postmaster = node.start_server(agent)
    sessions += busy(node, 2)
    backend = sessions[0].info.backend_pid
    with frozen(backend):
        began_s = now_s()
        os.kill(postmaster, signal.SIGKILL)
        agent.told(gone)
        assert now_s() - began_s < 1
        state = Path(f"/proc/{backend}/status").read_text()
        assert "State:\tD" in state, "it is still there, and was not waited for"
        assert agent.call("kill_tree", deadline_s=now_s() + 1) is True
        assert kill_tree_by_directory(str(node.data), now_s() + 1)


def test_a_server_starts_at_once_after_its_tree_was_killed_again_and_again(node: GuardedNode) -> None:
    _, agent = node.guard()
    for times in range(1, 7):
        state = agent.answer(agent.order("start", **node.server_order("shared_buffers=64MB")))["state_then"]
        assert isinstance(state, dict) and state["exits"] == times - 1, "the former start had no trouble"
        pid = int(state["postmaster"])
        until(lambda: node.serves(pid), 10, "it answers")  # noqa: B023
        opened = busy(node, 10)
        assert agent.call("kill_tree", deadline_s=now_s() + 5) is True
        for session in opened:
            session.close()


def test_a_server_is_not_started_beside_another(node: GuardedNode) -> None:
    _, agent = node.guard()
    postmaster = node.start_server(agent)
    with pytest.raises(Refusal, match="runs already"):
        agent.call("start", **node.server_order())
    with pytest.raises(Refusal, match="responsible for"):
        agent.call("start", **{**node.server_order(), "data_dir": "/elsewhere"})
    agent.call("signal", name="SIGINT")
    assert agent.told(gone)["exit_status"] == "exit 0"
    assert not alive(postmaster)


def test_a_server_that_somebody_else_started_is_seen_and_not_started_over(node: GuardedNode) -> None:
    foreign = node.popen([f"{node.bin_dir}/postgres", "-D", str(node.data)])
    until(lambda: node.serves(foreign.pid), 20, "the foreign server answers")
    _, agent = node.guard()
    tree = agent.hello["tree"]
    assert isinstance(tree, int) and tree >= 5 and agent.hello["postmaster"] == 0
    with pytest.raises(Refusal, match="left in"):
        agent.call("start", **node.server_order())
    assert foreign.poll() is None, "nobody ordered its end"
    assert agent.call("kill_tree", deadline_s=now_s() + 2) is True
    foreign.wait(5)


def test_a_shell_in_the_data_directory_is_neither_counted_nor_killed(node: GuardedNode) -> None:
    shell = subprocess.Popen(["sleep", "60"], cwd=node.data, user=AS_USER, group=AS_USER)
    try:
        _, agent = node.guard()
        assert agent.hello["tree"] == 0
        assert agent.call("kill_tree", deadline_s=now_s() + 1) is True
        assert kill_tree_by_directory(str(node.data), now_s() + 1)
        assert shell.poll() is None
    finally:
        shell.kill()
        shell.wait()


def _agent_with_pid_file(node: GuardedNode, pid: int) -> AgentHandle:
    path = node.data / "postmaster.pid"
    path.write_text(f"{pid}\n{node.data}\n1\n5432\n{node.root}\n\n")
    os.chown(path, node.data.stat().st_uid, node.data.stat().st_gid)
    return node.guard()[1]


def test_a_stale_pid_file_whose_number_is_another_program_is_removed(node: GuardedNode) -> None:
    other = node.popen([sys.executable, "-c", "import time; time.sleep(60)"])
    agent = _agent_with_pid_file(node, other.pid)
    node.start_server(agent)
    assert f"of pid {other.pid}" in (node.root / "server.log").read_text()
    assert other.poll() is None


def test_the_pid_file_of_a_server_at_work_stays_until_it_is_dead(node: GuardedNode) -> None:
    server = node.popen([f"{node.bin_dir}/postgres", "-D", str(node.data)])
    until(lambda: node.serves(server.pid), 20, "the server answers")
    path = node.data / "postmaster.pid"
    text = path.read_text()
    assert remove_stale_pid_file(str(node.data)) == 0 and path.read_text() == text
    elsewhere = node.root / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "postmaster.pid").write_text(text)
    assert remove_stale_pid_file(str(elsewhere)) == server.pid, "it works, but in another directory"
    assert kill_tree_by_directory(str(node.data), now_s() + 2) or AS_USER
    server.kill()
    until(lambda: not alive(server.pid), 2, "it is a zombie now, its number still taken")
    assert remove_stale_pid_file(str(node.data)) == server.pid and not path.exists()
    assert remove_stale_pid_file(str(node.data)) == 0


def test_the_pid_file_of_a_server_that_can_not_be_looked_into_stays(node: GuardedNode) -> None:
    if AS_USER is None:
        pytest.skip("needs a process of another user that is called postgres")
    program = node.root / "postgres"
    subprocess.run(["cp", "/bin/sleep", str(program)], check=True)
    with subprocess.Popen([str(program), "60"], cwd=node.data) as other:
        try:
            (node.data / "postmaster.pid").write_text(f"{other.pid}\n")
            code = "import sys; from pgha.watchdog.guard_tree import remove_stale_pid_file as r; print(r(sys.argv[1]))"
            argv = [sys.executable, "-c", code, str(node.data)]
            said = subprocess.run(argv, user=AS_USER, group=AS_USER, env=ENV, cwd="/", capture_output=True, check=False)
            assert said.stdout == b"0\n" and (node.data / "postmaster.pid").exists()
        finally:
            other.kill()


def test_a_program_that_is_missing_is_an_exit_with_its_reason_in_the_log(node: GuardedNode) -> None:
    _, agent = node.guard()
    agent.call("start", **{**node.server_order(), "argv": ["/nowhere/postgres"]})
    assert agent.told(gone)["exit_status"] == "exit 127"
    assert "/nowhere/postgres" in (node.root / "server.log").read_text()
    assert tree_of(str(node.data), os.getuid()) == []
