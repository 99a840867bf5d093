"""Exit codes of the command line on a real cluster: those that no other scenario reaches, and where the others are."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from pgha.errors import Exit
from pgha.ops.local_nodes import LocalNode
from tests.loopback import faults
from tests.loopback.cluster import CHECKOUT, Cluster, pgha
from tests.support.postgres_pair import until

pytestmark = [pytest.mark.loopback, pytest.mark.timeout(180)]
ENDS_S = 60.0


def run(cluster: Cluster, *words: str) -> tuple[int, str]:
    said = pgha("-i", cluster.target.where, *words)
    return said.code, said.text


@contextmanager
def started(
    cluster: Cluster, *words: str, stdin: int = subprocess.DEVNULL, path: str = ""
) -> Iterator[subprocess.Popen[str]]:
    """The command while it runs; it is ended with the block."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("PGHA_")}
    env["PYTHONPATH"] = f"{path}{os.pathsep}{CHECKOUT}" if path else str(CHECKOUT)
    argv = [sys.executable, "-m", "pgha", "-i", cluster.target.where, *words]
    running = subprocess.Popen(
        argv, cwd="/", env=env, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        yield running
    finally:
        running.kill()
        running.communicate()


def ended(running: subprocess.Popen[str]) -> tuple[int, str]:
    out, _ = running.communicate(timeout=ENDS_S)
    return running.returncode, out


def test_a_bug_is_exit_1_and_the_cluster_is_left_as_it_is(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import pgha.ops.status as s\ns.judge = lambda *_: 1 / 0\n")
    with started(cluster, "list", path=str(tmp_path)) as running:
        code, text = ended(running)
    assert code == Exit.BUG and "bug: ZeroDivisionError" in text, text
    Path(text.rpartition("the traceback: ")[2].splitlines()[0]).unlink()
    assert run(cluster, "list")[0] == Exit.OK


def test_wrong_words_are_exit_2_and_a_question_nobody_answers_is_exit_3(cluster: Cluster) -> None:
    epoch = cluster.leader.epoch
    assert run(cluster, "history", "4711")[0] == Exit.USAGE
    code, text = run(cluster, "switchover")
    assert code == Exit.DECLINED and "nothing was changed" in text, text
    assert cluster.leader.epoch == epoch


def _asked(cluster: Cluster, node: LocalNode) -> None:
    """Until an order for this node lies in the store."""
    key = f"requests/{node.name}"
    until(lambda: cluster.value(key)[1] != 0, within_s=15.0, what=f"{key} is there")


def test_an_order_that_nobody_has_taken_up_is_withdrawn_by_ctrl_c_with_exit_130(cluster: Cluster) -> None:
    node = cluster.standbys[0]
    with faults.frozen(faults.of(node, *faults.WATCHDOG)), started(cluster, "restart", node.name, "-y") as running:
        _asked(cluster, node)
        code, text = run(cluster, "reload", node.name)
        assert code == Exit.BUSY and f"a restart of {node.name} is in progress" in text, text
        running.send_signal(signal.SIGINT)
        code, text = ended(running)
    assert code == Exit.INTERRUPTED and "the order is withdrawn" in text, text
    assert cluster.value(f"requests/{node.name}")[1] == 0


@pytest.mark.deep
def test_some_nodes_done_and_one_that_does_not_take_it_up_is_exit_7(cluster: Cluster) -> None:
    first, second = sorted(cluster.standbys, key=lambda n: n.name)
    with faults.frozen(faults.of(second, *faults.WATCHDOG)):
        code, text = run(cluster, "restart", first.name, second.name, "-y")
    assert code == Exit.PARTIAL and f"restarted: {first.name}" in text, text


@pytest.mark.deep
def test_a_store_that_falls_silent_after_the_question_is_exit_6_until_somebody_looks(cluster: Cluster) -> None:
    node = cluster.standbys[0]
    ours, theirs = pty.openpty()
    etcd = [proc for each in cluster.nodes.values() for proc in faults.of(each, "etcd")]
    try:
        with started(cluster, "restart", node.name, stdin=theirs) as running:
            assert running.stdout is not None
            said = ""
            while not said.endswith("[y/N] "):
                said += running.stdout.read(1)
            with faults.frozen(etcd):
                os.write(ours, b"y\n")
                code, text = ended(running)
        assert code == Exit.UNKNOWN and "may or may not lie there" in text and "next: pgha" in text, text
    finally:
        os.close(ours)
        os.close(theirs)
    cluster.await_healthy()


@pytest.mark.deep
def test_a_drill_that_misses_its_budget_is_exit_5_and_the_cluster_is_well(cluster: Cluster) -> None:
    code, text = run(cluster, "drill", "switchover", "--rounds", "1", "--budget", "0.001")
    assert code == Exit.ROLLED_BACK and "FAIL" in text, text
    cluster.await_healthy()


ELSEWHERE: Mapping[Exit, str] = {
    Exit.OK: "loopback/test_modes.py",
    Exit.REFUSED: "loopback/test_store.py",
    Exit.UNREACHABLE: "hosts/test_fleet.py",
    Exit.STORE: "loopback/test_store.py",
    Exit.DEGRADED: "loopback/test_nodes.py",
    Exit.NO_PRIMARY: "loopback/test_nodes.py",
    Exit.WOULD_LOSE: "loopback/test_modes.py",
}


def test_every_exit_code_is_reached_by_a_scenario() -> None:
    here, root = Path(__file__).read_text(), CHECKOUT / "tests"
    for code in Exit:
        where = ELSEWHERE.get(code)
        text = (root / where).read_text() if where else here.partition("ELSEWHERE")[0]
        assert f"== Exit.{code.name}" in text, code
