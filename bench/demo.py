"""pgha's own figures, on a demo cluster that is made for them and removed afterwards."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Spread
from pgha import inventory as inventories
from pgha.adapters.etcd import EtcdStore
from pgha.adapters.local import LocalHost, SystemClock
from pgha.adapters.local_judge import JudgeProcess
from pgha.errors import PghaError
from pgha.inventory import Inventory
from pgha.ops import drill, local_nodes, procs
from pgha.ops.drill_local import LocalGround
from pgha.ops.drill_report import DrillReport
from pgha.ops.target import store_access
from tests.support import programs
from tests.support.postgres_pair import WAL_SEGMENT_MB

ROOT = Path(__file__).resolve().parent.parent
IDLE_S = 20.0
TICKS = os.sysconf("SC_CLK_TCK")
Say = Callable[[str], None]


def pgha(*words: str) -> float:
    """Run the command line as a whole process; gives its seconds. AssertionError unless it exits 0."""
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "pgha", *words],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    took = time.monotonic() - began
    assert done.returncode == 0, f"pgha {' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return took


@dataclass(frozen=True, slots=True)
class Demo:
    """A running demo."""

    dir: str
    up_s: float

    @property
    def inventory_file(self) -> str:
        """For -i."""
        return f"{self.dir}/inventory.yaml"

    def inventory(self) -> Inventory:
        """As parsed."""
        path = Path(self.inventory_file)
        return inventories.parse(path.read_text(), str(path))


@contextlib.contextmanager
def demo() -> Iterator[Demo]:
    """From nothing to healthy, and away again."""
    where = Path(tempfile.mkdtemp(prefix="pgha-bench-", dir="/var/tmp"))
    where.rmdir()  # `demo up` makes it, for its own user
    try:
        words = ["--dir", str(where), "--wal-segment", str(WAL_SEGMENT_MB), *programs.demo_words()]
        yield Demo(str(where), pgha("demo", "up", *words))
    except (AssertionError, PghaError):
        _show_logs(where)
        raise
    finally:
        pgha("demo", "down", "--dir", str(where))


def _show_logs(where: Path) -> None:
    """The end of each node's logs on stderr: the directory will be gone."""
    for log in sorted([*where.glob("*/log/*"), *where.glob("*/state/*.log")]):
        lines = log.read_text(errors="replace").splitlines()[-25:] if "etcd" not in log.name else []
        print("\n".join([f"-- {log}", *lines]), file=sys.stderr)


def faults(of: Demo, fault: str, rounds: int, say: Say, *, store_leader: bool | None = None) -> DrillReport:
    """The drill, as the command runs it."""
    found, clock = of.inventory(), SystemClock()
    assert found.local is not None
    store = EtcdStore(store_access(found), clock)
    ground = LocalGround(local_nodes.load(found), LocalHost(found.local.user), clock)
    tools = drill.Tools(store, clock, ground, JudgeProcess, secrets.token_bytes)
    options = drill.Options(rounds, seed=rounds, store_leader=store_leader)
    return drill.run(found, fault, options, tools, lambda line: say(f"{fault}: {line}"))


def timed(runs: int, run: Callable[[], float]) -> Spread:
    """Several runs; one before them, not counted, fills the caches."""
    run()
    return Spread(tuple(run() for _ in range(runs)))


def second_watchdog(of: Demo) -> float:
    """Start a node's watchdog while one runs: it has to go away at once."""
    found = of.inventory()
    assert found.local is not None
    node, host = local_nodes.load(found)[0], LocalHost(found.local.user)
    began = time.monotonic()
    ran = host.run(node.watchdog_argv(), timeout_s=10.0, cwd=node.dir)
    took = time.monotonic() - began
    assert ran.ok, f"the second watchdog: {ran.tail()}"
    return took


def _watchers(of: Demo) -> list[list[int]]:
    """For each node the pids of guard and agent."""
    kinds = [local_nodes.processes(node) for node in local_nodes.load(of.inventory())]
    pids = [[*found["guard"], *found["agent"]] for found in kinds]
    assert all(len(p) == 2 for p in pids), f"guard and agent of each node: {pids}"
    return pids


def memory_mb(of: Demo) -> Spread:
    """PSS of guard and agent together, one value a node."""

    def pss(pid: int) -> int:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))

    return Spread(tuple(sum(pss(pid) for pid in pids) / 1024 for pids in _watchers(of)))


def idle_cpu(of: Demo) -> Spread:
    """Per cent of a core that guard and agent use while nothing happens, one value a node."""

    def ticks(pid: int) -> int:
        stat = Path(f"/proc/{pid}/stat").read_text()
        user, system = stat[stat.rindex(")") + 2 :].split()[11:13]
        return int(user) + int(system)

    watchers = _watchers(of)
    before, began = [sum(map(ticks, pids)) for pids in watchers], time.monotonic()
    time.sleep(IDLE_S)  # nothing to wait for: this is the measurement
    took = time.monotonic() - began
    assert all(procs.look_at(pid) for pids in watchers for pid in pids), "a watchdog ended meanwhile"
    after = [sum(map(ticks, pids)) for pids in watchers]
    return Spread(tuple((b - a) / TICKS / took * 100 for a, b in zip(before, after, strict=True)))
