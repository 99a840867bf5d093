"""The script that tells whether a node's agent is younger than what it goes by, run on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgha.ops.host_steps import YOUNG
from tests.support.postgres_pair import until


def is_young(node_file: Path, *files: Path, tries: int = 1) -> bool:
    argv = ["sh", "-s", "--", str(node_file), str(tries), str(node_file), *map(str, files)]
    return subprocess.run(argv, input=YOUNG, text=True, timeout=20, check=False).returncode == 0


@pytest.fixture
def node_file(tmp_path: Path) -> Path:
    """Written a while ago."""
    path = tmp_path / "two words.json"
    path.write_text("{}")
    long_ago = time.time() - 60
    os.utime(path, (long_ago, long_ago))
    return path


@pytest.fixture
def agent(node_file: Path) -> Iterator[None]:
    """A process with an agent's words."""
    code = "import time; time.sleep(60)"
    words = ["-m", "pgha.watchdog.agent_main", "--node", str(node_file), "--fd", "3"]
    with subprocess.Popen([sys.executable, "-c", code, *words]) as child:
        cmdline = Path(f"/proc/{child.pid}/cmdline")
        try:
            until(lambda: b"agent_main" in cmdline.read_bytes(), within_s=5.0, what="it runs")
            yield
        finally:
            child.kill()


def test_without_an_agent_there_is_no_young_one(node_file: Path) -> None:
    assert not is_young(node_file)


@pytest.mark.usefixtures("agent")
def test_an_agent_that_began_after_its_files_is_young(node_file: Path, tmp_path: Path) -> None:
    assert is_young(node_file, tmp_path / "absent.pem")


@pytest.mark.usefixtures("agent")
def test_an_agent_older_than_one_of_its_files_is_not(node_file: Path, tmp_path: Path) -> None:
    newer = tmp_path / "client.pem"
    newer.write_text("made anew")
    assert not is_young(node_file, newer)


@pytest.mark.usefixtures("agent")
def test_another_nodes_agent_does_not_count(tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_text("{}")
    long_ago = time.time() - 60
    os.utime(other, (long_ago, long_ago))
    assert not is_young(other)


@pytest.mark.usefixtures("agent")
def test_a_link_counts_by_when_it_was_set(node_file: Path, tmp_path: Path) -> None:
    current = tmp_path / "current"
    current.symlink_to(node_file)
    assert not is_young(node_file, current)
