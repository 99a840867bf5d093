"""The real command on a real demo: each fault once, the report in JSON, and nothing of the drill left behind."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgha.adapters.local import LocalHost
from pgha.inventory import parse
from pgha.ops import local_nodes, procs
from pgha.ops.drill_ground import FAULTS
from tests.support import programs
from tests.support.postgres_pair import until

pytestmark = [pytest.mark.loopback, pytest.mark.slow, pytest.mark.timeout(240)]
CHECKOUT = Path(__file__).resolve().parents[2]


def pgha(*words: str) -> subprocess.CompletedProcess[str]:
    """The command line as a process."""
    return subprocess.run(
        [sys.executable, "-m", "pgha", *words], cwd=CHECKOUT, capture_output=True, text=True, timeout=200, check=False
    )


@pytest.fixture(scope="module")
def inventory() -> Iterator[str]:
    """A demo of its own."""
    where = Path(tempfile.mkdtemp(prefix="pgha-drill-", dir="/var/tmp"))
    where.rmdir()
    try:
        up = pgha("demo", "up", "--dir", str(where), *programs.demo_words())
        assert up.returncode == 0, up.stdout + up.stderr
        yield f"{where}/inventory.yaml"
    finally:
        down = pgha("demo", "down", "--dir", str(where))
    assert down.returncode == 0, down.stderr


@pytest.mark.parametrize("fault", [f.name for f in FAULTS.values() if not f.hosts_only])
def test_a_fault_on_the_demo_loses_nothing_and_leaves_it_healthy(inventory: str, fault: str) -> None:
    done = pgha("-i", inventory, "drill", fault, "-y", "-o", "json", "--budget", "20")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    (only,) = report["rounds"]
    assert (report["passed"], report["lost"], report["two_writers"], report["duplicates"]) == (True, 0, 0, 0)
    assert (only["source"] != only["target"]) is FAULTS[fault].moves
    assert 0 < only["outage_s"] <= only["whole_s"]
    assert report["acked"] > 20
    assert pgha("-i", inventory, "list").returncode == 0


def test_a_drill_that_is_killed_leaves_a_timer_that_takes_its_fault_back(inventory: str) -> None:
    nodes = local_nodes.load(parse(Path(inventory).read_text(), inventory))

    def left() -> list[local_nodes.LocalNode]:
        return [n for n in nodes if timers(n)]

    def timers(node: local_nodes.LocalNode) -> list[procs.Proc]:
        return [p for p in procs.living() if f"{node.dir}/drill.json" in p.argv and "later" in p.argv]

    argv = [sys.executable, "-m", "pgha", "-i", inventory, "drill", "stop-agent", "-y"]
    with subprocess.Popen(argv, cwd=CHECKOUT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as command:
        until(lambda: bool(left()), within_s=60, what="the timer runs")
        command.kill()
    (node,) = left()
    order = f"{node.dir}/drill.json"
    running = timers(node)
    assert len(running) == 1 and Path(order).exists()
    later = [sys.executable, "-m", "pgha.ops.drill_main", "later", order, "0"]  # the timer's own command, in its hurry
    host = LocalHost(node.user)
    ran = host.run(later, timeout_s=60.0)
    assert ran.ok, ran
    assert not Path(order).exists() and not procs.end_all(running, timeout_s=5.0)
    until(lambda: pgha("-i", inventory, "list").returncode == 0, within_s=60, what="healthy again", every_s=0.5)
    assert pgha("-i", inventory, "drill", "switchover", "-y", "--budget", "20").returncode == 0


def test_a_budget_that_is_not_kept_is_a_failure(inventory: str) -> None:
    done = pgha("-i", inventory, "drill", "switchover", "-y", "--budget", "0.001")
    assert done.returncode == 5
    assert "FAIL: writes stopped for" in done.stdout


def test_a_cluster_that_is_not_healthy_is_refused(inventory: str) -> None:
    found = parse(Path(inventory).read_text(), inventory)
    node = local_nodes.load(found)[2]
    local_nodes.hold_down(node)
    try:
        stopped = subprocess.run([*node.watchdog_argv(), "--stop"], cwd=CHECKOUT, timeout=60, check=False)
        assert stopped.returncode == 0
        done = pgha("-i", inventory, "drill", "switchover", "-y")
        assert done.returncode == 4, done.stdout + done.stderr
        assert "healthy" in done.stderr
    finally:
        local_nodes.let_up(node)
        until(lambda: pgha("-i", inventory, "list").returncode == 0, within_s=60, what="healthy again", every_s=0.5)
