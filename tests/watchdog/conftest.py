"""Fixtures of the watchdog's tests: a node with and without a data directory."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.programs import postgres_bin
from tests.watchdog.guarded_node import AS_USER, ENV, USER, GuardedNode

SETTINGS = """
listen_addresses = ''
unix_socket_directories = '{root}'
restart_after_crash = off
fsync = off
shared_buffers = 16MB
autovacuum = off
max_connections = 60
"""


def _directory() -> Path:
    """Outside of pytest's own tree, which only its user may enter."""
    path = Path(tempfile.mkdtemp(prefix="pgha-guard-"))
    path.chmod(0o755)
    if AS_USER:
        account = pwd.getpwnam(AS_USER)
        os.chown(path, account.pw_uid, account.pw_gid)
    return path


@pytest.fixture(scope="session")
def bin_dir() -> str:
    """PostgreSQL's programs."""
    return postgres_bin()


@pytest.fixture(scope="session")
def template(bin_dir: str) -> Iterator[Path]:
    """A data directory; lent to one test after another, which is quicker than copies and recovers from each crash."""
    root = _directory()
    argv = [f"{bin_dir}/initdb", "-D", str(root / "data"), "-U", USER, "-A", "trust", "--no-sync", "--wal-segsize=1"]
    subprocess.run(argv, user=AS_USER, group=AS_USER, env=ENV, cwd="/", check=True, stdout=subprocess.DEVNULL)
    yield root / "data"
    shutil.rmtree(root)


@pytest.fixture
def bare_node(bin_dir: str) -> Iterator[GuardedNode]:
    """A node without a data directory."""
    yield from _node(bin_dir, None)


@pytest.fixture
def node(bin_dir: str, template: Path) -> Iterator[GuardedNode]:
    """A node with a data directory, its server not started."""
    yield from _node(bin_dir, template)


def _node(bin_dir: str, data: Path | None) -> Iterator[GuardedNode]:
    root = _directory()
    node = GuardedNode(root, bin_dir)
    if data is not None:
        data.rename(node.data)
        (node.data / "postgresql.conf").write_text(SETTINGS.format(root=root))
        (node.data / "postmaster.pid").unlink(missing_ok=True)
    try:
        yield node
    finally:
        node.close()
        if data is not None:
            node.data.rename(data)
        shutil.rmtree(root)
