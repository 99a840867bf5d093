"""The real command on a real demo: each fault once, the report in JSON, and nothing of the drill left behind."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgha.inventory import parse
from pgha.ops import local_nodes
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
        up = pgha("demo", "up", "--dir", str(where))
        assert up.returncode == 0, up.stdout + up.stderr
        yield f"{where}/inventory.yaml"
    finally:
        down = pgha("demo", "down", "--dir", str(where))
    assert down.returncode == 0, down.stderr


@pytest.mark.parametrize("fault", ["switchover", "kill-postgres", "kill-node"])
def test_a_fault_on_the_demo_loses_nothing_and_leaves_it_healthy(inventory: str, fault: str) -> None:
    done = pgha("-i", inventory, "drill", fault, "-y", "-o", "json", "--budget", "20")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    (only,) = report["rounds"]
    assert (report["passed"], report["lost"], report["two_writers"], report["duplicates"]) == (True, 0, 0, 0)
    assert only["source"] != only["target"]
    assert 0 < only["outage_s"] <= only["whole_s"]
    assert report["acked"] > 20
    assert pgha("-i", inventory, "list").returncode == 0


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
