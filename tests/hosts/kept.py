"""What a scenario leaves behind: its line in the file of runs, and what the client saw when it is red or asked for.

PGHA_TEST_RECORD names the file (default: beside the hosts' trees); `python -m tests.hosts.proof add` takes it over.
"""

from __future__ import annotations

import functools
import lzma
import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from pgha import __version__
from tests.hosts import tools
from tests.hosts.cluster import HostCluster
from tests.hosts.proof import Run, line
from tests.hosts.scenes import NOW, SUPERVISOR

_AGAIN = re.compile(r"\[again\d+\]|(?<=\[)again\d+-|-again\d+(?=[-\]])")  # which repetition it is (conftest)
CHECKOUT = Path(__file__).resolve().parents[2]


@functools.cache
def _pgha() -> str:
    """Its version, and the last commit that changed the package."""
    git = ["git", "-C", str(CHECKOUT), "-c", f"safe.directory={CHECKOUT}"]
    last = [*git, "log", "-1", "--format=%h", "--abbrev=7", "--", "pgha"]
    said = subprocess.run(last, capture_output=True, text=True, timeout=10, check=False).stdout.strip()
    return f"{__version__} {said}".strip()


@functools.cache
def _servers(cluster: HostCluster) -> tuple[str, str]:
    host = next(h for h in cluster.lab.hosts.values() if h.pid)
    postgres = host.run(["sh", "-c", "/usr/lib/postgresql/15/bin/postgres --version"]).out.split()
    etcd = host.run(["etcd", "--version"]).out.split()
    return [*postgres, "", "", "?"][2], [*etcd, "", "", "?"][2]


def keep(item: pytest.Item, report: pytest.TestReport, cluster: HostCluster, at: float) -> None:
    """Append the scenario's line; the history beside it when it is red."""
    mark = item.get_closest_marker("row")
    postgres, etcd = _servers(cluster)
    said = str(report.longrepr).strip().splitlines() if report.failed else []
    why = next((text[2:].strip() for text in said if text.startswith("E ")), "failed") if said else ""
    run = Run(
        at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at)),
        scenario=_AGAIN.sub("", item.name).removeprefix("test_").replace("_", " "),
        row=int(mark.args[0]) if mark else 0,
        pgha=_pgha(),
        postgres=postgres,
        etcd=etcd,
        supervisor=SUPERVISOR,
        seed=int(item.config.getoption("randomly_seed", 0) or 0),
        red=(why or str(getattr(report, "wasxfail", "")))[:200],
        **NOW.known,  # type: ignore[arg-type]  # by `scenes.ended`
    )
    path = Path(os.environ.get("PGHA_TEST_RECORD") or tools.CACHE / "runs.jsonl")
    with path.open("a", encoding="utf-8") as out:
        out.write(line(run) + "\n")
    wanted = os.environ.get("PGHA_TEST_HISTORIES")
    if (report.failed or wanted) and cluster.history.exists():
        folder = Path(wanted) if wanted else path.parent / "histories"
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{run.at.replace(':', '')}-{item.name.replace('/', '_')[:80]}.jsonl.xz"
        with lzma.open(folder / name, "wt", encoding="utf-8") as out_history:
            out_history.write(cluster.history.read_text(encoding="utf-8"))
