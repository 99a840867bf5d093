"""A command that is cut off in the middle leaves a state that `list` names, and the same command again goes on."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO

import pytest

from pgha.core.planned import HAND
from pgha.errors import Exit
from pgha.ops.status import Seen
from tests.loopback import faults
from tests.loopback.cluster import CHECKOUT, Cluster, pgha
from tests.loopback.writing import Writing
from tests.support.postgres_pair import until

pytestmark = [pytest.mark.loopback, pytest.mark.deep, pytest.mark.timeout(180)]

CUT = [signal.SIGINT, signal.SIGKILL]
WITHIN_S = 60.0


class Typed:
    """A command at work; what it has said so far."""

    def __init__(self, cluster: Cluster, words: tuple[str, ...], said: IO[bytes]) -> None:
        self._said = said
        argv = [sys.executable, "-m", "pgha", "-i", cluster.target.where, *words]
        env = {"PYTHONPATH": str(CHECKOUT), "PATH": "/usr/bin:/bin"}
        self._process = subprocess.Popen(
            argv, cwd="/", env=env, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT
        )

    @property
    def text(self) -> str:
        self._said.seek(0)
        return self._said.read().decode()

    def says(self, what: str) -> None:
        until(lambda: what in self.text, within_s=WITHIN_S, what=f"it says {what!r}")

    def cut(self, how: signal.Signals) -> None:
        """It ends by this signal, and nothing it began waits for it."""
        self._process.send_signal(how)
        code = self._process.wait(WITHIN_S)
        assert code == (Exit.INTERRUPTED if how is signal.SIGINT else -how), self.text

    def end(self) -> str:
        assert self._process.wait(WITHIN_S) == Exit.OK, self.text
        return self.text

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


@contextmanager
def typed(cluster: Cluster, *words: str) -> Iterator[Typed]:
    """The command, in a process of its own; it is gone afterwards."""
    with tempfile.TemporaryFile() as said:
        one = Typed(cluster, words, said)
        try:
            yield one
        finally:
            one.close()


def listed(cluster: Cluster, *texts: str) -> None:
    """`pgha list` names what was left."""
    said = " ".join(pgha("-i", cluster.target.where, "list").text.split())
    assert all(text in said for text in texts), said


def epochs(cluster: Cluster) -> int:
    return cluster.leader.epoch


def _phase(seen: Seen) -> str:
    return seen.records.order.phase if seen.records.order else ""


@pytest.mark.parametrize("how", CUT)
def test_a_switchover_goes_on_without_its_command_and_the_same_command_follows_it(
    cluster: Cluster, client: Writing, how: signal.Signals
) -> None:
    old, to, before = cluster.primary, cluster.standbys[0], epochs(cluster)
    words = ("switchover", "--to", to.name, "-y")
    with ExitStack() as at_work:
        with faults.frozen(faults.titled(old, "checkpointer")):  # the checkpoint before it is not to end
            first = at_work.enter_context(typed(cluster, *words))
            cluster.await_seen(lambda s: _phase(s) == "accepted", "it is taken up")
            first.cut(how)
            listed(cluster, f"switchover {old.name} to {to.name}: accepted")
            another = pgha("-i", cluster.target.where, "switchover", "--to", cluster.standbys[1].name, "-y")
            assert another.code == Exit.BUSY, another
            second = at_work.enter_context(typed(cluster, *words))
            second.says("checkpoint")
        second.end()
    cluster.await_healthy()
    assert cluster.primary == to and epochs(cluster) == before + 1
    assert client.verdict().is_clean


@pytest.mark.parametrize("how", CUT)
def test_a_rolling_restart_goes_on_with_the_nodes_that_are_left(
    cluster: Cluster, client: Writing, how: signal.Signals
) -> None:
    words, before = ("restart", "--rolling", "-y"), epochs(cluster)
    started = {n.name: faults.postmaster(n).pid for n in cluster.nodes.values()}
    with typed(cluster, *words) as first:
        cluster.await_seen(lambda s: any(p.done for p in s.records.planned.values()), "one is restarted", within_s=60.0)
        first.cut(how)
    (plan,) = cluster.seen().records.planned.values()
    assert plan.phase == HAND and plan.done and plan.nodes, plan
    done = {name: faults.postmaster(cluster.nodes[name]).pid for name in plan.done}
    listed(cluster, f"done: {', '.join(plan.done)}", "the same command goes on")
    with typed(cluster, *words) as second:
        second.end()
    cluster.await_healthy()
    now = {n.name: faults.postmaster(n).pid for n in cluster.nodes.values()}
    assert all(now[name] != started[name] for name in now), "each was restarted"
    assert {name: now[name] for name in done} == done, "and none of them twice"
    assert epochs(cluster) == before + 1 and not cluster.seen().records.planned
    assert client.verdict().is_clean


@pytest.mark.parametrize("how", CUT)
def test_a_copy_is_made_anew_once_however_often_it_is_asked_for(
    cluster: Cluster, client: Writing, how: signal.Signals
) -> None:
    node = cluster.standbys[0]
    before, words = cluster.copy(node), ("reinit", node.name, "-y")
    since_s = cluster.clock.now_s()
    with ExitStack() as at_work:
        first = at_work.enter_context(typed(cluster, *words))
        until(lambda: bool(faults.of(node, "tool")), within_s=WITHIN_S, what="it is cloned", every_s=0.005)
        with faults.frozen(faults.of(node, "tool")):
            first.cut(how)
            listed(cluster, f"reinit {node.name}: begun")
            second = at_work.enter_context(typed(cluster, *words))
            second.says("has asked for it already")
        second.end()
    cluster.await_healthy()
    assert cluster.copy(node) != before and not cluster.seen().records.requests
    assert len(cluster.events(node, "clone", since_s=since_s)) == 1
    assert client.verdict().is_clean
