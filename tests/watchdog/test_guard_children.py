"""The guard and its agent and tools: who lives as long as whom, and what none of them inherits."""

from __future__ import annotations

import contextlib
import os
import signal
import time

import pytest

from pgha.watchdog import guard_agent, guard_tools
from pgha.watchdog.guard_os import now_s
from pgha.watchdog.guard_tree import children_of, status_of
from tests.watchdog.guarded_node import AgentHandle, GuardedNode, Refusal, alive, stopped, until


def test_the_lock_reaches_neither_agent_nor_server_nor_tool(node: GuardedNode) -> None:
    guard, agent = node.guard()
    postmaster = node.start_server(agent)
    agent.order("run_tool", argv=["sleep", "30"], deadline_s=now_s() + 30)
    until(lambda: "sleep" in _names(children_of(guard.pid)), 5, "the tool runs")
    own = {str(node.state / "watchdog.lock"), "anon_inode:[timerfd]", "anon_inode:[eventpoll]"}
    assert own <= _open_files(guard.pid)
    assert {agent.pid, postmaster} < set(children_of(guard.pid))
    for pid in {*children_of(guard.pid), *node.server_processes(postmaster)} - _own_forks(guard.pid):
        assert own & _open_files(pid) <= {"anon_inode:[eventpoll]"}  # PostgreSQL has its own


def _names(pids: list[int]) -> set[str]:
    return {status.name for status in (status_of(pid) for pid in pids) if status is not None}


def _own_forks(guard: int) -> set[int]:
    """Children that have not called exec: they write the log, and close everything first."""
    with open(f"/proc/{guard}/cmdline", "rb") as f:
        own = f.read()
    same = set()
    for pid in children_of(guard):
        with contextlib.suppress(FileNotFoundError), open(f"/proc/{pid}/cmdline", "rb") as f:
            if f.read() in (own, b""):
                same.add(pid)
    return same


def _open_files(pid: int) -> set[str]:
    files = set()
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            files.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
    except FileNotFoundError:  # a descriptor was closed, or the process has ended
        return files
    return files


def test_a_tool_gives_its_exit_code_and_the_end_of_its_output(bare_node: GuardedNode) -> None:
    _, agent = bare_node.guard()
    script = "seq 1 5000; echo the end >&2; exit 7"
    result = agent.call("run_tool", argv=["sh", "-c", script], deadline_s=now_s() + 10)
    assert isinstance(result, dict) and result["code"] == 7
    assert result["tail"].endswith("5000\nthe end\n") and len(result["tail"]) == guard_tools.TAIL_BYTES
    missing = agent.call("run_tool", argv=["/nowhere/tool"], deadline_s=now_s() + 10)
    assert isinstance(missing, dict) and missing["code"] == 127 and "/nowhere/tool" in missing["tail"]


def test_a_tool_is_killed_at_its_deadline_with_all_that_it_started(bare_node: GuardedNode) -> None:
    _, agent = bare_node.guard()
    number = agent.order("run_tool", argv=["sh", "-c", "sleep 61 & echo $!; wait"], deadline_s=now_s() + 0.3)
    result = agent.answer(number)["result"]
    assert isinstance(result, dict) and result["code"] == -9
    until(lambda: not alive(int(result["tail"])), 2, "what the tool started is gone")


def test_what_a_tool_leaves_behind_ends_with_it(bare_node: GuardedNode) -> None:
    _, agent = bare_node.guard()
    result = agent.call("run_tool", argv=["sh", "-c", "sleep 64 & echo $!"], deadline_s=now_s() + 10)
    assert isinstance(result, dict) and result["code"] == 0
    until(lambda: not alive(int(result["tail"])), 2, "it is gone")


def test_tools_run_side_by_side_and_are_no_part_of_the_tree(bare_node: GuardedNode) -> None:
    guard, agent = bare_node.guard()
    slow = agent.order("run_tool", argv=["sh", "-c", "sleep 30 & sleep 30"], deadline_s=now_s() + 1)
    until(lambda: any(children_of(pid) for pid in children_of(guard.pid)), 5, "the tool runs")
    assert agent.call("run_tool", argv=["true"], deadline_s=now_s() + 5) == {"code": 0, "tail": ""}
    (tool,) = (pid for pid in children_of(guard.pid) if pid != agent.pid and children_of(pid))
    assert agent.call("kill_tree", deadline_s=now_s() + 1) is True
    assert alive(tool) and alive(children_of(tool)[0])
    result = agent.answer(slow)["result"]
    assert isinstance(result, dict) and result["code"] == -9
    assert all(state["tree"] == 0 for state in agent.states)


