"""`list` and nodes that are silent in the store: what is asked of whom, and how the page says it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import pytest

from pgha.adapters.local import LocalHost
from pgha.errors import Exit, Unreachable
from pgha.host import Host, Ran
from pgha.ops import rows, silent, together
from pgha.ops.host_nodes import HostNode
from pgha.ops.silent import Found
from pgha.ops.status import SILENT_S, judge
from tests.ops.cases import NOW, TARGET, member, seen, without

GONE = member("n3", written_at=NOW - SILENT_S - 1)


def test_only_nodes_that_say_nothing_are_asked() -> None:
    assert rows.mute(TARGET, seen()) == []
    assert rows.mute(TARGET, seen(GONE)) == ["n3"]
    assert rows.mute(TARGET, without(seen(), "n2")) == ["n2"]
    assert rows.mute(TARGET, replace(seen(), down="no answer")) == ["n1", "n2", "n3"]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Found(True, True), "watchdog and PostgreSQL run: it does not reach the store, or hangs"),
        (Found(True, False), "its watchdog runs, PostgreSQL does not"),
        (Found(False, True), "PostgreSQL runs without a watchdog"),
        (Found(False, False, 9000.0), "the watchdog does not run"),
        (Found(False, False, 12.0), "the watchdog does not run (it booted 12 s ago)"),
    ],
)
def test_what_runs_there_is_said_in_one_clause(found: Found, words: str) -> None:
    assert found.text() == f"its host answers, {words}"


def unreachable() -> Found:
    raise Unreachable("192.0.2.13:22 can't be reached by SSH", "No route to host", "ssh")


def test_the_page_says_what_is_true_there_once() -> None:
    page = judge(TARGET, seen(GONE))
    assert page.exit == Exit.DEGRADED and "n3: silent, was streaming" in page.notes
    said = silent.told(page, silent.words({"n3": unreachable}))
    assert "n3: silent, was streaming; its host can't be asked: No route to host" in said.notes
    assert len(said.notes) == len(page.notes) and said.rows[2].problem.endswith("No route to host")
    assert said.exit == page.exit and silent.told(page, {}) is page


def test_with_no_store_every_node_has_its_word() -> None:
    page = judge(TARGET, replace(seen(), down="no answer"))
    heard = silent.words({name: lambda: Found(True, True) for name in ("n1", "n2", "n3")})
    said = silent.told(page, heard)
    assert [note.partition(":")[0] for note in said.notes[1:]] == ["n1", "n2", "n3"] and said.exit == Exit.STORE


def test_who_does_not_answer_in_time_is_left_behind() -> None:
    free = threading.Event()

    def hangs() -> Found:
        free.wait(20.0)
        return Found(True, True)

    began = time.monotonic()
    said = silent.words({"n2": hangs, "n3": lambda: Found(False, True)}, within_s=0.4)
    assert time.monotonic() - began < 5.0 and "none within 0.4 s" in said["n2"] and "without" in said["n3"]
    free.set()


def test_without_a_limit_everybody_is_waited_for() -> None:
    assert together.outcomes({"a": 0.3, "b": 0.0}, lambda _name, s: time.sleep(s)) == {"a": None, "b": None}


class Here:
    """`host.Remote` to this machine."""

    address, user = "192.0.2.11", "nobody"
    closed = False

    def as_user(self, user: str) -> Host:
        assert user == self.user, "no rights are needed"
        return LocalHost.anybody()

    def send(self, user: str, argv: Sequence[str], data: bytes, *, timeout_s: float) -> Ran:
        raise AssertionError(f"{user} {argv} {data!r} {timeout_s}")

    def close(self) -> None:
        self.closed = True


@contextmanager
def running(*words: str) -> Iterator[None]:
    """A process with this command line."""
    code = "import sys; print(flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([*words[:1], "-c", code, *words[1:]], executable=sys.executable, **pipes) as process:  # type: ignore[call-overload]
        assert process.stdout.readline() == b"\n"
        yield
        process.stdin.close()


def test_a_host_is_asked_for_its_processes_by_name_and_place() -> None:
    node = HostNode("n1", f"t{os.getpid()}", "192.0.2.11", 5432, f"/var/lib/pgha/t{os.getpid()}/data")
    remotes: list[Here] = []

    def connect(address: str) -> Here:
        assert address == node.host
        remotes.append(Here())
        return remotes[-1]

    def found() -> tuple[bool, bool]:
        said = silent.of_host(node, connect)
        assert said.up_s is not None and said.up_s > 0
        return said.watchdog, said.server

    assert found() == (False, False)
    with running("/usr/bin/python3", "watchdog", "--node", node.node_file_path):
        assert found() == (True, False)
        with running("/usr/lib/postgresql/15/bin/postgres", "-D", node.data_dir):
            assert found() == (True, True)
    with running("/usr/bin/python3", "watchdog", "--node", node.node_file_path, "--stop"):
        assert found() == (False, False), "who asks a watchdog to stop is none"
    with running("/usr/bin/tail", "-f", node.data_dir), running("/usr/bin/vi", node.node_file_path):
        assert found() == (False, False)
    assert all(remote.closed for remote in remotes)
