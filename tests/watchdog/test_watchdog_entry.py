"""`pgha watchdog`: one of them runs, the next ones leave at once, errors are plain."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from pgha.watchdog.guard_tree import children_of
from tests.watchdog.guarded_node import AS_USER, CHECKOUT, DRIVER, ENV, GuardedNode, alive, until

HEAVY = {"typer", "argparse", "dataclasses", "ctypes", "subprocess", "threading", "socket", "pgha.watchdog.guard"}


def run(*args: str, code: str = "") -> subprocess.CompletedProcess[str]:
    """`pgha watchdog ARGS`, or a program in its place, as the database's user."""
    head = [sys.executable, "-c", code] if code else [sys.executable, "-m", "pgha", "watchdog"]
    return subprocess.run(
        [*head, *args], user=AS_USER, group=AS_USER, env=ENV, cwd="/", capture_output=True, text=True, timeout=20
    )


def test_a_second_watchdog_leaves_at_once_and_has_loaded_nothing_heavy(bare_node: GuardedNode) -> None:
    bare_node.guard()
    took = []
    for _ in range(3):
        before_s = _cpu_of_children_s()
        second = run("--node", str(bare_node.file))
        took.append(_cpu_of_children_s() - before_s)
        assert (second.returncode, second.stdout, second.stderr) == (0, "", "")
    assert min(took) < 0.1, "seconds of CPU: what it takes by the clock depends on who else is at work"
    names = "import sys; from pgha.__main__ import main; code = main(); print(code, *sys.modules)"
    loaded = run("watchdog", "--node", str(bare_node.file), code=names).stdout.split()
    assert loaded[0] == "0" and "pgha.watchdog.main" in loaded
    assert not HEAVY & set(loaded)


def _cpu_of_children_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_in_the_background_it_leaves_the_terminal_and_holds_the_lock(bare_node: GuardedNode) -> None:
    first = bare_node.watchdog()
    assert first.wait(10) == 0
    guard = bare_node.holder()
    agent = bare_node.agent()
    try:
        assert os.getsid(guard) not in (guard, os.getsid(0)), "no session of ours, and no leader of one"
        files = {os.path.basename(os.readlink(f"/proc/{guard}/fd/{fd}")) for fd in (0, 1, 2)}
        assert files == {"null", "watchdog.log"}
        assert os.readlink(f"/proc/{agent.pid}/fd/2").endswith("watchdog.log")
        assert os.path.samefile(f"/proc/{guard}/cwd", "/")
        assert children_of(guard) == [agent.pid]
        bare_node.watchdog().wait(10)
        assert bare_node.holder() == guard
    finally:
        stop = bare_node.watchdog("--stop")
        agent.told(lambda s: s["stop"])
        agent.order("exit", code=0)
        assert stop.wait(10) == 0
    assert not alive(guard)


def test_stop_returns_when_the_guard_is_gone(node: GuardedNode) -> None:
    guard, agent = node.guard()
    postmaster = node.start_server(agent)
    stop = node.watchdog("--stop")
    agent.told(lambda s: s["stop"])
    assert stop.poll() is None
    agent.order("exit", code=0)
    assert stop.wait(10) == 0
    assert guard.wait(1) == 0 and not alive(postmaster)
    assert node.watchdog("--stop").wait(5) == 0, "nothing runs: that is what was asked for"


def test_stop_says_when_its_time_is_over(bare_node: GuardedNode) -> None:
    _, agent = bare_node.guard()
    result = run("--node", str(bare_node.file), "--stop", "--within", "0.3")
    assert result.returncode == 6
    assert result.stderr.startswith("error: the watchdog has not stopped yet\nbecause: it had 0.3 s")
    agent.order("exit", code=0)


def test_a_killed_guards_lock_is_free_although_its_agent_lives(bare_node: GuardedNode) -> None:
    guard, agent = bare_node.guard()
    guard.kill()
    guard.wait(5)
    agent.told(lambda s: s["closed"])
    assert alive(agent.pid)
    again, fresh = bare_node.guard()
    assert again.poll() is None and fresh.hello["incarnation"] != agent.hello["incarnation"]


def _without(node: GuardedNode, name: str) -> str:
    body = json.loads(node.file.read_text())
    del body[name]
    return json.dumps(body)


@pytest.mark.parametrize(
    ("make", "code", "says"),
    [
        (lambda n: None, 2, "can't be read"),
        (lambda n: "{", 2, "not a usable node file"),
        (lambda n: "[1]", 2, "state_dir is missing"),
        (lambda n: '{"state_dir": 5}', 2, "state_dir is missing"),
        (lambda n: '{"state_dir": "/nowhere/at/all"}', 4, "no lock at /nowhere/at/all/watchdog.lock"),
        (lambda n: _without(n, "data_dir"), 2, "not a complete pgha node file"),
        (lambda n: n.file.read_text().replace('"schema": 1', '"schema": 99'), 2, "a newer pgha has written it"),
        (lambda n: n.file.read_text().replace(str(n.data), "here"), 2, "no absolute path: here"),
        (lambda n: "\x00", 2, "not a usable node file"),
    ],
)
def test_a_bad_node_file_is_a_plain_error(bare_node: GuardedNode, make: object, code: int, says: str) -> None:
    assert callable(make)
    text = make(bare_node)
    path = Path(str(bare_node.file) + ".bad")
    if text is not None:
        path.write_text(text)
    result = run("--node", str(path))
    assert (result.returncode, result.stdout) == (code, "")
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == ["error", "because", "next"]
    assert says in result.stderr


@pytest.mark.parametrize("args", [(), ("--node",), ("--nodes", "x"), ("--stop",), ("--node", "x", "--within", "soon")])
def test_wrong_arguments_are_a_plain_error(args: tuple[str, ...]) -> None:
    result = run(*args)
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert run("--help").stdout.startswith("Usage: pgha watchdog")


def test_everything_else_goes_to_the_cli() -> None:
    code = (
        "import sys, types; cli = types.ModuleType('pgha.cli.main'); cli.main = lambda: 42;"
        "sys.modules['pgha.cli.main'] = cli;"
        "sys.argv = ['pgha', 'list']; from pgha.__main__ import main; print(main())"
    )
    assert run(code=code).stdout == "42\n"


def test_the_agent_finds_pgha_although_it_is_started_elsewhere(bare_node: GuardedNode) -> None:
    probe = "import sys, pgha; open(sys.argv[1], 'w').write(pgha.__file__); import time; time.sleep(60)"
    found = bare_node.root / "state" / "found"
    argv = [sys.executable, "-c", DRIVER, json.dumps([sys.executable, "-c", probe, str(found)]), "1"]
    env = {name: value for name, value in ENV.items() if name != "PYTHONPATH"}
    guard = subprocess.Popen(
        [*argv, "--node", str(bare_node.file), "--foreground"], user=AS_USER, group=AS_USER, env=env, cwd=CHECKOUT
    )
    try:
        until(lambda: found.exists() and found.read_text(), 5, "the agent runs")
        assert Path(found.read_text()).parent == CHECKOUT / "pgha"
    finally:
        for pid in children_of(guard.pid):
            os.kill(pid, 9)
        guard.terminate()
        guard.wait(15)