def test_tools_die_with_the_agent_before_the_next_one_starts(bare_node: GuardedNode) -> None:
    guard, agent = bare_node.guard()
    agent.order("run_tool", argv=["sh", "-c", "trap '' TERM; sleep 62 & wait"], deadline_s=now_s() + 30)
    tools: list[int] = []

    def started() -> bool:
        tools[:] = [pid for pid in children_of(guard.pid) if pid != agent.pid and children_of(pid)]
        return bool(tools)

    until(started, 5, "the tool runs")
    family = [*tools, *children_of(tools[0])]
    os.kill(agent.pid, signal.SIGKILL)
    bare_node.agent()
    assert not [pid for pid in family if alive(pid)]


def test_tools_die_with_the_guard(bare_node: GuardedNode) -> None:
    guard, agent = bare_node.guard()
    agent.order("run_tool", argv=["sleep", "63"], deadline_s=now_s() + 30)
    until(lambda: len(children_of(guard.pid)) == 2, 5, "the tool runs")
    (tool,) = (pid for pid in children_of(guard.pid) if pid != agent.pid)
    guard.kill()
    until(lambda: not alive(tool), 2, "the tool is gone")
    agent.told(lambda s: s["closed"])


def test_an_agent_that_dies_young_comes_back_later_and_later(bare_node: GuardedNode) -> None:
    _, agent = bare_node.guard()
    pauses = []
    for _ in range(4):
        agent.order("exit", code=1)
        until(lambda: not alive(agent.pid), 5, "it is dead")  # noqa: B023
        dead_s = now_s()
        agent = bare_node.agent()
        pauses.append(now_s() - dead_s)
    starts = [event["boot_s"] for event in bare_node.events() if event["event"] == "agent started"]
    ends = [event["boot_s"] for event in bare_node.events() if event["event"] == "agent ended"]
    assert len(ends) == 4
    waited = [round(float(str(a)) - float(str(b)), 3) for a, b in zip(starts[1:], ends, strict=False)]
    for was, wanted in zip(waited, guard_agent._DELAYS_S, strict=False):
        assert wanted - 0.01 <= was < wanted + 0.09


def test_an_agent_that_hangs_up_is_replaced(bare_node: GuardedNode) -> None:
    _, agent = bare_node.guard()
    agent.order("close")
    fresh = bare_node.agent()
    until(lambda: not alive(agent.pid), 2, "it is dead")
    assert fresh.hello["incarnation"] == agent.hello["incarnation"]


@pytest.mark.parametrize(
    "order",
    [
        "no json\n",
        "[]\n",
        "{}\n",
        '{"id": 99, "do": "deadline", "at_s": "soon"}\n',
        '{"id": 99, "do": "deadline", "at_s": NaN}\n',
        '{"id": 99, "do": "deadline", "at_s": Infinity}\n',
        '{"id": 99, "do": "start", "argv": []}\n',
        '{"id": 99, "do": "signal", "name": "SIGKILL"}\n',
        '{"id": 99, "do": "sing"}\n',
    ],
)
def test_nonsense_from_the_agent_does_not_end_the_guard(bare_node: GuardedNode, order: str) -> None:
    guard, agent = bare_node.guard()
    agent.call("say_raw", text=order)
    agent.call("deadline", at_s=None)
    assert guard.poll() is None


def test_a_stopped_guard_makes_the_call_fail_in_time_and_not_for_ever(bare_node: GuardedNode) -> None:
    guard, agent = bare_node.guard()
    guard.send_signal(signal.SIGSTOP)
    began_s = now_s()
    with pytest.raises(Refusal, match="GuardSilent"):
        agent.call("deadline", at_s=None)
    assert 1.9 < now_s() - began_s < 3
    guard.send_signal(signal.SIGCONT)
    agent.call("deadline", at_s=None)


def test_a_guard_at_rest_uses_no_cpu_and_little_memory(node: GuardedNode) -> None:
    guard, agent = node.guard()
    node.start_server(agent)
    before = _cpu_ticks(guard.pid)
    time.sleep(1)  # a second of rest is what is measured
    assert _cpu_ticks(guard.pid) - before <= 1
    with open(f"/proc/{guard.pid}/smaps_rollup", encoding="ascii") as f:
        pss_kb = next(int(line.split()[1]) for line in f if line.startswith("Pss:"))
    assert pss_kb < 12_000


