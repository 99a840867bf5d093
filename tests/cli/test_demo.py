"""The demo, for real: from nothing to a healthy cluster and back, interrupted on the way, used in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgha.cli.sources import inventory_at
from pgha.errors import Exit
from pgha.ops import demo
from pgha.ops.local_nodes import LocalNode, hold_down, let_up, load, processes, sort_out
from pgha.ops.procs import end_all, is_alive, living, look_at
from tests.cli.command import environment, pgha
from tests.support.etcd_cluster import await_true

pytestmark = [pytest.mark.loopback, pytest.mark.slow]


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory that the demo's user can reach; nothing of the demo outlives the test."""
    with tempfile.TemporaryDirectory(prefix="pgha-demo-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
        root = f"{folder}/d"
        if os.path.isdir(root):
            end_all(demo.processes(root), timeout_s=1.0)


def nodes_of(root: Path) -> list[LocalNode]:
    return load(inventory_at(f"{root}/inventory.yaml"))


def interrupted_up(home: Path, after: str) -> tuple[int, str]:
    """`demo up`, interrupted by Ctrl-C once it has said `after`."""
    argv = [sys.executable, "-m", "pgha", "demo", "up", "--dir", str(home / "d")]
    child = subprocess.Popen(
        argv, cwd=home, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert child.stderr is not None
    said = ""
    for line in child.stderr:
        said += line
        if after in line:
            child.send_signal(signal.SIGINT)
            break
    rest = child.communicate(timeout=30.0)[1]
    return child.returncode, said + rest


def test_up_used_and_down(home: Path) -> None:
    root = home / "d"
    code, said = interrupted_up(home, "initdb")
    assert code == Exit.INTERRUPTED and f"next: pgha demo up --dir {root} goes on from there" in said
    assert "Traceback" not in said

    up = pgha("demo", "up", "--dir", str(root), "-o", "json", cwd=home)
    assert up.code == Exit.OK, up.err
    body = json.loads(up.out)
    assert body["verdict"] == "healthy" and body["seconds"] <= 10.0
    assert [n["sync"] for n in body["nodes"]].count("voter") == 2

    again = pgha("demo", "up", "--dir", str(root), cwd=home)
    assert again.code == Exit.REFUSED and f"pgha demo down --dir {root}" in again.err

    inventory = f"{root}/inventory.yaml"
    source = body["leader"]
    moved = pgha("switchover", "-y", "-o", "json", "-i", inventory, cwd=home)
    assert moved.code == Exit.OK, moved.err
    assert json.loads(moved.out)["switchover"]["from"] == source
    await_true(
        lambda: pgha("list", "-i", inventory, cwd=home).code == Exit.OK, 20.0, "not healthy after the switchover"
    )

    same = pgha("upgrade", "-y", "-i", inventory, cwd=home)
    assert same.code == Exit.OK and "every node runs" in same.out, same.err

    uri = pgha("dsn", "-i", inventory, cwd=home).out.strip()
    where = json.loads(pgha("list", "-i", inventory, "-o", "json", cwd=home).out)
    primary = next(n for n in where["nodes"] if n["role"] == "primary")
    assert uri.startswith(f"postgresql://app@{primary['host']},") and f"passfile={root}/app.passfile" in uri

    _check_restarter(nodes_of(root), primary["node"], inventory)
    before = [p for node in nodes_of(root) for kind in sort_out(node, living()).values() for p in kind]
    down = pgha("demo", "down", "--dir", str(root), cwd=home)
    assert down.code == Exit.OK, down.err
    assert not root.exists() and not [p for p in before if is_alive(p)] and len(before) > 12
    twice = pgha("demo", "down", "--dir", str(root), cwd=home)
    assert twice.code == Exit.OK and "nothing to do" in twice.out


def _says(inventory: str, name: str) -> str:
    """What `list` says is wrong with the node."""
    rows = json.loads(pgha("list", "-i", inventory, "-o", "json", cwd=Path("/")).out)["nodes"]
    return next(str(row["problem"]) for row in rows if row["node"] == name)


def _check_restarter(nodes: list[LocalNode], primary: str, inventory: str) -> None:
    """A guard and its agent, killed together, and a killed etcd member come back; one that is held down does not."""
    standby, other = (n for n in nodes if n.name != primary)
    hold_down(other)
    victims = [pid for n in (standby, other) for kind in ("guard", "agent") for pid in processes(n)[kind]]
    members = processes(standby)["etcd"]
    for pid in (*victims, *members):
        os.kill(pid, signal.SIGKILL)
    await_true(lambda: not any(look_at(pid) for pid in victims), 5.0, "they do not die")
    await_true(lambda: bool(processes(standby)["guard"] and processes(standby)["etcd"]), 15.0, "no restart")
    assert not processes(other)["guard"]
    await_true(lambda: "the watchdog does not run" in _says(inventory, other.name), 20.0, "list does not ask about it")
    let_up(other)
    await_true(lambda: bool(processes(other)["guard"]), 15.0, "no restart after it was let up")


def test_foreign_directories_are_refused_untouched_by_up_and_down(home: Path) -> None:
    foreign = home / "foreign"
    foreign.mkdir()
    (foreign / "thesis.tex").write_text("years of work")
    for word in ("up", "down"):
        said = pgha("demo", word, "--dir", str(foreign), cwd=home)
        assert said.code == Exit.REFUSED and "is not a demo of pgha" in said.err
    assert [p.name for p in foreign.rglob("*")] == ["thesis.tex"]
    assert (foreign / "thesis.tex").read_text() == "years of work"


def test_a_cluster_made_by_bootstrap_is_not_thrown_away_by_demo_down(home: Path) -> None:
    (home / "own").mkdir()
    (home / "own/.pgha-local").write_text('{"schema": 1, "cluster": "shop", "ident": "x"}')
    said = pgha("demo", "down", "--dir", str(home / "own"), cwd=home)
    assert said.code == Exit.REFUSED and "made by bootstrap" in said.err and (home / "own/.pgha-local").exists()


def test_an_empty_directory_and_none_are_nothing_to_take_down(home: Path) -> None:
    (home / "empty").mkdir()
    for name in ("empty", "none"):
        said = pgha("demo", "down", "--dir", str(home / name), cwd=home)
        assert said.code == Exit.OK and "nothing to do" in said.out
    assert (home / "empty").exists()


@pytest.mark.parametrize("count", ["0", "2", "-1", "99"])
def test_a_number_of_nodes_that_cannot_work_is_refused(home: Path, count: str) -> None:
    said = pgha("demo", "up", "--dir", str(home / "d"), "--nodes", count, cwd=home)
    assert said.code == Exit.USAGE and not (home / "d").exists()


def test_two_at_once_in_one_directory_do_not_mix(home: Path) -> None:
    argv = [sys.executable, "-m", "pgha", "demo", "up", "--dir", str(home / "d")]
    first = subprocess.Popen(
        argv, cwd=home, env=environment(), stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert first.stderr is not None
    for line in first.stderr:
        if "initdb" in line:
            break
    began = time.monotonic()
    second = pgha("demo", "down", "--dir", str(home / "d"), cwd=home)
    assert second.code == Exit.BUSY and "another pgha is at work" in second.err and time.monotonic() - began < 3.0
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=30.0)
    assert pgha("demo", "down", "--dir", str(home / "d"), cwd=home).code == Exit.OK
    assert not (home / "d").exists()
