"""Stands in for cron on a machine that carries all nodes: starts each watchdog again, and dead etcd members.

A process of its own (`python -m pgha.ops.restarter --dir DIR --every SECONDS`), standard library only. What it
starts is in DIR/restarter.json, written by bootstrap. A node with a file <node>/down is left alone. It ends by itself
when DIR's marker or its own pid file is gone. One at a time: a lock on DIR/restarter.lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import sys
import time

from pgha.adapters.local import LocalHost
from pgha.adapters.log_size import bound
from pgha.errors import PghaError
from pgha.ops.local_nodes import MARKER, LocalNode, sort_out
from pgha.ops.procs import living

PLAN = "restarter.json"
PID_FILE = "restarter.pid"
LOCK_FILE = "restarter.lock"


def argv(python: str, root: str, every_s: float) -> list[str]:
    """How it is started."""
    return [python, "-m", "pgha.ops.restarter", "--dir", root, "--every", f"{every_s:g}"]


def plan_text(nodes: list[LocalNode], etcd: dict[str, list[str]]) -> str:
    """The text of DIR/restarter.json: every node, and its etcd member's command line."""
    rows = [
        {
            "name": n.name,
            "root": n.root,
            "user": n.user,
            "host": n.host,
            "port": n.port,
            "data_dir": n.data_dir,
            "etcd_client_port": n.etcd_client_port,
            "etcd_peer_port": n.etcd_peer_port,
        }
        for n in nodes
    ]
    return json.dumps({"schema": 1, "nodes": rows, "etcd": etcd}, indent=1) + "\n"


def read_plan(root: str) -> tuple[list[LocalNode], dict[str, list[str]]]:
    """The plan. Raises OSError or ValueError when there is none that can be read."""
    with open(f"{root}/{PLAN}", encoding="utf-8") as f:
        body = json.load(f)
    try:
        return [LocalNode(**row) for row in body["nodes"]], dict(body["etcd"])
    except (KeyError, TypeError) as e:
        raise ValueError(f"{root}/{PLAN}: {e}") from e


def round_once(root: str, host: LocalHost) -> None:
    """Start what is missing, once."""
    nodes, etcd = read_plan(root)
    there = living()
    for node in nodes:
        if os.path.exists(node.down_file):
            continue
        running = sort_out(node, there)
        for name in ("etcd.log", "watchdog.log"):
            bound(f"{node.log_dir}/{name}")
        if node.name in etcd and not running["etcd"]:
            host.spawn(etcd[node.name], cwd=node.dir, log_file=f"{node.log_dir}/etcd.log")
        if not running["guard"]:
            # A second watchdog would exit at once by itself; not starting one saves its processor time.
            host.spawn(node.watchdog_argv(), cwd=node.dir, log_file=f"{node.log_dir}/watchdog.log")


def _reap() -> None:
    """Collect what ended of what we started."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _is_wanted(root: str) -> bool:
    """The marker is there and the pid file names us."""
    try:
        with open(f"{root}/{PID_FILE}", encoding="ascii") as f:
            return f.read().strip() == str(os.getpid()) and os.path.exists(f"{root}/{MARKER}")
    except OSError:
        return False


def run(root: str, every_s: float) -> int:
    """The loop; 0 when it is no longer wanted or another one is at work."""
    lock = os.open(f"{root}/{LOCK_FILE}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 0
    with open(f"{root}/{PID_FILE}", "w", encoding="ascii") as f:
        f.write(f"{os.getpid()}\n")
    host = LocalHost()
    while _is_wanted(root):
        try:
            round_once(root, host)
        except (OSError, ValueError, PghaError) as e:
            sys.stderr.write(f"restarter: {e}\n")
            sys.stderr.flush()
        next_round = time.monotonic() + every_s
        while time.monotonic() < next_round and _is_wanted(root):
            _reap()
            time.sleep(0.5)
    return 0


def main(words: list[str]) -> int:
    """`--dir DIR --every SECONDS`."""
    options = dict(zip(words[::2], words[1::2], strict=False))
    return run(os.path.abspath(options["--dir"]), float(options.get("--every", "60")))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