def _cpu_ticks(pid: int) -> int:
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return int(fields[11]) + int(fields[12])


def test_an_orderly_stop_waits_for_the_agent_and_takes_the_rest_along(node: GuardedNode) -> None:
    guard, agent = node.guard()
    postmaster = node.start_server(agent)
    guard.terminate()
    agent.told(lambda s: s["stop"])
    assert alive(postmaster), "the agent stops it"
    agent.call("signal", name="SIGINT")
    agent.told(lambda s: s["exits"] == 1 and s["tree"] == 0)
    agent.order("exit", code=0)
    assert guard.wait(5) == 0
    assert node.events()[-1]["event"] == "guard stopped"


def test_an_orderly_stop_whose_agents_are_killed_stops_the_server_fast(node: GuardedNode) -> None:
    guard, agent = node.guard()
    tree = node.server_processes(node.start_server(agent))
    guard.terminate()
    for one in (agent, None):
        one = one or node.agent()
        one.told(lambda s: s["stop"])
        os.kill(one.pid, signal.SIGKILL)
    assert guard.wait(5) == 0
    assert not [pid for pid in tree if alive(pid)]
    assert "received fast shutdown request" in (node.root / "server.log").read_text()
    assert "database system is shut down" in (node.root / "server.log").read_text()


def test_an_agent_that_is_killed_when_a_stop_begins_is_followed_by_one_that_carries_it_out(node: GuardedNode) -> None:
    guard, agent = node.guard()
    postmaster = node.start_server(agent)
    os.kill(guard.pid, signal.SIGSTOP)
    until(lambda: stopped(guard.pid), 2, "the guard sees nothing")
    os.kill(agent.pid, signal.SIGKILL)
    guard.terminate()
    os.kill(guard.pid, signal.SIGCONT)
    fresh = node.agent()
    fresh.told(lambda s: s["stop"])
    assert alive(postmaster)
    fresh.call("signal", name="SIGINT")
    fresh.told(lambda s: s["exits"] == 1 and s["tree"] == 0)
    fresh.order("exit", code=1)
    assert guard.wait(5) == 0, "one that ends by itself has done what it could"


def test_an_orderly_stop_has_a_budget_even_if_agent_and_server_hang(node: GuardedNode) -> None:
    guard, agent = node.guard(budget_s=2)
    postmaster = node.start_server(agent)
    tree = node.server_processes(postmaster)
    os.kill(agent.pid, signal.SIGSTOP)
    os.kill(postmaster, signal.SIGSTOP)
    began_s = now_s()
    guard.terminate()
    assert guard.wait(15) == 0
    assert 1.9 < now_s() - began_s < 3
    assert not [pid for pid in (*tree, agent.pid) if alive(pid)]


def test_the_log_stays_bounded(bare_node: GuardedNode) -> None:
    log = bare_node.state / "guard.log"
    log.write_text("x" * 1_000_001)
    os.chown(log, bare_node.state.stat().st_uid, bare_node.state.stat().st_gid)
    _, agent = bare_node.guard()
    agent.call("deadline", at_s=None)
    until(lambda: (bare_node.state / "guard.log.1").exists(), 5, "the log is rotated")
    until(lambda: log.exists() and log.stat().st_size > 0, 5, "the log goes on")
    assert {"guard started", "agent started"} >= {str(event["event"]) for event in bare_node.events()}


def test_the_guard_does_not_hang_with_its_logs_disk(bare_node: GuardedNode) -> None:
    log = bare_node.state / "guard.log"
    os.mkfifo(log)  # nobody reads: opening it to write hangs like a frozen file system
    os.chown(log, bare_node.state.stat().st_uid, bare_node.state.stat().st_gid)
    guard, agent = bare_node.guard()
    agent.call("deadline", at_s=None)
    os.kill(agent.pid, signal.SIGKILL)
    fresh: AgentHandle = bare_node.agent()
    fresh.call("deadline", at_s=None)
    fresh.order("exit", code=0)
    guard.terminate()
    assert guard.wait(5) == 0
    reader = os.open(log, os.O_RDONLY | os.O_NONBLOCK)  # lets the writer go
    os.close(reader)
